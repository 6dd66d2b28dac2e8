"""Several methods side by side."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from neurosal.errors import ArgumentError
from neurosal.models import build_network
from neurosal.saliency.compare import compare_methods
from neurosal.saliency.explain import explain

X = np.random.default_rng(0).normal(size=(4, 6, 5))
METHODS = {
    "gradient": {},
    "squared_gradient": {},
    "smoothgrad": {"n_samples": 3},
    "feature_ablation": {"block": 2},
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network("input-cell-lstm", n_features=5, n_classes=2, hidden_size=4)


@pytest.fixture(scope="module")
def found(network):
    return compare_methods(network, X, methods=METHODS, target=1)


def test_agreement_is_the_mean_rank_correlation_over_samples(found):
    maps = {name: abs(array.values).reshape(4, -1) for name, array in found.maps.items()}
    for one in METHODS:
        for other in METHODS:
            expected = np.mean([spearmanr(maps[one][k], maps[other][k])[0] for k in range(4)])
            assert found.agreement.loc[one, other] == pytest.approx(expected, abs=1e-9)
    assert found.agreement.loc["gradient", "squared_gradient"] == pytest.approx(1, abs=1e-6)
    others = found.agreement.loc["gradient"].drop("gradient")
    assert found.table.loc["gradient", "agreement"] == pytest.approx(others.mean())


def test_costs_and_kinds(found):
    table = found.table
    assert table.index.tolist() == list(METHODS)
    assert table["forward"].tolist() == [1, 1, 3, 5 * 3 + 1]
    assert table["backward"].tolist() == [1, 1, 3, 0]
    assert table["signed"].tolist() == [True, False, True, True]
    assert (table["seconds"] > 0).all()


def test_the_maps_are_those_of_explain(found, network):
    alone = explain(network, X, target=1, method="smoothgrad", n_samples=3)
    np.testing.assert_array_equal(found.maps["smoothgrad"], alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["gradient"]}, "at least two methods"),
        ({"methods": "gradient"}, "at least two methods"),
        ({"at": "all"}, "'end' or a step"),
        ({"methods": ["gradient", "lpr"]}, "method must be one of"),
    ],
)
def test_bad_arguments(network, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        compare_methods(network, X, target=1, **arguments)
