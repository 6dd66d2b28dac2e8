"""Localisation scores against slow and plain definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from neurosal.errors import ArgumentError
from neurosal.experiments.boxes import DATASETS
from neurosal.validation.localization_metrics import score_maps


def slow_scores(cells, truth):
    """Every score of one map, cell by cell."""
    cells = [[abs(float(v)) for v in row] for row in cells]
    flat = [v for row in cells for v in row]
    pairs = list(zip(flat, np.ravel(truth).tolist(), strict=True))
    values = [v for v, _ in pairs]
    low, high = min(values), max(values)
    scaled = [((v - low) / (high - low) if high > low else 0.0, t) for v, t in pairs]
    n_true = sum(t for _, t in pairs)
    above = sum(
        1.0 if a > b else 0.5 if a == b else 0.0 for a, t in pairs if t for b, u in pairs if not u
    )
    precision_sum, seen = 0.0, 0.0
    for level in sorted(set(values), reverse=True):
        taken = [t for v, t in pairs if v >= level]
        precision_sum += (sum(taken) / n_true - seen) * sum(taken) / len(taken)
        seen = sum(taken) / n_true
    logs = [math.log(max(sum(row), np.finfo(float).tiny)) for row in cells]
    away = [len(cells) - 1 - t for t in range(len(cells))]
    return {
        "weighted_jaccard": sum(min(s, t) for s, t in scaled) / sum(max(s, t) for s, t in scaled),
        "euclidean": math.sqrt(sum((t - s) ** 2 for s, t in scaled)) / math.sqrt(n_true),
        "roc_auc": above / (n_true * (len(pairs) - n_true)),
        "aupr": precision_sum,
        "slope": np.polyfit(away, logs, 1)[0],
    }


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, None]))
def test_scores_are_the_plain_definitions(seed, levels):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(3, 6, 5)) if levels is None else rng.integers(levels, size=(3, 6, 5))
    truth = rng.random((3, 6, 5)) < 0.4
    truth[:, 0, 0], truth[:, 0, 1] = True, False
    table = score_maps(maps, truth, parts=2)
    for row in range(3):
        for name, value in slow_scores(maps[row], truth[row]).items():
            assert table.loc[row, name] == pytest.approx(value, rel=1e-10, abs=1e-12), name
        flags, sizes = truth[row].ravel(), np.abs(maps[row]).ravel()
        assert table.loc[row, "aupr"] == pytest.approx(average_precision_score(flags, sizes))
        assert table.loc[row, "roc_auc"] == pytest.approx(roc_auc_score(flags, sizes))


def test_top_cells_and_their_ties():
    truth = np.array([[[True, True, False, False, False]]])
    assert score_maps([[[9, 8, 1, 2, 3]]], truth, parts=1)["jaccard_top"][0] == 1.0
    assert score_maps([[[9, 1, 8, 2, 3]]], truth, parts=1)["jaccard_top"][0] == pytest.approx(1 / 3)
    # One place is left for four cells that tie, one of them true: a quarter of a hit.
    assert score_maps([[[9, 1, 1, 1, 1]]], truth, parts=1)["jaccard_top"][0] == pytest.approx(
        1.25 / 2.75
    )


def test_random_maps_score_what_is_known_of_them():
    truth = DATASETS["earlier"].masks()[0]
    rng = np.random.default_rng(0)
    uniform = score_maps(rng.random((20, 100, 100)), truth).mean()
    normal = score_maps(rng.normal(size=(20, 100, 100)), truth).mean()
    assert uniform["weighted_jaccard"] == pytest.approx(0.194, abs=0.001)
    assert normal["weighted_jaccard"] == pytest.approx(0.123, abs=0.006)
    assert uniform["aupr"] == pytest.approx(0.24, abs=0.005)
    assert uniform["roc_auc"] == pytest.approx(0.5, abs=0.005)
    assert uniform["slope"] == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(uniform.filter(like="share_"), 0.1, atol=0.003)


def test_oracle_and_its_opposite():
    truth = DATASETS["three-earlier"].masks()
    best, worst = (score_maps(m.astype(float), truth).iloc[0] for m in (truth, ~truth))
    assert list(best[:5]) == [1.0, 0.0, 1.0, 1.0, 1.0]
    assert worst["weighted_jaccard"] == worst["roc_auc"] == worst["jaccard_top"] == 0.0
    np.testing.assert_allclose(best.filter(like="share_"), [0.25] * 4 + [0] * 6)


def test_scale_and_sign_do_not_matter():
    rng = np.random.default_rng(1)
    maps, truth = rng.normal(size=(4, 10, 6)), rng.random((10, 6)) < 0.3
    plain, other = score_maps(maps, truth), score_maps(-1e-200 * maps, truth)
    np.testing.assert_allclose(plain, other, rtol=1e-9)


def test_slope_of_what_vanishes_below_the_reach_of_float32():
    steps = np.exp(-2.0 * np.arange(100)[::-1])[None, :, None] * np.ones((1, 1, 3))
    truth = np.arange(300).reshape(100, 3) < 30
    assert score_maps(steps, truth)["slope"][0] == pytest.approx(-2.0)


@pytest.mark.parametrize(
    ("maps", "truth", "words"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), r"\(sample, time, region\)"),
        (np.full((1, 2, 2), np.nan), np.eye(2), "finite"),
        (np.ones((1, 2, 2)), np.zeros((2, 2)), "a true and a false cell"),
        (np.ones((1, 2, 2)), np.eye(2), "parts must be 1 to 2"),
    ],
)
def test_what_cannot_be_scored_is_refused(maps, truth, words):
    with pytest.raises(ArgumentError, match=words):
        score_maps(maps, truth)
