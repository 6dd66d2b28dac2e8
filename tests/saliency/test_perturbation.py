"""Perturbation methods against captum and slow re-implementations."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from neurosal.errors import ArgumentError
from neurosal.models import build_network
from neurosal.saliency.explain import explain

T, N, C = 6, 5, 3
X = np.random.default_rng(0).normal(size=(3, T, N))
BASELINE = np.random.default_rng(1).normal(size=(T, N))
TARGET = [0, 2, 1]


def network():
    torch.manual_seed(0)
    return build_network("gru", n_features=N, n_classes=C, hidden_size=4).double().eval()


@pytest.mark.parametrize("batch_size", ["auto", 1, 7])
@pytest.mark.parametrize(
    ("window", "stride"), [((1, 1), None), ((2, 3), (1, 2)), ((4, 2), (3, 2)), ((6, 5), (6, 5))]
)
def test_occlusion_equals_captum(window, stride, batch_size):
    expected = captum.attr.Occlusion(network()).attribute(
        torch.tensor(X),
        sliding_window_shapes=window,
        strides=stride,
        baselines=torch.tensor(BASELINE)[None],
        target=torch.tensor(TARGET),
    )
    asked = {"target": TARGET, "baseline": BASELINE, "batch_size": batch_size}
    ours = explain(network(), X, method="occlusion", window=window, stride=stride, **asked)
    np.testing.assert_allclose(ours, expected.detach(), atol=1e-12)


@pytest.mark.parametrize("block", [None, 4, 1])
@pytest.mark.parametrize("groups", ["region", "all", ["V", "M", "V", "V", "M"]])
def test_feature_ablation_equals_captum(groups, block):
    labels = {"region": range(N), "all": [0] * N}.get(groups if isinstance(groups, str) else "")
    codes = np.unique(groups, return_inverse=True)[1] if labels is None else np.array(labels)
    times = np.arange(T) // (block or T)
    mask = torch.tensor(times[:, None] * N + codes)[None]
    expected = captum.attr.FeatureAblation(network()).attribute(
        torch.tensor(X),
        baselines=torch.tensor(BASELINE)[None],
        target=torch.tensor(TARGET),
        feature_mask=torch.unique(mask, return_inverse=True)[1],
    )
    asked = {"target": TARGET, "baseline": BASELINE, "groups": groups, "block": block}
    ours = explain(network(), X, method="feature_ablation", **asked)
    np.testing.assert_allclose(ours, expected.detach(), atol=1e-12)


def slow_rescaling(base, sample, end, baseline):
    """Temporal saliency rescaling of one sample (T, N), cell by cell as published."""

    def change(steps, regions):
        less = sample.copy()
        less[steps, regions] = baseline[steps, regions]
        return np.abs(whole - base(less)).sum()

    whole = base(sample)
    by_step = np.array([change(t, slice(None)) for t in range(end)])
    unit = (by_step - by_step.min()) / (by_step.max() - by_step.min())
    out = np.zeros_like(sample)
    for t in range(end):
        ahead = unit[t] > np.quantile(unit, 0.55)
        for i in range(sample.shape[1]):
            out[t, i] = unit[t] * (change(t, i) if ahead else 0.1)
    return out


@pytest.mark.parametrize("batch_size", ["auto", 2])
@pytest.mark.parametrize("base", ["gradient", "integrated_gradients", "guided_backprop"])
def test_temporal_rescaling_as_published(base, batch_size):
    padded, ends = X.copy(), [T, 4, T]
    padded[1, 4:] = np.nan
    asked = {"baseline": BASELINE, "target": TARGET}
    ours = explain(
        network(), padded, method="temporal_rescaling", base=base, batch_size=batch_size, **asked
    )
    for k, end in enumerate(ends):

        def method(sample, k=k):
            own = {"target": TARGET[k], "baseline": BASELINE[: len(sample)]}
            return explain(network(), sample[None], method=base, **own).values[0]

        slow = slow_rescaling(method, X[k, :end], end, BASELINE[:end])
        np.testing.assert_allclose(ours[k, :end], slow, atol=1e-12)
        assert not ours.values[k, end:].any()


def test_a_map_that_never_changes_is_rescaled_to_zero():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(T * N, C)).double()
    assert not explain(linear, X, method="temporal_rescaling", target=1).values.any()


def test_perturbation_needs_no_gradient():
    class Threshold(nn.Module):
        def forward(self, x):
            hit = (x.detach()[:, 2, 1] > 0).double()
            return torch.stack([hit, 1 - hit], dim=1)

    maps = explain(Threshold(), np.ones((1, T, N)), target=0, method="occlusion", window=(1, 1))
    expected = np.zeros((T, N))
    expected[2, 1] = 1
    np.testing.assert_array_equal(maps[0], expected)
    assert maps.attrs["forward_passes"] == T * N + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "occlusion", "window": (0, 1)}, "window must be two positive"),
        ({"method": "occlusion", "window": (2,)}, "window must be two positive"),
        ({"method": "feature_ablation", "block": 0}, "block must be a positive"),
        ({"method": "feature_ablation", "groups": [1, 2]}, "one label for each of 5 regions"),
        ({"method": "feature_ablation", "groups": "lobe"}, "groups must be one of 'region'"),
        ({"method": "temporal_rescaling", "base": "occlusion"}, "base must be one of 'gradient'"),
        ({"method": "temporal_rescaling", "threshold": 2.0}, "threshold must be from 0 to 1"),
        (
            {"method": "temporal_rescaling", "base_arguments": {"sd": 1.0}},
            "'gradient' takes no argument 'sd'",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        explain(network(), X, target=1, **arguments)
