"""Draws the images of `synthetic_people`: clothed bodies of shaded capsules, objects and textured backgrounds."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from mamkpd_jax.data.body import HEAD_RADIUS, Body

Colour = Float[np.ndarray, "3"]
_SUBPIXEL_BITS = 4

# By part: the points at its two ends, and its radii there in body heights.
_PARTS = {
    f"{side}_{name}": (f"{side}_{start}", f"{side}_{end}", radius_start, radius_end)
    for side in ("left", "right")
    for name, start, end, radius_start, radius_end in (
        ("upper_arm", "shoulder", "elbow", 0.036, 0.029),
        ("forearm", "elbow", "wrist", 0.027, 0.020),
        ("hand", "wrist", "hand", 0.021, 0.019),
        ("thigh", "hip", "knee", 0.056, 0.040),
        ("shin", "knee", "ankle", 0.038, 0.025),
        ("foot", "ankle", "foot", 0.026, 0.021),
    )
}
PART_NAMES = ("torso", "head", "neck", *_PARTS)


class Canvas:
    """An RGB image, and the owner of each pixel: person * len(PART_NAMES) + part, or -1 for none."""

    def __init__(self, image: UInt8[np.ndarray, "h w 3"]):
        self.image = image
        self.owner: Int[np.ndarray, "h w"] = np.full(image.shape[:2], -1, np.int16)

    def fill(self, polygon: Float[np.ndarray, "n 2"], colour: Colour, owner: int | None = None) -> None:
        """Draws a polygon with smooth edges. With `owner` None the pixels keep their owners.

        Args:
            polygon: its corners in pixels.
            colour: RGB from 0 to 255.
        """
        points = np.round(polygon * 2**_SUBPIXEL_BITS).astype(np.int32)
        rgb = tuple(float(c) for c in np.clip(colour, 0, 255))
        cv2.fillPoly(self.image, [points], rgb, cv2.LINE_AA, _SUBPIXEL_BITS)
        if owner is not None:
            cv2.fillPoly(self.owner, [points], owner, cv2.LINE_8, _SUBPIXEL_BITS)


def dress(rng: np.random.Generator) -> dict[str, Colour]:
    """Random RGB colours, from 0 to 255, of every body part and of "skin", "hair" and "pattern" (of the shirt)."""
    skin = np.array([232, 190, 160]) * rng.uniform(0.3, 1.08) + rng.normal(0, 6, 3)
    shirt, trousers, shoes = (rng.uniform(15, 245, 3) for _ in range(3))
    long_sleeves, shorts = rng.random() < 0.45, rng.random() < 0.3
    colours = {"torso": shirt, "head": skin, "neck": skin, "skin": skin}
    for side in ("left", "right"):
        colours |= {
            f"{side}_upper_arm": shirt if rng.random() < 0.98 else skin,
            f"{side}_forearm": shirt if long_sleeves else skin,
            f"{side}_hand": skin,
            f"{side}_thigh": trousers,
            f"{side}_shin": skin if shorts else trousers,
            f"{side}_foot": shoes,
        }
    colours["hair"] = np.array([70, 50, 35]) * rng.uniform(0.2, 2.6) + rng.normal(0, 8, 3)
    colours["pattern"] = rng.uniform(15, 245, 3)
    return colours


class _Look(NamedTuple):
    colours: dict[str, Colour]  # as `dress` returns them
    light: Float[np.ndarray, "2"]  # direction towards the light
    pattern: str  # of the shirt


def draw_body(
    canvas: Canvas,
    body: Body,
    points_px: dict[str, Float[np.ndarray, "2"]],
    height_px: float,
    person: int,
    rng: np.random.Generator,
) -> None:
    """Draws a body, its farthest parts first.

    Args:
        points_px: the body's points in the image.
        height_px: the body's height.
        person: index of the person, for the owners of the pixels.
    """
    look = _Look(dress(rng), rng.uniform(-1, 1, 2), rng.choice(["plain", "stripes", "hoops"], p=[0.6, 0.2, 0.2]))
    depth = {name: (body.points[a][2] + body.points[b][2]) / 2 for name, (a, b, _, _) in _PARTS.items()}
    depth |= {"torso": body.points["neck"][2] / 2, "neck": body.points["neck"][2] - 0.01}
    depth["head"] = body.points["head"][2] + 0.02
    for name in sorted(depth, key=depth.__getitem__):
        owner = person * len(PART_NAMES) + PART_NAMES.index(name)
        if name == "torso":
            _draw_torso(canvas, points_px, body.girth * height_px, look, owner)
        elif name == "head":
            _draw_head(canvas, body, points_px["head"], height_px, look, owner)
        else:
            a, b, *radii = ("neck", "head", 0.034, 0.03) if name == "neck" else _PARTS[name]
            scale = height_px * (1.0 if name == "neck" else body.girth)
            ends, radii_px = [points_px[a], points_px[b]], [radius * scale for radius in radii]
            _draw_solid(canvas, ends, radii_px, look.colours[name], look.light, owner)


def _draw_torso(canvas: Canvas, points: dict[str, np.ndarray], scale: float, look: _Look, owner: int) -> None:
    colours, light, pattern = look
    corners = [points[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
    _draw_solid(
        canvas, corners, [0.034 * scale, 0.034 * scale, 0.05 * scale, 0.05 * scale], colours["torso"], light, owner
    )
    if pattern == "plain":
        return
    left, right, right_hip, left_hip = corners
    for t in np.linspace(0.12, 0.88, 5):
        if pattern == "hoops":
            ends = [left + t * (left_hip - left), right + t * (right_hip - right)]
        else:
            ends = [left + t * (right - left), left_hip + t * (right_hip - left_hip)]
        canvas.fill(_hull(ends, [0.009 * scale] * 2), colours["pattern"])


def _draw_head(canvas: Canvas, body: Body, centre: np.ndarray, height_px: float, look: _Look, owner: int) -> None:
    colours, light, _ = look
    r = HEAD_RADIUS * height_px

    def at(x: float, y: float, z: float) -> np.ndarray:
        """The place in the image of a point of the head, which is given in head radii from its centre."""
        return centre + r * (body.head @ [x, y, z])[:2] * [1, -1]

    def faces(x: float, y: float, z: float) -> bool:
        return bool((body.head @ [x, y, z])[2] > 0.1)

    skin, dark = colours["head"], colours["head"] * 0.55
    for side in (-1, 1):
        canvas.fill(_circle(at(side * 1.0, 0.0, -0.05), 0.2 * r), skin * 0.8, owner)
    _draw_solid(canvas, [at(0.0, 0.28, 0.0), at(0.0, -0.35, 0.1)], [0.95 * r, 0.75 * r], skin, light, owner)
    hair = [at(0.0, 0.42, -0.28), at(0.0, 0.1, -0.42)]
    back = (body.head @ [0, 0, 1])[2] < 0
    canvas.fill(_hull(hair, [0.93 * r, 0.88 * r] if back else [0.85 * r, 0.75 * r]), colours["hair"], owner)
    if not back:
        _draw_solid(canvas, [at(0.0, 0.02, 0.3), at(0.0, -0.4, 0.25)], [0.76 * r, 0.62 * r], skin, light, owner)
    for side in (-1, 1):
        if faces(side * 0.38, 0.25, 0.9):
            canvas.fill(_circle(at(side * 0.38, 0.25, 0.9), 0.17 * r), np.array([235.0, 235, 230]), owner)
            canvas.fill(_circle(at(side * 0.38, 0.25, 0.92), 0.11 * r), np.array([30.0, 25, 25]), owner)
    if faces(0.0, -0.05, 1.0):
        canvas.fill(_hull([at(0.0, 0.15, 1.0), at(0.0, -0.08, 1.1)], [0.06 * r, 0.13 * r]), skin * 0.78, owner)
        canvas.fill(_hull([at(-0.22, -0.48, 0.85), at(0.22, -0.48, 0.85)], [0.05 * r] * 2), dark, owner)


def _draw_solid(
    canvas: Canvas, centres: list[np.ndarray], radii: list[float], colour: Colour, light: np.ndarray, owner: int
) -> None:
    """Draws a rounded solid: a dark rim, and a lighter inside that is shifted towards the light."""
    canvas.fill(_hull(centres, radii), colour * 0.68, owner)
    small = min(radii)
    canvas.fill(_hull([c + 0.2 * small * light for c in centres], [r - 0.28 * small for r in radii]), colour, owner)


def background(rng: np.random.Generator, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A textured RGB image without people: smooth noise and shapes, some of them like limbs."""
    image = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((2, 90), (6, 45), (24, 25), (80, 12)):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        noise = noise.mean(axis=2, keepdims=True) * 1.2 + noise * 0.25
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    image += rng.uniform(40, 215, 3).astype(np.float32)
    canvas = Canvas(np.clip(image, 0, 255).astype(np.uint8))
    for _ in range(rng.integers(2, 12)):
        draw_object(canvas, rng)
    return canvas.image


