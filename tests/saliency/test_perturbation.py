"""Perturbation methods against captum and slow re-implementations."""

import captum.attr
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from neurosal.errors import ArgumentError, DataError
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
    """Temporal saliency rescaling of one sample (T, N), cell by cell.

    As published, but that 0.1 counts in the largest change of a cell.
    """

    def change(steps, regions):
        less = sample.copy()
        less[steps, regions] = baseline[steps, regions]
        return np.abs(whole - base(less)).sum()

    whole = base(sample)
    by_step = np.array([change(t, slice(None)) for t in range(end)])
    unit = (by_step - by_step.min()) / (by_step.max() - by_step.min())
    ahead = unit > np.quantile(unit, 0.55)
    by_cell = np.array([[change(t, i) for i in range(sample.shape[1])] for t in range(end)])
    by_cell[~ahead] = 0.1 * by_cell[ahead].max()
    out = np.zeros_like(sample)
    out[:end] = unit[:, None] * by_cell
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


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.network, self.factor = network(), factor

    def forward(self, x, lengths=None, steps=False):
        return self.factor * self.network(x, lengths, steps=steps)


@pytest.mark.parametrize("base", ["gradient", "integrated_gradients", "smoothgrad"])
def test_temporal_rescaling_scales_with_the_logit(base):
    padded = X.copy()
    padded[1, 4:] = np.nan
    own = {"n_samples": 3} if base == "smoothgrad" else {}
    asked = {"method": "temporal_rescaling", "base": base, "base_arguments": own, "target": TARGET}
    single = explain(Scaled(1.0), padded, **asked)
    assert np.abs(single).max() > 0
    for factor in (0.01, 100.0):
        scaled = explain(Scaled(factor), padded, **asked)
        np.testing.assert_allclose(scaled / factor, single, rtol=1e-6, atol=1e-12)


class Cubic(nn.Module):
    """Logits whose gradient changes by 3 in every cell that is taken away from ones."""

    def forward(self, x, lengths=None):
        return torch.stack([x.pow(3).sum((1, 2)), x.sum((1, 2))], dim=1)


def test_steps_that_change_the_map_alike_count_one():
    """A cell's change is 3."""
    maps = explain(Cubic(), np.ones((1, 1, N)), method="temporal_rescaling", target=0)
    np.testing.assert_allclose(maps, 3)
    x = np.ones((2, 4, N))
    x[0, 1:] = np.nan
    maps = explain(Cubic(), x, method="temporal_rescaling", target=0)
    np.testing.assert_allclose(maps[0], 3 * (np.arange(4) < 1)[:, None] * np.ones(N))
    np.testing.assert_allclose(maps[1], 3)


def test_a_threshold_of_one_leaves_the_step_that_changes_the_map_most():
    x = np.ones((1, 3, N)) * np.array([1.0, 2.0, 1.5])[:, None]
    maps = explain(Cubic(), x, method="temporal_rescaling", target=0, threshold=1)
    change = 3 * x[0] ** 2
    unit = (change - 3) / (12 - 3)
    np.testing.assert_allclose(maps[0], unit * np.array([[1.2], [12], [1.2]]), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_temporal_rescaling_of_networks_in_half_precision(dtype):
    expected = explain(network(), X, method="temporal_rescaling", target=1).values.ravel()
    half, x = network().to(dtype), torch.as_tensor(X, dtype=dtype)
    maps = explain(half, x, method="temporal_rescaling", target=1)
    assert maps.dtype == np.float32
    assert np.corrcoef(maps.values.ravel(), expected)[0, 1] > 0.9


@pytest.mark.parametrize("at", [2, "all"])
@pytest.mark.parametrize(
    "own",
    [
        {"method": "occlusion", "window": (4, 1)},
        {"method": "feature_ablation"},
        {"method": "feature_ablation", "block": 2, "groups": "all"},
    ],
)
def test_steps_after_the_one_that_is_read_get_zero(own, at):
    maps = explain(network(), X, target=1, at=at, **own)
    after_two = maps if at == 2 else maps.sel(output_time=2)
    assert not after_two.values[:, 3:].any()
    cut = explain(network(), X[:, :3], target=1, **own)
    np.testing.assert_allclose(after_two[:, :3], cut, atol=1e-12)


@pytest.mark.parametrize("missing", [None, np.nan, "", " "])
def test_regions_without_a_label_are_named(missing):
    groups = ["V", missing, "V", "M", missing]
    with pytest.raises(DataError, match=r"none for 2 of 5 regions: \[1, 4\] from 0"):
        explain(network(), X, method="feature_ablation", target=1, groups=groups)
    x = xr.DataArray(X, dims=("sample", "time", "region"))
    x = x.assign_coords(network=("region", np.array(groups, dtype=object)), region=list("abcde"))
    with pytest.raises(DataError, match="none for 2 of 5 regions"):
        explain(network(), x, method="feature_ablation", target=1, groups="network")
    with pytest.raises(DataError, match=r"regions: \['b', 'e'\]. Label them"):
        explain(network(), X, method="feature_ablation", target=1, groups=x["network"])


def test_labels_may_be_of_several_types():
    mixed, plain = [1, "a", 1, 2.5, "a"], [0, 1, 0, 2, 1]
    asked = {"method": "feature_ablation", "target": 1}
    expected = explain(network(), X, groups=plain, **asked)
    for groups in (mixed, torch.tensor(plain), tuple(plain)):
        np.testing.assert_array_equal(explain(network(), X, groups=groups, **asked), expected)


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
        ({"method": "feature_ablation", "block": 0}, "block must be None or a whole number"),
        ({"method": "feature_ablation", "groups": [1, 2]}, "one label for each of 5 regions"),
        ({"method": "feature_ablation", "groups": "lobe"}, "groups must be one of 'region'"),
        ({"method": "temporal_rescaling", "base": "occlusion"}, "base must be one of 'gradient'"),
        (
            {"method": "temporal_rescaling", "threshold": 2.0},
            "threshold must be a finite number from 0 to 1. Got 2.0",
        ),
        (
            {"method": "temporal_rescaling", "base_arguments": {"sd": 1.0}},
            "'gradient' takes no argument 'sd'",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        explain(network(), X, target=1, **arguments)
