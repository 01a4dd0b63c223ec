"""Skeletons: indices match names and the values of other tools; skeleton files and categories are read."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from pycocotools.cocoeval import Params
from scipy.io import loadmat

import mamkpd_jax
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeleton_files import find_skeleton, make_skeleton, read_skeleton, skeleton_of_category
from mamkpd_jax.skeletons import ANIMALPOSE, AP10K, COCO, LSPET, MPII, SKELETONS

# The joints that have no mirror image.
MIDDLE = {
    "coco": {"nose"},
    "mpii": {"pelvis", "thorax", "upper_neck", "head_top"},
    "ap10k": {"nose", "neck", "root_of_tail"},
    "lspet": {"neck", "head_top"},
    "animalpose": {"nose", "throat", "withers", "tailbase"},
}
every = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda skeleton: skeleton.name)


@every
def test_flip_pairs_are_left_and_right_joints(skeleton):
    for a, b in skeleton.flip_pairs:
        left, right = sorted((skeleton.joints[a], skeleton.joints[b]))
        assert left.replace("left", "right") == right != left
    paired = {joint for pair in skeleton.flip_pairs for joint in pair}
    assert {joint for i, joint in enumerate(skeleton.joints) if i not in paired} == MIDDLE[skeleton.name]


@every
def test_flip_indices_undo_themselves(skeleton):
    indices = np.array(skeleton.flip_indices)
    np.testing.assert_array_equal(indices[indices], np.arange(skeleton.n_joints))


@every
def test_body_halves_and_edges_cover_all_joints(skeleton):
    assert sorted(skeleton.upper_body + skeleton.lower_body) == list(range(skeleton.n_joints))
    assert {joint for edge in skeleton.edges for joint in edge} == set(range(skeleton.n_joints))
    assert len(skeleton.sigmas) == skeleton.n_joints


def test_coco_sigmas_match_cocoeval():
    np.testing.assert_allclose(COCO.sigmas, Params("keypoints").kpt_oks_sigmas)


def test_animal_sigmas_match_mmpose():
    """MMPose's sigmas by joint, or by part for all joints of that part."""
    by_joint = {"left_eye": 0.025, "right_eye": 0.025, "left_ear": 0.026, "right_ear": 0.035, "nose": 0.035}
    parts = {"throat": 0.1, "tailbase": 0.1, "withers": 0.1, "elbow": 0.107, "knee": 0.087, "paw": 0.089}
    expected = [by_joint.get(joint) or parts[joint.split("_")[-1]] for joint in ANIMALPOSE.joints]
    assert list(ANIMALPOSE.sigmas) == expected


def test_mpii_joints_match_its_scoring_file(shared_data):
    names = [str(name[0]) for name in loadmat(shared_data / "mpii" / "gt_valid.mat")["dataset_joints"][0]]
    short = {"ankle": "ank", "knee": "kne", "hip": "hip", "wrist": "wri", "elbow": "elb", "shoulder": "sho"}
    middle = {"pelvis": "pelv", "thorax": "thor", "upper_neck": "neck", "head_top": "head"}
    ours = [middle.get(joint) or joint[0] + short[joint.split("_")[1]] for joint in MPII.joints]
    assert ours == names


@pytest.mark.parametrize("skeleton", [LSPET, ANIMALPOSE, AP10K, COCO], ids=lambda skeleton: skeleton.name)
def test_ready_skeletons_match_annotation_files(skeleton, shared_data, request):
    if skeleton in (LSPET, ANIMALPOSE):
        path = request.getfixturevalue(skeleton.name) / f"{skeleton.name}_val.json"
    else:
        path = shared_data / ("ap10k/test_ap10k.json" if skeleton is AP10K else "coco_mini/test_coco.json")
    for category in json.loads(path.read_bytes())["categories"]:
        found = skeleton_of_category(category)
        assert found.joints == skeleton.joints
        assert {frozenset(pair) for pair in found.flip_pairs} == {frozenset(pair) for pair in skeleton.flip_pairs}
        assert {frozenset(edge) for edge in found.edges} == {frozenset(edge) for edge in skeleton.edges}


@pytest.mark.parametrize(
    ("left", "right", "mirror"),
    [
        ("left_eye", "right_eye", True),
        ("Left Eye", "Right Eye", True),
        ("LeftEye", "RightEye", True),
        ("L_Eye", "R_Eye", True),
        ("eye_l", "eye_r", True),
        ("eye.L", "eye.R", True),
        ("tail", "tair", False),
        ("l", "left", False),
    ],
)
def test_flip_pairs_are_found_from_names(left, right, mirror):
    skeleton = skeleton_of_category({"name": "a", "keypoints": ["nose", right, left]})
    assert skeleton.flip_pairs == (((2, 1),) if mirror else ())


