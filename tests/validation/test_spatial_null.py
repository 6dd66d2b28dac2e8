"""Chance maps keep what they should, and give level p-values to smooth maps."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nibabel.cifti2 import BrainModelAxis
from scipy.spatial.distance import cdist
from scipy.stats import rankdata, spearmanr

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.atlas import Atlas, load_atlas
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.maps import MapsAtlas
from neurosal.validation.contrast import contrast_comparison
from neurosal.validation.spatial_null import (
    MoranNull,
    inverse_distances,
    moran_i,
    region_centroids,
)


@pytest.fixture(scope="module")
def places():
    return region_centroids(load_atlas("dosenbach160"))


def smooth_maps(places, rng, n, length):
    """Gaussian fields (n, region) whose correlation falls by e over ``length`` mm."""
    covariance = np.exp(-cdist(places, places) / length)
    return rng.normal(size=(n, len(places))) @ np.linalg.cholesky(covariance).T


def plain_moran(values, points):
    """Moran's I by two loops."""
    n, mean, above, weight = len(values), np.mean(values), 0.0, 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                w = 1 / np.sqrt(sum((points[i] - points[j]) ** 2))
                above += w * (values[i] - mean) * (values[j] - mean)
                weight += w
    return n / weight * above / sum((v - mean) ** 2 for v in values)


def test_moran_equals_two_loops(places):
    values = smooth_maps(places, np.random.default_rng(0), 1, 20)[0]
    weights = inverse_distances(places)
    assert moran_i(values, weights) == pytest.approx(plain_moran(values, places))
    assert np.isnan(moran_i(np.ones(160), weights))


def test_draws_keep_mean_variance_and_moran(places):
    maps = 5 + smooth_maps(places, np.random.default_rng(0), 2, 25)
    weights, null = inverse_distances(places), MoranNull(places)
    draws = null.draw(maps, n=20, seed=1)
    assert draws.shape == (20, 2, 160)
    for draw in draws:
        for one, source in zip(draw, maps, strict=True):
            assert one.mean() == pytest.approx(source.mean())
            assert one.var() == pytest.approx(source.var())
            assert moran_i(one, weights) == pytest.approx(moran_i(source, weights))
        # Maps drawn together keep their correlation.
        assert np.corrcoef(draw)[0, 1] == pytest.approx(np.corrcoef(maps)[0, 1])
    apart = np.corrcoef(np.vstack([maps[:1], draws[:, 0]]))[0, 1:]
    assert np.abs(apart).max() < 0.9
    assert len(np.unique(draws[:, 0, 0].round(9))) == 20
    np.testing.assert_array_equal(draws, null.draw(maps, n=20, seed=1))


def test_patterns_are_a_basis_of_all_maps_of_mean_zero(places):
    patterns = MoranNull(places).patterns
    assert patterns.shape == (160, 159)
    np.testing.assert_allclose(patterns.T @ patterns, np.eye(159), atol=1e-10)
    np.testing.assert_allclose(patterns.sum(axis=0), 0, atol=1e-9)
    weights = inverse_distances(places)
    within = patterns.T @ weights @ patterns
    np.testing.assert_allclose(within - np.diag(np.diag(within)), 0, atol=1e-10)


def test_p_values_are_level_for_smooth_maps_where_permutation_is_not(places):
    rng, null = np.random.default_rng(0), MoranNull(places)
    by_null, by_permutation = [], []
    for seed in range(300):
        one, other = smooth_maps(places, rng, 2, 30)
        ranks, others = rankdata(one), rankdata(other)
        found = np.corrcoef(ranks, others)[0, 1]
        drawn = null.draw(ranks, n=99, seed=seed)
        for p, chance in (
            (by_null, drawn),
            (by_permutation, np.array([rng.permutation(ranks) for _ in range(99)])),
        ):
            correlations = np.corrcoef(np.vstack([others, chance]))[0, 1:]
            p.append((1 + (correlations >= found).sum()) / 100)
    rejected = [(np.array(p) <= 0.05).sum() for p in (by_null, by_permutation)]
    # 99.8 % of binomial draws of 300 at 0.05 lie within 4 and 28.
    assert 4 <= rejected[0] <= 28
    assert 123 <= (np.array(by_null) <= 0.5).sum() <= 177
    assert rejected[1] > 35


def test_the_checks_p_value_is_that_of_the_draws(places):
    rng = np.random.default_rng(0)
    coords = {"condition": ["a", "b"], "region": [f"r{i}" for i in range(160)]}
    shared = smooth_maps(places, rng, 2, 25)
    maps = xr.DataArray(
        np.abs(shared + smooth_maps(places, rng, 2, 25)),
        dims=("condition", "region"),
        coords=coords,
    ).expand_dims(time=3, axis=1)
    contrasts = xr.DataArray(np.abs(shared), dims=("condition", "region"), coords=coords)
    check = contrast_comparison(maps, contrasts, centroids=places, n_null=199, seed=4)
    ranks = rankdata(maps[:, 0], axis=-1)
    draws = MoranNull(places).draw(ranks, n=199, seed=4)
    null = [[np.corrcoef(d[k], rankdata(contrasts[k]))[0, 1] for k in (0, 1)] for d in draws]
    np.testing.assert_allclose(check.data["null"], null, atol=1e-9)
    found = [spearmanr(maps[k, 0], contrasts[k])[0] for k in (0, 1)]
    np.testing.assert_allclose(check.data["correlation"], found)
    expected = (1 + (np.mean(null, axis=1) >= np.mean(found)).sum()) / 200
    assert check.values["p_spatial"] == pytest.approx(expected)


def test_centroids_of_labels_and_weights():
    affine = nib.affines.from_matvec(np.diag([-2.0, 2, 2]), [10, 0, 5])
    data = np.zeros((6, 6, 6), np.int16)
    data[0:2, 1, 1], data[4, 2:5, 3] = 7, 3
    table = pd.DataFrame({"index": [3, 7], "name": ["first", "second"]})
    expected = [[10 - 2 * 4, 2 * 3, 5 + 2 * 3], [10 - 2 * 0.5, 2, 7]]
    found = region_centroids(Atlas(nib.Nifti1Image(data, affine), table))
    np.testing.assert_allclose(found, expected)
    weights = np.stack([data == 3, data == 7], axis=-1).astype(np.float32)
    table = pd.DataFrame({"index": [1, 2], "name": ["first", "second"]})
    maps = MapsAtlas(nib.Nifti1Image(weights, affine), table)
    np.testing.assert_allclose(region_centroids(maps), expected)


def test_bad_arguments(places):
    axis = BrainModelAxis.from_surface([0, 1], 4, "CORTEX_LEFT")
    surface = GrayordinateAtlas([1, 1], axis, pd.DataFrame({"index": [1], "name": ["a"]}))
    with pytest.raises(DataError, match="lie on surfaces"):
        region_centroids(surface)
    with pytest.raises(ArgumentError, match="Two regions are in the same place"):
        MoranNull(np.vstack([places, places[:1]]))
    with pytest.raises(ArgumentError, match="4 regions or more"):
        inverse_distances(places[:3])
    with pytest.raises(ArgumentError, match="with 160 regions"):
        MoranNull(places).draw(np.ones(159), n=1)
