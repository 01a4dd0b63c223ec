"""Finds the video that an input names: a camera, a file, a network stream or an animated picture."""

import dataclasses
import re
from pathlib import Path
from urllib.parse import urlsplit

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.addresses import without_login
from mamkpd_jax.inference.animations import animated_frames

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts", ".mts", ".m2ts", ".3gp")
SUFFIXES += (".flv", ".ogv")
_WEB_SUFFIXES = (*SUFFIXES, ".m3u8", ".mpd", ".mjpg", ".mjpeg")
_STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "udp")
_WEB = ("http", "https")


@dataclasses.dataclass(frozen=True, slots=True)
class VideoSource:
    """Where the frames of a video come from."""

    address: Path | str | int  # a file, a network address, or a camera's number

    def __str__(self) -> str:
        """The name in messages; an address is shown without its login."""
        if isinstance(self.address, int):
            return f"camera {self.address}"
        return without_login(self.address) if isinstance(self.address, str) else str(self.address)

    @property
    def stem(self) -> str:
        """The name of the drawn video, without a suffix."""
        if isinstance(self.address, int):
            return "camera"
        if isinstance(self.address, Path):
            return self.address.stem
        return re.sub(r"[^\w.-]", "_", Path(urlsplit(self.address).path).stem) or "stream"


def find_video(given: str, *, offline: bool = False) -> VideoSource | None:
    """The video that an input names; None if it names pictures.

    Args:
        given: camera, camera:N, the address of a stream or a video, or a file.
        offline: whether network addresses are refused.

    Raises:
        UserError: it is a network address, and `offline` is set.
    """
    camera = re.fullmatch(r"camera(?::(\d+))?", given)
    if camera is not None:
        return VideoSource(int(camera[1] or 0))
    scheme = given.partition("://")[0].lower() if "://" in given else ""
    if scheme in (*_STREAMS, *_WEB):
        if offline:
            raise UserError(f"{VideoSource(given)} is a network address, and --offline is set; give a local file")
        is_video = scheme in _STREAMS or Path(urlsplit(given).path).suffix.lower() in _WEB_SUFFIXES
        return VideoSource(given) if is_video else None
    path = Path(given)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return VideoSource(path)
    return VideoSource(path) if path.is_file() and animated_frames(path) > 1 else None
