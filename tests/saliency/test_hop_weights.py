"""Attention by hop: what the layers give, each direction in the time of the window."""

import numpy as np
import pytest
import torch

from neurosal.errors import ArgumentError
from neurosal.models import InputCellClassifier, Training
from neurosal.models.networks import build_network
from neurosal.saliency.hop_weights import hop_weights

X = np.random.default_rng(0).normal(size=(12, 7, 4)).astype("float32")


def slow(layer, x):
    """Softmax over time of each hop's logits, one sample after the other."""
    first, second = (
        [p.detach().numpy().astype(float) for p in (one.weight, one.bias)]
        for one in (layer.first, layer.second)
    )
    out = []
    for window in x.astype(float):
        logits = np.tanh(window @ first[0].T + first[1]) @ second[0].T + second[1]
        shares = np.exp(logits - logits.max(axis=0))
        out.append((shares / shares.sum(axis=0)).T)
    return np.array(out)


def test_both_directions_are_given_in_the_time_of_the_window():
    options = {"hops": 3, "bidirectional": True, "training": Training(max_epochs=2)}
    model = InputCellClassifier(8, **options).fit(X, np.tile([0, 1], 6))
    weights = hop_weights(model, X)
    assert weights.sizes == {"sample": 12, "hop": 6, "time": 7}
    assert weights["direction"].values.tolist() == ["forwards"] * 3 + ["backwards"] * 3
    layers = dict(model.modules_[0].named_modules())
    found = {name: one for name, one in layers.items() if hasattr(one, "hops")}
    forwards = next(one for name, one in found.items() if not name.endswith("_reverse"))
    backwards = next(one for name, one in found.items() if name.endswith("_reverse"))
    np.testing.assert_allclose(weights[:, :3], slow(forwards, X), atol=1e-5)
    # Attention knows no order: read backwards, a step weighs what it weighs.
    np.testing.assert_allclose(weights[:, 3:], slow(backwards, X), atol=1e-5)
    np.testing.assert_allclose(weights.sum("time"), 1, atol=1e-5)


def test_networks_without_attention_are_refused():
    with pytest.raises(ArgumentError, match="takes networks with input-cell attention"):
        hop_weights(build_network("lstm", n_features=4, n_classes=2), X)
    with pytest.raises(ArgumentError, match="model must be"):
        hop_weights("a network", X)


def test_windows_that_the_network_changes_first_are_refused():
    class Halving(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = build_network("input-cell-bi-lstm", n_features=4, n_classes=2)

        def forward(self, x):
            return self.inner(x / 2)

    model = Halving()
    with pytest.raises(ArgumentError, match="Got Halving, which changes x first"):
        hop_weights(model, X)
    assert hop_weights(model.inner, X / 2).sizes["hop"] == 20


def test_a_network_in_training_mode_is_left_in_it():
    network = build_network("input-cell-lstm", n_features=4, n_classes=2, dropout=0.5).train()
    assert hop_weights(network, X).sizes["hop"] == 10
    assert all(part.training for part in network.modules())
