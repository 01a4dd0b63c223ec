"""Tests of PCK and MPII's PCKh against loops, the latter on the full validation set."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mamkpd_jax.data.annotation_files import read_mpii_truth
from mamkpd_jax.errors import UserError
from mamkpd_jax.evaluation.metrics import mpii, pck
from mamkpd_jax.evaluation.scores import score_files
from mamkpd_jax.registry import METRICS
from mamkpd_jax.skeletons import ANIMALPOSE, LSPET, Skeleton


def _random_truth(skeleton: Skeleton, n: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    joints = rng.uniform(0, 100, (n, skeleton.n_joints, 2))
    visible = (rng.random((n, skeleton.n_joints)) < 0.7) * 2.0
    return {
        "annotations": [
            {
                "id": 10 + i,
                "bbox": [0, 0, *rng.uniform(20, 120, 2)],
                "keypoints": np.column_stack([joints[i], visible[i]]).ravel().tolist(),
            }
            for i in range(n)
        ]
    }


def _predict(truth: dict, skeleton: Skeleton, noise_px: float, seed: int = 1) -> list[dict]:
    rng = np.random.default_rng(seed)
    results = []
    for annotation in truth["annotations"]:
        pose = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        pose[:, :2] += rng.normal(0, noise_px, pose[:, :2].shape)
        results.append({"annotation_id": annotation["id"], "keypoints": pose.ravel().tolist(), "score": 1.0})
    return results[::-1]  # in another order than the annotations


def _loop_length(joints: np.ndarray, box: list, skeleton: Skeleton, normaliser: str) -> float | None:
    if normaliser == "box":
        return max(box[2:])
    pairs = {
        "torso": [("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")],
        "head": [("neck", "head_top")],
    }[normaliser]
    lengths = []
    for a, b in ((skeleton.joints.index(a), skeleton.joints.index(b)) for a, b in pairs):
        if joints[a, 2] and joints[b, 2]:
            lengths.append(np.hypot(*(joints[a, :2] - joints[b, :2])))
    return sum(lengths) / len(lengths) if lengths else None


@pytest.mark.parametrize(
    ("skeleton", "normaliser", "threshold"),
    [(LSPET, "torso", 0.2), (LSPET, "head", 0.5), (ANIMALPOSE, "box", 0.1)],
)
def test_pck_equals_a_loop_on_thousands_of_poses(skeleton, normaliser, threshold):
    truth = _random_truth(skeleton, 2000)
    results = _predict(truth, skeleton, 6.0)
    right, of, left_out = np.zeros(skeleton.n_joints), np.zeros(skeleton.n_joints), 0
    for annotation, result in zip(truth["annotations"], results[::-1], strict=True):
        joints = np.array(annotation["keypoints"]).reshape(-1, 3)
        points = np.array(result["keypoints"]).reshape(-1, 3)
        length = _loop_length(joints, annotation["bbox"], skeleton, normaliser)
        if length is None:
            left_out += 1
            continue
        for j in range(skeleton.n_joints):
            if joints[j, 2]:
                of[j] += 1
                right[j] += np.hypot(*(points[j, :2] - joints[j, :2])) <= threshold * length
    name = f"pck_{normaliser}@{threshold}"
    values = METRICS[name](name).evaluate(truth, results, skeleton).values
    assert values[f"{name}/mean"] == pytest.approx(100 * (right / of).mean(), abs=1e-9)
    assert values[f"{name}/left_out"] == left_out
    for j, joint in enumerate(skeleton.joints):
        assert values[f"{name}/{joint}"] == pytest.approx(100 * right[j] / of[j], abs=1e-9)
    assert next(iter(values)) == f"{name}/mean"


def test_lspet_leaves_out_181_of_its_1000_persons(lspet):
    truth = json.loads((lspet / "lspet_val.json").read_bytes())
    values = pck.metric("pck_torso@0.2").evaluate(truth, _predict(truth, LSPET, 0.0), LSPET).values
    assert values["pck_torso@0.2/left_out"] == 181
    assert values["pck_torso@0.2/mean"] == 100


def test_a_never_labelled_joint_has_no_value():
    truth = _random_truth(ANIMALPOSE, 10)
    for annotation in truth["annotations"]:
        annotation["keypoints"][2] = 0
    values = pck.metric("pck_box@0.1").evaluate(truth, _predict(truth, ANIMALPOSE, 0.0), ANIMALPOSE).values
    assert values[f"pck_box@0.1/{ANIMALPOSE.joints[0]}"] == -1.0, "as in COCO's values; JSON has no NaN"
    assert values["pck_box@0.1/mean"] == 100.0


def test_an_instance_without_a_prediction_is_wrong():
    truth = _random_truth(ANIMALPOSE, 10)
    scores = pck.metric("pck_box@0.1").evaluate(truth, _predict(truth, ANIMALPOSE, 0.0)[:5], ANIMALPOSE)
    assert sorted(scores.instances.values()) == [0.0] * 5 + [1.0] * 5


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"annotation_id": 5}, "result 3 has the annotation_id 5"),
        ({"annotation_id": 10}, "result 9 is the second of annotation 10"),
        ({"keypoints": [float("nan")] * 60}, "result 3 has no 'keypoints' of 60 finite numbers"),
        ({"keypoints": [0.0] * 9}, "result 3 has no 'keypoints' of 60 finite numbers"),
    ],
)
def test_mismatched_results_are_named(change, line):
    truth = _random_truth(ANIMALPOSE, 10)
    results = _predict(truth, ANIMALPOSE, 0.0)
    results[3] |= change
    with pytest.raises(UserError, match=line):
        pck.metric("pck_box@0.1").evaluate(truth, results, ANIMALPOSE)


def test_a_skeleton_without_the_normaliser_is_refused():
    truth = _random_truth(ANIMALPOSE, 2)
    with pytest.raises(UserError, match="pck_torso@0.2, which needs the keypoint left_shoulder; the skeleton '"):
        pck.metric("pck_torso@0.2").check(truth, ANIMALPOSE)
    pck.metric("pck_torso@0.2").check(truth, LSPET)


_NO_THRESHOLDS = ("wide", "nan", "inf", "0", "-0.2", "")


@pytest.mark.parametrize(
    "name", ["coco_2", "mpii@0.5", "pck", "pck_torso", "pck_foot@0.2", *(f"pck_torso@{t}" for t in _NO_THRESHOLDS)]
)
def test_unknown_metrics_are_refused(name):
    with pytest.raises(UserError, match=f"config.eval.metrics names '{name}'"):
        METRICS[name](name)


def _hrnet_pckh(preds: np.ndarray, truth: dict, threshold: float) -> dict[str, float]:
    """PCKh with HRNet's conventions, as a float64 loop over persons and joints; its weighted and plain means."""
    right, of = np.zeros(16), np.zeros(16)
    for i in range(len(preds)):
        x1, y1, x2, y2 = truth["head_box"][i]
        head = 0.6 * ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        for j in range(16):
            if truth["visible"][i, j]:
                dx, dy = preds[i, j] - truth["joints"][i, j]
                of[j] += 1
                right[j] += (dx**2 + dy**2) ** 0.5 / head <= threshold
    rate = 100 * right / of
    counted = [j for j in range(16) if j not in (6, 7)]
    names = ("Ankle", (0, 5)), ("Knee", (1, 4)), ("Hip", (2, 3)), ("Wrist", (10, 15)), ("Elbow", (11, 14))
    groups = dict((*names, ("Shoulder", (12, 13)), ("Head", (9,))))
    return {
        **{name: rate[list(joints)].mean() for name, joints in groups.items()},
        "Mean": rate[counted].mean(),
        "Mean_weighted": 100 * right[counted].sum() / of[counted].sum(),
    }


