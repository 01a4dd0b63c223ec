"""Renders the scenes of `synthetic_people`: procedural images of people with COCO's 17 joints.

Bodies are posed in 3-D and projected, so that left and right, foreshortening and self-occlusion are correct. Objects
and other people hide parts of them. Nothing marks a joint, so a network must recognise bodies.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.data.body import Body, random_body
from mamkpd_jax.data.drawing import PART_NAMES, Canvas, background, draw_body, draw_object
from mamkpd_jax.skeletons import COCO

_SUPERSAMPLING = 2
_HEIGHT_FRACTION = (0.4, 0.95)  # a body's height, as a fraction of the image's
_MIN_VISIBLE_FRACTION = 0.5
_MIN_VISIBLE_JOINTS = 8
# A joint is visible where one of these parts is on top.
_SHOWN_BY = {
    "shoulder": ("torso", "upper_arm"),
    "elbow": ("upper_arm", "forearm"),
    "wrist": ("forearm", "hand"),
    "hip": ("torso", "thigh"),
    "knee": ("thigh", "shin"),
    "ankle": ("shin", "foot"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A labelled person, in pixels of the image."""

    keypoints: Float[np.ndarray, "17 3"]  # x, y and COCO's visibility: 0 unlabelled, 1 hidden, 2 seen
    box_xywh: Float[np.ndarray, "4"]
    area_px: float  # of the person's visible pixels


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An RGB image, and those people in it that are visible enough to be labelled."""

    image: UInt8[np.ndarray, "h w 3"]
    people: tuple[Person, ...]


def render_scene(seed: int, index: int, size_hw: tuple[int, int]) -> Scene:
    """The scene of a seed and an index. Equal arguments always give the same scene."""
    rng = np.random.default_rng((seed, index))
    height, width = (side * _SUPERSAMPLING for side in size_hw)
    canvas = Canvas(background(rng, height, width))
    heights_px = np.sort(rng.uniform(*_HEIGHT_FRACTION, rng.choice([1, 2, 3], p=[0.5, 0.37, 0.13]))) * height
    bodies = []
    for person, height_px in enumerate(heights_px):
        body = random_body(rng)
        points = _place(body, height_px, height, width, rng)
        draw_body(canvas, body, points, height_px, person, rng)
        bodies.append((body, points, int((canvas.owner // len(PART_NAMES) == person).sum())))
    for _ in range(rng.choice([0, 1, 2], p=[0.55, 0.33, 0.12])):
        draw_object(canvas, rng)
    people = [_annotate(canvas, person, *body) for person, body in enumerate(bodies)]
    return Scene(image=_photograph(canvas.image, size_hw, rng), people=tuple(p for p in people if p is not None))


def _place(body: Body, height_px: float, height: int, width: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The body's points in pixels of the image, at a random place where most of them are inside."""
    points = {name: point[:2] * [height_px, -height_px] for name, point in body.points.items()}
    corners = np.array(list(points.values()))
    low, high = corners.min(axis=0), corners.max(axis=0)
    room = np.array([width, height]) - (high - low)
    margin = 0.06 * np.abs(high - low)
    start = rng.uniform(np.minimum(0, room) - margin, np.maximum(0, room) + margin)
    return {name: point - low + start for name, point in points.items()}


def _annotate(canvas: Canvas, person: int, body: Body, points: dict[str, np.ndarray], drawn_px: int) -> Person | None:
    """The person's annotation; None if too little of the person is visible."""
    mask = canvas.owner // len(PART_NAMES) == person
    area = int(mask.sum())
    if area < _MIN_VISIBLE_FRACTION * max(drawn_px, 1):
        return None
    joints = np.array([_joint(canvas, person, body, points, name) for name in COCO.joints])
    if (joints[:, 2] == 2).sum() < _MIN_VISIBLE_JOINTS:
        return None
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return Person(
        keypoints=joints / [_SUPERSAMPLING, _SUPERSAMPLING, 1],
        box_xywh=np.array([x, y, w, h]) / _SUPERSAMPLING,
        area_px=area / _SUPERSAMPLING**2,
    )


def _joint(
    canvas: Canvas, person: int, body: Body, points: dict[str, np.ndarray], name: str
) -> tuple[float, float, int]:
    x, y = points[name]
    column, row = round(float(x)), round(float(y))
    height, width = canvas.owner.shape
    side, _, joint = name.partition("_")
    if joint in _SHOWN_BY:
        parts = [part if part == "torso" else f"{side}_{part}" for part in _SHOWN_BY[joint]]
        faces = True
    else:
        parts = ["head"]
        faces = (body.points[name] - body.points["head"])[2] > (-0.02 if joint == "ear" else 0.0)
    # COCO's annotators leave out the features of a face that is turned away.
    if not (faces and 0 <= column < width and 0 <= row < height):
        return 0.0, 0.0, 0
    owners = [person * len(PART_NAMES) + PART_NAMES.index(part) for part in parts]
    near = canvas.owner[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
    return float(x), float(y), 2 if np.isin(near, owners).any() else 1


def _photograph(
    image: UInt8[np.ndarray, "h w 3"], size_hw: tuple[int, int], rng: np.random.Generator
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image at its final size, with the random light, focus and noise of a camera."""
    small = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    if rng.random() < 0.4:
        small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.3, 0.9))
    mean = small.mean()
    small = (small - mean) * rng.uniform(0.65, 1.2) + mean + rng.normal(0, 18)
    small = small * rng.uniform(0.9, 1.1, 3).astype(np.float32)
    small += rng.normal(0, rng.uniform(1, 6), small.shape).astype(np.float32)
    return np.clip(small, 0, 255).astype(np.uint8)
