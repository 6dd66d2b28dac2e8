"""Clusters against a plain enumeration and mne's own spatio-temporal test."""

import sys

import numpy as np
import pytest
from inference_cases import CHAIN, as_maps, every_flip, plain_t, smooth_noise
from scipy import sparse, stats

from neurosal.errors import ArgumentError
from neurosal.inference import cluster_test, group_test
from neurosal.inference.clusters import space_time_adjacency


def plain_clusters(t, neighbours, threshold):
    """Sets of like-signed cells beyond the threshold that hang together, by walking."""
    found, seen = [], set()
    for start in range(len(t)):
        if start in seen or abs(t[start]) <= threshold:
            continue
        members, waiting = set(), [start]
        while waiting:
            cell = waiting.pop()
            if cell in members:
                continue
            members.add(cell)
            for other in range(len(t)):
                if neighbours[cell, other] and abs(t[other]) > threshold and t[other] * t[cell] > 0:
                    waiting.append(other)
        seen |= members
        found.append(sorted(members))
    return found


def plain_cluster_p(x, neighbours, threshold):
    """p of each cell's cluster over every flip, two-sided."""
    null = []
    for signs in every_flip(len(x)):
        t = plain_t(x * signs[:, None])
        masses = [abs(sum(t[c])) for c in plain_clusters(t, neighbours, threshold)]
        null.append(max(masses, default=0.0))
    t, p = plain_t(x), np.ones(x.shape[1])
    for members in plain_clusters(t, neighbours, threshold):
        p[members] = np.mean(np.array(null) >= abs(sum(t[members])) - 1e-9)
    return p


def test_all_flips_equal_a_plain_enumeration():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((6, 10)) + np.array([0, 1.2, 1.5, 0, 0, -1, -1.3, 0, 0, 1])
    neighbours = np.abs(np.subtract.outer(np.arange(10), np.arange(10))) == 1
    p, numbers = cluster_test(x, sparse.csr_array(neighbours), threshold=1.5)
    np.testing.assert_allclose(p, plain_cluster_p(x, neighbours, 1.5), atol=1e-12)
    found = plain_clusters(plain_t(x), neighbours, 1.5)
    assert numbers.max() == len(found) >= 3
    heaviest = max(found, key=lambda cells: abs(plain_t(x)[cells].sum()))
    assert np.flatnonzero(numbers == 1).tolist() == heaviest


def test_flips_of_a_subject_without_importance_tie_with_the_observed_data():
    """Screening gives each fold its cells: some subjects are zero in all of a cluster."""
    chain = sparse.diags_array([1.0] * 5, offsets=1, shape=(6, 6))
    for seed in range(12):
        x = np.random.default_rng(seed).standard_normal((8, 6))
        x[:5, 1:4] += 2.5
        x[5:, 1:4] = 0
        p, _ = cluster_test(x, chain, threshold=1.5)
        expected = plain_cluster_p(x, (chain + chain.T).toarray(), 1.5)
        np.testing.assert_allclose(p, expected, atol=1e-12)
        x[5:] = 0
        assert cluster_test(x, chain, threshold="tfce")[0].min() >= 8 / 128


@pytest.mark.parametrize("threshold", [2.0, "tfce"])
def test_group_clusters_are_those_of_mne(threshold):
    from mne.stats import spatio_temporal_cluster_1samp_test

    values = smooth_noise(np.random.default_rng(4), 14)
    values[:, 2:5, 4:8] += 0.8
    result = group_test(
        as_maps(values), correction="cluster", adjacency=CHAIN, threshold=threshold,
        n_permutations=99, seed=7, progress=False,
    )  # fmt: skip
    theirs = {"start": 0, "step": 0.2} if threshold == "tfce" else threshold
    _, clusters, p_values, _ = spatio_temporal_cluster_1samp_test(
        values, theirs, 100, adjacency=sparse.csr_array(CHAIN), rng=np.random.default_rng(7),
        verbose="ERROR",
    )  # fmt: skip
    if threshold == "tfce":
        expected = p_values.reshape(8, 20)
        assert not result["cluster"].any()
    else:
        expected = np.ones((8, 20))
        for (times, regions), p in zip(clusters, p_values, strict=True):
            expected[times, regions] = p
            assert len(np.unique(result["cluster"].values[times, regions])) == 1
    np.testing.assert_allclose(result["p"], expected, atol=1e-12)
    assert 0 < result["significant"].sum() < 60