@pytest.mark.parametrize("suffix", ["npz", "mat"])
def test_mpii_equals_a_loop_on_all_validation_persons(suffix, shared_data, tmp_path):
    path = shared_data / "mpii" / "gt_valid.mat"
    truth = read_mpii_truth(path)
    assert truth["joints"].shape == (2958, 16, 2)
    preds = truth["joints"] + np.random.default_rng(0).normal(0, 25, (2958, 16, 2))
    if suffix == "npz":
        np.savez(tmp_path / "preds.npz", preds=preds)
    else:
        savemat(tmp_path / "preds.mat", {"preds": preds})
    values = score_files(("mpii",), tmp_path / f"preds.{suffix}", path).values
    expected, at_tenth, at_11 = (_hrnet_pckh(preds, truth, threshold) for threshold in (0.5, 0.1, 0.11))
    for name, value in expected.items():
        assert values[f"mpii/{name}"] == pytest.approx(value, abs=1e-9), name
    for name in ("Mean", "Mean_weighted"):
        assert values[f"mpii/{name}@0.1"] == pytest.approx(at_tenth[name], abs=1e-9)
    assert values["mpii/Mean_weighted@0.11"] == pytest.approx(at_11["Mean_weighted"], abs=1e-9)
    assert next(iter(values)) == "mpii/Mean_weighted"
    assert 30 < values["mpii/Mean"] < 95


