"""The files that predicting a video writes: poses frame by frame, all poses at the end, and the drawn video."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from absl import logging
from jaxtyping import UInt8

from mamkpd_jax.errors import UserError
from mamkpd_jax.files import atomic_write
from mamkpd_jax.inference.sources import VideoSource
from mamkpd_jax.inference.video_reader import Frame, VideoReader
from mamkpd_jax.inference.video_writer import VideoWriter


class VideoOutput:
    """Writes poses.jsonl, with a line for each frame, and at the end results.json and NAME.mp4 to a folder.

    Before the first frame, it writes nothing and keeps the files of an earlier run. Leaving the context closes the
    files; `finish` completes them.

    Raises:
        UserError: NAME.mp4 would replace the video itself, or the folder has poses of pictures, or other files with the
            names of results.
    """

    def __init__(self, folder: Path, source: VideoSource, video: VideoReader):
        self._lines, self._results = folder / "poses.jsonl", folder / "results.json"
        self._drawn = folder / f"{source.stem}.mp4"
        if isinstance(source.address, Path) and self._drawn.exists() and self._drawn.samefile(source.address):
            raise UserError(f"{self._drawn} is the video itself, which must not be replaced; give another --output")
        if (folder / "poses").is_dir():
            raise UserError(f"{folder} holds poses of pictures; give another --output")
        taken = [path for path in (self._drawn, self._results) if path.exists()]
        if taken and not self._lines.exists():
            raise UserError(f"{taken[0]} has no poses of a video and would be overwritten; give another --output")
        self._writer = VideoWriter(self._drawn, video.rate, video.time_base)
        self._file: TextIO | None = None

    def __enter__(self) -> "VideoOutput":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(
        self, frame: Frame, poses: Sequence[dict[str, Any]], drawn: UInt8[np.ndarray, "h w 3"] | None = None
    ) -> None:
        """Writes a frame's poses, in COCO's results format, and its drawing."""
        if self._file is None:
            self._remove_earlier()
            self._lines.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._lines.open("w", encoding="utf-8", buffering=1)  # by line, so that a crash loses none
        line = {"frame": frame.number, "time_s": round(frame.time_s, 6), "poses": poses}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        if drawn is not None:
            self._writer.add(drawn, frame.time_s, frame.duration_s)

    def finish(self) -> None:
        """Completes the video, and writes all poses to results.json."""
        self._writer.close()
        with (
            self._lines.open(encoding="utf-8") as lines,
            atomic_write(self._results) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            before = "["
            for line in lines:
                for pose in json.loads(line)["poses"]:
                    file.write(f"{before}\n{json.dumps(pose)}")
                    before = ","
            file.write("\n]\n" if before == "," else "[]\n")

    def _remove_earlier(self) -> None:
        """Removes the files of an earlier run, which may be of another video."""
        if self._lines.exists():
            if not self._results.exists():
                logging.info("%s holds an unfinished run; all frames are predicted again", self._lines.parent)
            self._drawn.unlink(missing_ok=True)
            self._writer.unfinished.unlink(missing_ok=True)
            self._results.unlink(missing_ok=True)
