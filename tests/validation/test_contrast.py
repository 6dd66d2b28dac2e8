"""Map against contrast: what is compared, and that it never decides."""

import numpy as np
import pytest
from region_study import CONDITIONS, decoded
from scipy.stats import spearmanr

from neurosal.errors import ArgumentError
from neurosal.parcellation.atlas import load_atlas
from neurosal.validation.contrast import contrast_comparison, glm_comparison
from neurosal.validation.region_contrasts import glm_contrasts, window_contrasts
from neurosal.validation.spatial_null import region_centroids


@pytest.fixture(scope="module")
def places():
    atlas = load_atlas("dosenbach160")
    return region_centroids(atlas)[atlas.rows_of(decoded(0).study.regions["label_id"])]


def test_true_maps_go_with_the_contrast_and_random_maps_do_not(places):
    found, rng = decoded(0), np.random.default_rng(0)
    study = found.study
    options = {"runs": study.runs, "centroids": places, "conditions": CONDITIONS}
    check = glm_comparison(found.mean_map, study.series, **options)
    assert check.verdict == "reported"
    assert check.values["rank_correlation"] > 0.35
    assert check.values["p_spatial"] <= 0.01
    z = glm_contrasts(study.series, study.runs, conditions=CONDITIONS)
    for name in CONDITIONS:
        ours = abs(found.mean_map.sel(condition=name)).mean("time")
        expected = spearmanr(ours, abs(z.sel(condition=name)))[0]
        assert float(check.data["correlation"].sel(condition=name)) == pytest.approx(expected)
    random = found.mean_map.copy(data=rng.random(found.mean_map.shape))
    other = contrast_comparison(random, z, centroids=places)
    assert other.verdict == "reported"
    assert other.values["p_spatial"] > 0.05


def test_windows_serve_where_series_are_not_at_hand(places):
    found = decoded(0)
    contrasts = window_contrasts(found.study.windows, y=found.y)
    check = contrast_comparison(found.mean_map, contrasts, centroids=places, kind="t of windows")
    assert check.values["rank_correlation"] > 0.35
    assert "t of windows" in check.finding


def test_regions_and_conditions_are_matched_by_name(places):
    found = decoded(0)
    contrasts = window_contrasts(found.study.windows, y=found.y)
    expected = contrast_comparison(found.mean_map, contrasts, centroids=places)
    turned = contrasts[::-1, ::-1]
    assert contrast_comparison(found.mean_map, turned, centroids=places).values == expected.values
    wider = found.mean_map.pad(region=(0, 1))
    wider = wider.assign_coords(region=[*found.mean_map["region"].values, "outside"])
    far = np.vstack([places, [0, 0, 200]])
    check = contrast_comparison(wider, turned, centroids=far)
    assert check.values == expected.values
    assert check.data.sizes["region"] == len(places)


def test_without_centroids_there_is_no_test():
    found = decoded(0)
    contrasts = window_contrasts(found.study.windows, y=found.y)
    check = contrast_comparison(found.mean_map, contrasts)
    assert "p_spatial" not in check.values
    assert "no test against chance" in check.finding


def test_a_condition_without_importance_is_left_out(places):
    found = decoded(0)
    contrasts = window_contrasts(found.study.windows, y=found.y)
    flat = found.mean_map.copy()
    flat.loc[{"condition": "rh"}] = 0
    check = contrast_comparison(flat, contrasts, centroids=places, n_null=99)
    assert np.isnan(check.data["correlation"].sel(condition="rh"))
    assert np.isnan(check.data["p"].sel(condition="rh"))
    assert 0 < check.values["p_spatial"] < 1


def test_bad_arguments(places):
    found = decoded(0)
    contrasts = window_contrasts(found.study.windows, y=found.y)
    named = contrasts.assign_coords(condition=["x", "y", "z"])
    with pytest.raises(ArgumentError, match="share no condition"):
        contrast_comparison(found.mean_map, named)
    with pytest.raises(ArgumentError, match=r"centroids must be \(region, 3\)"):
        contrast_comparison(found.mean_map, contrasts, centroids=places[1:])
    with pytest.raises(ArgumentError, match="4 are needed"):
        contrast_comparison(found.mean_map, contrasts[:, :3])
