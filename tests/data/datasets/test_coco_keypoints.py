"""Tests of the builder of COCO keypoints, on real files and broken copies."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets.coco_keypoints import CocoKeypoints
from mamkpd_jax.data.opening import open_dataset, open_evaluation_data
from mamkpd_jax.data.source import InstanceSource
from mamkpd_jax.errors import UserError
from tests.data.places import data_at

TRAIN, VAL = "annotations/person_keypoints_train2017.json", "annotations/person_keypoints_val2017.json"
IMAGE = "val2017/000000196141.jpg"


def test_counts_of_the_real_files(shared_data, tmp_path):
    builder = prepare(CocoKeypoints(data_at(shared_data / "coco", tmp_path)))
    assert builder.info.metadata["counts"] == {
        "train": {
            "images": 103,
            "annotations": 383,
            "instances": 282,
            "dropped: no labelled keypoint": 93,
            "dropped: crowd": 8,
        },
        "val": {
            "images": 171,
            "annotations": 586,
            "instances": 512,
            "dropped: no labelled keypoint": 69,
            "dropped: crowd": 5,
        },
    }


def test_records_equal_the_files(coco_root, tmp_path):
    source = InstanceSource(prepare(CocoKeypoints(data_at(coco_root, tmp_path / "build"))), "val")
    data = json.loads((coco_root / VAL).read_bytes())
    truth = source.ground_truth
    for annotation in data["annotations"]:
        annotation.pop("segmentation", None)
    assert truth["annotations"] == data["annotations"]
    assert [image["id"] for image in truth["images"]] == [image["id"] for image in data["images"]]
    usable = [a for a in data["annotations"] if a["num_keypoints"]]
    assert len(source) == len(usable)
    for item, annotation in zip((source[i] for i in range(len(source))), usable, strict=True):
        assert item["image"] == (coco_root / "val2017" / item["file_name"]).read_bytes()
        np.testing.assert_array_equal(item["keypoints"].ravel(), annotation["keypoints"])
        np.testing.assert_allclose(item["bbox"], annotation["bbox"], atol=1.0)  # clipped to the last pixel


def test_a_second_run_does_not_build_again(coco_root, tmp_path):
    built = Path(prepare(CocoKeypoints(data_at(coco_root, tmp_path / "build"))).data_path)
    before = {path: path.stat().st_mtime_ns for path in built.iterdir()}
    prepare(CocoKeypoints(data_at(coco_root, tmp_path / "build")))
    assert {path: path.stat().st_mtime_ns for path in built.iterdir()} == before


def test_changed_annotations_are_rebuilt(coco_root, tmp_path):
    first = prepare(CocoKeypoints(data_at(coco_root, tmp_path / "build")))
    _edit(lambda data: data["annotations"].pop())(coco_root)
    second = prepare(CocoKeypoints(data_at(coco_root, tmp_path / "build")))
    assert first.data_path != second.data_path
    n_annotations = [builder.info.metadata["counts"]["val"]["annotations"] for builder in (first, second)]
    assert n_annotations[1] == n_annotations[0] - 1


def _edit(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        data = json.loads((root / VAL).read_bytes())
        change(data)
        (root / VAL).write_text(json.dumps(data), encoding="utf-8")

    return edit


def _truncate(name: str, share: float) -> Callable[[Path], None]:
    def cut(root: Path) -> None:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: int(share * len(content))])

    return cut


def _move_all(root: Path, folder: str) -> None:
    (root / folder).rename(root / f"{folder}.away")


def test_the_validation_split_alone_can_be_evaluated(coco_root, tmp_path):
    """COCO's annotations come in one archive, but each split's images in another, which may be missing."""
    data = DataConfig(root=str(coco_root), build_dir=str(tmp_path / "build"))
    shutil.rmtree(coco_root / "train2017")
    evaluation_data = open_evaluation_data(Config(data=data))
    assert len(evaluation_data.val) > 0 and not hasattr(evaluation_data, "train")
    with pytest.raises(UserError, match=r"folder .*train2017 is missing"):
        open_dataset(Config(data=data))
    with pytest.raises(UserError, match=r"folder .*train2017 is missing"):
        open_evaluation_data(Config(data=data, eval=EvalConfig(split="train")))


# By case: the damage, and a pattern of the expected message, with the file or field and the remedy.
BROKEN = {
    "no folder": (lambda root: root.rename(root.with_name("elsewhere")), r"coco does not exist.*--config.data.root"),
    "no annotations": (lambda root: (root / TRAIN).unlink(), r"train2017.json is missing.*--config.data.root"),
    "no images": (lambda root: _move_all(root, "val2017"), r"folder .*val2017 is missing.*--config.data.root"),
    "half-copied images": (lambda root: (root / IMAGE).unlink(), r"lacks 1 of the 2 .*000000196141.jpg; copy"),
    "absent image": (
        _edit(lambda data: data["annotations"][3].update(image_id=7)),
        r"val2017.json: annotation \d+ has 7 as image_id: expected that of an image in the file's list",
    ),
    "truncated JPEG": (_truncate(IMAGE, 0.7), r"000000196141.jpg is a truncated or damaged image.*copy it again"),
    "empty JPEG": (
        _truncate(IMAGE, 0.0),
        r"000000196141.jpg is a truncated or damaged image \(0 bytes\); copy it again",
    ),
    "truncated JSON": (_truncate(VAL, 0.5), r"val2017.json is not complete JSON.*copy it again"),
    "no JSON of annotations": (
        lambda root: (root / VAL).write_text("[]", encoding="utf-8"),
        r"val2017.json has no list 'images'",
    ),
    "duplicate annotation": (
        _edit(lambda data: data["annotations"].append(data["annotations"][0])),
        r"val2017.json: a second annotation has \d+ as id: expected one that no other has",
    ),
    "duplicate image": (
        _edit(lambda data: data["images"].append(data["images"][0])),
        r"val2017.json: a second image has \d+ as id: expected one that no other has",
    ),
    "missing field": (
        _edit(lambda data: data["annotations"][0].pop("image_id")),
        r"val2017.json: annotation \d+ has nothing as image_id: expected a whole number",
    ),
    "other number of joints": (
        _edit(lambda data: data["annotations"][0].update(keypoints=[1, 1, 2])),
        r"val2017.json: annotation \d+ has 3 values as keypoints: expected 51 finite numbers",
    ),
    "odd visibility": (
        _edit(lambda data: data["annotations"][0]["keypoints"].__setitem__(2, 3)),
        r"val2017.json: annotation \d+ has 3 as visibility: expected 0",
    ),
    "another size": (
        _edit(lambda data: data["images"][0].update(width=9)),
        r"000000196141.jpg is 640x429 pixels, and the annotations say 9x429",
    ),
    "nothing labelled": (
        _edit(lambda data: [a.update(keypoints=[0] * 51, num_keypoints=0) for a in data["annotations"]]),
        r"the split val has no instance to use \(10 dropped: no labelled keypoint\)",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_give_one_line_and_leave_nothing(case, coco_root, tmp_path):
    damage, line = BROKEN[case]
    damage(coco_root)
    build_dir = tmp_path / "build"
    with pytest.raises(UserError, match=line) as caught:
        prepare(CocoKeypoints(data_at(coco_root, build_dir)))
    assert "\n" not in str(caught.value)
    assert [path for path in build_dir.rglob("*") if path.is_file() and path.name != ".lock"] == []
