"""Stored results of pictures. Each records what it was made from, so that a change makes it outdated.

OUTPUT/poses/NAME.json is written last and marks a picture as done. 'made_from' has the digests and options that the
poses depend on, 'drawn' has those of OUTPUT/pictures/NAME, and 'digest' covers the whole record.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from mamkpd_jax.errors import UserError
from mamkpd_jax.files import write_json
from mamkpd_jax.inference.boxes import Boxes
from mamkpd_jax.inference.picture_files import DRAWN, POSES, RESULTS, RUN, Pictures, has_results
from mamkpd_jax.inference.results import OutputOptions, PoseResult

_DAMAGED = "a damaged result"
_WRITABLE = (".jpg", ".jpeg", ".png")  # drawings keep these formats; all others become PNG


class Records:
    """The results of an input's pictures in the output folder.

    Args:
        settings: what every result depends on, in JSON's types.
        boxes: the boxes of each picture, if they are from a file.
    """

    def __init__(
        self, options: OutputOptions, pictures: Pictures, settings: Mapping[str, Any], boxes: Mapping[str, Boxes]
    ):
        self._options = options
        self._pictures = pictures
        self._settings = settings
        self._boxes = {name: _digest([xywh.tolist(), scores.tolist()]) for name, (xywh, scores) in boxes.items()}
        self._drawings = {name: options.output / DRAWN / file for name, file in _drawings(pictures.names).items()}

    def start(self, about: Mapping[str, Any]) -> None:
        """Marks the folder as an output folder, whose files are never input, and removes results.json.

        An interrupted run thus leaves no outdated results.json.

        Raises:
            UserError: the folder has other files with the names of results.
        """
        output = self._options.output
        taken = [path for path in (output / name for name in (RESULTS, RUN, DRAWN, POSES)) if _has_content(path)]
        if taken and not has_results(output):
            raise UserError(f"{taken[0]} has no poses of pictures and would be overwritten; give another --output")
        (output / POSES).mkdir(parents=True, exist_ok=True)
        write_json(output / RUN, about)
        (output / RESULTS).unlink(missing_ok=True)

    def made_from(self, name: str) -> dict[str, Any]:
        """What the result of a picture depends on.

        Call it before the picture is read: if the file is replaced in between, the next run notices.
        """
        of_file = {"boxes": self._boxes[name]} if name in self._boxes else {}
        return {**self._settings, **of_file, "picture": _file_digest(self._pictures.path(name))}

    def up_to_date(self) -> dict[str, dict[str, Any]]:
        """The records that are up to date. The others are removed, and the log gives the reasons."""
        found, reasons = {}, Counter()
        for name in self._pictures.names:
            record, reason = self._read(name)
            if reason:
                self.remove(name)
                reasons[reason] += 1
            elif record:
                found[name] = record
        if found:
            logging.info(
                "%d of %d pictures are done in %s", len(found), len(self._pictures.names), self._options.output
            )
        if reasons:
            why = ", ".join(f"{n} with {reason}" for reason, n in reasons.most_common())
            logging.info("%d pictures predicted again: %s", reasons.total(), why)
        return found

    def remove(self, name: str) -> None:
        """Removes a picture's record, then its drawing, so that no record is left without its drawing."""
        self._path(name).unlink(missing_ok=True)
        self._drawings[name].unlink(missing_ok=True)

    def write(self, name: str, result: PoseResult, made_from: Mapping[str, Any]) -> dict[str, Any]:
        """Draws and stores a result; returns its record."""
        if self._options.draw:
            result.save(self._drawings[name], threshold=self._options.joint_threshold)
        record = {
            **{"file_name": name, "height": result.image_hw[0], "width": result.image_hw[1]},
            "poses": result.to_coco(category_id=self._options.category_id),
            "left_out": list(result.left_out),
            "made_from": dict(made_from),
            "drawn": self._drawn(name) if self._options.draw else None,
        }
        write_json(self._path(name), {**record, "digest": _digest(record)})
        return record

    def _read(self, name: str) -> tuple[dict[str, Any] | None, str]:
        """A picture's record or None, and the reason to predict it again; the reason is empty if there is none."""
        try:
            record = json.loads(self._path(name).read_bytes())
            if record.pop("digest") != _digest(record):
                return None, _DAMAGED
        except FileNotFoundError:
            return None, ""
        except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
            return None, _DAMAGED
        before, now = record["made_from"], self.made_from(name)
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if now["picture"] is None:
            changed = ["picture"]
        elif not changed and self._options.draw and record["drawn"] != self._drawn(name):
            changed = ["drawing"]
        return record, f"changed {' and '.join(changed)}" if changed else ""

    def _drawn(self, name: str) -> dict[str, Any]:
        return {"picture": _file_digest(self._drawings[name]), "joint_threshold": self._options.joint_threshold}

    def _path(self, name: str) -> Path:
        return self._options.output / POSES / f"{name}.json"


def _has_content(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _digest(data: Any) -> str:
    """SHA-256 of data that JSON can represent."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str | None:
    """SHA-256 of a file's bytes; None if it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _drawings(names: Sequence[str]) -> dict[str, str]:
    """The file name of each picture's drawing: the picture's, with .png appended unless it is JPEG or PNG."""
    drawings = {name: name for name in names if name.lower().endswith(_WRITABLE)}
    taken = set(drawings)
    for name in names:
        if name not in drawings:
            drawing = f"{name}.png"
            while drawing in taken:
                drawing += ".png"
            drawings[name] = drawing
            taken.add(drawing)
    return drawings
