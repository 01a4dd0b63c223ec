"""A human body in 3-D for `synthetic_people`: its proportions, plausible poses and COCO's joints.

World and body axes: x to the viewer's right (the left of a person who faces the viewer), y up, z towards the viewer
(the person's front). The unit of length is the body's height.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

HEAD_RADIUS = 0.08
_LEFT, _RIGHT = 1.0, -1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limb:
    """Angles of an arm or a leg in degrees. All are 0 when it hangs straight down."""

    forward: float = 0.0
    sideways: float = 5.0
    bend: float = 5.0  # of the elbow or knee
    twist: float = 0.0  # about the upper bone


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Angles of a whole body in degrees. Limbs are (left, right)."""

    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]
    lean: float = 0.0  # of the trunk, forward
    tilt: float = 0.0  # of the trunk, sideways
    roll: float = 0.0  # of the whole body in the image plane


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A posed body, in units of its height."""

    points: dict[str, Float[np.ndarray, "3"]]  # by name: COCO's joints, and others such as neck and hands
    head: Float[np.ndarray, "3 3"]  # rotation of the head
    girth: float  # factor of the radii of trunk and limbs


def random_body(rng: np.random.Generator) -> Body:
    """A body with random proportions and pose, seen from a random side, mostly from the front."""
    pose = _POSES[rng.choice(len(_POSES), p=_POSE_SHARES)](rng)
    facing = rng.random()
    turn = rng.normal(0, 25) if facing < 0.85 else rng.normal(180, 25) if facing < 0.91 else rng.uniform(0, 360)
    body = _rotation("z", pose.roll) @ _rotation("x", rng.normal(0, 6)) @ _rotation("y", turn)
    trunk = body @ _rotation("x", pose.lean) @ _rotation("z", pose.tilt)
    head = trunk @ _rotation("y", float(np.clip(rng.normal(0, 25), -70, 70))) @ _rotation("x", rng.normal(0, 12))
    return Body(points=_points(pose, body, trunk, head, rng), head=head, girth=rng.uniform(1.15, 1.6))


def _points(
    pose: Pose, body: np.ndarray, trunk: np.ndarray, head: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    length = {name: mean * rng.normal(1, 0.05) for name, mean in _LENGTHS.items()}
    neck = trunk @ [0, length["trunk"], 0]
    middle = neck + trunk @ [0, 0.045, 0.01] + head @ [0, HEAD_RADIUS, 0.01]
    points = {"pelvis": np.zeros(3), "neck": neck, "head": middle}
    r = HEAD_RADIUS
    points["nose"] = middle + head @ [0, -0.05 * r, 1.05 * r]
    for side, name, arm, leg in zip((_LEFT, _RIGHT), ("left", "right"), pose.arms, pose.legs, strict=True):
        points[f"{name}_eye"] = middle + head @ [side * 0.38 * r, 0.25 * r, 0.9 * r]
        points[f"{name}_ear"] = middle + head @ [side * 0.95 * r, 0.05 * r, -0.05 * r]
        shoulder = neck + trunk @ [side * length["shoulders"], -0.02, 0]
        upper = trunk @ _rotation("x", -arm.forward) @ _rotation("z", side * arm.sideways)
        upper = upper @ _rotation("y", -side * arm.twist)
        elbow, wrist, hand = _bone_ends(shoulder, upper, -arm.bend, length["upper_arm"], length["forearm"], 0.055)
        hip = trunk @ [side * length["hips"], 0, 0]
        thigh = body @ _rotation("x", -leg.forward) @ _rotation("z", side * leg.sideways)
        thigh = thigh @ _rotation("y", side * leg.twist)
        knee, ankle, _ = _bone_ends(hip, thigh, leg.bend, length["thigh"], length["shin"], 0.0)
        foot = ankle + thigh @ _rotation("x", leg.bend) @ [0, -0.03, 0.09]
        joints = (shoulder, elbow, wrist, hand, hip, knee, ankle, foot)
        names = ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "foot")
        points |= {f"{name}_{joint}": point for joint, point in zip(names, joints, strict=True)}
    return points


def _bone_ends(start: np.ndarray, turn: np.ndarray, bend: float, *lengths: float) -> list[np.ndarray]:
    """The ends of a limb's bones. The first bone hangs from `start`; the others are bent against it."""
    first, *others = lengths
    points = [start + turn @ [0, -first, 0]]
    for length in others:
        points.append(points[-1] + turn @ _rotation("x", bend) @ [0, -length, 0])
    return points


