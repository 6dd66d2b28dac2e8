"""What `explain` promises of the methods that know the network: lrp, deep_taylor, attention."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pretended import pretended_device
from torch import nn

from neurosal.errors import ArgumentError
from neurosal.models import NetworkClassifier, Training, build_network
from neurosal.saliency.explain import explain
from neurosal.saliency.methods import METHODS

T, N, C = 7, 4, 3
X = np.random.default_rng(0).uniform(-1, 1, size=(5, T, N))
PADDED = X.copy()
PADDED[1, 5:] = np.nan
KNOWING = [
    ("lstm", "lrp", {}),
    ("bi-gru", "lrp", {"rule": "alpha-beta"}),
    ("r-lstm", "deep_taylor", {"low": -1.0, "high": 1.0}),
    ("r-lstm", "deep_taylor", {}),
    ("input-cell-bi-lstm", "lrp", {"gate_rule": "half"}),
    ("input-cell-lstm", "deep_taylor", {}),
    ("input-cell-lstm", "attention", {}),
    ("tcn", "lrp", {}),
    ("feed-forward", "lrp", {}),
    ("feed-forward", "deep_taylor", {}),
]
CASES = pytest.mark.parametrize(("name", "method", "own"), KNOWING)


def made(name, seed=0):
    torch.manual_seed(seed)
    network = build_network(name, n_features=N, n_classes=C, hidden_size=6, n_steps=T)
    return network.double().eval()


def input_weights(network):
    """The weights whose columns are the regions."""
    return [p for p in network.parameters() if p.ndim > 1 and p.shape[1] == N]


@CASES
def test_batch_size_order_and_company_change_nothing(name, method, own):
    asked = {"method": method, "target": [0, 1, 2, 1, 0], **own}
    whole = explain(made(name), PADDED, **asked)
    for batch_size in (1, 2):
        split = explain(made(name), PADDED, batch_size=batch_size, **asked)
        np.testing.assert_allclose(split, whole, atol=1e-12)
    order = [3, 1, 4]
    asked["target"] = [1, 1, 0]
    some = explain(made(name), PADDED[order], **asked)
    np.testing.assert_allclose(some, whole.values[order], atol=1e-12)
    assert not whole.values[1, 5:].any()


@CASES
def test_permuting_regions_permutes_the_map(name, method, own):
    network, permuted, order = made(name), made(name), [2, 0, 3, 1]
    if name == "feed-forward":
        columns = np.arange(T * N).reshape(T, N)[:, order].ravel()
        permuted.hidden.weight.data = network.hidden.weight.data[:, columns]
    for ours, theirs in zip(input_weights(network), input_weights(permuted), strict=True):
        theirs.data = ours.data[:, order]
    maps = explain(network, X, method=method, target=1, **own)
    again = explain(permuted, X[:, :, order], method=method, target=1, **own)
    np.testing.assert_allclose(again, maps[:, :, order], atol=1e-12)


@settings(max_examples=5, deadline=None)
@given(region=st.integers(0, N - 1), step=st.integers(0, T - 1), seed=st.integers(0, 1000))
def test_what_the_network_ignores_gets_no_relevance(region, step, seed):
    for name in ("lstm", "bi-gru", "r-lstm", "input-cell-lstm", "tcn"):
        network = made(name, seed)
        for weight in input_weights(network):
            weight.data[:, region] = 0
        for method, own in [("lrp", {}), ("deep_taylor", {"start": "one"})]:
            maps = explain(network, X[:2], method=method, target=1, **own).values
            assert np.abs(maps[:, :, region]).max() < 1e-14, (name, method)
    network = made("feed-forward", seed)
    network.hidden.weight.data[:, step * N : (step + 1) * N] = 0
    for method in ("lrp", "deep_taylor"):
        maps = explain(network, X[:2], method=method, target=1).values
        assert np.abs(maps[:, step]).max() < 1e-14, method


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(T * N, C)).double()


def test_lrp_gives_weight_times_input_for_a_linear_network():
    network = linear()
    maps = explain(network, X, method="lrp", target=2, epsilon=0.0)
    weight = network[1].weight[2].detach().numpy().reshape(T, N)
    np.testing.assert_allclose(maps, weight * X, atol=1e-12)
    np.testing.assert_allclose(maps.leak, float(network[1].bias[2].detach()), atol=1e-12)


def test_bounds_of_regions_hold_at_every_step_of_a_flattened_window():
    network, low, high = linear(), X.min((0, 1)), X.max((0, 1))
    asked = {"low": torch.tensor(low), "high": torch.tensor(high), "start": "one"}
    maps = explain(network, X, method="deep_taylor", target=2, **asked)
    weight = network[1].weight[2].detach().numpy().reshape(T, N)
    share = weight * (X - np.where(weight > 0, low, high))
    expected = share / share.sum((1, 2), keepdims=True)
    np.testing.assert_allclose(maps, expected, atol=1e-12)


@pytest.mark.parametrize("network", ["bi-lstm", "input-cell-bi-gru", "r-lstm"])
def test_relevance_in_a_trained_classifiers_padded_maps_adds_up_to_the_score(network):
    rng = np.random.default_rng(0)
    y = np.repeat(["hand", "foot", "rest"], 10)
    x = rng.normal(size=(30, T, N)) + np.eye(3, N)[np.repeat([0, 1, 2], 10)][:, None]
    lengths = rng.integers(3, T + 1, size=30)
    x[np.arange(T) >= lengths[:, None]] = np.nan
    training = Training(max_epochs=5, precision="float64")
    classifier = NetworkClassifier(network, hidden_size=8, training=training).fit(x, y)
    maps = explain(classifier, x, method="lrp", y=y, bias_factor=1.0)
    assert maps.dtype == np.float64
    np.testing.assert_allclose(maps.leak, maps.absorbed, atol=1e-10)
    np.testing.assert_allclose(maps.sum(("time", "region")) + maps.leak, maps.score, atol=1e-10)
    own = classifier.decision_function(x)[np.arange(30), np.searchsorted(classifier.classes_, y)]
    np.testing.assert_allclose(maps.score, own, atol=1e-10)
    assert maps.attrs["leak"] == pytest.approx(float(abs(maps.leak).max()))
    leaky = explain(classifier, x, method="lrp", y=y)
    assert leaky.attrs["leak"] > 1e-3


def test_a_transformer_is_told_which_methods_can():
    network = build_network("transformer", n_features=N, n_classes=C, hidden_size=8)
    named = []
    for method in ("lrp", "deep_taylor", "attention"):
        with pytest.raises(ArgumentError, match=r"TransformerNetwork.*take any network") as refusal:
            explain(network, X, method=method, target=1)
        named += [name for name in METHODS if f"'{name}'" in str(refusal.value)]
    assert {"gradient", "integrated_gradients", "occlusion"} <= set(named)
    for method in set(named) - {"lrp", "deep_taylor", "attention"}:
        assert np.isfinite(explain(network, X, method=method, target=1)).all()


@CASES
def test_maps_on_another_device_are_those_on_the_cpu(name, method, own):
    with pretended_device() as device:
        ours = explain(made(name).to(device), PADDED, method=method, target=1, **own)
    np.testing.assert_allclose(
        ours, explain(made(name), PADDED, method=method, target=1, **own), atol=1e-10
    )


@CASES
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_maps_on_a_gpu_are_those_on_a_cpu(name, method, own):
    ours = explain(made(name).cuda(), PADDED, method=method, target=1, **own)
    np.testing.assert_allclose(
        ours, explain(made(name), PADDED, method=method, target=1, **own), atol=1e-10
    )
