"""Pictures of cortical surfaces: which vertex every pixel of a view shows, and its colour.

A view is found once for an atlas and coloured for every time and condition, which makes a mosaic of
many brains as quick as one.
"""

import functools
from dataclasses import dataclass

import numpy as np

from neurosal.reporting.brain_mesh import BrainMesh, Side

_WIDTH, _HEIGHT, _FINER = 300, 220, 2
_EDGE, _PAPER, _RIM = 0.8, 255.0, 0.45

#: Red, green and blue of regions without data; cortex without a region is grey.
NO_DATA = (140 / 255, 128 / 255, 112 / 255)

#: Screen axes (right, up) and the direction of the eye, for each side that is looked from.
_EYES = {
    "left": ((0, -1, 0), (0, 0, 1), (-1, 0, 0)),
    "right": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "above": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}
_VIEWS = (
    ("left hemisphere, outside", ("left",), "left"),
    ("left hemisphere, inside", ("left",), "right"),
    ("right hemisphere, inside", ("right",), "left"),
    ("right hemisphere, outside", ("right",), "right"),
)


@dataclass(frozen=True, eq=False)
class View:
    """What every pixel of a view shows.

    Parameters
    ----------
    title : str
        Which side is seen, from where.
    rows : numpy.ndarray of int
        Row of the atlas's table, -1 for cortex without a region, -2 for paper.
    light, sulcus : numpy.ndarray
        Brightness and depth of sulci, 0 to 1.
    ball_rows : numpy.ndarray of int
        Row of the ball in front or behind, -1 for none.
    ball_light : numpy.ndarray
        Brightness of the ball, 0 at its rim.
    covered : numpy.ndarray of bool
        Where cortex lies in front of the ball.
    """

    title: str
    rows: np.ndarray
    light: np.ndarray
    sulcus: np.ndarray
    ball_rows: np.ndarray
    ball_light: np.ndarray
    covered: np.ndarray


@functools.lru_cache(maxsize=2)
def brain_views(brain: BrainMesh) -> tuple[View, ...]:
    """Look at a brain from outside and inside, and from above where it has balls.

    Parameters
    ----------
    brain : BrainMesh
        The surfaces; inflated ones are used where they are known, except from above.

    Returns
    -------
    tuple of View
        Four, of the hemispheres that there are; a fifth from above shows the balls.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> from neurosal.reporting.brain_mesh import brain_mesh
    >>> [view.title for view in brain_views(brain_mesh(load_atlas("dosenbach160")))][::4]
    ['left hemisphere, outside', 'both, from above']
    """
    views = [
        _look(brain, title, names, eye, inflated=True)
        for title, names, eye in _VIEWS
        if names[0] in brain.sides
    ]
    if len(brain.balls):
        views.append(_look(brain, "both, from above", tuple(brain.sides), "above", inflated=False))
    return tuple(views)


def paint(view: View, colours: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Colour a view.

    Parameters
    ----------
    view : View
        What every pixel shows.
    colours : numpy.ndarray
        Red, green and blue (0 to 1) of each region, shape (region, 3); NaN leaves it bare.
    size : numpy.ndarray
        Absolute value of each region as a share of the scale, for how far a ball shows through.

    Returns
    -------
    numpy.ndarray
        Whole numbers to 255, shape (height, width, 3).

    Examples
    --------
    >>> flat = np.zeros((2, 2))
    >>> view = View("", np.array([[0, -2], [-2, -2]]), flat + 1, flat, flat.astype(int) - 1, flat,
    ...             flat > 0)
    >>> paint(view, np.array([[1.0, 0.0, 0.0]]), np.ones(1)).tolist()
    [[[242, 191, 191]]]
    """
    table = np.vstack([255 * colours, np.full((2, 3), np.nan)])
    bare = (208 - 51 * view.sulcus)[..., None]
    picture = np.where(np.isnan(table[view.rows]), bare, table[view.rows])
    picture = picture * (0.74 + 0.26 * view.light)[..., None] * _borders(view.rows)[..., None]
    picture[view.rows == -2] = _PAPER
    if (view.ball_rows >= 0).any():
        picture = _with_balls(picture, view, table, size)
    fine = picture.reshape(picture.shape[0] // _FINER, _FINER, -1, _FINER, 3)
    return np.rint(fine.mean(axis=(1, 3))).astype(int)


def _with_balls(picture: np.ndarray, view: View, table: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Lay the balls over the cortex, or let them show through it."""
    rim = view.ball_light < _RIM
    own = np.where(np.isnan(table[view.ball_rows]), 225, table[view.ball_rows])
    own = own * ((0.65 + 0.35 * view.ball_light) * np.where(rim, 0.7, 1))[..., None]
    strong = np.append(np.clip(0.15 + np.nan_to_num(size), 0.15, 0.9), 0.0)[view.ball_rows]
    share = np.where(view.covered, np.maximum(strong, 0.5 * rim), 1.0)
    share = np.where(view.ball_rows >= 0, share, 0.0)[..., None]
    return picture + share * (own - picture)


def _borders(rows: np.ndarray) -> np.ndarray:
    """Darken the pixels whose right or lower neighbour belongs to another region."""
    edge = np.zeros(rows.shape, dtype=bool)
    edge[:, :-1] |= rows[:, :-1] != rows[:, 1:]
    edge[:-1] |= rows[:-1] != rows[1:]
    return np.where(edge, _EDGE, 1.0)


def _look(
    brain: BrainMesh, title: str, names: tuple[str, ...], eye: str, *, inflated: bool
) -> View:
    """Find what every pixel shows of some hemispheres, seen from one side."""
    sides = [brain.sides[name] for name in names]
    shapes = [s.inflated if inflated and s.inflated is not None else s.points for s in sides]
    axes = np.array(_EYES[eye], dtype=float)
    seen = np.concatenate(shapes) @ axes.T
    shape = np.array([_FINER * _WIDTH, _FINER * _HEIGHT])
    if eye == "above":
        shape[0] = round(0.8 * shape[1])
    low, high = seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)
    scale = (shape / (high - low)).min() * 0.97
    middle = np.append((low + high) / 2, 0)

    def place(points: np.ndarray) -> np.ndarray:
        """Column, row and nearness of points."""
        x, y, z = ((points @ axes.T - middle) * scale).T
        return np.stack([shape[0] / 2 + x, shape[1] / 2 - y, z], axis=1)

    vertex, light, sulcus, depth = _raster(sides, shapes, place, axes[2], tuple(shape))
    rows = np.append(np.concatenate([side.rows for side in sides]), -2)[vertex]
    balls = _ball_pixels(brain, place, scale, depth) if eye == "above" else None
    if balls is None:
        balls = (np.full(rows.shape, -1), np.zeros(rows.shape), np.zeros(rows.shape, dtype=bool))
    return View(title, rows, light, sulcus, *balls)


