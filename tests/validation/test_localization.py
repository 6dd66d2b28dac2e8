import numpy as np
import pytest
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.validation.localization import truth_recovery


def plain_average_precision(flags, scores):
    """Mean over the true cells of the precision at their rank."""
    order = np.argsort(-scores)
    hits = flags[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return precision[hits].mean()


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    coords = {"condition": ["lh", "rh"], "region": [f"r{i}" for i in range(20)]}
    flags = rng.random((2, 10, 20)) < 0.2
    return xr.DataArray(flags, dims=("condition", "time", "region"), coords=coords)


def test_recovery_equals_the_plain_definition_and_ignores_sign(truth):
    rng = np.random.default_rng(1)
    importance = truth * 0.5 + rng.standard_normal(truth.shape)
    scores = truth_recovery(importance, truth)
    for condition in ("lh", "rh"):
        expected = plain_average_precision(
            truth.sel(condition=condition).to_numpy().ravel(),
            np.abs(importance.sel(condition=condition).to_numpy().ravel()),
        )
        assert scores["truth_aupr_per_condition"][condition] == pytest.approx(expected, abs=1e-12)
    assert truth_recovery(-importance, truth) == scores


def test_a_random_map_scores_what_random_maps_score(truth):
    scores = truth_recovery(truth.astype(float), truth)
    assert scores["truth_aupr"] == 1.0
    assert scores["truth_aupr_random"] == pytest.approx(float(truth.mean()), abs=0.03)


def test_regions_without_a_value_are_left_out(truth):
    importance = truth.astype(float)
    importance[:, :, 3] = np.nan
    assert truth_recovery(importance, truth)["truth_aupr"] == 1.0


def test_other_regions_are_refused(truth):
    other = truth.assign_coords(region=truth["region"].to_numpy()[::-1])
    with pytest.raises(ArgumentError, match="differ in region"):
        truth_recovery(truth.astype(float), other)
    with pytest.raises(ArgumentError, match="nothing to recover"):
        truth_recovery(truth.astype(float), truth & False)
