"""What figures show of a penalty g: its prox on a grid of the plane, its ball in the plane, its ball as a solid body.

A ball is {x: g(x) <= g(e)} with e the first unit vector, so that balls of all penalties meet the axes at 1.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.spatial import ConvexHull, QhullError

from tyinglib.penalties.protocol import Penalty

Array = NDArray[np.float64]
NEAR = 1e-9
ROUNDING = 1e-6  # of the largest place: weights given in float32, and sums of decimals, leave less of a zero


class Solid(NamedTuple):
    """A convex body: corners (n, 3); faces, each the numbers of its corners in turn; outward normals (faces, 3)."""

    vertices: Array
    faces: list[list[int]]
    normals: Array


def grid(limit: float, points: int) -> Array:
    """Places from -limit to limit whose decimals are exact, so that 0.1 * 3 is 0.3 and meets a threshold of 0.3."""
    return np.round(np.linspace(-limit, limit, points), 10)


def images(penalty: Penalty, places: Array) -> Array:
    """The prox of each point of the grid, (rows, columns, 2): row by row with rising second coordinate.

    Zero is what is zero but for rounding: with weights 0.7 and 0.3 the point (0.6, 0.4) goes to 0, not to 3e-17.
    """
    points = [penalty.prox(torch.tensor([[x], [y]], dtype=torch.float64), 1.0) for y in places for x in places]
    found = torch.stack(points).numpy().reshape(len(places), len(places), 2)
    return np.where(np.abs(found) < ROUNDING * np.abs(places).max(), 0.0, found)


def outline(penalty: Penalty, name: str, directions: int = 72) -> Array:
    """The boundary of the ball in the plane, (directions, 2), every fifth degree: corners at 45 degrees are met."""
    angles = np.arange(directions) * 2 * np.pi / directions
    units = np.round(np.stack([np.cos(angles), np.sin(angles)], 1), 15)
    return np.array([_reach(penalty, unit, name) * unit for unit in units])


def _value(penalty: Penalty, point: Array) -> float:
    return float(penalty.value(torch.from_numpy(point[:, None])))


def _reach(penalty: Penalty, unit: Array, name: str) -> float:
    """How far the ball reaches in a direction: g rises along every ray from 0, along a norm's in proportion."""
    first = np.zeros_like(unit)
    first[0] = 1.0
    level, there = _value(penalty, first), _value(penalty, unit)
    if level <= 0 or there <= 0:
        raise ValueError(f"the ball of {name!r} has no boundary to draw; take a penalty with g(x) > 0 for all x but 0")
    if np.isclose(_value(penalty, level / there * unit), level, rtol=1e-12):
        return level / there
    far = 1.0
    while _value(penalty, far * unit) < level:
        far *= 2
    return float(brentq(lambda reach: _value(penalty, reach * unit) - level, 0.0, far))


def solid(shape: Penalty | ArrayLike, name: str) -> Solid:
    """The body of a penalty's ball, whose corners lie where sizes are 0 or equal (l1, OWL); or of given corners."""
    if isinstance(shape, Penalty):
        units = [np.array(signs, dtype=float) for signs in product((-1, 0, 1), repeat=3) if any(signs)]
        body = _hull(np.array([_reach(shape, unit, name) * unit for unit in units]), name)
        level = _value(shape, np.array([1.0, 0.0, 0.0]))
        for face in body.faces:
            if not np.isclose(_value(shape, body.vertices[face].mean(0)), level):
                raise ValueError(f"the ball of {name!r} is not made of flat faces; give the corners of a body, (n, 3)")
        return body
    points = np.asarray(shape, dtype=float)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"{name!r} must be a penalty, or finite corners of shape (n, 3); got {points.shape}")
    return _hull(points, name)


def _hull(points: Array, name: str) -> Solid:
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError) as error:
        raise ValueError(f"{name!r} encloses no volume; give four or more corners that are not in one plane") from error
    members: dict[tuple[float, ...], set[int]] = {}  # triangles of one plane make one face
    for simplex, equation in zip(hull.simplices, hull.equations, strict=True):
        members.setdefault(tuple(np.round(equation, 6) + 0.0), set()).update(simplex.tolist())
    normals = np.array([equation[:3] for equation in members])
    faces = [_in_turn(points, normal, face) for normal, face in zip(normals, members.values(), strict=True)]
    kept = sorted({corner for face in faces for corner in face})  # not those in the middle of a face
    number = {corner: place for place, corner in enumerate(kept)}
    return Solid(points[kept] + 0.0, [[number[corner] for corner in face] for face in faces], normals)


def _in_turn(points: Array, normal: Array, face: set[int]) -> list[int]:
    """The corners of a face as one walks round it; points on an edge between two corners are left out."""
    corners = np.array(sorted(face))
    spokes = points[corners] - points[corners].mean(0)
    first = spokes[0] / np.linalg.norm(spokes[0])
    around = np.arctan2(spokes @ np.cross(normal, first), spokes @ first)
    ring = corners[np.argsort(around)]
    before, after = points[np.roll(ring, 1)], points[np.roll(ring, -1)]
    bend = np.linalg.norm(np.cross(points[ring] - before, after - points[ring]), axis=1)
    return [int(corner) for corner in ring[bend > NEAR]]


def pierced(body: Solid) -> Array:
    """Where each axis leaves the body, (3,)."""
    offsets = np.array([normal @ body.vertices[face[0]] for face, normal in zip(body.faces, body.normals, strict=True)])
    with np.errstate(divide="ignore", invalid="ignore"):
        ends: Array = np.where(body.normals > NEAR, offsets[:, None] / body.normals, np.inf)
    return np.asarray(ends.min(0))


def view(turn: float, tilt: float) -> Array:
    """Rows: where right, up and the reader are. At (0, 0) the first axis points left, the second right, both nearer."""
    a, b = np.radians([turn - 135, tilt])
    ca, sa, cb, sb = np.cos(a), np.sin(a), np.cos(b), np.sin(b)
    return np.array([[ca, -sa, 0], [sa * sb, ca * sb, cb], [-sa * cb, -ca * cb, sb]])