def _raster(
    sides: list[Side], shapes: list[np.ndarray], place: object, eye: np.ndarray, size: tuple
) -> tuple[np.ndarray, ...]:
    """Nearest vertex (-1 for paper), brightness, depth of sulcus and nearness of each pixel."""
    starts = np.cumsum([0, *(len(points) for points in shapes)])
    faces = [side.faces + start for side, start in zip(sides, starts[:-1], strict=True)]
    faces = np.concatenate(faces).astype(int)
    points = np.concatenate(shapes).astype(float)
    corners = place(points)[faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    bright = np.clip(_normals(points, faces) @ eye, 0, 1)
    kept = np.abs(area) > 1e-9
    pixels, weights, which = _pixels_of(corners[kept], area[kept], size)
    nearness = (weights * corners[kept][which][:, :, 2]).sum(axis=1)
    order = np.lexsort((nearness, pixels))
    last = order[np.append(pixels[order][1:] != pixels[order][:-1], True)]
    own = faces[kept][which[last]]
    vertex = np.full(size[0] * size[1], -1)
    light, sulcus = np.zeros(len(vertex)), np.zeros(len(vertex))
    depth = np.full(len(vertex), -np.inf)
    vertex[pixels[last]] = own[np.arange(len(own)), weights[last].argmax(axis=1)]
    light[pixels[last]] = (weights[last] * bright[own]).sum(axis=1)
    deep = np.concatenate([side.sulcus for side in sides])
    sulcus[pixels[last]] = (weights[last] * deep[own]).sum(axis=1)
    depth[pixels[last]] = nearness[last]
    return tuple(array.reshape(size[1], size[0]) for array in (vertex, light, sulcus, depth))


def _pixels_of(
    corners: np.ndarray, area: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels inside of triangles, with the weight of each corner, and the triangle's number."""
    low = np.ceil(corners[:, :, :2].min(axis=1)).astype(int)
    high = np.floor(corners[:, :, :2].max(axis=1)).astype(int)
    span = high - low
    found: list[tuple] = []
    for right in range(max(span[:, 0].max(), 0) + 1):
        wide = np.flatnonzero(span[:, 0] >= right)
        for down in range(max(span[wide, 1].max(), 0) + 1):
            which = wide[span[wide, 1] >= down]
            x, y = (low[which] + (right, down)).T
            a, b, c = (corners[which, k, :2] for k in range(3))
            wb = ((x - a[:, 0]) * (c - a)[:, 1] - (c - a)[:, 0] * (y - a[:, 1])) / area[which]
            wc = ((b - a)[:, 0] * (y - a[:, 1]) - (x - a[:, 0]) * (b - a)[:, 1]) / area[which]
            inside = (wb >= 0) & (wc >= 0) & (wb + wc <= 1)
            inside &= (x >= 0) & (y >= 0) & (x < size[0]) & (y < size[1])
            weights = np.stack([1 - wb - wc, wb, wc], axis=1)[inside]
            found.append((y[inside] * size[0] + x[inside], weights, which[inside]))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals of the vertices, outwards whatever the order of a face's corners."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    if (a * normal).sum() < 0:
        normal = -normal
    total = np.zeros(points.shape)
    for corner in faces.T:
        np.add.at(total, corner, normal)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _ball_pixels(
    brain: BrainMesh, place: object, scale: float, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, brightness and whether cortex covers it, of the ball nearest at each pixel."""
    y, x = np.indices(depth.shape)
    rows, light = np.full(depth.shape, -1), np.zeros(depth.shape)
    front = np.full(depth.shape, -np.inf)
    centres = place(brain.balls[["x", "y", "z"]].to_numpy(float))
    shapes = zip(brain.balls["row"], centres, brain.balls["radius"] * scale, strict=True)
    for row, (cx, cy, cz), radius in shapes:
        rest = 1 - ((x - cx) ** 2 + (y - cy) ** 2) / radius**2
        height = cz + radius * np.sqrt(np.clip(rest, 0, None))
        here = (rest > 0) & (height > front)
        rows[here], light[here], front[here] = row, np.sqrt(rest[here]), height[here]
    return rows, light, depth > front
