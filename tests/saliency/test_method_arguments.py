"""The methods' own arguments: what they take, and that the rest is refused by name."""

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
NOISE = ("smoothgrad", "smoothgrad_squared", "vargrad")


def network():
    torch.manual_seed(0)
    return build_network("lstm", n_features=N, n_classes=C, hidden_size=4).double().eval()


BAD = [
    *((m, {"n_samples": v}) for m in (*NOISE, "expected_gradients") for v in (2.5, "5", True, 0)),
    *((m, {"noise_level": v}) for m in NOISE for v in ("a", -1, np.nan, np.inf, None)),
    *((m, {"sd": v}) for m in NOISE for v in ("a", -1.0, np.nan, np.inf)),
    *(("integrated_gradients", {"n_steps": v}) for v in (2.5, None, "a", True, -1)),
    *(("integrated_gradients", {"tolerance": v}) for v in ("a", -1, np.nan, np.inf)),
    *(("integrated_gradients", {"max_halvings": v}) for v in ("a", -1, 1.5, None)),
    *(("occlusion", {"window": v}) for v in (5, (2.5, 1), None, (2, 1, 1), "21", (True, 1))),
    *(("occlusion", {"stride": v}) for v in (2, (1.0, 1), (1,), (1, 0), "ab")),
    *(("feature_ablation", {"block": v}) for v in (2.5, "a", True, 0, (2, 1))),
    *(("temporal_rescaling", {"threshold": v}) for v in ("a", None, np.nan, -0.1, True)),
    *(("temporal_rescaling", {"elsewhere": v}) for v in ("a", None, np.nan, -0.1, np.inf)),
    *(("temporal_rescaling", {"base_arguments": v}) for v in (5, "a", [1])),
    *(("lrp", {"epsilon": v}) for v in ("a", None, np.inf, np.nan, -1)),
    *(("lrp", {"rule": "alpha-beta", "alpha": v}) for v in ("a", np.nan, np.inf)),
    *(("lrp", {"rule": "alpha-beta", "beta": v}) for v in ("a", np.nan, np.inf)),
    *(("lrp", {"bias_factor": v}) for v in ("a", None, np.nan, 2)),
    *(
        (m, {b: v})
        for m in ("lrp", "deep_taylor")
        for b in ("low", "high")
        for v in ("a", np.nan, np.inf, True, ["a"] * N, [np.nan] * N, torch.full((N,), torch.inf))
    ),
]


@pytest.mark.parametrize(("method", "arguments"), BAD, ids=str)
def test_what_is_no_number_is_refused_by_name(method, arguments):
    name = list(arguments)[-1]
    bounds = {"low": -9.0, "high": 9.0} if name in ("low", "high") else {}
    with pytest.raises(ArgumentError, match=f"^{name} must (be|lie) .*Got"):
        explain(network(), X, method=method, target=1, **{**bounds, **arguments})


def test_the_base_of_temporal_rescaling_refuses_its_own():
    asked = {"method": "temporal_rescaling", "base": "smoothgrad", "target": 1}
    with pytest.raises(ArgumentError, match="n_samples must be a whole number of at least 1"):
        explain(network(), X, base_arguments={"n_samples": 2.5}, **asked)


def test_numbers_of_numpy_are_numbers():
    for method, plain, numpy_ in [
        ("occlusion", {"window": (2, 1)}, {"window": np.array([2, 1]), "stride": [np.int64(2), 1]}),
        ("feature_ablation", {"block": 2}, {"block": np.int32(2)}),
        (
            "smoothgrad",
            {"n_samples": 3, "sd": 0.5},
            {"n_samples": np.uint8(3), "sd": np.float32(0.5)},
        ),
        (
            "integrated_gradients",
            {"n_steps": 90},
            {"n_steps": np.int8(90), "max_halvings": np.int8(14)},
        ),
        ("lrp", {"epsilon": 0.5}, {"epsilon": np.float32(0.5)}),
    ]:
        expected = explain(network(), X, method=method, target=1, **plain)
        found = explain(network(), X, method=method, target=1, **numpy_)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["lstm", "feed-forward", "tcn"])
