"""Evaluates a model of people with the package's detector on COCO's validation photos: PCK, recall and speed.

mamkpd bench photos --coco=data/coco --checkpoint=people --output=benchmarks/results/photos.json

Only keypoints count whose names the model shares with COCO. Each pose is predicted in the labelled box, and in the
detected box that has the highest IoU with it. Without a detected box of at least IoU 0.5, all its keypoints count as
wrong. For the third row the camera then pans for four frames, and the boxes follow the poses. The timings are of whole
runs of `mamkpd predict` with a filled compilation cache, and of further pictures with two people.
"""

import dataclasses
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.bench import measure
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.labels import read_labels
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.oks import iou
from mamkpd_jax.inference.detectors import Detector, find_detector
from mamkpd_jax.inference.predictor import Predictor
from mamkpd_jax.inference.results import PoseResult
from mamkpd_jax.inference.tracking import Tracker
from mamkpd_jax.registry import METRICS
from mamkpd_jax.skeleton_files import make_skeleton
from mamkpd_jax.skeletons import COCO

_COCO = flags.DEFINE_string("coco", "data/coco", "Folder with annotations/ and val2017/.", allow_override=True)
_CHECKPOINT = cli.define_checkpoint("people")
_STARTS = flags.DEFINE_integer("starts", 5, "Timed runs of the whole program.", lower_bound=2)
_PICTURES = 30  # timed pictures with two people
_METRIC = "pck_torso@0.2"
_LEAST_IOU = 0.5
_PAN = 0.03  # of the picture's shorter side, from frame to frame
_FOLLOWED_FRAMES = 4


def rows(predictor: Predictor, folder: Path) -> list[dict[str, Any]]:
    """Rows with recall and PCK by keypoint: for labelled boxes, detected ones, and ones that then follow the poses.

    Args:
        folder: the folder with annotations/ and val2017/.

    Raises:
        UserError: a file is missing or damaged, or the model shares no keypoint name with COCO.
    """
    path = folder / "annotations" / "person_keypoints_val2017.json"
    truth = read_labels(path, COCO).content
    names = [joint for joint in COCO.joints if joint in predictor.skeleton.joints]
    if not names:
        raise UserError(f"skeleton {predictor.skeleton.name}: no keypoint name is COCO's; give a model of people")
    common, places = make_skeleton("common", {"joints": names}), [COCO.joints.index(name) for name in names]
    people = [a for a in truth["annotations"] if not a["iscrowd"] and a["num_keypoints"]]
    labels: list[dict[str, Any]] = [
        a | {"keypoints": np.reshape(a["keypoints"], (-1, 3))[places].ravel().tolist()} for a in people
    ]
    with_common = {a["id"] for a in labels if any(a["keypoints"][2::3])}
    files = {image["id"]: folder / "val2017" / image["file_name"] for image in truth["images"]}
    by_image = {i: [a for a in labels if a["image_id"] == i] for i in files}
    detector = find_detector("nanodet", predictor.skeleton)

    given = ((files[i], np.array([a["bbox"] for a in by_image[i]], np.float64).reshape(-1, 4)) for i in files)
    detected = ((files[i], detector) for i in files)
    followed = (_followed(predictor, detector, files[i]) for i in files)
    sources = {
        "labelled": predictor.stream(given),
        "nanodet": predictor.stream(detected),
        "nanodet, followed": followed,
    }
    found = []
    for name, poses_of_images in sources.items():
        results, hits = [], 0
        for i, poses in zip(files, poses_of_images, strict=True):
            if isinstance(poses, UserError):
                raise poses
            chosen = _poses_of(by_image[i], poses, names)
            results += [result for result in chosen if result["annotation_id"] in with_common]
            hits += len(chosen)
        scores = METRICS[_METRIC](_METRIC).evaluate({"annotations": labels}, results, common)
        about = {"boxes": name, "people": len(labels), "recall": hits / len(labels)}
        found.append(about | scores.values)
    return found


def _followed(predictor: Predictor, detector: Detector, picture: Path) -> PoseResult:
    """The poses at the end of a pan over a picture, moved back to their places in it, with their detected boxes."""
    image, tracker = decode_image(picture.read_bytes(), upright=True), Tracker()
    height, width = image.shape[:2]
    (poses,) = predictor(image, detector)
    detected, ids = poses.boxes, tracker.update(poses)
    shift = 0
    for frame in range(1, _FOLLOWED_FRAMES + 1):
        shift = round(frame * _PAN * min(height, width))
        seen = cv2.warpAffine(image, np.array([[1.0, 0, shift], [0, 1, 0]]), (width, height))
        (poses,) = predictor(seen, tracker.boxes(), box_threshold=0.0)
        ids = tracker.follow(poses)
    return dataclasses.replace(poses, keypoints=poses.keypoints - [shift, 0], boxes=detected[ids - 1])


def _poses_of(annotations: list[dict[str, Any]], poses: PoseResult, names: list[str]) -> list[dict[str, Any]]:
    """The best pose of each annotation with a matching box, in COCO's results format with the keypoints `names`."""
    joints, results = [poses.skeleton.joints.index(name) for name in names], []
    for annotation in annotations:
        overlaps = iou(poses.boxes, np.array(annotation["bbox"], np.float64))
        if overlaps.max(initial=0) >= _LEAST_IOU:
            best = overlaps.argmax()
            keypoints = np.column_stack([poses.keypoints[best], poses.scores[best]])[joints]
            results.append({"annotation_id": annotation["id"], "keypoints": keypoints.ravel().tolist()})
    return results


def pictures_ms(predictor: Predictor, folder: Path) -> list[float]:
    """Milliseconds from a file to the saved drawing of its poses, for several pictures with two people."""
    files = sorted((folder / "val2017").glob("*.jpg"))
    two = itertools.islice((file for file in files if len(predictor(file)[0]) == 2), _PICTURES)
    times = []
    with tempfile.TemporaryDirectory() as output:
        for file in list(two):
            start = time.perf_counter()
            (result,) = predictor(file)
            result.save(Path(output) / "drawn.jpg")
            times.append(1e3 * (time.perf_counter() - start))
    return times


def starts_ms(checkpoint: str, picture: Path, n: int) -> list[float]:
    """Milliseconds of `n` whole runs of `mamkpd predict`, after an untimed run that fills the compilation cache."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mamkpd_jax", "predict", f"--checkpoint={checkpoint}", f"--input={picture}"]
        for i in range(n + 1):
            start = time.perf_counter()
            flags_of_run = f"--output={folder}/{i}", f"--compilation_cache={folder}/cache"
            subprocess.run([*command, *flags_of_run], check=True, capture_output=True)
            times.append(1e3 * (time.perf_counter() - start))
    return times[1:]


def main() -> None:
    folder, predictor = Path(_COCO.value), Predictor.from_pretrained(_CHECKPOINT.value)
    found = rows(predictor, folder)
    lines = measure.Lines(*found[0])
    for row in found:
        lines.print(row)
    picture = next((folder / "val2017").glob("*.jpg"))
    speed = {
        "start to end of the program": measure.summary_ms(starts_ms(_CHECKPOINT.value, picture, _STARTS.value)),
        "a further picture with two people": measure.summary_ms(pictures_ms(predictor, folder)),
    }
    for part, times in speed.items():
        print(f"{part}: median {times['median_ms']:.0f} ms, 95th percentile {times['p95_ms']:.0f} ms")
    measure.write(found, model=_CHECKPOINT.value, speed=speed)
