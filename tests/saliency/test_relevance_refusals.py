"""Relevance explains the network's own logits, or says that it cannot."""

import numpy as np
import pytest
import torch
from torch import nn

from neurosal.errors import ArgumentError
from neurosal.models import build_network
from neurosal.models.recurrent import RecurrentNetwork
from neurosal.saliency.explain import explain
from neurosal.saliency.relevance import relevance

T, N, C = 7, 4, 3
X = np.random.default_rng(0).uniform(-1, 1, size=(5, T, N))
METHODS = pytest.mark.parametrize("method", ["lrp", "deep_taylor"])


class Doubling(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class Positive(nn.Linear):
    def forward(self, x):
        return super().forward(x).abs()


class Centred(RecurrentNetwork):
    def forward(self, x, lengths=None):
        return super().forward(x - x.mean(1, keepdim=True), lengths)


def dense(*, kind=nn.Linear):
    return nn.Sequential(nn.Flatten(), kind(T * N, C))


def hooked():
    network = dense()
    network[1].register_forward_hook(lambda module, inputs, out: 5 * out)
    return network


def convolved(*front, n_out=5, steps=N, **options):
    """A convolution over the second axis, as if steps were channels, and a linear layer."""
    layer = nn.Conv1d(T, n_out, 3, **options)
    return nn.Sequential(*front, layer, nn.ReLU(), nn.Flatten(), nn.Linear(n_out * steps, C))


def zeros(value=0.0):
    return nn.ConstantPad1d((2, 0), value)


OTHERS = {
    "sequence with a forward of its own": (lambda: Doubling(*dense()), "Doubling"),
    "layer with a forward of its own": (lambda: dense(kind=Positive), "up to .* apart"),
    "network with a forward of its own": (lambda: Centred(N, C), "Centred"),
    "hook": (hooked, "up to .* apart"),
    "score of every step": (lambda: nn.Linear(N, C), r"gives? \(5, 7, 3\), not logits"),
    "same padding": (lambda: convolved(padding=1), "through Conv1d"),
    "no padding": (lambda: convolved(steps=N - 2), "through Conv1d"),
    "ones in front": (lambda: convolved(zeros(1.0)), "through ConstantPad1d"),
    "stride": (lambda: convolved(zeros(), stride=2, steps=2), "Conv1d: .*stride=1"),
    "groups": (lambda: convolved(zeros(), groups=7, n_out=7), "Conv1d: .*groups=1"),
    "both": (lambda: convolved(zeros(), padding=1, steps=N + 2), "Conv1d: .*padding=0"),
    "padding alone": (
        lambda: nn.Sequential(zeros(), nn.Flatten(), nn.Linear(T * (N + 2), C)),
        "through ConstantPad1d",
    ),
}


@METHODS
@pytest.mark.parametrize("name", OTHERS)
def test_a_network_that_is_not_the_sum_of_its_parts_is_refused(name, method):
    make, message = OTHERS[name]
    torch.manual_seed(0)
    network = make().double()
    with pytest.raises(ArgumentError, match=rf"cannot be propagated.*{message}.*take any network"):
        explain(network, X, method=method, target=1)
    assert np.isfinite(explain(network, X, method="gradient", target=1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_forward_that_differs_a_little_is_refused_and_rounding_is_not(dtype):
    torch.manual_seed(0)
    network, x = build_network("lstm", n_features=N, n_classes=C).to(dtype), torch.tensor(X)
    x = 1000 * x.to(dtype)
    assert torch.equal(relevance(network, x, target_index=1).logits, network(x))
    network.output.register_forward_hook(lambda module, inputs, out: 1.02 * out)
    with pytest.raises(ArgumentError, match=r"through RecurrentNetwork: .*a hook"):
        relevance(network, x, target_index=1)


@METHODS
def test_the_score_comes_from_the_pass_that_is_compared(method):
    calls, networks = [], [dense().double() for _ in range(2)]
    for network in networks:
        network.register_forward_hook(lambda *_: calls.append(1))
    ensemble = type("Ensemble", (), {"modules_": networks, "classes_": np.arange(C)})()
    maps = explain(ensemble, X, method=method, target=1, batch_size=5)
    assert len(calls) == 2
    own = sum(network(torch.tensor(X))[:, 1] for network in networks) / 2
    np.testing.assert_allclose(maps.score, own.detach(), atol=1e-14)
    assert maps.attrs["forward_passes"] == 1


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("between", [[], [nn.Dropout(0.5)], [nn.Sequential(nn.Identity())]])
def test_a_causal_convolution_hands_back_the_networks_score(between, bias):
    network = convolved(nn.Sequential(zeros()), *between, bias=bias).double()
    maps = explain(network, X, method="lrp", target=1, bias_factor=1.0)
    np.testing.assert_allclose(maps.sum(("time", "region")), maps.score, atol=1e-12)
    own = network.eval()(torch.tensor(X))[:, 1].detach()
    np.testing.assert_allclose(maps.score, own, atol=1e-12)


@pytest.mark.parametrize("bounds", [{}, {"low": -1.0, "high": 1.0}])
def test_the_input_rule_is_for_the_first_weights_however_they_are_nested(bounds):
    torch.manual_seed(0)
    inner, out = nn.Linear(T * N, 6), nn.Linear(6, C)
    flat = nn.Sequential(nn.Flatten(), inner, nn.ReLU(), out).double()
    nested = [
        nn.Sequential(nn.Sequential(nn.Flatten()), nn.Sequential(inner, nn.ReLU()), out),
        nn.Sequential(nn.Sequential(nn.Identity(), nn.Dropout()), *flat),
        nn.Sequential(
            nn.Sequential(), nn.Sequential(nn.Sequential(nn.Flatten(), inner)), *flat[2:]
        ),
    ]
    asked = {"method": "deep_taylor", "target": 1, "start": "one", **bounds}
    expected = explain(flat, X, **asked)
    for network in nested:
        np.testing.assert_allclose(explain(network, X, **asked), expected, atol=1e-14)


@pytest.mark.parametrize("bounds", [{}, {"low": -1.0, "high": 1.0}])
def test_the_input_rule_is_for_a_convolution_behind_its_zeros(bounds):
    torch.manual_seed(0)
    network = convolved(zeros()).double()
    eye = torch.eye(T * N, dtype=torch.float64).view(-1, T, N)
    same = nn.Sequential(nn.Flatten(), nn.Linear(T * N, 5 * N), nn.ReLU(), network[-1]).double()
    with torch.no_grad():
        free = network[:2](0 * eye[:1]).flatten(1)
        same[1].weight.copy_((network[:2](eye).flatten(1) - free).T)
        same[1].bias.copy_(free[0])
    asked = {"method": "deep_taylor", "target": 1, "start": "one", **bounds}
    np.testing.assert_allclose(explain(network, X, **asked), explain(same, X, **asked), atol=1e-12)


def test_a_relu_in_place_leaves_what_its_layer_gave():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(T * N, 6), nn.ReLU(), nn.Linear(6, C)).double()
    network = nn.Sequential(*plain[:2], nn.ReLU(inplace=True), plain[3])
    ours, expected = (
        explain(each, X, method="lrp", target=1, bias_factor=1.0) for each in (network, plain)
    )
    np.testing.assert_array_equal(ours, expected)
    assert ours.attrs["leak"] < 1e-12
