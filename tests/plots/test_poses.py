"""Contact sheets of poses: evenly spaced images, with the poses predicted in their labelled boxes."""

import numpy as np
import pytest

from mamkpd_jax import Predictor
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.images import read
from mamkpd_jax.plots.poses import poses, samples
from mamkpd_jax.skeletons import AP10K, COCO

SIDES = {"left": (230, 159, 0), "right": (86, 180, 233)}


@pytest.fixture(scope="module")
def coco(shared_data):
    folder = shared_data / "coco_mini"
    return folder / "test_coco.json", folder


def test_labelled_images_are_chosen_evenly(coco):
    every = samples(*coco, COCO, 100)
    assert len(every) == len({sample.path for sample in every}) == 4
    assert sum(len(sample.annotations) for sample in every) == 12, "all labelled people"
    assert [sample.path for sample in samples(*coco, COCO, 2)] == [every[0].path, every[-1].path]


def test_ground_truth_left_and_prediction_right(coco, workdir):
    predictor = Predictor.from_pretrained(workdir, upright=False, batch_size=4)
    chosen = samples(*coco, COCO, 1)
    sheet = poses(predictor, chosen, truth=True)
    left, right = sheet[:, :600], sheet[:, 600:]
    image = read(chosen[0].path, upright=False)
    (result,) = predictor(image, np.array([annotation["bbox"] for annotation in chosen[0].annotations]))
    predicted = np.concatenate([result.keypoints, result.scores[..., None]], axis=-1)[0]
    assert (predicted[:, 2] > 0.2).any(), "some joints must be visible"
    truth = np.reshape(chosen[0].annotations[0]["keypoints"], (-1, 3))
    scale = min(600 / image.shape[1], 450 / image.shape[0])
    for half, keypoints, threshold in ((left, truth, 0), (right, predicted, 0.2)):
        offset = (np.array([600, 450]) - scale * np.array(image.shape[1::-1])) / 2
        shown = [i for i, joint in enumerate(COCO.joints) if joint != "nose" and keypoints[i, 2] > threshold]
        hits = sum(
            _has_colour(half, scale * keypoints[i, :2] + offset, SIDES[COCO.joints[i][:5].strip("_")]) for i in shown
        )
        assert hits >= 0.8 * len(shown), "later joints may hide a few"


def test_labels_of_another_skeleton_are_refused(shared_data):
    folder = shared_data / "ap10k"
    assert len(samples(folder / "test_ap10k.json", folder / "images", AP10K, 12)) == 2
    with pytest.raises(UserError, match="not those of the skeleton 'coco': the labels have 'neck'"):
        samples(folder / "test_ap10k.json", folder / "images", COCO, 12)


def test_missing_image_is_named(coco, workdir, tmp_path):
    predictor = Predictor.from_pretrained(workdir, upright=False)
    with pytest.raises(UserError, match=r"\.jpg can't be read"):
        poses(predictor, samples(coco[0], tmp_path, COCO, 1))


def _has_colour(image, point, colour):
    x, y = np.round(point).astype(int)
    patch = image[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].astype(int)
    return (np.abs(patch - colour).max(axis=2) < 40).any()
