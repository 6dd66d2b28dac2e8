"""Tiny atlases of grayordinates, and meshes without a shape, for the tests of projection."""

import os

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nibabel.cifti2 import BrainModelAxis
from nilearn.surface import InMemoryMesh, PolyMesh

from neurosal.labelled import region_coordinates
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.maps import MapsAtlas

AFFINE = nib.affines.from_matvec(np.diag([-2.0, 2, 2]), [90, -126, -72])
IDS = (2, 5, 9, 300)
NAMES = ("Vis_L", "Vis_R", "HIP-lh", "both sides")


def gray_axis(sizes=(12, 14)):
    """Left surface without vertex 3, right without 0 and 1, and six voxels of the hippocampus."""
    left, right = np.setdiff1d(np.arange(sizes[0]), [3]), np.arange(2, sizes[1])
    voxels = np.array([[0, 1, 2], [1, 1, 2], [2, 0, 0], [2, 1, 3], [0, 0, 0], [1, 2, 3]])
    return (
        BrainModelAxis.from_surface(left, sizes[0], "CORTEX_LEFT")
        + BrainModelAxis.from_surface(right, sizes[1], "CORTEX_RIGHT")
        + BrainModelAxis("HIPPOCAMPUS_LEFT", voxel=voxels, affine=AFFINE, volume_shape=(3, 4, 5))
    )


def gray_atlas(seed=0, *, axis=None, **options):
    """Regions of the left, the right, the hippocampus, and one on both sides; random within."""
    axis = gray_axis() if axis is None else axis
    rng = np.random.default_rng(seed)
    labels = np.zeros(len(axis), dtype=int)
    choices = {"CORTEX_LEFT": (0, 2, 300), "CORTEX_RIGHT": (0, 5, 300), "HIPPOCAMPUS_LEFT": (0, 9)}
    for structure, allowed in choices.items():
        here = np.flatnonzero(axis.name == f"CIFTI_STRUCTURE_{structure}")
        labels[here] = rng.choice(allowed, size=len(here))
        labels[here[: len(allowed)]] = allowed
    table = pd.DataFrame({"index": IDS, "name": NAMES})
    return GrayordinateAtlas(labels, axis, table, **options)


def make_maps(seed=0, shape=(6, 5, 4), n_regions=4, *, overlap=True):
    """An atlas of weights; each map has a voxel of its own."""
    rng = np.random.default_rng(seed)
    weights = rng.random((*shape, n_regions)) * (rng.random((*shape, n_regions)) < 0.3)
    if not overlap:
        owner = rng.integers(0, n_regions + 1, size=shape)
        weights = (rng.random(shape) + 0.1)[..., None] * (owner[..., None] == range(n_regions))
    weights[0, 0, :n_regions] = np.eye(n_regions)
    names = [f"map {number}" for number in range(n_regions)]
    table = pd.DataFrame({"index": range(1, n_regions + 1), "name": names})
    return MapsAtlas(nib.Nifti1Image(weights.astype(np.float32), AFFINE), table)


def labelled(values, atlas, **attrs):
    dims = ("time", "region")[-np.ndim(values) :]
    return xr.DataArray(values, dims=dims, coords=region_coordinates(atlas.regions), attrs=attrs)


def flat_mesh(left, right):
    """Two meshes of so many vertices each; where they lie is no matter."""
    parts = {}
    for side, size in (("left", left), ("right", right)):
        points = np.random.default_rng(size).normal(size=(size, 3))
        parts[side] = InMemoryMesh(points, np.array([[0, 1, 2]]))
    return PolyMesh(**parts)


def real_atlas(*names):
    """Give the paths of real atlas files, or skip."""
    if "NEUROSAL_TEST_DATA" not in os.environ:
        pytest.skip("NEUROSAL_TEST_DATA is not set: no real atlas files")
    return [os.path.join(os.environ["NEUROSAL_TEST_DATA"], "atlases", name) for name in names]
