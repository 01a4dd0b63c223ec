"""Writes TensorBoard's event files."""

import contextlib
import time
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[attr-defined]


class TensorBoard:
    """Writes values and pictures below a folder, and discards what an earlier start wrote after `first_step`.

    It writes in the caller's thread. The thread of tensorboardX's SummaryWriter ends when the disk is full, and its
    caller then waits forever. Here a full disk only loses log entries.
    """

    def __init__(self, folder: Path, first_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))
        self._write(first_step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes values by name; a slash in a name groups them."""
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step, summary=Summary(value=scalars))

    def picture(self, step: int, name: str, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes an RGB picture."""
        height, width, _ = image.shape
        _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        content = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png.tobytes())
        self._write(step, summary=Summary(value=[Summary.Value(tag=name, image=content)]))

    def close(self) -> None:
        """Closes the event file."""
        with contextlib.suppress(OSError):
            self._events.close()

    def _write(self, step: int, **content: object) -> None:
        with contextlib.suppress(OSError):
            self._events.write_event(Event(wall_time=time.time(), step=step, **content))
            self._events.flush()
