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
        ({"methods": ["gradient", "gradient"]}, "two methods that differ. Got .'gradient', 'grad"),
        ({"methods": None}, "at least two methods that differ. Got None"),
        ({"methods": [["gradient"], "occlusion"]}, "at least two methods"),
        ({"methods": {"gradient": None, "occlusion": {}}}, "Got None for 'gradient'; write {}"),
        ({"methods": {"gradient": {"at": "all"}, "occlusion": {}}}, "'end' or a step"),
        ({"methods": {"occlusion": {}, "gradient": {"x": X}}}, "'gradient' takes no argument 'x'"),
        ({"methods": ["smoothgrad", "gradient"], "n_samples": 3}, "takes no argument 'n_samples'"),
        ({"method": "gradient"}, "method must be left out .* Got 'gradient'; list"),
        ({"out": "maps.npy"}, "out must be left out .* Got 'maps.npy'; call explain for each"),
        ({"methods": {"lrp": {}, "gradient": {"out": "maps.npy"}}}, "out must be left out"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(network, arguments, message, monkeypatch):
    def work(*_, **__):
        raise AssertionError("A map is made.")

    monkeypatch.setattr("neurosal.saliency.compare.explain", work)
    with pytest.raises(ArgumentError, match=message):
        compare_methods(network, X, target=1, **arguments)


@pytest.mark.parametrize("at", ["end", 1])
def test_cells_that_cannot_count_are_no_agreement(network, at):
    x, lengths = X.copy(), np.array([2, 6, 3, 2])
    x[np.arange(6) >= lengths[:, None]] = np.nan
    asked = ["gradient", "integrated_gradients", "attention"]
    found = compare_methods(network, x, methods=asked, target=1, at=at)
    ends = lengths if at == "end" else np.minimum(lengths, at + 1)
    for one in asked:
        for other in asked:
            pairs = [
                [abs(found.maps[name].values[k, :end]).ravel() for name in (one, other)]
                for k, end in enumerate(ends)
            ]
            expected = np.mean([spearmanr(*pair)[0] for pair in pairs])
            assert found.agreement.loc[one, other] == pytest.approx(expected, abs=1e-9)


def test_arguments_of_one_method_and_labels_of_classes_are_passed_on(network):
    methods = {"smoothgrad": {"n_samples": 2}, "gradient": {"out": None}}
    found = compare_methods(network, X, methods=methods, target="b", classes=["a", "b"], at=3)
    alone = explain(network, X, method="smoothgrad", n_samples=2, target=1, at=3)
    np.testing.assert_array_equal(found.maps["smoothgrad"], alone)
