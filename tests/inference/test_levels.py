"""Simulated studies: without effect the error is what it is said to be; with one it is found."""

import numpy as np
import pytest
from inference_cases import CHAIN, as_maps, smooth_noise
from scipy import ndimage, stats

from neurosal.inference import group_test

STUDIES = 200
LOW, HIGH = stats.binom.interval(0.99, STUDIES, 0.05)


def false_alarms(studies=STUDIES, **options):
    """In how many null studies something is significant at .05."""
    rng = np.random.default_rng(11)
    options = {"n_permutations": 199, "progress": False} | options
    return sum(
        bool(group_test(as_maps(smooth_noise(rng)), seed=study, **options)["significant"].any())
        for study in range(studies)
    )


def test_max_t_holds_its_level():
    assert LOW <= false_alarms() <= HIGH


@pytest.mark.slow
def test_one_sided_max_t_holds_its_level():
    assert LOW <= false_alarms(tail="greater") <= HIGH


def test_fdr_holds_its_level():
    assert false_alarms(correction="fdr") <= HIGH


def test_clusters_hold_their_level():
    assert LOW <= false_alarms(correction="cluster", adjacency=CHAIN) <= HIGH


@pytest.mark.slow
@pytest.mark.parametrize(("threshold", "studies", "flips"), [(2.2, 200, 199), ("tfce", 100, 59)])
def test_clusters_of_other_kinds_hold_their_level(threshold, studies, flips):
    options = {"correction": "cluster", "adjacency": CHAIN, "threshold": threshold}
    low, high = stats.binom.interval(0.99, studies, 0.05)
    assert low <= false_alarms(studies, n_permutations=flips, **options) <= high


def test_without_correction_there_is_an_alarm_in_most_studies():
    assert false_alarms(40, correction="none") > 30


def test_absolute_importance_above_the_average_holds_its_level():
    rng, alarms = np.random.default_rng(12), 0
    for study in range(STUDIES):
        noise = ndimage.gaussian_filter(
            rng.standard_normal((12, 4, 8, 20)), (0, 0, 1, 1), mode="wrap"
        )
        values = np.abs(noise).mean(axis=1) * rng.lognormal(0, 0.7, (12, 1, 1))
        options = {"center": "map", "tail": "greater", "n_permutations": 199, "seed": study}
        alarms += bool(group_test(as_maps(values), **options)["significant"].any())
    assert alarms <= HIGH


@pytest.mark.parametrize("correction", ["max-t", "fdr", "cluster"])
def test_power_rises_with_subjects_and_false_cells_stay_rare(correction):
    rng, truth = np.random.default_rng(13), np.zeros((8, 20), dtype=bool)
    truth[3:6, 5:9] = True
    power = []
    for n_subjects in (8, 16, 32):
        found = []
        for study in range(12):
            values = smooth_noise(rng, n_subjects) + 0.35 * truth
            result = group_test(
                as_maps(values), correction=correction, adjacency=CHAIN, n_permutations=199,
                seed=study, progress=False,
            )  # fmt: skip
            found.append(result["significant"].values)
        found = np.array(found)
        power.append(found[:, truth].mean())
        assert found[:, ~truth].sum() <= 0.15 * found.sum() + 2
    assert power[0] + 0.1 < power[1] < power[2] - 0.1
    assert power[2] > 0.6


def test_significant_maps_of_random_weights_are_why_accuracy_is_tested_first():
    rng = np.random.default_rng(14)
    weights = rng.standard_normal((8, 20))  # one network for all, never trained
    response = rng.standard_normal((8, 20))  # all brains respond alike, to any condition
    values = weights * (response + rng.standard_normal((12, 8, 20)))
    assert group_test(as_maps(values))["significant"].mean() > 0.05
