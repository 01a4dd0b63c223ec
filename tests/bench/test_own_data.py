"""The data set of a new user, and the commands that use it."""

import json

from mamkpd_jax.bench.programs.own_data import commands, make_set
from mamkpd_jax.registry import COMMANDS
from tests.data.imports.labelled import imported


def test_import_keeps_the_users_keypoint_names(shared_data, tmp_path):
    make_set(shared_data / "coco", tmp_path / "yolo")
    files = imported("yolo", tmp_path / "yolo", tmp_path / "labels")
    assert {name: len(content["images"]) for name, content in files.items()} == {"train.json": 60, "val.json": 40}
    (category,) = files["val.json"]["categories"]
    assert len(category["keypoints"]) == 9 and category["keypoints"][:2] == ["Nase", "SchulterL"]
    official = json.loads((shared_data / "coco/annotations/person_keypoints_val2017.json").read_bytes())
    shoulders = {tuple(a["bbox"]): a["keypoints"][5 * 3 : 6 * 3] for a in official["annotations"]}
    for annotation in files["val.json"]["annotations"]:
        x, y, visibility = next(
            keypoint
            for box, keypoint in shoulders.items()
            if max(abs(a - b) for a, b in zip(box, annotation["bbox"], strict=True)) < 1e-3
        )
        left_shoulder = annotation["keypoints"][3:6]
        assert left_shoulder[2] == visibility
        assert visibility == 0 or max(abs(left_shoulder[0] - x), abs(left_shoulder[1] - y)) < 1e-3


def test_every_step_is_a_known_command(tmp_path):
    assert {name.replace("-", "_") for name in commands(tmp_path)} <= set(COMMANDS)
