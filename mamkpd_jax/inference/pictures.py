"""Poses of many pictures into a folder, which a second run completes.

OUTPUT/poses/NAME.json holds what was found in a picture and is written last, so that it tells that the picture is done;
OUTPUT/pictures/NAME shows it, OUTPUT/results.json gathers all in COCO's results form, and OUTPUT/run.json says how it
was done.
"""

import dataclasses
import glob
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging
from tqdm import tqdm

from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import write_json
from mamkpd_jax.inference.boxes import Detector
from mamkpd_jax.inference.boxes_file import BoxesFile, trailing_number
from mamkpd_jax.inference.coco_classes import subject
from mamkpd_jax.inference.images import SUFFIXES
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.inference.results import OutputOptions, PoseResult


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Picture files, by names relative to the folder that they have in common."""

    folder: Path
    names: tuple[str, ...]

    def path(self, name: str) -> Path:
        return self.folder / name


def find_pictures(pattern: str, output: Path | None = None, *, flag: str = "input") -> Pictures:
    """The pictures of a file, a folder (and those below it) or a glob, in order; none below `output`.

    Results of earlier runs below a folder are left out.

    Args:
        flag: what messages call the pattern.

    Raises:
        UserError: there is none.
    """
    path = Path(pattern)
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES]
        results = {run.parent for run in path.rglob("run.json") if (run.parent / "poses").is_dir()}
        found = [file for file in found if not results & set(file.parents)]
    else:
        names = [pattern] if path.is_file() else glob.glob(pattern, recursive=True)
        found = [Path(name) for name in names if Path(name).is_file()]
    if output is not None:
        found = [file for file in found if not file.resolve().is_relative_to(output.resolve())]
    if not found:
        raise UserError(f"--{flag}={pattern}: no picture, nor a folder or a glob of any ({', '.join(SUFFIXES)})")
    found = sorted(found)
    folder = path if path.is_dir() else Path(os.path.commonpath([file.parent for file in found]))
    return Pictures(folder=folder, names=tuple(file.relative_to(folder).as_posix() for file in found))


def predict_pictures(
    predictor: Predictor,
    pictures: Pictures,
    boxes: Detector | BoxesFile,
    options: OutputOptions,
    settings: Mapping[str, Any],
    *,
    print_keypoints: bool = False,
) -> list[str]:
    """Predicts what is not yet in the folder, gathers all of it, and returns a line for each thing that went wrong.

    It prints a line for each picture: what was found, and the seconds since the line before.

    Args:
        settings: what a second run must have in common with the first, in JSON's types.

    Raises:
        UserError: the folder is of a run with other settings, or the boxes are of other pictures.
    """
    output = options.output
    file = boxes if isinstance(boxes, BoxesFile) else None
    if file is not None:
        file.check([pictures.path(name) for name in pictures.names])
    _check_settings(output, settings)
    missing = [name for name in pictures.names if not _poses(output, name).exists()]
    if there := len(pictures.names) - len(missing):
        logging.info("%d of %d pictures are in %s already", there, len(pictures.names), output)
    paths = [pictures.path(name) for name in missing]
    inputs = ((path, boxes if file is None else file.of(path)) for path in paths)
    results = predictor.stream(inputs, box_threshold=options.box_threshold, keep_pixels=options.draw)
    wrong, before_s = [], time.perf_counter()
    for name, result in zip(tqdm(missing, unit="picture", disable=None), results, strict=True):
        if isinstance(result, UserError):
            wrong.append(str(result))
            continue
        result = result.without_duplicates() if options.suppress else result
        if options.draw:
            result.save(_picture(output, name), threshold=options.joint_threshold)
        about = {"file_name": name, "height": result.image_hw[0], "width": result.image_hw[1]}
        poses = result.to_coco(category_id=options.category_id)
        write_json(_poses(output, name), {**about, "poses": poses, "left_out": result.left_out})
        now_s = time.perf_counter()
        tqdm.write(_line(pictures.path(name), result, now_s - before_s))
        if print_keypoints:
            tqdm.write(_keypoints(result))
        before_s = now_s
    done = {name: read_json(_poses(output, name)) for name in pictures.names if _poses(output, name).exists()}
    write_json(output / "results.json", _gathered(pictures, done, file))
    return wrong + [f"{pictures.path(n)}: {reason}; it was left out" for n in done for reason in done[n]["left_out"]]


def _gathered(pictures: Pictures, done: Mapping[str, Any], boxes: BoxesFile | None) -> list[dict[str, Any]]:
    """All poses with an image_id: that of the file of boxes, the name's trailing number, or the picture's place."""
    numbers = [trailing_number(pictures.path(name)) for name in pictures.names]
    usable = None not in numbers and len(set(numbers)) == len(numbers)
    results = []
    for place, name in enumerate(pictures.names):
        known = None if boxes is None else boxes.image_id(pictures.path(name))
        image_id = known if known is not None else numbers[place] if usable else place + 1
        results += [{**pose, "image_id": image_id, "file_name": name} for pose in done.get(name, {}).get("poses", [])]
    return results


def _line(path: Path, result: PoseResult, seconds: float) -> str:
    return f"{path}: {subject(result.skeleton, len(result))} found, {seconds:.2f} s"


def _keypoints(result: PoseResult) -> str:
    """A line for each pose and for each of its keypoints: x and y in pixels of the picture, and the score."""
    lines, width = [], max(map(len, result.skeleton.joints))
    for pose, score, box, scores in zip(result.keypoints, result.pose_scores, result.boxes, result.scores, strict=True):
        lines.append(f"  score {score:.2f}, box " + " ".join(f"{value:.0f}" for value in box))
        for joint, (x, y), joint_score in zip(result.skeleton.joints, pose, scores, strict=True):
            lines.append(f"    {joint:{width}} {x:8.1f} {y:8.1f} {joint_score:6.2f}")
    return "\n".join(lines)


def _check_settings(output: Path, settings: Mapping[str, Any]) -> None:
    path = output / "run.json"
    before = read_json(path) if (output / "poses").exists() else settings
    for name, value in settings.items():
        if before.get(name) != value:
            raise UserError(
                f"{output} holds poses of a run with {name} {before.get(name)}, and this one has {value}; give another "
                "--output, or remove it"
            )
    write_json(path, settings)


def _poses(output: Path, name: str) -> Path:
    return output / "poses" / f"{name}.json"


def _picture(output: Path, name: str) -> Path:
    path = output / "pictures" / name
    return path if path.suffix.lower() in (".jpg", ".jpeg", ".png") else path.with_name(f"{path.name}.png")
