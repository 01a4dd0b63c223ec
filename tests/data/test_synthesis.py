"""Tests of the synthetic people: reproducible scenes, disjoint splits and correct labels."""

import numpy as np
import pytest

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_form import prepare
from mamkpd_jax.data.datasets import synthetic_people
from mamkpd_jax.data.datasets.synthetic_people import SIZE_HW, SyntheticPeople
from mamkpd_jax.data.functional import decode_image
from mamkpd_jax.data.source import InstanceSource
from mamkpd_jax.data.synthesis import render_scene
from mamkpd_jax.evaluation.metrics.coco import evaluate_coco
from mamkpd_jax.skeletons import COCO

N_TRAIN, N_VAL = 60, 40


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, InstanceSource]:
    build_dir = str(tmp_path_factory.mktemp("build"))
    data = DataConfig(build_dir=build_dir, synthetic_train_images=N_TRAIN, synthetic_val_images=N_VAL)
    builder = prepare(SyntheticPeople(data))
    return {split: InstanceSource(builder, split) for split in ("train", "val")}


def test_a_scene_depends_on_seed_and_index_only():
    first, again = (render_scene(1, 5, SIZE_HW) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    for a, b in zip(first.people, again.people, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
    assert not np.array_equal(first.image, render_scene(1, 6, SIZE_HW).image)


def test_splits_share_no_scene(sources):
    images = {split: {source.image(i)["image"] for i in range(source.n_images)} for split, source in sources.items()}
    assert [len(images[split]) for split in ("train", "val")] == [N_TRAIN, N_VAL]
    assert not images["train"] & images["val"]


def test_people_are_labelled_where_they_are(sources):
    """Seen joints are in the box, and hidden ones in the image. Areas are a plausible fraction of the boxes."""
    height, width = SIZE_HW
    shown = []
    for source in sources.values():
        for i in range(len(source)):
            item = source[i]
            joints, (x, y, w, h) = item["keypoints"], item["bbox"]
            seen, labelled = joints[joints[:, 2] == 2, :2], joints[joints[:, 2] > 0, :2]
            assert len(seen) >= 6
            assert (seen >= np.array([x, y]) - 2).all() and (seen <= np.array([x + w, y + h]) + 2).all()
            assert (labelled >= -0.5).all() and (labelled <= [width, height]).all()
            shown.append(len(seen) / 17)
    assert 0.6 < np.mean(shown) < 0.95, "bodies must hide some joints"
    for annotation in sources["val"].ground_truth["annotations"]:
        assert 0.1 < annotation["area"] / np.prod(annotation["bbox"][2:]) < 1.0


@pytest.mark.parametrize("average", [np.nanmean, np.nanmedian])
def test_an_average_pose_scores_near_zero(average, sources):
    """The mean or median training pose in each validation box scores near zero, so a network must use the image."""

    def in_box(item: dict) -> np.ndarray:
        return (item["keypoints"][:, :2] - item["bbox"][:2]) / item["bbox"][2:]

    train, val = ([source[i] for i in range(len(source))] for source in sources.values())
    labelled = [np.where(item["keypoints"][:, 2:] > 0, in_box(item), np.nan) for item in train]
    pose = average(labelled, axis=0)
    results = [
        {
            "image_id": item["image_id"],
            "category_id": item["category_id"],
            "keypoints": np.column_stack([pose * item["bbox"][2:] + item["bbox"][:2], np.ones(17)]).ravel().tolist(),
            "score": 1.0,
        }
        for item in val
    ]
    ap = evaluate_coco(sources["val"].ground_truth, results, COCO).values["coco/AP"]
    print(f"AP {ap:.3f} by {average.__name__}")
    assert ap < 0.1, "a network has to reach 0.6"


def test_images_are_jpegs_of_the_declared_size(sources):
    for source in sources.values():
        assert decode_image(source.image(0)["image"]).shape == (*synthetic_people.SIZE_HW, 3)