def draw_object(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a random box, disc or stick in front of everything drawn before."""
    height, width = canvas.image.shape[:2]
    middle = rng.uniform(0, 1, 2) * [width, height]
    colour = rng.uniform(10, 245, 3)
    if rng.random() < 0.35:
        colour = dress(rng)["skin"]
    kind = rng.random()
    if kind < 0.4:
        along = rng.normal(0, 1, 2) * height * 0.13
        radius = rng.uniform(0.006, 0.03) * height
        _draw_solid(canvas, [middle - along, middle + along], [radius] * 2, colour, rng.uniform(-1, 1, 2), -1)
    elif kind < 0.75:
        half = rng.uniform(0.02, 0.14, 2) * height
        angle = rng.normal(0, 0.15)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        canvas.fill(middle + (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half) @ turn.T, colour, -1)
    else:
        _draw_solid(canvas, [middle], [rng.uniform(0.02, 0.1) * height], colour, rng.uniform(-1, 1, 2), -1)


def _circle(centre: np.ndarray, radius: float) -> np.ndarray:
    return centre + max(radius, 0.3) * _UNIT_CIRCLE


def _hull(centres: list[np.ndarray], radii: list[float]) -> np.ndarray:
    """The convex hull of circles, as a polygon."""
    points = np.concatenate([_circle(c, r) for c, r in zip(centres, radii, strict=True)])
    return cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)


_UNIT_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 16, endpoint=False)) for f in (np.cos, np.sin)], axis=1)