def test_perfect_mpii_predictions_score_100(shared_data, tmp_path):
    path = shared_data / "mpii" / "gt_valid.mat"
    np.savez(tmp_path / "preds.npz", preds=read_mpii_truth(path)["joints"])
    assert set(score_files(("mpii",), tmp_path / "preds.npz", path).values.values()) == {100.0}


@pytest.mark.parametrize(
    ("preds", "line"),
    [
        ({"preds": np.zeros((5, 16, 2))}, r"preds of shape \(5, 16, 2\); expected \(2958, 16, 2\)"),
        ({"preds": np.full((2958, 16, 2), np.nan)}, "result 0 has no 'keypoints' of 48 finite numbers"),
        ({"poses": np.zeros((2958, 16, 2))}, "expected a .mat or .npz file with preds"),
    ],
)
def test_mismatched_mpii_predictions_are_refused(preds, line, shared_data, tmp_path):
    np.savez(tmp_path / "preds.npz", **preds)
    with pytest.raises(UserError, match=line):
        score_files(("mpii",), tmp_path / "preds.npz", shared_data / "mpii" / "gt_valid.mat")


@pytest.mark.parametrize(
    ("name", "place", "value", "line"),
    [
        ("headboxes_src", (0, 1, 7), np.nan, "person 7 has a head box that is not finite"),
        ("headboxes_src", (1, 1, 7), np.inf, "person 7 has a head box that is not finite"),
        ("headboxes_src", (slice(None), 0, 7), 5.0, "person 7 has a head box without an area"),
        ("pos_gt_src", (0, 1, 7), np.nan, "person 7 has joints that are not finite"),
        ("jnt_missing", (0, 7), 2, "person 7 has jnt_missing other than 0 and 1"),
    ],
)
def test_invalid_mpii_ground_truth_is_refused(name, place, value, line, shared_data, tmp_path):
    arrays = _mpii_arrays(shared_data)
    np.savez(tmp_path / "preds.npz", preds=arrays["pos_gt_src"].transpose(2, 0, 1))
    arrays[name][place] = value
    savemat(tmp_path / "gt.mat", arrays)
    with pytest.raises(UserError, match=f"gt.mat: {line}; expected MPII's gt_valid.mat"):
        score_files(("mpii",), tmp_path / "preds.npz", tmp_path / "gt.mat")


@pytest.mark.parametrize("missing", [np.zeros(()), np.zeros((14, 2958)), np.zeros((16, 5))])
def test_mpii_ground_truth_of_other_shapes_is_refused(missing, shared_data, tmp_path):
    np.savez(tmp_path / "gt.npz", **_mpii_arrays(shared_data) | {"jnt_missing": missing})
    with pytest.raises(UserError, match=r"gt.npz has arrays of shapes \(16, 2, 2958\), .*; expected MPII's"):
        read_mpii_truth(tmp_path / "gt.npz")


def _mpii_arrays(shared_data: Path) -> dict[str, np.ndarray]:
    """The arrays of MPII's real gt_valid.mat, as copies that tests can change."""
    source = loadmat(shared_data / "mpii" / "gt_valid.mat")
    return {name: np.array(source[name], np.float64) for name in ("headboxes_src", "pos_gt_src", "jnt_missing")}


def test_metrics_without_their_fields_are_refused(shared_data, tmp_path):
    with pytest.raises(UserError, match="names mpii, which needs the keypoint right_ankle; the skeleton 'animalpose'"):
        mpii.metric("mpii").check(_random_truth(ANIMALPOSE, 2), ANIMALPOSE)
    path = shared_data / "mpii" / "gt_valid.mat"
    np.savez(tmp_path / "preds.npz", preds=read_mpii_truth(path)["joints"])
    for other, field in (("pck_box@0.2", "bbox"), ("coco", "image_id")):
        with pytest.raises(UserError, match=f"{other}, which needs '{field}' in each annotation"):
            score_files(("mpii", other), tmp_path / "preds.npz", path)
