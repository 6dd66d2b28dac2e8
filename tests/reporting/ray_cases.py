"""Which vertex a line of sight meets first, found slowly and plainly."""

import numpy as np


def seen_vertex(points, faces, axes, at):
    """Vertex nearest to where a line along ``axes[2]`` through ``at`` (right, up) meets a mesh.

    Returns the vertex and its margin: how much larger its weight is than the second largest; -1
    where the line meets nothing.
    """
    right, up, near = (points @ np.asarray(axes, dtype=float).T).T
    best, found, margin = -np.inf, -1, 1.0
    low = np.array([right[faces].min(1), up[faces].min(1)])
    high = np.array([right[faces].max(1), up[faces].max(1)])
    here = (low[0] <= at[0]) & (at[0] <= high[0]) & (low[1] <= at[1]) & (at[1] <= high[1])
    for face in faces[here]:
        corners = np.array([right[face], up[face], np.ones(3)])
        if abs(np.linalg.det(corners)) < 1e-9:
            continue
        weights = np.linalg.solve(corners, [at[0], at[1], 1.0])
        depth = weights @ near[face]
        if (weights >= 0).all() and depth > best:
            order = np.argsort(weights)
            best, found, margin = depth, face[order[-1]], weights[order[-1]] - weights[order[-2]]
    return int(found), float(margin)
