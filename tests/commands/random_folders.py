"""Random folders of good, odd and broken pictures with files of boxes, and random changes of them."""

import dataclasses
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.data.exif import turned

NAMES = ("a.jpg", "b.png", "sub/a.jpg", "cam0/0001.jpg", "cam1/0001.jpg", "sub/X.JPG", "写真 ü.png", "c.bmp", "d.webp")
NAMES += ("deep/er/e.tif", "f.JPEG", "a.bmp.png", "a.bmp", "name.with.dots.png", "[1].png")
BOXES = ("whole", "numbers", "any numbers", "annotations", "named detections")
OTHER_FILES = ("notes.txt", "clip.mp4", "._a.jpg", ".hidden.png")


def _pixels(rng: random.Random, height: int = 0, width: int = 0) -> np.ndarray:
    shape = (height or rng.randint(30, 120), width or rng.randint(30, 120), 3)
    blocks = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(blocks, shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _encoded(pixels: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def _turned(rng: random.Random, suffix: str) -> bytes:
    return turned(_encoded(_pixels(rng), ".jpg"), rng.choice((3, 6, 8)))


# The kinds of file content, by name. The suffix may not match the content.
KINDS: dict[str, Callable[[random.Random, str], bytes]] = {
    "good": lambda rng, suffix: _encoded(_pixels(rng), suffix),
    "gray": lambda rng, suffix: _encoded(_pixels(rng)[..., 0], suffix),
    "alpha": lambda rng, suffix: _encoded(np.dstack([_pixels(rng, 50, 40), _pixels(rng, 50, 40)[..., 0]]), ".png"),
    "16 bits": lambda rng, suffix: _encoded(_pixels(rng).astype(np.uint16) * 257, ".png"),
    "turned": _turned,
    "tiny": lambda rng, suffix: _encoded(_pixels(rng, rng.randint(1, 3), rng.randint(1, 3)), suffix),
    "narrow": lambda rng, suffix: _encoded(_pixels(rng, rng.choice((1, 300)), 40), suffix),
    "cut": lambda rng, suffix: _encoded(_pixels(rng), ".jpg")[: rng.choice((15, 300, 600))],
    "empty": lambda rng, suffix: b"",
    "text": lambda rng, suffix: b"not a picture",
}


@dataclasses.dataclass
class Entry:
    """A box in the file, and the picture that it belongs to."""

    picture: str
    bbox: list[float]
    score: float = 1.0
    category: int = 1
    crowd: bool = False


class RandomFolder:
    """A folder of pictures in `parent`, the options of a run, and the facts to check the run against."""

    def __init__(self, parent: Path, seed: int):
        self.rng, self.input, self._parent = random.Random(seed), parent / "in", parent
        self.boxes = self.rng.choice(BOXES)
        self.as_glob = self.rng.random() < 0.2
        self.output = self.rng.choice([parent / "out", self.input / "out", self.input])
        self.weights = self.rng.randrange(2)
        self.kinds: dict[str, str] = {}  # of the pictures
        self.flags: dict[str, Any] = {"flip_test": False}
        for _ in range(self.rng.choice((1, 3, 6))):
            self.add_picture()
        for name in self.rng.sample(OTHER_FILES, 2):
            (self.input / name).write_bytes(b"other")
        if self.rng.random() < 0.2:
            (self.input / "folder.jpg").mkdir()
        if self.rng.random() < 0.2:
            (self.input / "link.jpg").symlink_to("nowhere.jpg")
            self.kinds["link.jpg"] = "link"
        self.entries: list[Entry] = []
        self.ids: dict[str, int] = {}
        self.add_boxes()

    def add_picture(self) -> None:
        free = [name for name in NAMES if name not in self.kinds]
        if "numbers" in self.boxes:
            pattern = "{:012}.jpg" if self.boxes == "numbers" else "img_{}.png"
            free = [pattern.format(n) for n in range(1, 30) if pattern.format(n) not in self.kinds]
        name = self.rng.choice(free)
        self.kinds[name] = ""
        self.paint(name)

    def paint(self, name: str) -> None:
        """Writes a picture of a random kind, sometimes with the size and modification time of the old file."""
        path, kind = self.input / name, self.rng.choice([*KINDS, *["good"] * 6])
        content = KINDS[kind](self.rng, path.suffix.lower())
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and self.rng.random() < 0.5:
            stat = path.stat()
            path.write_bytes(content.ljust(stat.st_size, b"\0"))
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        else:
            path.write_bytes(content)
        self.kinds[name] = kind

    def add_boxes(self) -> None:
        """Adds boxes for some pictures, replacing those they have, and sometimes for a missing picture."""
        rng = self.rng
        names = [name for name in self.kinds if name != "link.jpg" and rng.random() < 0.7]
        for name in [*names, *rng.choice(((), ("gone/99.jpg",)))]:
            number = Path(name).stem.split("_")[-1]
            self.ids.setdefault(name, int(number) if "numbers" in self.boxes else self._new_id())
            self.entries = [entry for entry in self.entries if entry.picture != name]
            for _ in range(rng.randint(0, 3)):
                box = [rng.uniform(-5, 20), rng.uniform(-5, 20), rng.uniform(5, 60), rng.uniform(5, 60)]
                bad = [[500, 0, 9, 9], [1, 1, 0, 5], [float("nan"), 0, 9, 9]]
                box = rng.choice(bad) if rng.random() < 0.1 else box
                crowd = self.boxes == "annotations" and rng.random() < 0.2
                score = 1.0 if self.boxes == "annotations" else round(rng.random(), 3)
                self.entries.append(Entry(name, box, score, rng.choice((1, 1, 1, 2)), crowd))

    def _new_id(self) -> int:
        return self.rng.choice([i for i in range(1, 500) if i not in self.ids.values()])

    def arguments(self) -> list[str]:
        """Writes the boxes file, and returns the command's flags."""
        flags = dict(self.flags)
        flags["input"] = f"{self.input}/**/*.*" if self.as_glob else self.input
        flags["output"], flags["boxes"] = self.output, "whole"
        if self.boxes != "whole":
            flags["boxes"] = self._parent / "boxes.json"
            flags["boxes"].write_text(json.dumps(self._content()), encoding="utf-8")
        if self.boxes == "any numbers":
            flags["match"] = "number"
        return [
            f"--{'' if v is not False else 'no'}{k}{'' if isinstance(v, bool) else f'={v}'}" for k, v in flags.items()
        ]

    def _content(self) -> Any:
        def detection(entry: Entry) -> dict[str, Any]:
            fields = {"bbox": entry.bbox, "score": entry.score, "category_id": entry.category}
            if self.boxes == "named detections":
                fields["file_name"] = entry.picture
            return {"image_id": self.ids[entry.picture], **fields}

        if self.boxes != "annotations":
            return [detection(entry) for entry in self.entries]
        images = [{"id": number, "file_name": f"in/{name}"} for name, number in self.ids.items()]
        return {
            "images": images,
            "annotations": [{**detection(entry), "iscrowd": int(entry.crowd)} for entry in self.entries],
        }

    def change(self) -> str:
        """Makes a random change and returns its name."""
        kind = self.rng.choice(list(CHANGES))
        CHANGES[kind](self)
        return kind

    def remove_picture(self) -> None:
        name = self.rng.choice(list(self.kinds))
        (self.input / name).unlink()
        del self.kinds[name]

    def swap_pictures(self) -> None:
        a, b = self.rng.choice(list(self.kinds)), self.rng.choice(list(self.kinds))
        if a != b:
            for old, new in ((a, "swap"), (b, a), ("swap", b)):
                (self.input / old).rename(self.input / new)
            self.kinds[a], self.kinds[b] = self.kinds[b], self.kinds[a]

    def change_option(self) -> None:
        options = {"flip_test": True, "upright": False, "suppress": False, "draw": False, "joint_threshold": 0.7}
        options |= {"box_threshold": self.rng.choice((0, 0.6)), "category": 2, "overwrite": True, "batch_size": 3}
        name = self.rng.choice(list(options))
        self.flags[name] = options[name]

    def damage(self, content: bytes | None) -> None:
        """Replaces the content of a stored result or drawing; with None, truncates it."""
        stored = [path for part in ("poses", "pictures") for path in sorted((self.output / part).rglob("*.*"))]
        for path in self.rng.sample([path for path in stored if path.is_file()], min(1, len(stored))):
            path.write_bytes(path.read_bytes()[:40] if content is None else content)

    def change_weights(self) -> None:
        self.weights = 1 - self.weights

    def paint_any(self) -> None:
        self.paint(self.rng.choice([name for name in self.kinds if name != "link.jpg"] or [self.add_picture()]))

    def _stored(self) -> list[Path]:
        return [path for path in sorted((self.output / "poses").rglob("*.json")) if path.is_file()]

    def copy_results(self) -> None:
        """Copies the result of one picture to the name of another."""
        if len(self._stored()) > 1:
            shutil.copy(*self.rng.sample(self._stored(), 2))

    def alter_results(self) -> None:
        """Changes the scores in every stored result."""
        for path in self._stored():
            path.write_bytes(path.read_bytes().replace(b'"score": ', b'"score": 1'))


CHANGES: dict[str, Callable[[RandomFolder], object]] = {
    "nothing": lambda folder: None,
    "picture replaced": RandomFolder.paint_any,
    "picture added": RandomFolder.add_picture,
    "picture removed": RandomFolder.remove_picture,
    "pictures swapped": RandomFolder.swap_pictures,
    "boxes edited": RandomFolder.add_boxes,
    "weights changed": RandomFolder.change_weights,
    "option changed": RandomFolder.change_option,
    "result cut": lambda folder: folder.damage(None),
    "result replaced": lambda folder: folder.damage(b"{}"),
    "results copied": RandomFolder.copy_results,
    "results altered": RandomFolder.alter_results,
}
