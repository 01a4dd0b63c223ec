"""Property tests of the imports: malformed labels give a one-line error or valid annotation files."""

import copy
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mamkpd_jax.data.labels import usable_labels
from mamkpd_jax.errors import UserError
from tests.data.imports import test_cvat, test_dlc, test_labelme, test_labelstudio
from tests.data.imports.labelled import imported, write_image
from tests.data.test_malformed import quick, spoilt

_HIDDEN = {"hidden": True}
_POINTS = [test_labelme.shape("point", n, [9.5, 9], group=i, flags=_HIDDEN) for i in (1, 2) for n in "ab"]
_LABELME = {
    "shapes": [*_POINTS, test_labelme.shape("rectangle", "hen", [5, 5], [20, 20], group=1)],
    **{"imagePath": "a.jpg", "imageHeight": 100, "imageWidth": 200},
}
_RELATION = {"type": "relation", "from_id": "2", "to_id": "y", "direction": "right"}
_TASK = test_labelstudio.task(
    test_labelstudio.rectangle("x", "hen", 0, 0, 20, 20, 30),
    test_labelstudio.rectangle("y", "hen", 50, 50, 20, 20),
    *(test_labelstudio.region("keypoint", str(i), "beak", 5 + 50 * i, 55, parentID="x"[i:]) for i in range(2)),
    *(_RELATION, {"type": "choices", "id": "1", "value": {"choices": ["hidden"]}}),
)
_YAML = {"train": ["images"], "val": "images", "kpt_shape": [2, 3], "flip_idx": [1, 0], "names": {"0": "hen"}}
_YAML |= {"kpt_names": [["beak", "tail"]], "path": ""}
_LINES = ["0 0.5 0.5 1 1 0.1 0.25 2 0.9 0.5 1".split(" "), "0 0.5 0.5 .1 .1 0.1 0.25 2 0 0 0".split(" ")]
_ROWS = [line.split(",") for line in test_dlc.SEVERAL.format(video="cage").splitlines()]
_CELLS = st.sampled_from(["", "-1", "nan", "1e999", "x", "3", "7", "coords", "single", "\0", "\u20ac", '"'])


@st.composite
def _spoilt_table(draw, good: list[list[str]], separator: str) -> bytes:
    """The content of a table file, with one or two cells or rows removed, doubled or replaced, or truncated."""
    rows = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 2))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        place = draw(st.integers(0, max(len(row) - 1, 0)))
        change = draw(st.sampled_from(["replace", "remove", "double", "remove row", "double row"]))
        if change == "replace":
            row[place : place + 1] = [draw(_CELLS)]
        elif change == "remove":
            del row[place : place + 1]
        elif change == "double":
            row[place:place] = row[place : place + 1]
        elif change == "double row":
            rows.append(list(row))
        elif len(rows) > 1:
            rows.remove(row)
    content = "\n".join(separator.join(row) for row in rows).encode()
    return content if draw(st.integers(0, 9)) else content[: draw(st.integers(0, len(content)))] + b"\xff"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the images of all samples, and the folders of a YOLO data set."""
    folder = tmp_path_factory.mktemp("labels")
    names = ("a.jpg", "images/default/a.jpg", "labeled-data/cage/img1.png", "labeled-data/cage/img2.png")
    for name in (*names, "tasks/a.jpg", "yolo/images/a.jpg", "yolo/images/b.jpg"):
        write_image(folder / name)
    for name in ("annotations", "yolo/labels"):
        (folder / name).mkdir()
    return folder


def _check(form: str, path: Path) -> None:
    """Asserts that an import either raises a one-line error and writes nothing, or writes valid files."""
    with tempfile.TemporaryDirectory() as output:
        try:
            files = imported(form, path, Path(output))
        except UserError as error:
            line = str(error)
            assert len(line) > 20 and "\n" not in line and not list(Path(output).iterdir())
            return
    files.pop("skeleton.json", None)
    assert files
    for name, content in files.items():
        categories = {category["id"]: category for category in content["categories"]}
        usable_labels(Path(name), content).findings.check()
        assert {annotation["category_id"] for annotation in content["annotations"]} <= set(categories)


@quick
@given(text=spoilt(_LABELME))
def test_labelme(folder, text):
    (folder / "a.json").write_text(text, encoding="utf-8")
    _check("labelme", folder / "a.json")


@quick
@given(text=spoilt(test_cvat.content()))
def test_cvat_export(folder, text):
    (folder / "annotations" / "person_keypoints_default.json").write_text(text, encoding="utf-8")
    _check("cvat", folder)


@quick
@given(text=spoilt([_TASK]))
def test_label_studio(folder, text):
    (folder / "tasks" / "all.json").write_text(text, encoding="utf-8")
    _check("labelstudio", folder / "tasks" / "all.json")


@quick
@given(content=_spoilt_table(_ROWS, ","))
def test_deeplabcut(folder, content):
    (folder / "labeled-data" / "cage" / "CollectedData_ann.csv").write_bytes(content)
    _check("dlc", folder / "labeled-data" / "cage")


@quick
@given(text=spoilt(_YAML))
def test_yolo_yaml(folder, text):
    assume('"/' not in text and '".' not in text)  # those would name folders outside this one
    (folder / "yolo" / "labels" / "a.txt").write_text("\n".join(map(" ".join, _LINES)), encoding="utf-8")
    (folder / "yolo" / "data.yaml").write_text(text, encoding="utf-8")
    _check("yolo", folder / "yolo")


@quick
@given(content=_spoilt_table(_LINES, " "))
def test_yolo_labels(folder, content):
    (folder / "yolo" / "labels" / "a.txt").write_bytes(content)
    (folder / "yolo" / "data.yaml").write_text(json.dumps(_YAML), encoding="utf-8")
    _check("yolo", folder / "yolo")