def test_skeleton_file_is_read(tmp_path):
    path = tmp_path / "hand.json"
    path.write_text(json.dumps({"joints": ["wrist", "tip"], "sigmas": [0.1, 0.2], "edges": [[0, 1]]}), encoding="utf-8")
    hand = read_skeleton(path)
    assert (hand.name, hand.joints, hand.sigmas, hand.edges) == ("hand", ("wrist", "tip"), (0.1, 0.2), ((0, 1),))
    assert find_skeleton(str(path), []) == hand


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "expected a list of joints"),
        ({"joints": ["a"], "bones": []}, "bones.*expected a list of joints"),
        ({"joints": ["a", "a"]}, "two keypoints named 'a'"),
        ({"joints": ["a", "b"], "sigmas": [0.1]}, "expected 2 numbers above 0"),
        ({"joints": ["a", "b"], "sigmas": [0.1, 0.0]}, "expected 2 numbers above 0"),
        ({"joints": ["a", "b"], "sigmas": [0.1, float("nan")]}, "expected 2 numbers above 0"),
        ({"joints": ["a", "b"], "sigmas": [float("inf"), 0.1]}, "expected 2 numbers above 0"),
        ({"joints": ["a", "b"], "sigmas": "12"}, "the sigmas 12; expected a list of numbers"),
        ({"joints": ["a", "b"], "sigmas": [True, 1]}, "expected a list of numbers"),
        ({"joints": ["a", "b", "c"], "flip_pairs": [[0, 1], [1, 2]]}, "a joint in two flip pairs"),
        ({"joints": ["a", "b"], "edges": [[1, 2]]}, "names 2 in edges; expected .* an index from 0 to 1"),
        ({"joints": ["a", "b"], "edges": [[1, 0.5]]}, "names 0.5 in edges"),
        ({"joints": ["a", "b"], "edges": [[1]]}, r"has \[1\] in edges; expected pairs of joints"),
        ({"joints": ["a", "b"], "edges": {}}, "has {} as edges; expected a list"),
        ({"joints": ["a", "b"], "upper_body": ["A"]}, "names 'A' in upper_body; expected the name of one of its"),
        ({"joints": ["a", None]}, "expected a list of joints"),
    ],
)
def test_invalid_skeletons_are_refused(fields, line):
    with pytest.raises(UserError, match=line):
        make_skeleton("odd", fields)


@pytest.mark.parametrize("content", ["[", "[]", '{"joints": 3}', '{"joints": ["a"], "edges": [1]}'])
def test_invalid_skeleton_files_are_named(content, tmp_path):
    (tmp_path / "odd.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="odd"):
        read_skeleton(tmp_path / "odd.json")


def test_categories_of_different_joints_need_a_skeleton():
    categories = [{"id": 1, "keypoints": ["a"]}, {"id": 2, "keypoints": ["b"]}]
    with pytest.raises(UserError, match="the 2 categories .* have different keypoints; give the name of a ready"):
        find_skeleton("", categories)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([[1, 2], [1, 3], [2, 4], [3, 5]], ((0, 1), (0, 2), (1, 3), (2, 4))),
        ([[0, 1], [0, 2], [1, 3], [2, 4]], ((0, 1), (0, 2), (1, 3), (2, 4))),
        ([[1, 3], [2, 4]], ((1, 3), (2, 4))),  # from 0, as only then left mirrors right
        ([[2, 4], [3, 5]], ((1, 3), (2, 4))),
        ([], ()),
    ],
)
def test_edges_count_from_0_or_1(edges, expected):
    names = ["nose", "left_hand", "right_hand", "left_foot", "right_foot"]
    assert skeleton_of_category({"name": "a", "keypoints": names, "skeleton": edges}).edges == expected


def test_flip_pairs_of_a_file_override_names():
    names = ["left_hand", "right_hand", "tip"]
    assert make_skeleton("a", {"joints": names}).flip_pairs == ((0, 1),)
    assert make_skeleton("a", {"joints": names, "flip_pairs": []}).flip_pairs == ()
    assert make_skeleton("a", {"joints": names, "flip_pairs": [["tip", "right_hand"]]}).flip_pairs == ((2, 1),)


def test_categories_without_keypoints_are_ignored():
    categories = [{"id": 0, "name": "robots"}, {"id": 1, "name": "robot", "keypoints": ["a", "b"]}, {"keypoints": []}]
    assert find_skeleton("", categories).name == "robot"


@pytest.mark.parametrize("spelling", ["left_shoulder", "leftShoulder", "Shoulder (L)", "LShoulder", "shoulder_left"])
def test_joints_are_found_by_their_meaning(spelling):
    assert make_skeleton("a", {"joints": ["nose", spelling]}).index("left_shoulder") == 1


SCHEMA = json.loads((Path(mamkpd_jax.__file__).parent / "skeleton.schema.json").read_bytes())


@pytest.mark.parametrize(
    "fields",
    [
        {"joints": ["a", "b"]},
        {
            "joints": ["a", "b"],
            "flip_pairs": [["a", "b"]],
            "edges": [[0, 1]],
            "sigmas": [0.1, 0.2],
            "upper_body": ["a"],
        },
        {"$schema": "skeleton.schema.json", "joints": ["a"], "flip_pairs": [], "lower_body": [0]},
        *({name: value for name, value in asdict(s).items() if name != "name"} for s in SKELETONS.values()),
    ],
)
def test_schema_and_reader_accept_the_same_fields(fields):
    fields = json.loads(json.dumps(fields))
    Draft202012Validator(SCHEMA).validate(fields)
    make_skeleton("a", fields)


@pytest.mark.parametrize(
    "fields",
    [
        *({}, {"joints": []}, {"joints": ["a", "a"]}, {"joints": ["a"], "bones": []}, {"joints": ["a"], "edges": [1]}),
        *(
            {"joints": ["a"], "sigmas": [0]},
            {"joints": ["a"], "flip_pairs": [[0]]},
            {"joints": ["a"], "edges": [[0, -1]]},
        ),
    ],
)
def test_schema_and_reader_refuse_the_same_fields(fields):
    assert list(Draft202012Validator(SCHEMA).iter_errors(fields))
    with pytest.raises(UserError):
        make_skeleton("a", fields)
