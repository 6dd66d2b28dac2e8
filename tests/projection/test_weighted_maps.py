"""Weighted maps to volumes and back."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.maskers import NiftiMapsMasker
from projection_cases import AFFINE, labelled, make_maps

from neurosal.errors import DataError
from neurosal.parcellation.extract import extract_regions
from neurosal.projection.volume import from_nifti, to_nifti


def plain_sum(values, atlas):
    """Add up the maps voxel by voxel, slowly and plainly, in float64."""
    weights = np.asarray(atlas.maps.dataobj, dtype=np.float64)
    out = np.zeros((*weights.shape[:3], len(values)))
    for place in np.ndindex(*weights.shape[:3]):
        for time, frame in enumerate(values):
            total = 0.0
            for weight, value in zip(weights[place], frame, strict=True):
                total += weight * value if weight else 0.0
            out[(*place, time)] = total
    return out


def test_voxels_are_weighted_sums_as_in_nilearn():
    atlas = make_maps()
    values = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    img = to_nifti(values, atlas, t_r=0.72)
    assert img.get_data_dtype() == np.float32
    np.testing.assert_allclose(img.get_fdata(), plain_sum(values, atlas), rtol=2e-7, atol=1e-12)
    masker = NiftiMapsMasker(atlas.maps, standardize=None).fit()
    theirs = masker.inverse_transform(values).get_fdata()
    np.testing.assert_allclose(img.get_fdata(), theirs, rtol=1e-5, atol=1e-6)
    assert float(img.header["pixdim"][4]) == pytest.approx(0.72)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n_times=st.integers(0, 3), overlap=st.booleans())
def test_values_come_back_by_least_squares(seed, n_times, overlap):
    atlas = make_maps(seed, overlap=overlap)
    shape = (n_times, 4) if n_times else (4,)
    array = labelled(np.random.default_rng(seed).normal(size=shape).astype(np.float32), atlas)
    if n_times:
        array = array.assign_coords(time=5 + 0.72 * np.arange(n_times)).assign_attrs(t_r=0.72)
    back = from_nifti(to_nifti(array, atlas), atlas)
    assert back.dims == array.dims
    np.testing.assert_allclose(back, array, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(back["region"], array["region"])
    if n_times:
        np.testing.assert_allclose(back["time"], array["time"], atol=1e-6)


def test_written_maps_are_read_as_runs():
    atlas = make_maps()
    values = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    series = extract_regions(to_nifti(values, atlas, t_r=0.72), atlas)
    np.testing.assert_allclose(series, values, rtol=1e-4, atol=1e-5)


def test_missing_regions_stay_missing_and_do_not_spread():
    atlas = make_maps()
    values = np.array([[1.0, np.nan, 3, 4], [5, 6, 7, 8]])
    img = to_nifti(values, atlas, t_r=1.0)
    weights = np.asarray(atlas.maps.dataobj)
    np.testing.assert_array_equal(np.isnan(img.get_fdata()[..., 0]), weights[..., 1] != 0)
    assert np.isfinite(img.get_fdata()[..., 1]).all()
    np.testing.assert_allclose(from_nifti(img, atlas), values, rtol=1e-5)
    part = to_nifti(labelled(values[1], atlas)[[3]], atlas)
    np.testing.assert_allclose(part.get_fdata(), weights[..., 3] * 8, rtol=1e-6)


def test_reference_grid_is_that_of_extraction():
    atlas = make_maps()
    turned = nib.as_closest_canonical(nib.Nifti1Image(np.zeros((6, 5, 4)), AFFINE))
    values = np.array([1.0, -2.0, 3.0, 4.0])
    img = to_nifti(values, atlas, reference=turned)
    np.testing.assert_array_equal(img.affine, turned.affine)
    expected = to_nifti(values, atlas).get_fdata()[::-1]
    np.testing.assert_allclose(img.get_fdata(), expected, atol=1e-5)
    np.testing.assert_allclose(from_nifti(img, atlas), values, rtol=1e-4)
    away = nib.Nifti1Image(np.zeros((2, 2, 2)), nib.affines.from_matvec(np.eye(3), [500, 0, 0]))
    with pytest.raises(DataError, match="No map of atlas lies inside the reference"):
        to_nifti(values, atlas, reference=away)
    corner = nib.Nifti1Image(np.zeros((1, 1, 2)), AFFINE)
    with pytest.warns(UserWarning, match="no voxel on the grid of the reference"):
        to_nifti(values, make_maps(overlap=False), reference=corner)
