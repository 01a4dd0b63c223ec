"""Tests of the import of CVAT's export COCO Keypoints 1.0."""

import json
from pathlib import Path
from typing import Any

import pytest

from mamkpd_jax.data.imports._coco import write
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import IMPORTS
from tests.data.imports.labelled import imported, keypoints, write_image


def content(name: str = "a.jpg") -> dict[str, Any]:
    """An export with a skeleton without a labelled box, one with a labelled box, and a rectangle of another label."""
    about = {"id": 1, "image_id": 1, "category_id": 2, "segmentation": [], "iscrowd": 0, "num_keypoints": 2}
    about |= {"attributes": {"occluded": False, "track_id": 0, "keyframe": True}}
    skeleton = {"keypoints": [10.5, 20.25, 2, 60.5, 40.25, 1, 5, 5, 0], "bbox": [10.5, 20.25, 50, 20], "area": 1000.0}
    boxed = {"id": 2, "keypoints": [110, 20, 2, 160, 40, 2, 5, 5, 0], "bbox": [100, 10, 70, 40], "area": 2500.5}
    keypoint_names = {"keypoints": ["beak", "tail", "crest"], "skeleton": [[1, 2], [3, 1]]}
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "description": ""},
        "categories": [
            {"id": 1, "name": "nest", "supercategory": "", "keypoints": [], "skeleton": []},
            {"id": 2, "name": "hen", "supercategory": ""} | keypoint_names,
            {"id": 3, "name": "dog", "supercategory": "", "keypoints": ["nose"], "skeleton": []},
        ],
        "images": [{"id": 1, "width": 200, "height": 100, "file_name": name, "license": 0, "coco_url": ""}],
        "annotations": [
            about | skeleton,
            about | boxed,
            {"id": 3, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        ],
    }


def export(root: Path, **subsets: dict[str, Any]) -> Path:
    """Writes an unpacked export, with a folder of images for each subset."""
    (root / "annotations").mkdir(parents=True)
    for subset, part in subsets.items():
        (root / "annotations" / f"person_keypoints_{subset}.json").write_text(json.dumps(part), encoding="utf-8")
        for image in part["images"]:
            write_image(root / "images" / subset / str(image["file_name"]))
    return root


def test_skeletons_keep_visibility_edges_and_own_boxes(tmp_path):
    labels = IMPORTS["cvat"](export(tmp_path / "set", default=content()), None)
    written = write(labels, tmp_path / "out")
    assert written.left_out == {"annotations of categories without keypoints": 1}
    assert written.images == tmp_path / "set" / "images" / "default"
    result = json.loads((tmp_path / "out" / "labels.json").read_bytes())
    hen = {"id": 1, "name": "hen", "keypoints": ["beak", "tail", "crest"], "skeleton": [[1, 2], [3, 1]]}
    assert result["categories"] == [hen]
    drawn, boxed = result["annotations"]
    assert keypoints(drawn) == [[10.5, 20.25, 2], [60.5, 40.25, 1], [0, 0, 0]] and drawn["num_keypoints"] == 2
    margin = 4 + 0.06 * 50
    assert drawn["bbox"] == pytest.approx([10.5 - margin, 20.25 - margin, 50 + 2 * margin, 20 + 2 * margin])
    assert drawn["area"] == pytest.approx(0.53 * 64 * 34)
    assert boxed["bbox"] == [100, 10, 70, 40] and boxed["area"] == 2500.5


def test_subsets_with_the_names_of_splits_become_splits(tmp_path):
    root = export(tmp_path / "set", Train=content("a.jpg"), Validation=content("sub/b.jpg"))
    files = imported("cvat", root, tmp_path / "out")
    named = {name: [image["file_name"] for image in file["images"]] for name, file in files.items()}
    assert named == {"train.json": ["Train/a.jpg"], "val.json": ["Validation/sub/b.jpg"]}


def test_other_subsets_are_joined(tmp_path):
    root = export(tmp_path / "set", first=content("a.jpg"), train=content("b.jpg"))
    (file,) = imported("cvat", root, tmp_path / "out").values()
    assert [image["file_name"] for image in file["images"]] == ["first/a.jpg", "train/b.jpg"]
    assert [(a["id"], a["image_id"]) for a in file["annotations"]] == [(1, 1), (2, 1), (3, 2), (4, 2)]


def test_one_file_and_other_image_folders_are_read(tmp_path):
    root = export(tmp_path / "set", default=content("default/a.jpg"))
    file = root / "annotations" / "person_keypoints_default.json"
    assert len(imported("cvat", file, tmp_path / "1")["labels.json"]["images"]) == 1
    (root / "images").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="a.jpg is not in .*set/images .*; give the folder of the images by --images"):
        IMPORTS["cvat"](root, None)
    assert len(imported("cvat", root, tmp_path / "2", tmp_path / "moved")["labels.json"]["images"]) == 1


@pytest.mark.parametrize(
    ("place", "fields", "match"),
    [
        (
            ["annotations", 0],
            {"keypoints": [1, 2, 2]},
            "annotation 0 is not one of CVAT's export .*9 finite numbers",
        ),
        (["annotations", 0], {"keypoints": [1, 2, 3] * 3}, "visibility .3.0., expected 0, 1 or 2"),
        (
            ["annotations", 0],
            {"image_id": 9},
            "annotation 0 is not one .*image_id 9, which is not in images",
        ),
        (["annotations", 0], {"category_id": 3, "keypoints": [1, 2, 2]}, "categories hen and dog have different keyp"),
        (["categories", 1], {"skeleton": [[1, 9]]}, "names keypoint 9 of 3"),
        (["images", 0], {"width": 100}, "200x100 pixels, and the annotations say 100x100"),
    ],
)
def test_malformed_files_are_refused(tmp_path, place, fields, match):
    changed = content()
    changed[place[0]][place[1]] |= fields
    with pytest.raises(UserError, match=match):
        imported("cvat", export(tmp_path / "set", default=changed), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_duplicate_image_ids_are_refused(tmp_path):
    twice = content()
    twice["images"] += content("b.jpg")["images"]
    with pytest.raises(UserError, match="default.json is not a file of CVAT's export .*two images have the id 1"):
        IMPORTS["cvat"](export(tmp_path, default=twice), None)


def test_only_unpacked_exports_are_read(tmp_path):
    with pytest.raises(UserError, match="a.zip is a ZIP file; unpack it and give the folder by --input"):
        IMPORTS["cvat"](tmp_path / "a.zip", None)
    with pytest.raises(UserError, match="has no annotations/person_keypoints_..json; give CVAT's unpacked export"):
        IMPORTS["cvat"](tmp_path, None)


def test_files_with_other_keypoints_are_refused(tmp_path):
    other = content("b.jpg")
    other["categories"][1]["keypoints"] = ["beak", "crest", "tail"]
    with pytest.raises(UserError, match="category hen has other keypoints than in another file"):
        IMPORTS["cvat"](export(tmp_path, train=content(), val=other), None)
