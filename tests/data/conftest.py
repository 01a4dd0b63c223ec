"""Fixtures: a small data set of real images in COCO's official layout."""

import json
import shutil
from pathlib import Path

import pytest
from absl import flags


@pytest.fixture(scope="session", autouse=True)
def _parsed_flags():
    """Marks absl's flags as parsed, because grain's worker processes read them."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


@pytest.fixture
def coco_root(shared_data: Path, tmp_path: Path) -> Path:
    """A folder in COCO's official layout, with two real images and all their annotations in each split."""
    source, root = shared_data / "coco_mini", tmp_path / "coco"
    data = json.loads((source / "test_coco.json").read_bytes())
    (root / "annotations").mkdir(parents=True)
    for split, images in (("train", data["images"][:2]), ("val", data["images"][2:])):
        (root / f"{split}2017").mkdir()
        for image in images:
            shutil.copyfile(source / image["file_name"], root / f"{split}2017" / image["file_name"])
        ids = {image["id"] for image in images}
        part = {
            "images": images,
            "annotations": [a for a in data["annotations"] if a["image_id"] in ids],
            "categories": data["categories"],
        }
        (root / "annotations" / f"person_keypoints_{split}2017.json").write_text(json.dumps(part), encoding="utf-8")
    return root