def _rotation(axis: str, degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array(
        {
            "x": [[1, 0, 0], [0, cos, -sin], [0, sin, cos]],
            "y": [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]],
            "z": [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]],
        }[axis]
    )


# Fractions of the body's height. "shoulders" and "hips" are half the distance between the two joints.
_LENGTHS = {
    "trunk": 0.29,
    "shoulders": 0.105,
    "hips": 0.055,
    "upper_arm": 0.165,
    "forearm": 0.145,
    "thigh": 0.24,
    "shin": 0.235,
}


def _standing(rng: np.random.Generator) -> Pose:
    return Pose(
        arms=_both(lambda: Limb(forward=rng.normal(5, 15), sideways=rng.uniform(3, 25), bend=rng.uniform(0, 60))),
        legs=_both(lambda: Limb(forward=rng.normal(0, 6), sideways=rng.uniform(0, 12), bend=rng.uniform(0, 12))),
        lean=rng.normal(2, 5),
        tilt=rng.normal(0, 4),
        roll=rng.normal(0, 4),
    )


def _walking(rng: np.random.Generator) -> Pose:
    stride, swing = rng.uniform(10, 45), rng.choice([-1, 1])
    return Pose(
        arms=_opposite(
            lambda s: Limb(forward=-swing * s * stride * rng.uniform(0.5, 1.2), bend=rng.uniform(5, 90), sideways=8.0)
        ),
        legs=_opposite(
            lambda s: Limb(
                forward=swing * s * stride, bend=rng.uniform(0, 25) + (swing * s < 0) * rng.uniform(0, 70), sideways=2.0
            )
        ),
        lean=rng.uniform(0, 20),
        roll=rng.normal(0, 4),
    )


def _sitting(rng: np.random.Generator) -> Pose:
    return Pose(
        arms=_both(lambda: Limb(forward=rng.uniform(-10, 70), sideways=rng.uniform(0, 35), bend=rng.uniform(10, 110))),
        legs=_both(lambda: Limb(forward=rng.uniform(65, 100), sideways=rng.uniform(0, 30), bend=rng.uniform(40, 105))),
        lean=rng.uniform(-15, 30),
        tilt=rng.normal(0, 6),
        roll=rng.normal(0, 4),
    )


def _reaching(rng: np.random.Generator) -> Pose:
    raised = lambda: Limb(  # noqa: E731
        forward=rng.uniform(0, 170), sideways=rng.uniform(0, 140), bend=rng.uniform(0, 130), twist=rng.uniform(-40, 90)
    )
    return Pose(
        arms=(raised(), raised()),
        legs=_both(lambda: Limb(forward=rng.normal(0, 18), sideways=rng.uniform(0, 30), bend=rng.uniform(0, 40))),
        lean=rng.normal(5, 12),
        tilt=rng.normal(0, 12),
        roll=rng.normal(0, 8),
    )


def _bending(rng: np.random.Generator) -> Pose:
    return Pose(
        arms=_both(lambda: Limb(forward=rng.uniform(20, 130), sideways=rng.uniform(0, 30), bend=rng.uniform(0, 70))),
        legs=_both(lambda: Limb(forward=rng.uniform(0, 70), sideways=rng.uniform(0, 25), bend=rng.uniform(5, 90))),
        lean=rng.uniform(25, 85),
        roll=rng.normal(0, 5),
    )


def _lying(rng: np.random.Generator) -> Pose:
    return dataclasses.replace(_reaching(rng), roll=rng.uniform(-110, 110))


def _both(limb: Callable[[], Limb]) -> tuple[Limb, Limb]:
    return limb(), limb()


def _opposite(limb: Callable[[float], Limb]) -> tuple[Limb, Limb]:
    return limb(_LEFT), limb(_RIGHT)


_POSES = (_standing, _walking, _sitting, _reaching, _bending, _lying)
_POSE_SHARES = (0.33, 0.25, 0.12, 0.24, 0.04, 0.02)
