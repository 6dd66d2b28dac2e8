"""Agreement of maps against textbooks and plain loops; maps that do not come out again."""

import numpy as np
import pytest
import xarray as xr
from region_study import decoded, region_study, small_decoder
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import RidgeClassifier

from neurosal.errors import ArgumentError
from neurosal.models.screening import screening_mask
from neurosal.validation.agreement import (
    intraclass_correlation,
    leave_one_out,
    rank_correlations,
)
from neurosal.validation.halves import compare_halves, halve, mean_maps, reseed, retrained_halves
from neurosal.validation.reliability import reliability

# Four judges rate six targets: Shrout & Fleiss (1979), table 2.
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_intraclass_correlations_of_the_textbook():
    found = intraclass_correlation(JUDGES)
    assert round(found.agreement, 2) == 0.29
    assert round(found.consistency, 2) == 0.71


def test_intraclass_correlation_equals_plain_analysis_of_variance():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(20, 1)) + rng.normal(size=(20, 5)) + np.arange(5)
    n, k, mean = 20, 5, table.mean()
    rows = sum(k * (row.mean() - mean) ** 2 for row in table)
    columns = sum(n * (column.mean() - mean) ** 2 for column in table.T)
    total = sum((value - mean) ** 2 for value in table.ravel())
    bms, jms = rows / (n - 1), columns / (k - 1)
    ems = (total - rows - columns) / ((n - 1) * (k - 1))
    found = intraclass_correlation(table)
    assert found.consistency == pytest.approx((bms - ems) / (bms + (k - 1) * ems))
    expected = (bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n)
    assert found.agreement == pytest.approx(expected)
    shifted = intraclass_correlation(table + 100 * np.arange(5))
    assert shifted.consistency == pytest.approx(found.consistency)
    assert shifted.agreement < 0.01


def test_rank_correlations_equal_scipy():
    maps = np.random.default_rng(0).integers(0, 6, size=(4, 30)).astype(float)
    for i, j in np.ndindex(4, 4):
        assert rank_correlations(maps)[i, j] == pytest.approx(spearmanr(maps[i], maps[j])[0])
    for i, found in enumerate(leave_one_out(maps)):
        others = np.mean([maps[j] for j in range(4) if j != i], axis=0)
        assert found == pytest.approx(spearmanr(maps[i], others)[0])
    assert np.isnan(rank_correlations([[1, 1, 1], [1, 2, 3]])[0, 1])


def test_halves_keep_groups_and_classes_together():
    groups, y = np.repeat(np.arange(5), 4), np.tile(list("abab"), 5)
    found = halve(groups, y, n=20, rng=np.random.default_rng(0))
    # Five groups can be split into two and three in ten ways.
    assert len({tuple(half) for half in found}) == len(found) == 10
    assert halve(groups, np.where(groups == 0, "c", y), n=3, rng=np.random.default_rng(0)) == []
    for half in found:
        assert all(len(set(half[groups == g])) == 1 for g in range(5))
        assert set(half[y == "a"]) == set(half[y == "b"]) == {0, 1}
        assert sorted(np.bincount(half)) == [8, 12]


def test_chance_level_of_halves():
    """Maps that share a course over time, each cell's noise smooth over time, nothing else."""
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(2, 2, 12, 60)).cumsum(axis=2) + 3 * np.arange(12)[:, None]
        pair = np.where(rng.random((12, 60)) < 0.3, noise, np.nan)
        p.append(compare_halves([pair], n_flips=199, rng=rng).p)
    p = np.array(p)
    # 99.9 % of binomial draws of 200 at the level lie within.
    assert 2 <= (p <= 0.05).sum() <= 22
    assert 75 <= (p <= 0.5).sum() <= 125


def test_halves_that_agree_are_found_whatever_their_scale():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(2, 8, 40))
    pair = np.stack([truth + rng.normal(size=truth.shape), np.exp(truth)])
    found = compare_halves([pair], n_flips=999, rng=rng)
    assert found.p == 0.001
    assert found.correlation == pytest.approx(spearmanr(pair[0].ravel(), pair[1].ravel())[0])
    assert found.agreement > np.quantile(found.null, 0.999)
    assert compare_halves([-pair * [[[[1]]], [[[-1]]]]], n_flips=99, rng=rng).p > 0.9