@pytest.mark.parametrize("method", ["lrp", "deep_taylor"])
def test_bounds_may_be_any_array_of_one_number_per_region(method, kind):
    torch.manual_seed(0)
    options = {"n_steps": T} if kind == "feed-forward" else {}
    model = build_network(kind, n_features=N, n_classes=C, **options).double().eval()
    asked = {"method": method, "target": 1, "low": -4.0}
    asked |= {"input_rule": "zB"} if method == "lrp" else {"start": "one"}
    high = np.arange(4.0, 4 + N)
    expected = explain(model, X, high=torch.tensor(high), **asked)
    assert np.abs(expected).max() > 0
    for given in (
        high,
        high.tolist(),
        high.astype(int),
        high.astype(">f4"),
        high[::-1].copy()[::-1],
        xr.DataArray(high, dims="region"),
        torch.tensor(high, requires_grad=True),
    ):
        np.testing.assert_array_equal(explain(model, X, high=given, **asked), expected)
    same = explain(model, X, high=xr.DataArray(4.0), **asked)
    np.testing.assert_array_equal(same, explain(model, X, high=4, **asked))


def test_without_halving_the_first_integral_is_kept():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(T * N, 30), nn.ReLU(), nn.Linear(30, C)).double()
    first = explain(model, X, target=1, n_steps=2, tolerance=None)
    with pytest.warns(UserWarning, match="of 3 samples miss"):
        kept = explain(model, X, target=1, n_steps=2, max_halvings=0)
    np.testing.assert_array_equal(kept, first)
    assert np.abs(first).max() > 0
    np.testing.assert_array_equal(kept.steps_used, 2)


def test_a_background_may_come_in_any_layout():
    background = np.random.default_rng(1).integers(-3, 4, size=(3, T, N))
    asked = {"method": "expected_gradients", "target": 1, "n_samples": 5}
    floats = background.astype(float)
    expected = explain(network(), X, background=floats, **asked)
    labelled = xr.DataArray(floats, dims=("sample", "time", "region"))
    for given in (
        background,
        background.tolist(),
        floats.astype(">f8"),
        floats[::-1, ::-1].copy()[::-1, ::-1],
        np.asfortranarray(floats),
        torch.tensor(floats, requires_grad=True),
        labelled.transpose("region", "sample", "time"),
    ):
        found = explain(network(), X, background=given, **asked)
        np.testing.assert_array_equal(found, expected)


def test_padding_of_a_background_is_the_baseline():
    background, filled = np.ones((2, 2, T, N))
    background[1, 4:], filled[1, 4:] = np.nan, 0.5
    asked = {"method": "expected_gradients", "target": 1, "n_samples": 9, "baseline": 0.5}
    np.testing.assert_array_equal(
        explain(network(), X, background=background, **asked),
        explain(network(), X, background=filled, **asked),
    )


HOLE = np.ones((3, T, N))
HOLE[1, 2, 3] = np.nan


@pytest.mark.parametrize(
    ("background", "error", "message"),
    [
        ([], ArgumentError, r"one or more samples .* 6 steps and 5 regions of x. Got shape \(0,\)"),
        (np.ones((T, N)), ArgumentError, r"Got shape \(6, 5\)"),
        (np.ones((3, T + 1, N)), ArgumentError, r"Got shape \(3, 7, 5\)"),
        (np.ones((3, 1, N)), ArgumentError, r"Got shape \(3, 1, 5\)"),
        (np.ones((3, T, 1)), ArgumentError, r"Got shape \(3, 6, 1\)"),
        (np.ones((0, T, N)), ArgumentError, r"Got shape \(0, 6, 5\)"),
        ([np.ones((T, N)), np.ones((2, N))], ArgumentError, "background must be samples of one"),
        (np.full((3, T, N), "a"), ArgumentError, "background must hold real numbers"),
        ("mean", ArgumentError, r"Got shape \(\)"),
        (xr.DataArray(np.ones((3, T, N))), ArgumentError, "background must have dimensions among"),
        (HOLE, DataError, "background must be finite. Got nan at sample 1, step 2, region 3"),
        (HOLE * np.nan, DataError, "background must be finite. Got nan at sample 0, step 0"),
        (HOLE * np.inf, DataError, "background must be finite. Got inf at sample 0"),
    ],
)
def test_what_is_no_background_is_refused(background, error, message):
    with pytest.raises(error, match=message):
        explain(network(), X, method="expected_gradients", target=1, background=background)
