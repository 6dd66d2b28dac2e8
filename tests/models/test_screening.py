import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f_oneway

from neurosal.errors import ArgumentError
from neurosal.models import screening_mask


@given(seed=st.integers(0, 1000), percentile=st.sampled_from([5.0, 20.0, 50.0, 100.0]))
def test_the_cells_kept_are_those_of_largest_f(seed, percentile):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(12, 4, 5)), np.repeat(["a", "b", "c"], 4)
    mask = screening_mask(X, y, percentile=percentile)
    scores = np.array(
        [
            [f_oneway(*(X[y == c, t, r] for c in "abc")).statistic for r in range(5)]
            for t in range(4)
        ]
    )
    assert mask.sum() == max(1, round(20 * percentile / 100))
    assert scores[mask].min() >= scores[~mask].max(initial=-np.inf)


def test_constant_cells_come_last_and_a_share_must_be_a_share():
    X = np.zeros((4, 1, 3))
    X[:, 0, 1] = [0, 1, 5, 6]
    assert screening_mask(X, [0, 0, 1, 1], percentile=34).tolist() == [[False, True, False]]
    with pytest.raises(ArgumentError, match="above 0 and at most 100"):
        screening_mask(X, [0, 0, 1, 1], percentile=0)