def test_mean_maps_of_units():
    rng = np.random.default_rng(0)
    maps, y, units = rng.normal(size=(12, 2, 3)), np.tile(list("abc"), 4), np.repeat([5, 7], 6)
    y[6:] = "a"
    found = mean_maps(maps, y, units)
    assert found.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(found[0, 1], (maps[1] + maps[4]) / 2)
    np.testing.assert_allclose(found[1, 0], maps[6:].mean(axis=0))
    assert np.isnan(found[1, 1:]).all()


def test_numbers_are_those_of_the_units_maps():
    found = decoded(0)
    check = reliability(found.maps, y=found.y, folds=found.study.folds())
    maps, subjects = found.maps.to_numpy(), found.maps["subject"].to_numpy()
    given = np.all([one.screening_ for one in found.fold_decoders], axis=0)
    flat = np.stack(
        [
            np.concatenate(
                [maps[(subjects == s) & (found.y == c)].mean(axis=0)[given] for c in set(found.y)]
            )
            for s in np.unique(subjects)
        ]
    )
    expected = intraclass_correlation(flat.T)
    assert check.values["icc_subject"] == pytest.approx(expected.consistency)
    assert check.values["icc_agreement_subject"] == pytest.approx(expected.agreement)
    assert check.values["leave_one_out_least"] == pytest.approx(leave_one_out(flat).min())
    assert check.data["level"].values.tolist() == ["run", "subject", "fold"]
    assert check.data["n_units"].values.tolist() == [2, 4, 4]
    assert check.verdict == "reported"


def test_random_maps_are_flagged_also_within_the_screened_cells():
    """At the level of 5 %: 16 of 20 or more are, in 99.7 % of all such tests."""
    found = decoded(0)
    options = {"y": found.y, "folds": found.study.folds(), "n_flips": 199}
    within, flagged = found.maps.to_numpy() != 0, []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        draw = rng.random(within.shape) if seed % 2 else rng.normal(size=within.shape)
        draw *= within if seed % 4 > 1 else 1
        check = reliability(found.maps.copy(data=draw), **options)
        assert check.verdict in ("flagged", "reported")
        flagged.append(check.flagged)
    assert sum(flagged) >= 16
    assert not reliability(found.maps, **options).flagged


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3))])
def test_true_maps_come_out_again_and_those_of_shuffled_labels_do_not(seed):
    """Held-out maps agree even where nothing is there to decode; retrained halves do not."""
    verdicts = {}
    for shuffled in (False, True):
        found = decoded(seed, shuffled=shuffled)
        options = {"y": found.y, "folds": found.study.folds(), "seed": seed}
        options |= {"decoder": found.decoder, "windows": found.study.windows}
        check = reliability(found.maps, **options)
        verdicts[shuffled] = check.verdict
        assert check.values["p_halves"] <= 0.05
    assert verdicts == {False: "passed", True: "flagged"}


class RidgeDecoder(ClassifierMixin, BaseEstimator):
    """Screening and ridge regression: weight times value as the map, trained in no time."""

    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, X, y):
        mask = screening_mask(X, y)
        self.screening_ = X[0].reset_coords(drop=True).copy(data=mask)
        self.model_ = RidgeClassifier(alpha=20.0).fit(X.to_numpy()[:, mask], y)
        return self

    def explain(self, X, y):
        mask, out = self.screening_.to_numpy(), np.zeros(X.shape)
        weights = self.model_.coef_[np.searchsorted(self.model_.classes_, y)]
        out[:, mask] = weights * X.to_numpy()[:, mask]
        return X.copy(data=out)