@pytest.mark.parametrize("tail", ["greater", "less"])
def test_one_sided_clusters_have_one_sign(tail):
    x = np.random.default_rng(5).standard_normal((12, 6)) + np.repeat([1.5, 0, -1.5], 2)
    chain = sparse.diags_array([1.0] * 5, offsets=1, shape=(6, 6))
    _, numbers = cluster_test(x, chain, tail=tail, n_permutations=200, threshold=2.0)
    expected = [1, 1, 0, 0, 0, 0] if tail == "greater" else [0, 0, 0, 0, 1, 1]
    assert numbers.tolist() == expected
    mirror = cluster_test(-x, chain, n_permutations=200, threshold=2.0,
                          tail="less" if tail == "greater" else "greater")  # fmt: skip
    assert mirror[1].tolist() == expected


def test_neighbours_in_time_are_the_same_region_one_step_away():
    regions = sparse.csr_array(np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]))  # one way only
    found = space_time_adjacency(regions, 4, n_conditions=2).toarray()
    for first in range(24):
        for second in range(24):
            (a, b), (s, t), (i, j) = np.unravel_index([first, second], (2, 4, 3))
            near = (s == t and abs(i - j) == 1) or (i == j and abs(s - t) == 1)
            assert found[first, second] == (a == b and near)


def test_missing_cells_part_clusters():
    values = smooth_noise(np.random.default_rng(6))
    values[:, 3, 2:7] += 5.0
    values[0, :, 4] = np.nan
    options = {"correction": "cluster", "adjacency": CHAIN, "n_permutations": 99, "progress": False}
    with pytest.warns(UserWarning, match="not tested there: r4"):
        result = group_test(as_maps(values), **options)
    numbers = result["cluster"].values[3]
    assert numbers[2] == numbers[3] != 0
    assert numbers[5] == numbers[6] != 0
    assert numbers[3] != numbers[5]
    assert numbers[4] == 0
    assert np.isnan(result["p"].values[3, 4])


def test_no_cluster_is_no_result_rather_than_an_error():
    x = np.random.default_rng(7).standard_normal((10, 4))
    p, numbers = cluster_test(x, sparse.csr_array((4, 4)), threshold=99.0)
    assert p.tolist() == [1.0] * 4
    assert not numbers.any()


def test_the_forming_threshold_is_that_of_a_thousandth():
    x = np.random.default_rng(8).standard_normal((11, 5)) + 1
    lone = sparse.csr_array((5, 5))
    given = cluster_test(x, lone, threshold=stats.t.isf(0.0005, 10), n_permutations=99)
    np.testing.assert_array_equal(cluster_test(x, lone, n_permutations=99)[0], given[0])


def test_errors_say_what_is_needed(monkeypatch):
    maps = as_maps(smooth_noise(np.random.default_rng(0)))
    with pytest.raises(ArgumentError, match=r"needs adjacency=.*\(20, 20\).*Got NoneType"):
        group_test(maps, correction="cluster")
    with pytest.raises(ArgumentError, match=r"threshold must be a t .* or None\. Got -2"):
        group_test(maps, correction="cluster", adjacency=CHAIN, threshold=-2, progress=False)
    with pytest.raises(ArgumentError, match="threshold is for correction='cluster'"):
        group_test(maps, threshold=2.0)
    with pytest.raises(ArgumentError, match=r"Got \(3, 4\) and \(5, 5\)"):
        cluster_test(np.zeros((3, 4)), sparse.csr_array((5, 5)))
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(ArgumentError, match=r'python -m pip install "neurosal\[stats\]"'):
        group_test(maps, correction="cluster", adjacency=CHAIN, progress=False)
