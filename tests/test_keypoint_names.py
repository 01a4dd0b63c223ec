"""Left and right in keypoint names."""

import pytest

from mamkpd_jax.keypoint_names import meaning, sides
from mamkpd_jax.skeleton_files import describe_flips, make_skeleton
from mamkpd_jax.skeletons import SKELETONS

SPELLINGS = [
    *(("left_hand", "right_hand"), ("Left Hand", "Right Hand"), ("LEFT-HAND", "RIGHT-HAND"), ("lefthand", "righthand")),
    *(
        ("hand_left", "hand_right"),
        ("HandLeft", "HandRight"),
        ("leftHand", "rightHand"),
        ("hand (left)", "hand (right)"),
    ),
    *(("l_hand", "r_hand"), ("L_Hand", "R_Hand"), ("hand_l", "hand_r"), ("hand.L", "hand.R"), ("hand (L)", "hand (R)")),
    *(("handL", "handR"), ("lHand", "rHand"), ("LHand", "RHand"), ("lhand", "rhand"), ("Lhand", "Rhand")),
    *(("handLft", "handRgt"), ("LHAND", "RHAND"), ("HANDL", "HANDR"), ("hand [l]", "hand [r]"), ("hand L", "hand R")),
]


@pytest.mark.parametrize(("left", "right"), SPELLINGS)
def test_every_spelling_of_a_side_pairs_up(left, right):
    found = sides(("nose", right, left))
    assert found.pairs == ((2, 1),) and found.one_sided == ()
    assert found.meanings[1:] == (meaning("right_hand"), meaning("left_hand"))


def test_spellings_may_be_mixed_within_a_set():
    names = ("nose", "left_hand", "right_hand", "footL", "footR", "lear", "rear")
    assert sides(names).pairs == ((1, 2), (3, 4), (5, 6))


@pytest.mark.parametrize("names", [("tail", "tair"), ("l", "left"), ("left_hand", "right_foot"), ("L_a", "L_b")])
def test_other_names_do_not_pair_up(names):
    assert sides(names).pairs == ()


@pytest.mark.parametrize(
    "name", ["left_ear", "earLeft", "ear_l", "earL", "ear (L)", "LEar", "l_ear", "right", "RIGHT EAR", "ear.r"]
)
def test_a_side_without_its_partner_is_found(name):
    assert sides(("nose", name)).one_sided == (1,)


@pytest.mark.parametrize("name", ["upright", "bright", "L5", "lip", "rear", "tail", "Root", "cleft", "Öl", "ball"])
def test_names_without_a_side_have_none(name):
    assert sides((name, "nose")).one_sided == () and meaning(name).side == ""


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_ready_skeletons_pair_up_by_their_names(skeleton):
    assert {frozenset(pair) for pair in sides(skeleton.joints).pairs} == set(map(frozenset, skeleton.flip_pairs))


@pytest.mark.parametrize(
    "names",
    [
        ("FL_paw", "FR_paw", "BL_paw", "BR_paw"),
        ("fl", "fr", "hl", "hr"),
        ("PawFL", "PawFR", "PawHL", "PawHR"),
        ("lf_paw", "rf_paw", "lh_paw", "rh_paw"),
        ("front_left_paw", "front_right_paw", "back_left_paw", "back_right_paw"),
    ],
)
def test_paws_pair_up(names):
    assert sides(("left_eye", "right_eye", *names)).pairs[1:] == tuple((i, i + 1) for i in range(2, 2 + len(names), 2))


def test_names_differing_in_l_and_r_are_reported():
    assert sides(("nose", "elbowr", "elbowl")).alike == ((2, 1),)
    assert "; elbowl and elbowr are not a pair, though" in describe_flips(
        make_skeleton("a", {"joints": ["elbowl", "elbowr"]})
    )
    assert sides(("left_eye", "right_eye", "handL", "handR")).alike == ()