@pytest.mark.slow
def test_chance_level_and_power_of_retrained_halves():
    """Over studies: labels shuffled, responses and all, at the level; true ones nearly always."""
    passed = {True: 0, False: 0}
    for seed in range(60):
        study = region_study(seed=seed)
        rng, groups = np.random.default_rng(seed), study.windows["subject"].to_numpy()
        for shuffled in passed:
            y = rng.permutation(study.y) if shuffled else study.y
            pairs = retrained_halves(RidgeDecoder(), study.windows, y, groups, n=3, rng=rng)
            passed[shuffled] += compare_halves(pairs, n_flips=199, rng=rng).p <= 0.05
    # 99.7 % of binomial draws of 60 at 0.05 are 8 or fewer.
    assert passed[True] <= 8
    assert passed[False] >= 54


def test_seeds_are_compared():
    found = decoded(0)
    options = {"y": found.y, "folds": found.study.folds(), "n_halvings": 0, "n_seeds": 1}
    options |= {"decoder": small_decoder(0, max_epochs=5), "windows": found.study.windows}
    check = reliability(found.maps, **options)
    assert check.data["n_units"].sel(level="seed") == 2
    assert 0 < check.values["rank_correlation_seed"] < 1
    assert check.verdict == "reported"
    twin = reseed(found.decoder, 7)
    assert (twin.random_state, twin.classifier.random_state) == (7, 7)


def test_conditions_that_a_run_lacks_and_regions_that_it_does_not_cover():
    rng = np.random.default_rng(0)
    y, runs = np.tile(list("aabb"), 10), np.repeat(["1", "2"], 20)
    y[runs == "2"] = "a"
    values = rng.normal(size=(40, 3, 9)) + rng.normal(size=(3, 9))
    folds = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    coords = {"run": ("sample", runs)}
    maps = xr.DataArray(values, dims=("sample", "time", "region"), coords=coords)
    expected = reliability(maps, y=y, folds=folds)
    means = [values[(runs == one) & (y == "a")].mean(axis=0).ravel() for one in ("1", "2")]
    assert expected.values["rank_correlation_run"] == pytest.approx(spearmanr(*means)[0])
    wider = maps.pad(region=(2, 0))
    assert reliability(wider, y=y, folds=folds).values == expected.values


def test_subjects_without_a_condition_in_common_are_not_compared():
    """Two groups with tasks of their own: folds and halves have all conditions, subjects not."""
    subjects = np.repeat(list("1234"), 10)
    y = np.where(np.isin(subjects, ["1", "2"]), np.tile(["a", "b"], 20), np.tile(["c", "d"], 20))
    values = np.random.default_rng(0).normal(size=(40, 3, 9))
    coords = {"subject": ("sample", subjects)}
    maps = xr.DataArray(values, dims=("sample", "time", "region"), coords=coords)
    first = np.isin(subjects, ["1", "3"])
    folds = [tuple(map(np.flatnonzero, pair)) for pair in ((first, ~first), (~first, first))]
    check = reliability(maps, y=y, folds=folds)
    assert check.verdict in ("reported", "flagged")
    assert check.data["level"].values.tolist() == ["fold"]
    assert "a subject's map" not in check.finding


def test_nothing_to_compare():
    maps = xr.DataArray(np.ones((4, 2, 3)), dims=("sample", "time", "region"))
    check = reliability(maps, y=list("abab"), folds=[(np.arange(4), np.arange(4))])
    assert check.verdict == "not run"
    assert "only one run and fold" in check.finding


def test_bad_arguments():
    found = decoded(0)
    options = {"y": found.y, "folds": found.study.folds()}
    with pytest.raises(ArgumentError, match="decoder and windows must be given together"):
        reliability(found.maps, decoder=found.decoder, **options)
    windows = found.study.windows[:, :5]
    with pytest.raises(ArgumentError, match="windows must be those of the maps"):
        reliability(found.maps, decoder=found.decoder, windows=windows, **options)
    with pytest.raises(ArgumentError, match="one a class in y"):
        reliability(found.maps, y=found.y[:3], folds=options["folds"])
    with pytest.raises(ArgumentError, match=r"finite and \(cell, rater\)"):
        intraclass_correlation([[1.0, np.nan], [2.0, 3.0]])
    with pytest.raises(ArgumentError, match="n_flips must be 1 or more"):
        compare_halves([], n_flips=0, rng=np.random.default_rng(0))
