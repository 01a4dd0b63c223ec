"""Tests of the top-down crops: augmentations move image and joints alike, and stay within their limits."""

import dataclasses

import numpy as np
import pytest

from mamkpd_jax.data import functional as F
from mamkpd_jax.data.transforms import PRESETS, Augmentation, TopDownCrop
from mamkpd_jax.skeleton_files import make_skeleton
from mamkpd_jax.skeletons import COCO

INPUT_HW = (256, 192)
STILL = Augmentation(flip_p=0.0, half_body_p=0.0, scale=0.0, rotation_p=0.0, shift_p=0.0)


def _instance(seed: int = 0, visible: float = 2.0) -> dict:
    rng = np.random.default_rng(seed)
    joints = np.column_stack([rng.uniform(200, 300, 17), rng.uniform(100, 300, 17), np.full(17, visible)])
    return {
        "image": rng.integers(0, 256, (400, 500, 3), np.uint8),
        "bbox": np.array([190.0, 90.0, 120.0, 220.0]),
        "keypoints": joints,
    }


def _size(example: dict) -> float:
    """The width of the crop in pixels of the image."""
    return INPUT_HW[1] / np.sqrt(np.linalg.det(example["matrix"][:, :2]))


def test_without_augmentation_the_padded_box_fills_the_crop():
    example = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO)(_instance())
    low, high = F.warp_points(np.array([[190.0, 90.0], [310.0, 310.0]]), example["matrix"])
    np.testing.assert_allclose((low + high) / 2, [96, 128])
    np.testing.assert_allclose((high - low)[1], 256 / 1.25)  # the box's height decides: 220 * 3/4 > 120


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("input_hw", [(256, 192), (384, 288), (256, 256)])
def test_every_input_size_keeps_the_aspect(input_hw, udp):
    example = TopDownCrop(input_hw=input_hw, skeleton=COCO, udp=udp)(_instance())
    assert example["image"].shape == (*input_hw, 3)
    extent = np.array(input_hw[::-1]) - float(udp)
    np.testing.assert_allclose(np.diag(example["matrix"][:, :2]), extent[1] / (220 * 1.25), rtol=0.002)
    centre = F.warp_points(np.array([[250.0, 200.0]]), example["matrix"])
    np.testing.assert_allclose(centre[0], extent / 2)


@pytest.mark.parametrize("preset", ["mmpose", "hrnet", "light"])
@pytest.mark.parametrize("seed", range(10))
def test_inverse_matrix_maps_joints_to_the_image(preset, seed):
    """The inverse matrix maps joints to the image, or to its mirror image if the crop was flipped."""
    instance = _instance()
    crop = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO, augmentation=PRESETS[preset])
    example = crop(instance, np.random.default_rng(seed))
    back = F.warp_points(example["keypoints"].astype(np.float64), F.invert(example["matrix"]))
    mirrored = F.flip_points(back, 500, COCO.flip_indices)
    error = min(np.abs(points - instance["keypoints"][:, :2]).max() for points in (back, mirrored))
    assert error < 1e-3


def test_flips_mirror_the_crop_and_its_joints():
    instance = _instance()
    plain = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO)(instance)
    always = dataclasses.replace(STILL, flip_p=1.0)
    flipped = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO, augmentation=always)(instance, np.random.default_rng(0))
    # The crop's centre is between two pixel centres, so mirroring shifts the crop by one of its pixels.
    shift = flipped["matrix"][0, 0]
    expected = F.flip_points(plain["keypoints"], 192, COCO.flip_indices) + np.array([1, 0])
    np.testing.assert_allclose(flipped["keypoints"], expected, atol=1e-3)
    difference = flipped["image"][:, 1:].astype(int) - plain["image"][:, :0:-1].astype(int)
    assert np.abs(difference).mean() < 1.0, shift


