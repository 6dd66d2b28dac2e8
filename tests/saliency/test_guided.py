"""Which functions guided backpropagation takes for relus, which it refuses."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurosal.errors import ArgumentError
from neurosal.models import build_network
from neurosal.saliency.explain import explain

T, N, C = 6, 4, 3
X = np.random.default_rng(0).normal(size=(4, T, N))
TARGET = [0, 2, 1, 1]


class Units(nn.Module):
    """A hidden layer of units of any kind between a relu and the logits."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.first, self.middle = nn.Linear(T * N, 20), nn.Linear(20, 20)
        self.last = nn.Linear(20, C)

    def forward(self, x):
        return self.last(self.how(self.middle(self.first(x.flatten(1)).relu())))


def made(how):
    torch.manual_seed(0)
    return Units(how).double()


def guided(how):
    return explain(made(how), X, method="guided_backprop", target=TARGET)


RELUS = {
    "clamp": lambda x: x.clamp(min=0),
    "clamp of torch": lambda x: torch.clamp(input=x, min=0.0),
    "clamp in place": lambda x: x.clamp_(0),
    "clamp by a tensor": lambda x: x.clamp(min=torch.zeros(20).double()),
    "clip": lambda x: torch.clip(x, 0),
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_min of torch": lambda x: torch.clamp_min(x, 0),
    "clamp_min in place": lambda x: x.clamp_min_(0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum, turned": lambda x: torch.maximum(torch.zeros(()).double(), x),
    "max": lambda x: torch.max(x, torch.zeros(1, 1).double()),
    "fmax": lambda x: x.fmax(torch.zeros_like(x)),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "threshold of torch": lambda x: torch.threshold(x, 0.0, 0.0),
    "threshold in place": lambda x: F.threshold_(x, 0, 0),
    "Threshold": nn.Threshold(0.0, 0.0),
    "Threshold in place": nn.Threshold(0.0, 0.0, inplace=True),
}


@pytest.mark.parametrize("name", RELUS)
def test_a_relu_by_another_name_is_guided(name):
    expected = guided(torch.relu)
    plain = explain(made(torch.relu), X, method="gradient", target=TARGET)
    assert not np.allclose(expected, plain, atol=1e-3)
    np.testing.assert_allclose(guided(RELUS[name]), expected, atol=1e-14)


OTHERS = {
    **{name: getattr(F, name) for name in ("softplus", "selu", "celu", "rrelu", "leaky_relu")},
    **{name: getattr(F, name) for name in ("elu_", "selu_", "celu_", "leaky_relu_", "hardtanh_")},
    **{name: getattr(F, name) for name in ("hardshrink", "softshrink", "tanhshrink", "relu6")},
    **{f"torch.{name}": getattr(torch, name) for name in ("selu", "celu", "rrelu", "hardshrink")},
    "torch.silu": torch._C._nn.silu,
    "prelu": lambda x: torch.prelu(x, torch.ones(1).double()),
    "log_sigmoid": nn.LogSigmoid(),
    "threshold=0.1": nn.Threshold(0.1, 0.0),
    "threshold=0.0, value=-1.0": lambda x: torch.threshold(x, 0.0, -1.0),
    "clamp, min=0": lambda x: x.clamp(0, 6),
    "clamp, min=-1": lambda x: torch.clip(x, min=-1, max=1),
    "clamp, min=None": lambda x: x.clamp_max(0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_units_beside_a_relu_are_refused_by_name(name):
    named = name.removeprefix("torch.")
    with pytest.raises(ArgumentError, match=rf"Got one with {named}.* Use 'gradient'"):
        guided(OTHERS[name])
    assert np.isfinite(explain(made(OTHERS[name]), X, method="gradient", target=1)).all()


PASSED = {
    "guard": lambda x: x.clamp(min=-1e3),
    "guard from above": lambda x: x.clamp(max=1e3),
    "larger of two": lambda x: torch.maximum(x, x - 1),
    "largest": lambda x: x + 0 * x.max(dim=1, keepdim=True).values + 0 * x.max(),
    "largest of rows": lambda x: x + 0 * torch.max(x, 0).values,
}


@pytest.mark.parametrize("name", PASSED)
def test_what_is_no_unit_passes_the_gradient_as_usual(name):
    np.testing.assert_allclose(guided(PASSED[name]), guided(nn.Identity()), atol=1e-14)


class Weighted(nn.Module):
    """Weights that are made positive by what would be a unit among the signals."""

    def __init__(self, positive, unit):
        super().__init__()
        self.raw, self.positive, self.unit = nn.Parameter(torch.ones(C, N)), positive, unit

    def forward(self, x):
        return F.linear(self.unit(x.mean(1)), self.positive(self.raw))


def test_functions_of_weights_are_no_units():
    for positive in (F.softplus, F.elu, torch.relu):
        maps = explain(Weighted(positive, torch.tanh), X, method="guided_backprop", target=1)
        assert np.isfinite(maps).all()
        with pytest.raises(ArgumentError, match="without any relu"):
            explain(Weighted(positive, nn.Identity()), X, method="guided_backprop", target=1)


def test_a_network_of_sigmoids_alone_is_told_that_they_pass_nothing():
    layers = [nn.Flatten(), nn.Linear(T * N, 5), nn.Sigmoid(), nn.Linear(5, C)]
    with pytest.raises(ArgumentError, match=r"through sigmoids alone.*Use 'gradient'"):
        explain(nn.Sequential(*layers), X, method="guided_backprop", target=1)
    detached = nn.Sequential(nn.Flatten(), Detached(), *layers[1:])
    with pytest.raises(ArgumentError, match="detaches its input"):
        explain(detached, X, method="guided_backprop", target=1)


class Detached(nn.Module):
    def forward(self, x):
        return x.detach()


def test_a_network_that_is_twice_in_an_ensemble_counts_twice():
    torch.manual_seed(0)
    one, other = (build_network("input-cell-lstm", n_features=N, n_classes=C) for _ in "ab")
    classes = {"classes_": np.arange(C)}
    ensemble = type("Ensemble", (), {"modules_": [one, other, one], **classes})()
    asked = {"method": "guided_backprop", "target": 1}
    expected = (2 * explain(one, X, **asked) + explain(other, X, **asked)) / 3
    np.testing.assert_allclose(explain(ensemble, X, **asked), expected, atol=1e-6)
    assert "_run_first" not in vars(one.rnn)
