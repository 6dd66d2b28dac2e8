"""Sign flips against a plain enumeration, scipy, mne and nilearn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from inference_cases import every_flip, plain_p_values, plain_t
from scipy import stats

from neurosal.errors import ArgumentError, DataError
from neurosal.inference import sign_flip_test, signflip
from neurosal.inference.effects import effect_sizes

SIDES = {"two-sided": np.abs, "greater": lambda t: t, "less": lambda t: -t}


@pytest.fixture
def values():
    return np.random.default_rng(0).standard_normal((7, 9)) + np.linspace(-1.5, 1.5, 9)


@pytest.mark.parametrize("tail", SIDES)
def test_all_flips_equal_a_plain_enumeration(values, tail):
    found = sign_flip_test(values, tail=tail)
    alone, largest = plain_p_values(values, every_flip(7), SIDES[tail])
    assert found.exact
    assert found.n_flips == (64 if tail == "two-sided" else 128)
    np.testing.assert_allclose(found.p_uncorrected, alone, atol=1e-12)
    np.testing.assert_allclose(found.p_max_t, largest, atol=1e-12)
    np.testing.assert_allclose(found.t, plain_t(values), rtol=1e-12)
    assert len(np.unique(largest)) > 4


@pytest.mark.parametrize("tail", SIDES)
def test_given_flips_equal_a_plain_loop(values, tail, monkeypatch):
    signs = np.random.default_rng(1).choice([-1, 1], (200, 7))
    observed_first = np.vstack([np.ones(7, int), signs])
    alone, largest = plain_p_values(values, observed_first, SIDES[tail])
    monkeypatch.setattr(signflip, "_CHUNK", 9 * 37)  # several chunks, the last one shorter
    found = sign_flip_test(values, tail=tail, signs=signs)
    np.testing.assert_allclose(found.p_uncorrected, alone, atol=1e-12)
    np.testing.assert_allclose(found.p_max_t, largest, atol=1e-12)


@pytest.mark.parametrize("tail", SIDES)
def test_t_is_that_of_scipy(values, tail):
    expected = stats.ttest_1samp(values, 0, alternative=tail)
    np.testing.assert_allclose(sign_flip_test(values, tail=tail).t, expected.statistic, rtol=1e-12)
    found = effect_sizes(values, alpha=0.1, tail=tail)
    np.testing.assert_allclose(found["p_t"], expected.pvalue, rtol=1e-12)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    np.testing.assert_allclose([found["ci_low"], found["ci_high"]], interval, rtol=1e-12)


def test_max_t_is_that_of_mne(values):
    from mne.stats import permutation_t_test

    t, p, _ = permutation_t_test(values, n_permutations=1000, tail=0, verbose="ERROR")
    found = sign_flip_test(values, n_permutations=1000)
    np.testing.assert_allclose(found.t, t, rtol=1e-10)
    np.testing.assert_allclose(found.p_max_t, p, atol=1e-12)


def test_max_t_is_that_of_nilearn_within_monte_carlo_error():
    from nilearn.mass_univariate import permuted_ols

    values = np.random.default_rng(3).standard_normal((14, 6)) + np.linspace(0, 0.9, 6)
    theirs = permuted_ols(
        np.ones((14, 1)), values, model_intercept=False, n_perm=4000, random_state=0,
        two_sided_test=True, output_type="dict",
    )  # fmt: skip
    found = sign_flip_test(values, n_permutations=4000, seed=1)
    assert not found.exact
    np.testing.assert_allclose(found.t, np.ravel(theirs["t"]), rtol=1e-6)
    p = 10.0 ** -np.ravel(theirs["logp_max_t"])
    assert np.all(np.abs(found.p_max_t - p) < 4 * np.sqrt(2 * p * (1 - p) / 4000) + 1e-3)


def test_intervals_of_dz_invert_the_noncentral_t():
    values = np.random.default_rng(4).standard_normal((9, 5)) + np.array([-2, 0, 0.3, 1, 6])
    found = effect_sizes(values)
    assert np.all(found["dz_low"] < found["dz"])
    for end, level in (("dz_low", 0.975), ("dz_high", 0.025)):
        shares = stats.nct.cdf(found["t"], 8, found[end] * 3.0)
        np.testing.assert_allclose(shares, level, atol=2e-6)


def test_intervals_of_dz_where_subjects_hardly_differ():
    """The noise of the mean is nothing there: dz is uncertain by its standard deviation alone."""
    values = 1 + np.random.default_rng(4).standard_normal((10, 4)) * [1e-5, 1e-5, 1e-9, 1e-9]
    found = effect_sizes(values * [1, -1, 1, -1])
    ends = {"dz_low": [0.975, 0.025], "dz_high": [0.025, 0.975]}
    for name, levels in ends.items():
        shares = stats.chi2.sf(9 * (found[name] / found["dz"]) ** 2, 9)
        np.testing.assert_allclose(shares, np.tile(levels, 2), atol=1e-4)


def test_interval_of_the_mean_covers_it_as_often_as_it_says():
    values = np.random.default_rng(5).standard_normal((10, 4000)) + 0.7
    found = effect_sizes(values, alpha=0.1)
    for low, high in (("ci_low", "ci_high"), ("dz_low", "dz_high")):
        covered = np.mean((found[low] <= 0.7) & (found[high] >= 0.7))
        assert abs(covered - 0.9) < 4 * np.sqrt(0.09 / 4000)


def test_same_seed_same_flips_and_the_global_state_is_left_alone():
    values = np.random.default_rng(6).standard_normal((30, 4))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second, other = (sign_flip_test(values, seed=s, n_permutations=300) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.p_uncorrected, second.p_uncorrected)
    assert np.any(first.p_uncorrected != other.p_uncorrected)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    assert first.n_flips == 301


DATA = arrays(np.float64, (6, 5), elements=st.integers(-50, 50).map(float)).filter(
    lambda x: np.all(np.ptp(x, axis=0) > 0)
)


@given(DATA, st.permutations(range(5)), st.permutations(range(6)))
@settings(max_examples=60, deadline=None)
def test_order_of_cells_and_subjects_does_not_matter(x, cells, subjects):
    found, moved = sign_flip_test(x), sign_flip_test(x[subjects][:, cells])
    np.testing.assert_allclose(moved.t, found.t[cells], atol=1e-9)
    np.testing.assert_array_equal(moved.p_uncorrected, found.p_uncorrected[cells])
    np.testing.assert_array_equal(moved.p_max_t, found.p_max_t[cells])


@given(DATA, arrays(np.float64, 5, elements=st.floats(1e-150, 1e150)))
@settings(max_examples=60, deadline=None)
def test_each_cell_may_have_a_unit_of_its_own(x, units):
    found, scaled = sign_flip_test(x), sign_flip_test(x * units)
    np.testing.assert_allclose(scaled.t, found.t, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(scaled.p_max_t, found.p_max_t)


@given(DATA)
@settings(max_examples=60, deadline=None)
def test_less_is_greater_of_the_mirror_and_correction_never_lowers_p(x):
    less, mirror = sign_flip_test(x, tail="less"), sign_flip_test(-x, tail="greater")
    np.testing.assert_array_equal(less.p_max_t, mirror.p_max_t)
    np.testing.assert_array_equal(less.t, -mirror.t)
    assert np.all(less.p_max_t >= less.p_uncorrected)
    assert np.all(less.p_uncorrected >= 1 / less.n_flips)


def test_what_cannot_be_tested_is_refused(values):
    with pytest.raises(DataError, match="1 of 9 cells have the same value for every subject"):
        sign_flip_test(np.where(np.arange(9) == 3, 0.25, values))
    with pytest.raises(DataError, match="1 of 9 cells hold NaN"):
        sign_flip_test(np.where(np.arange(9) == 3, np.nan, values))
    with pytest.raises(DataError, match="1 subject"):
        sign_flip_test(values[:1])
    with pytest.raises(ArgumentError, match="tail must be one of 'two-sided'"):
        sign_flip_test(values, tail="upper")
    with pytest.raises(ArgumentError, match=r"n_permutations must be a whole number .*Got 0"):
        sign_flip_test(values, n_permutations=0)
    with pytest.raises(ArgumentError, match="signs must hold 1 and -1"):
        sign_flip_test(values, signs=np.zeros((3, 7)))