@pytest.mark.parametrize(
    ("preset", "sizes", "largest_turn", "largest_shift"),
    [("mmpose", (0.5, 1.5), 80.0, 0.16), ("hrnet", (0.65, 1.35), 90.0, 0.0)],
)
def test_presets_stay_within_their_limits_and_reach_them(preset, sizes, largest_turn, largest_shift):
    augmentation = dataclasses.replace(PRESETS[preset], flip_p=0.0, half_body_p=0.0)
    crop = TopDownCrop(input_hw=(32, 24), skeleton=COCO, augmentation=augmentation)
    instance, rng = _instance(), np.random.default_rng(0)
    instance["image"] = instance["image"][:2, :2]  # the test only needs the matrix
    matrices = np.stack([crop(instance, rng)["matrix"] for _ in range(1500)])
    scale = 24 / np.sqrt(np.linalg.det(matrices[:, :, :2])) / (220 * 1.25 * 0.75)
    turn = np.rad2deg(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    centre = np.stack([F.warp_points(np.array([[12.0, 16.0]]), F.invert(m))[0] for m in matrices])
    shift = np.abs(centre - [250, 200]) / (np.array([120, 220]) * 1.25)
    for values, low, high in ((scale, *sizes), (turn, -largest_turn, largest_turn), (shift, 0.0, largest_shift)):
        assert low - 1e-6 <= values.min() and values.max() <= high + 1e-6
        margin = 0.03 * (high - low)
        assert values.min() <= low + margin and values.max() >= high - margin
    assert abs((turn != 0).mean() - 0.6) < 0.03
    assert abs((shift.max(axis=1) > 1e-9).mean() - (0.3 if largest_shift else 0.0)) < 0.03


def test_flips_happen_half_of_the_time():
    crop = TopDownCrop(input_hw=(32, 24), skeleton=COCO, augmentation=dataclasses.replace(STILL, flip_p=0.5))
    instance, rng = _instance(), np.random.default_rng(0)
    plain = TopDownCrop(input_hw=(32, 24), skeleton=COCO)(instance)
    flips = [not np.allclose(crop(instance, rng)["keypoints"], plain["keypoints"], atol=1e-3) for _ in range(600)]
    assert abs(np.mean(flips) - 0.5) < 0.05


@pytest.mark.parametrize("part", ["upper_body", "lower_body"])
def test_half_body_crops_centre_on_their_joints(part):
    augmentation = dataclasses.replace(STILL, half_body_p=1.0, half_body_upper_p=float(part == "upper_body"))
    crop = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO, augmentation=augmentation)
    instance = _instance()
    example = crop(instance, np.random.default_rng(0))
    points = instance["keypoints"][list(getattr(COCO, part)), :2]
    centre = F.warp_points(np.array([[96.0, 128.0]]), F.invert(example["matrix"]))[0]
    np.testing.assert_allclose(centre, points.mean(axis=0))
    width, height = 1.5 * np.ptp(points, axis=0)
    np.testing.assert_allclose(_size(example), max(width, height * 0.75))


def test_half_body_needs_enough_labelled_joints():
    crop = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO, augmentation=dataclasses.replace(STILL, half_body_p=1.0))
    instance = _instance()
    instance["keypoints"][8:, 2] = 0  # eight remain labelled
    plain = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO)(instance)
    np.testing.assert_array_equal(crop(instance, np.random.default_rng(0))["matrix"], plain["matrix"])


@pytest.mark.parametrize(("labelled", "cropped"), [(2, False), (3, True), (4, True)])
def test_small_skeletons_have_half_body_crops(labelled, cropped):
    """More than half of the joints must be labelled. Each half has two of them."""
    fields = {"joints": ["head", "neck", "tail", "foot"], "upper_body": [0, 1], "lower_body": [2, 3]}
    skeleton, instance = make_skeleton("bird", fields), _instance()
    instance["keypoints"] = instance["keypoints"][:4]
    instance["keypoints"][labelled:, 2] = 0
    crop = TopDownCrop(input_hw=INPUT_HW, skeleton=skeleton, augmentation=dataclasses.replace(STILL, half_body_p=1.0))
    plain = dataclasses.replace(crop, augmentation=STILL)
    matrices = [each(instance, np.random.default_rng(0))["matrix"] for each in (crop, plain)]
    assert (np.abs(matrices[0] - matrices[1]).max() > 0.1) == cropped


def test_flips_keep_unlabelled_joints_unlabelled():
    instance = _instance()
    left_wrist, right_wrist = COCO.joints.index("left_wrist"), COCO.joints.index("right_wrist")
    instance["keypoints"][left_wrist, 2] = 0
    crop = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO, augmentation=dataclasses.replace(STILL, flip_p=1.0))
    visible = crop(instance, np.random.default_rng(0))["visible"]
    assert visible[right_wrist] == 0 and visible.sum() == 16


def test_erasing_does_not_change_labels():
    crop = TopDownCrop(input_hw=INPUT_HW, skeleton=COCO, augmentation=STILL)
    erasing = dataclasses.replace(crop, erasing_p=0.5)
    instance, differ, rng = _instance(), [], np.random.default_rng(0)
    plain = crop(instance, np.random.default_rng(0))
    for _ in range(200):
        example = erasing(instance, rng)
        np.testing.assert_array_equal(example["keypoints"], plain["keypoints"])
        differ.append((example["image"] != plain["image"]).any(axis=2).mean())
    assert 0.4 < np.mean(np.array(differ) > 0) < 0.6
    assert max(differ) < 0.22
