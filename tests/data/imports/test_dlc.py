"""Tests of the import of DeepLabCut's labels, with one animal or several."""

from pathlib import Path

import pytest

from mamkpd_jax.data.imports._coco import write
from mamkpd_jax.errors import UserError
from mamkpd_jax.registry import IMPORTS
from tests.data.imports.labelled import imported, keypoints, write_image

ONE = """scorer,,,ann,ann,ann,ann
bodyparts,,,snout,snout,tail,tail
coords,,,x,y,x,y
labeled-data,{video},img1.png,10.5,20.25,60.5,40
labeled-data,{video},img2.png,,,,
"""
OLD = """scorer,ann,ann,ann,ann
bodyparts,tail,tail,ear,ear
coords,x,y,x,y
labeled-data/{video}/img1.png,1,2,NaN,NaN
"""
SEVERAL = """scorer,,,ann,ann,ann,ann,ann,ann,ann,ann,ann,ann
individuals,,,m1,m1,m1,m1,m2,m2,m2,m2,single,single
bodyparts,,,snout,snout,tail,tail,snout,snout,tail,tail,corner,corner
coords,,,x,y,x,y,x,y,x,y,x,y
labeled-data,{video},img1.png,10,20,30,40,,,150,60,5,5
labeled-data,{video},img2.png,,,,,110,20,,,6,6
"""


def project(root: Path, **videos: str) -> Path:
    """Writes the labels of each video, and two images for it."""
    for video, text in videos.items():
        for name in ("img1.png", "img2.png"):
            write_image(root / "labeled-data" / video / name)
        file = root / "labeled-data" / video / "CollectedData_ann.csv"
        file.write_text(text.format(video=video), encoding="utf-8")
    return root


def test_a_row_is_an_image_with_one_animal(tmp_path):
    written = imported("dlc", project(tmp_path / "p", cage=ONE), tmp_path / "out")["labels.json"]
    assert [image["file_name"] for image in written["images"]] == ["img1.png", "img2.png"]
    (mouse,) = written["annotations"]
    assert keypoints(mouse) == [[10.5, 20.25, 2], [60.5, 40, 2]]
    margin = 4 + 0.06 * 50
    assert mouse["bbox"] == pytest.approx([10.5 - margin, 20.25 - margin, 50 + 2 * margin, 19.75 + 2 * margin])
    category = {"id": 1, "name": "animal", "keypoints": ["snout", "tail"], "skeleton": []}
    assert written["categories"] == [category]


def test_individuals_become_instances_without_unique_bodyparts(tmp_path):
    written = write(IMPORTS["dlc"](project(tmp_path / "p", cage=SEVERAL), None), tmp_path / "out")
    assert written.left_out == {"unique bodyparts": 2} and list(written.files.values()) == [(2, 3)]
    found = imported("dlc", tmp_path / "p", tmp_path / "2")["labels.json"]
    assert [(a["image_id"], keypoints(a)) for a in found["annotations"]] == [
        (1, [[10, 20, 2], [30, 40, 2]]),
        (1, [[0, 0, 0], [150, 60, 2]]),
        (2, [[110, 20, 2], [0, 0, 0]]),
    ]
    assert found["categories"][0]["keypoints"] == ["snout", "tail"]


def test_bodyparts_of_all_videos_are_joined(tmp_path):
    root = project(tmp_path / "p", a=ONE, b=OLD)
    skeleton = "skeleton:\n- [snout, tail]\n- [ear, snout]\n- [objectA, tail]\n"
    (root / "config.yaml").write_text(skeleton, encoding="utf-8")
    written = imported("dlc", root, tmp_path / "out")["labels.json"]
    assert written["categories"][0]["keypoints"] == ["snout", "tail", "ear"]
    assert written["categories"][0]["skeleton"] == [[1, 2], [3, 1]]
    assert [image["file_name"] for image in written["images"]] == ["a/img1.png", "a/img2.png", "b/img1.png"]
    assert keypoints(written["annotations"][1]) == [[0, 0, 0], [1, 2, 2], [0, 0, 0]]


def test_one_file_and_moved_images_are_read(tmp_path):
    root = project(tmp_path / "p", cage=ONE)
    file = root / "labeled-data" / "cage" / "CollectedData_ann.csv"
    file.rename(tmp_path / "CollectedData_ann.csv")
    with pytest.raises(UserError, match="labeled-data/cage/img1.png is not in .*; give the folder of the images"):
        IMPORTS["dlc"](tmp_path / "CollectedData_ann.csv", None)
    for images in (root, root / "labeled-data" / "cage"):
        labels = IMPORTS["dlc"](tmp_path, images)
        assert labels.splits["labels"][0].path == root / "labeled-data" / "cage" / "img1.png"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "CollectedData_ann.csv is not a file CollectedData of DeepLabCut .*; export it again or repair it"),
        (ONE.replace("coords,,,x,y", "coords,,,y,x"), "expected x and y of each bodypart after 1 or 3 columns"),
        (ONE.replace("tail", "snout"), "bodyparts has a duplicate"),
        (ONE.replace("20.25", ""), "2 finite numbers were expected"),
        (ONE.replace("20.25", "high"), "could not convert string to float: 'high'"),
        (ONE.replace(",20.25,60.5,40", ""), "not enough values to unpack"),
        (ONE.replace("10.5,20.25,60.5,40", ",,,"), "have no keypoint"),
        (ONE.replace("img2.png", "img1.png"), "img1.png is labelled twice"),
    ],
)
def test_malformed_files_are_refused(tmp_path, text, match):
    with pytest.raises(UserError, match=match):
        imported("dlc", project(tmp_path / "p", cage=text), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no CollectedData_..csv or labeled-data/./CollectedData_..csv; give"):
        IMPORTS["dlc"](tmp_path, None)
