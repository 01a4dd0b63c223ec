"""Predicts the pictures of an input into a folder; a later run predicts only what has changed.

OUTPUT/poses/NAME.json has the poses of a picture, and what they depend on (`Records`). OUTPUT/pictures/NAME is their
drawing. OUTPUT/results.json has the poses of all the input's pictures in COCO's results format. OUTPUT/run.json has the
options.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mamkpd_jax.errors import UserError
from mamkpd_jax.files import write_json
from mamkpd_jax.inference.boxes import Boxes, Detector
from mamkpd_jax.inference.boxes_file import BoxesFile, PictureBoxes
from mamkpd_jax.inference.detector_classes import subject
from mamkpd_jax.inference.matching import trailing_number
from mamkpd_jax.inference.picture_files import RESULTS, Pictures
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.inference.records import Records
from mamkpd_jax.inference.results import OutputOptions, PoseResult


def predict_pictures(
    predictor: Predictor,
    pictures: Pictures,
    boxes: Detector | BoxesFile,
    options: OutputOptions,
    settings: Mapping[str, Any],
    *,
    about: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    print_keypoints: bool = False,
) -> list[str]:
    """Predicts the pictures without an up-to-date result, writes results.json, and returns a line for each failure.

    Prints a line for each predicted picture: what was found, and the seconds since the previous line. The log counts
    outdated results by reason.

    Choice: the files of pictures that are not in this input stay, because they may have taken hours; results.json
    leaves them out.

    Args:
        settings: what poses depend on besides the picture and the boxes of a file, in JSON's types. If one changes,
            pictures are predicted again, and the log names its key.
        about: further entries of run.json, in JSON's types.
        overwrite: predict every picture again.

    Raises:
        UserError: the boxes are of other pictures or match several equally well, or the output folder has other files
            with the names of results.
    """
    matched = boxes.match(pictures.folder, pictures.names) if isinstance(boxes, BoxesFile) else {}
    records = Records(options, pictures, settings, {name: found.boxes for name, found in matched.items()})
    records.start({**(about or {}), **settings})
    done = {} if overwrite else records.up_to_date()
    missing = [name for name in pictures.names if name not in done]
    made_from: dict[str, dict[str, Any]] = {}

    def inputs() -> Iterator[tuple[Path, Detector | Boxes]]:
        for name in missing:
            made_from[name] = records.made_from(name)
            yield pictures.path(name), matched[name].boxes if isinstance(boxes, BoxesFile) else boxes

    results = predictor.stream(inputs(), box_threshold=options.box_threshold, keep_pixels=options.draw)
    wrong, before_s = [], time.perf_counter()
    for name, result in zip(tqdm(missing, unit="picture", disable=None), results, strict=True):
        records.remove(name)
        if isinstance(result, UserError):
            wrong.append(str(result))
            continue
        result = result.without_duplicates() if options.suppress else result
        done[name] = records.write(name, result, made_from.pop(name))
        now_s = time.perf_counter()
        tqdm.write(_line(pictures.path(name), result, now_s - before_s))
        if print_keypoints:
            tqdm.write(_keypoints(result))
        before_s = now_s
    in_order = [(name, done[name]) for name in pictures.names if name in done]
    ids = _image_ids(pictures.names, matched)
    gathered = [{**p, "image_id": ids[name], "file_name": name} for name, record in in_order for p in record["poses"]]
    write_json(options.output / RESULTS, gathered)
    return wrong + [
        f"{pictures.path(n)}: {why}; it was left out" for n, record in in_order for why in record["left_out"]
    ]


def _image_ids(names: tuple[str, ...], matched: Mapping[str, PictureBoxes]) -> dict[str, int]:
    """The image_id of each picture: that of the boxes file; other pictures get ids above its largest.

    Without a boxes file it is the trailing number of the file name, if these numbers are unique, else the picture's
    position, counted from 1.
    """
    known = {name: found.image_id for name, found in matched.items() if found.image_id is not None}
    if known:
        return {name: known.get(name, max(known.values()) + place) for place, name in enumerate(names, start=1)}
    numbers = {name: number for name in names if (number := trailing_number(name)) is not None}
    return numbers if len(set(numbers.values())) == len(names) else {n: place for place, n in enumerate(names, start=1)}


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
