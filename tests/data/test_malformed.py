"""Property tests of the readers: a malformed file gives a one-line error, or all of its entries are counted."""

import copy
import json

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mamkpd_jax.data.annotation_files import box_fault, detections_of, read_json
from mamkpd_jax.data.datasets.custom_coco import CustomCoco
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.scores import score_files
from mamkpd_jax.skeleton_files import read_skeleton
from mamkpd_jax.skeletons import Skeleton
from tests.data.places import data_at

quick = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from([10**30, -1, 0, 3, 1e308]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner), max_leaves=4
)

GOOD = {
    "images": [{"id": i, "file_name": f"{i}.png", "height": 8, "width": 12} for i in range(2)],
    "annotations": [
        {
            **{"id": i, "image_id": i % 2, "category_id": 1, "iscrowd": 0, "num_keypoints": 2, "area": 20.0},
            **{"bbox": [1, 1, 6.5, 5], "keypoints": [2, 2, 2, 5, 5, 1]},
        }
        for i in range(3)
    ],
    "categories": [{"id": 1, "name": "fish", "keypoints": ["head", "tail"]}],
}
RESULTS = [
    {"image_id": i % 2, "category_id": 1, "keypoints": [2, 2, 1, 5, 5, 1], "score": 0.5, "annotation_id": i}
    for i in range(3)
]
MORE_FIELDS = ["bbox", "segmentation", "caption", "area", "id", "iscrowd"]  # pycocotools detects the type by them
BOXES = [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}]


def _paths(data, path=()):
    """Yields the paths of all values in a JSON value."""
    yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from _paths(value, (*path, key))


@st.composite
def spoilt(draw, good):
    """The text of a JSON file, with one or two values removed, doubled or replaced, or truncated."""
    data = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(_paths(data))))
        if not path:
            data = draw(values) if draw(st.integers(0, 9)) == 0 else data
            continue
        holder = data
        for key in path[:-1]:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "remove", "double"]))
        if change == "replace":
            holder[path[-1]] = draw(values)
        elif change == "remove":
            del holder[path[-1]]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[path[-1]]))
    text = json.dumps(data)
    return text if draw(st.integers(0, 9)) else text[: draw(st.integers(0, len(text)))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    for i in range(2):
        cv2.imwrite(str(folder / f"{i}.png"), np.zeros((8, 12, 3), np.uint8))
    return folder


def _one_line(error: UserError) -> None:
    line = str(error)
    assert len(line) > 20 and "\n" not in line


@quick
@given(text=spoilt(GOOD))
def test_annotations_are_refused_in_a_line_or_counted(folder, text):
    (folder / "all.json").write_text(text, encoding="utf-8")
    try:
        builder = CustomCoco(
            data_at(folder, folder / "build", train_annotations="all.json", train_images="."), ["train"]
        )
        builder.data_path.mkdir(parents=True, exist_ok=True)  # the ground truth is written there
        records = [record for _, record in builder._generate_examples("train")]
    except UserError as error:
        _one_line(error)
        return
    data = json.loads(text)
    counts = builder.info.metadata["counts"]["train"]
    dropped = sum(n for name, n in counts.items() if name.startswith("dropped"))
    assert counts["images"] == len(records) == len(data["images"])
    assert (
        counts["annotations"] == len(data["annotations"]) - counts.get("left out", 0) == counts["instances"] + dropped
    )
    for record in records:
        builder.info.features.encode_example(record)


@quick
@given(truth=spoilt(GOOD), results=spoilt(RESULTS), spoil_truth=st.booleans())
@pytest.mark.parametrize("metric", ["coco", "pck_box@0.1"])
def test_results_are_refused_in_a_line_or_scored(folder, metric, truth, results, spoil_truth):
    (folder / "truth.json").write_text(truth if spoil_truth else json.dumps(GOOD), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(RESULTS) if spoil_truth else results, encoding="utf-8")
    try:
        values = score_files((metric,), folder / "results.json", folder / "truth.json").values
    except UserError as error:
        _one_line(error)
        return
    assert values and all(np.isfinite(value) for value in values.values())


@quick
@given(more=st.tuples(*[st.dictionaries(st.sampled_from(MORE_FIELDS), values | st.just([1, 1, 5, 5]))] * len(RESULTS)))
def test_extra_fields_of_results_are_ignored(folder, more):
    (folder / "truth.json").write_text(json.dumps(GOOD), encoding="utf-8")
    results = [result | fields for result, fields in zip(RESULTS, more, strict=True)]
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    values = score_files(("coco",), folder / "results.json", folder / "truth.json").values
    assert values and all(np.isfinite(value) for value in values.values())


@quick
@given(text=spoilt(BOXES))
def test_detections_are_refused_in_a_line_or_read(folder, text):
    (folder / "boxes.json").write_text(text, encoding="utf-8")
    try:
        boxes = detections_of(folder / "boxes.json", read_json(folder / "boxes.json"))
    except UserError as error:
        _one_line(error)
        return
    for box in boxes:
        fault = box_fault(box["bbox"], box["score"], (480, 640))
        assert type(box["image_id"]) is int and (fault is None or "\n" not in fault)


@quick
@given(text=spoilt({"joints": ["a", "b"], "flip_pairs": [[0, 1]], "sigmas": [0.1, 0.2], "edges": [[0, 1]]}))
def test_skeletons_are_refused_in_a_line_or_read(folder, text):
    (folder / "skeleton.json").write_text(text, encoding="utf-8")
    try:
        skeleton = read_skeleton(folder / "skeleton.json")
    except UserError as error:
        _one_line(error)
        return
    assert isinstance(skeleton, Skeleton) and len(skeleton.flip_indices) == skeleton.n_joints
