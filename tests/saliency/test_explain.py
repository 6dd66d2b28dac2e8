"""What `explain` promises of every method, whatever the network."""

import json
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pretended import pretended_device
from torch import nn

from neurosal.errors import ArgumentError, DataError
from neurosal.models import build_network
from neurosal.saliency.batching import Progress
from neurosal.saliency.explain import explain
from neurosal.saliency.methods import METHODS

T, N, C = 7, 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, T, N))
OWN = {
    "occlusion": {"window": (1, 1)},
    "feature_ablation": {"block": 1},
    "smoothgrad": {"n_samples": 4},
    "smoothgrad_squared": {"n_samples": 4},
    "vargrad": {"n_samples": 4},
    "expected_gradients": {"n_samples": 4},
}
TOY = [name for name in METHODS if name not in ("attention", "lrp", "deep_taylor")]
ADDITIVE = [name for name in TOY if METHODS[name].additive]


class Toy(nn.Module):
    """LSTM, some dropout and a linear layer; optionally blind to a step."""

    def __init__(self, blind_step=None, scale=1.0):
        super().__init__()
        self.lstm = nn.LSTM(N, 6, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(6, C)
        self.blind_step, self.scale = blind_step, scale

    def forward(self, x, lengths=None, steps=False):
        if self.blind_step is not None:
            seen = torch.ones(x.shape[1], 1, dtype=x.dtype)
            seen[self.blind_step] = 0
            x = x * seen
        scores = self.scale * self.out(self.drop(self.lstm(x)[0]))
        if steps:
            return scores
        last = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        return scores[torch.arange(len(x)), last - 1]


def make_toy(seed=0, **options):
    torch.manual_seed(seed)
    return Toy(**options).double().eval()


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(T * N, C)).double()


def slow_gradient(number, x):
    """Central differences of a number of one sample (T, N)."""
    out = np.zeros_like(x)
    for cell in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[cell] += 1e-5
        down[cell] -= 1e-5
        with torch.no_grad():
            high, low = (number(torch.tensor(part[None])) for part in (up, down))
        out[cell] = (float(high) - float(low)) / 2e-5
    return out


@pytest.mark.parametrize("name", ADDITIVE)
def test_additive_methods_give_weight_times_input_for_a_linear_network(name):
    network, baseline = linear(), RNG.normal(size=(T, N))
    maps = explain(network, X, method=name, target=2, baseline=baseline, **OWN.get(name, {}))
    weight = network[1].weight[2].detach().numpy().reshape(T, N)
    np.testing.assert_allclose(maps, weight * (X - baseline), atol=1e-12)


@pytest.mark.parametrize(
    ("output", "number"),
    [
        ("logit", lambda z: z[0, 1]),
        ("margin", lambda z: z[0, 1] - max(z[0, 0], z[0, 2])),
        ("probability", lambda z: z.softmax(1)[0, 1]),
    ],
)
def test_gradient_of_each_output_equals_finite_differences(output, number):
    network = make_toy()
    maps = explain(network, X[:1], method="gradient", target=1, output=output)
    expected = slow_gradient(lambda x: number(network(x)), X[0])
    np.testing.assert_allclose(maps[0], expected, atol=1e-8)
    with torch.no_grad():
        score = float(number(network(torch.tensor(X[:1]))))
    assert float(maps.score[0]) == pytest.approx(score)


def test_scores_after_each_step_and_after_one():
    network = make_toy()
    every = explain(network, X, method="gradient", target=0, at="all")
    assert every.dims == ("sample", "output_time", "time", "region")
    for step in (0, 3, T - 1):
        one = explain(network, X, method="gradient", target=0, at=step)
        np.testing.assert_allclose(every.sel(output_time=step), one, atol=1e-14)
        expected = slow_gradient(lambda x, t=step: network(x, steps=True)[0, t, 0], X[0])
        np.testing.assert_allclose(one[0], expected, atol=1e-8)
        assert not one.values[:, step + 1 :].any()


def test_a_module_with_one_score_a_step_is_read_at_its_last_valid_step():
    class Steps(Toy):
        def forward(self, x, lengths=None):
            return super().forward(x, lengths, steps=True)

    plain = make_toy()
    stepwise = Steps().double().eval()
    stepwise.load_state_dict(plain.state_dict())
    padded = X.copy()
    padded[2, 4:] = np.nan
    for at in ("end", 2):
        ours = explain(stepwise, padded, method="gradient", target=1, at=at)
        np.testing.assert_array_equal(
            ours, explain(plain, padded, method="gradient", target=1, at=at)
        )


@pytest.mark.parametrize("name", TOY)
def test_padding_is_zero_and_changes_nothing(name):
    network, padded = make_toy(), X.copy()
    padded[1, 4:] = np.nan
    own = {"window": (2, 1)} if name == "occlusion" else OWN.get(name, {})
    maps = explain(network, padded, method=name, target=1, **own)
    alone = explain(network, X[1:2, :4], method=name, target=1, **own)
    assert not maps.values[1, 4:].any()
    np.testing.assert_allclose(maps[1, :4], alone[0], atol=1e-12)


def test_steps_that_a_sample_does_not_have_are_missing():
    padded = X.copy()
    padded[1, 4:] = np.nan
    maps = explain(make_toy(), padded, method="gradient", target=1, at="all")
    np.testing.assert_array_equal(np.isnan(maps[1]).all(("time", "region")), np.arange(T) >= 4)
    assert np.isfinite(maps.values[[0, 2, 3, 4]]).all()


@pytest.mark.parametrize("name", TOY)
def test_batch_size_order_and_company_change_nothing(name):
    network, own = make_toy(), OWN.get(name, {})
    whole = explain(network, X, method=name, target="predicted", **own)
    for batch_size in (1, 2):
        split = explain(network, X, method=name, target="predicted", batch_size=batch_size, **own)
        np.testing.assert_allclose(split, whole, atol=1e-12)
    order = [3, 0, 4]
    np.testing.assert_allclose(
        explain(network, X[order], method=name, target="predicted", **own),
        whole[order].values,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].random])
def test_a_seed_gives_the_same_maps_again_and_another_seed_others(name):
    network, own = make_toy(), OWN.get(name, {})
    if name == "temporal_rescaling":
        own = {"base": "smoothgrad", "base_arguments": {"n_samples": 3}}
    first = explain(network, X, method=name, target=1, seed=3, **own)
    torch.manual_seed(99)
    again = explain(network, X, method=name, target=1, seed=3, **own)
    np.testing.assert_array_equal(first, again)
    other = explain(network, X, method=name, target=1, seed=4, **own)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("name", [name for name in TOY if name != "temporal_rescaling"])
def test_scaling_the_logits_scales_the_map(name):
    single, double = make_toy(), make_toy(scale=2.0)
    power = 4 if name in ("squared_gradient", "smoothgrad_squared", "vargrad") else 2
    own = OWN.get(name, {})
    np.testing.assert_allclose(
        explain(double, X, method=name, target=1, **own),
        power * explain(single, X, method=name, target=1, **own),
        rtol=1e-9,
        atol=1e-13,
    )


@settings(max_examples=5, deadline=None)
@given(region=st.integers(0, N - 1), step=st.integers(0, T - 1), seed=st.integers(0, 1000))
def test_what_the_network_ignores_gets_zero(region, step, seed):
    network = make_toy(seed, blind_step=step)
    with torch.no_grad():
        network.lstm.weight_ih_l0[:, region] = 0
    for name in TOY:
        maps = explain(network, X[:2], method=name, target=1, **OWN.get(name, {})).values
        assert np.abs(maps[:, step]).max() < 1e-14, name
        if name != "temporal_rescaling":
            assert np.abs(maps[:, :, region]).max() < 1e-14, name
        assert np.abs(maps).max() > 0, name


@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(N)))
def test_permuting_regions_permutes_the_map(order):
    network, permuted = make_toy(), make_toy()
    with torch.no_grad():
        permuted.lstm.weight_ih_l0.copy_(network.lstm.weight_ih_l0[:, order])
    for name in TOY:
        own = OWN.get(name, {})
        np.testing.assert_allclose(
            explain(permuted, X[:, :, order], method=name, target=1, **own),
            explain(network, X, method=name, target=1, **own)[:, :, order],
            atol=1e-12,
        )


def test_an_ensemble_is_its_members_mean_and_speaks_its_class_labels():
    members = [make_toy(1), make_toy(2)]
    classes = np.array(["left", "rest", "right"])
    classifier = SimpleNamespace(modules_=members, classes_=classes)
    y = ["right", "left", "rest", "rest", "left"]
    maps = explain(classifier, X, method="gradient", y=y)
    parts = [explain(m, X, method="gradient", target=[2, 0, 1, 1, 0]) for m in members]
    np.testing.assert_allclose(maps, (parts[0] + parts[1]) / 2, atol=1e-15)
    assert maps.target.values.tolist() == y


def test_labels_and_coordinates_of_the_windows_are_kept():
    windows = xr.DataArray(
        X,
        dims=("sample", "time", "region"),
        coords={
            "time": 5 + 0.72 * np.arange(T),
            "region": ["a", "b", "c", "d"],
            "network": ("region", ["V", "V", "M", "M"]),
            "condition": ("sample", [0, 1, 2, 1, 0]),
            "subject": ("sample", list("pqrst")),
        },
        attrs={"t_r": 0.72},
    ).transpose("region", "sample", "time")
    maps = explain(make_toy(), windows, method="feature_ablation", groups="network", seed=7)
    assert maps.dims == ("sample", "time", "region")
    for name in ("time", "region", "network", "condition", "subject"):
        xr.testing.assert_equal(maps[name].variable, windows[name].variable)
    assert maps.target.values.tolist() == [0, 1, 2, 1, 0]
    assert maps.attrs["t_r"] == 0.72
    assert maps.attrs["seed"] == 7
    assert maps.attrs["target"] == "true"
    assert maps.attrs["method"] == "feature_ablation"
    np.testing.assert_array_equal(maps[:, :, 0], maps[:, :, 1])
    assert not np.allclose(maps[:, :, 0], maps[:, :, 2])
    json.dumps(maps.attrs)


def test_the_model_and_the_random_state_are_left_as_they_were():
    network = make_toy().train()
    network.drop.eval()
    network.out.weight.requires_grad_(False)
    network.out.bias.grad = torch.ones(C).double()
    before = torch.get_rng_state()
    for name in TOY:
        explain(network, X, method=name, target=1, **OWN.get(name, {}))
    with pytest.raises(ArgumentError):
        explain(network, X, method="gradient", target=17)
    assert network.training
    assert network.lstm.training
    assert not network.drop.training
    assert network.lstm.weight_ih_l0.requires_grad
    assert network.lstm.weight_ih_l0.grad is None
    assert not network.out.weight.requires_grad
    assert (network.out.bias.grad == 1).all()
    assert torch.equal(torch.get_rng_state(), before)
    dropout_off = explain(make_toy(), X, method="gradient", target=1)
    np.testing.assert_array_equal(explain(network, X, method="gradient", target=1), dropout_off)


@contextmanager
def default_float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "mode",
    [
        lambda: torch.autocast("cpu", torch.bfloat16),
        torch.no_grad,
        torch.inference_mode,
        default_float64,
    ],
)
@pytest.mark.parametrize("name", METHODS)
def test_modes_of_torch_around_it_change_nothing(name, mode):
    torch.manual_seed(0)
    network = build_network("input-cell-gru", n_features=N, n_classes=C, hidden_size=6).eval()
    arguments = {"method": name, "target": 1, **OWN.get(name, {})}
    expected = explain(network, X, **arguments)
    with mode():
        xr.testing.assert_equal(explain(network, X, **arguments), expected)


@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "lrp"])
def test_networks_in_bfloat16_have_maps_of_float32(name):
    torch.manual_seed(0)
    network = build_network("input-cell-lstm", n_features=N, n_classes=C, hidden_size=6).eval()
    expected = explain(network, X, method=name, target=1).values.ravel()
    half = network.to(torch.bfloat16)
    x = torch.as_tensor(X, dtype=torch.bfloat16)
    maps = explain(half, x, method=name, target=1, baseline=torch.zeros_like(x[0]))
    assert maps.dtype == np.float32
    assert np.corrcoef(maps.values.ravel(), expected)[0, 1] > 0.99


class Company(Toy):
    def forward(self, x, lengths=None, steps=False):
        return super().forward(x - x.mean(dim=0), lengths, steps)


class Chance(Toy):
    def forward(self, x, lengths=None, steps=False):
        return super().forward(x, lengths, steps) + torch.rand(())


@pytest.mark.parametrize("at", ["end", "all", 2])
@pytest.mark.parametrize("method", ["gradient", "occlusion"])
@pytest.mark.parametrize("kind", [Company, Chance, Toy])
def test_scores_that_depend_on_chance_or_company_are_told(kind, method, at):
    torch.manual_seed(0)
    network = kind().double().eval()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        explain(network, X, method=method, target=1, at=at)
    assert [str(w.message)[:24] for w in told] == ["The first sample's score"] * (kind is not Toy)
    assert all(w.filename == __file__ for w in told)


@pytest.mark.parametrize("batch_size", ["auto", 5])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "occlusion"])
def test_a_batch_that_does_not_fit_is_halved(method, batch_size):
    sizes = []

    class Small(Toy):
        def forward(self, x, lengths=None):
            sizes.append(len(x))
            if len(x) > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes")
            return super().forward(x, lengths)

    small = Small().double().eval()
    small.load_state_dict(make_toy().state_dict())
    asked = {"method": method, "target": 1}
    maps = explain(small, X, batch_size=batch_size, **asked)
    np.testing.assert_allclose(maps, explain(make_toy(), X, **asked), atol=1e-14)
    assert max(sizes) > 2
    assert sizes[-1] <= 2


def test_the_batch_is_as_large_as_half_of_the_free_memory_allows(monkeypatch):
    sizes = []

    class Exponential(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x.exp().sum(1)

    kept = T * N * 4
    row = 4 * (kept + 4 * T * N * 4)  # what autograd keeps, four copies, a factor of safety of 4
    for fitting in (1, 3):
        sizes.clear()
        monkeypatch.setattr(
            "neurosal.saliency.batching.free_bytes", lambda device, n=fitting: (2 * n + 1) * row
        )
        explain(Exponential(), X, method="gradient", target=1)
        assert max(sizes) == fitting


def test_a_sample_that_does_not_fit_is_an_error_and_other_errors_pass():
    class Never(Toy):
        def forward(self, x, lengths=None):
            if torch.is_grad_enabled():
                raise RuntimeError(self.message)
            return super().forward(x, lengths)

    never = Never().double()
    never.message = "DefaultCPUAllocator: can't allocate memory"
    with pytest.raises(DataError, match="not even one"):
        explain(never, X, method="gradient", target=1, batch_size=4)
    never.message = "shapes do not match"
    with pytest.raises(RuntimeError, match="shapes do not match"):
        explain(never, X, method="gradient", target=1, batch_size=4)


def test_interruption_keeps_what_is_done():
    class Patient(Toy):
        calls = 0

        def forward(self, x, lengths=None):
            self.calls += torch.is_grad_enabled()
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().forward(x, lengths)

    with pytest.warns(UserWarning, match="interrupted"):
        maps = explain(
            Patient().double(),
            X,
            method="gradient",
            target="b",
            classes=["a", "b", "c"],
            batch_size=1,
        )
    assert maps.attrs["interrupted"]
    assert maps.target.values.tolist() == ["b", "b", "", "", ""]
    np.testing.assert_array_equal(np.isnan(maps).all(("time", "region")), [0, 0, 1, 1, 1])


def test_finished_maps_are_kept_every_few_passes():
    class Patient(Toy):
        calls = 0

        def forward(self, x, lengths=None):
            self.calls += torch.is_grad_enabled()
            if self.calls == 20:
                raise KeyboardInterrupt
            return super().forward(x, lengths)

    many = np.repeat(X, 20, axis=0)
    with pytest.warns(UserWarning, match="interrupted"):
        maps = explain(Patient().double(), many, method="smoothgrad", target=1, batch_size=100)
    done = ~np.isnan(maps).all(("time", "region"))
    assert 0 < done.sum() < 100
    assert not np.isnan(maps[done.values]).any()


def test_a_call_of_one_long_sample_shows_how_far_it_is(capsys, monkeypatch):
    class Slow(Toy):
        clock = 0.0

        def forward(self, x, lengths=None):
            Slow.clock += 1.0
            return super().forward(x, lengths)

    monkeypatch.setattr("time.monotonic", lambda: Slow.clock)
    asked = {"target": 1, "batch_size": 1, "base": "gradient", "progress": True}
    maps = explain(Slow().double(), X[:1], method="temporal_rescaling", **asked)
    shown = [float(line.split()[1]) for line in capsys.readouterr().err.splitlines()]
    assert shown == sorted(shown)
    assert len(set(shown)) > 1
    assert 0 < shown[0] < shown[-1] < 1
    assert maps.attrs["forward_passes"] == 1 + T + N * (T - 4)  # 3 of 7 steps are ahead


def test_maps_go_to_a_file(tmp_path):
    path = tmp_path / "maps.npy"
    network = make_toy()
    maps = explain(network, X, method="gradient", target=1, out=path, batch_size=2)
    expected = explain(network, X, method="gradient", target=1)
    np.testing.assert_allclose(maps, expected, atol=1e-15)
    np.testing.assert_array_equal(np.load(path), maps)
    xr.testing.assert_allclose(maps.coords.to_dataset(), expected.coords.to_dataset())


def test_baselines():
    network, padded = linear(), X.copy()
    weight = network[1].weight[0].detach().numpy().reshape(T, N)
    for baseline, values in [
        ("mean", X.mean(0)),
        (np.arange(N), np.arange(N)),
        (X[::-1].copy(), X[::-1]),
        (2.0, 2.0),
    ]:
        maps = explain(network, X, method="gradient_x_input", target=0, baseline=baseline)
        np.testing.assert_allclose(maps, weight * (X - values), atol=1e-12)
    padded[0, 3:] = np.nan
    maps = explain(make_toy(), padded, method="gradient_x_input", target=0, baseline="mean")
    slopes = explain(make_toy(), padded, method="gradient", target=0)
    filled = np.nan_to_num(padded) - np.nanmean(padded, axis=0)
    np.testing.assert_allclose(maps[1:], slopes[1:] * filled[1:], atol=1e-12)
    np.testing.assert_allclose(maps[0, :3], slopes[0, :3] * filled[0, :3], atol=1e-12)


class Broken(Toy):
    def forward(self, x, lengths=None):
        return super().forward(x, lengths) / 0.0


class Whole(nn.Module):
    """Takes no lengths, gives one score a class."""

    def forward(self, x):
        return x.sum(1)[:, :C]


class Cut(Toy):
    def forward(self, x, lengths=None):
        return super().forward(x.detach(), lengths).detach()


class Steep(nn.Module):
    """A finite score whose gradient is not."""

    def forward(self, x):
        return x.sum(1)[:, :C].mul(0).abs().sqrt()


class Shifting(Toy):
    def forward(self, x, lengths=None):
        x[:, 0] += 1
        return super().forward(x, lengths)


HOLE = X.copy()
HOLE[1, 2, 3] = np.nan
PADDED = X.copy()
PADDED[1, 5:] = np.nan


@pytest.mark.parametrize(
    ("network", "x", "arguments", "message"),
    [
        (Toy, X, {"method": "lpr"}, "method must be one of 'gradient'.*Got 'lpr'"),
        (Toy, X, {"output": "softmax"}, "output must be one of 'logit', 'margin'"),
        (Toy, X, {"target": 3}, r"target must be one of the classes \[0, 1, 2\]. Got 3"),
        (Toy, X, {"target": "tap"}, "positions of logits.*Got .'tap'"),
        (Toy, X, {"target": -1}, "positions of logits.*Got .-1"),
        (Toy, X, {"classes": ["a", "b", "c"], "target": "d"}, "classes .'a', 'b', 'c'.. Got 'd'"),
        (Toy, X, {"target": [0, 1]}, "one label for each of 5 samples"),
        (Toy, X, {"target": "true"}, "needs the true labels"),
        (Toy, X, {"target": "true", "y": [0, 1]}, "y must hold one label for each of 5"),
        (Toy, X, {"classes": ["a", "b"], "target": "a"}, "classes must name the network's 3"),
        (Toy, X, {"at": T}, "a step from 0 to 6. Got 7"),
        (Toy, X, {"baseline": np.zeros((T, N + 1))}, r"baseline must be.*\(7, 4\)"),
        (Toy, X, {"baseline": "median"}, "baseline must be one of 'mean'"),
        (Toy, X, {"batch_size": 0}, "batch_size must be 'auto' or a positive"),
        (Toy, X, {"out": "maps.txt"}, ".npy"),
        (Toy, X, {"window": 3}, "takes no argument 'window'. It takes 'n_steps'"),
        (Toy, X[0], {}, "x must be .sample, time, region."),
        (Toy, X, {"method": "attention"}, "input-cell attention.*Got Toy"),
        (Toy, X, {"method": "lrp", "output": "margin"}, "output='logit'"),
        (Toy, X, {"method": "feature_ablation", "groups": "network"}, "coordinate 'network'"),
        (Toy, X, {"method": "occlusion", "window": (2, 1), "stride": (3, 1)}, "must not exceed"),
        (Shifting, X, {"method": "occlusion", "batch_size": 2}, "Shifting changes it in place"),
        (Shifting, X, {"method": "gradient"}, "Shifting changes it in place"),
        (Whole, PADDED, {}, "x must have no padding for Whole"),
        (Whole, X, {"at": 2}, "at must be 'end' for Whole"),
        (Toy, PADDED, {"at": 5}, "sample 1 has 5 steps"),
        (Cut, X, {}, "'occlusion', 'feature_ablation'"),
        (Steep, X, {"method": "gradient"}, "maps must be finite.*float64"),
        (Broken, X, {}, "scores must be finite"),
        (lambda: nn.LSTM(N, 3), X, {}, "wrap it in a module"),
        (Whole, X, {"method": "guided_backprop"}, "takes networks of relu, sigmoid and tanh"),
    ],
)
def test_bad_arguments_are_named_with_what_is_allowed(network, x, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        explain(network().double(), x, **{"target": 1, **arguments})


@pytest.mark.parametrize(
    ("x", "message"),
    [(HOLE, "sample 1, step 2, region 3"), (np.where(X > 2, np.inf, X), "x must be finite")],
)
def test_gaps_in_the_samples_are_refused(x, message):
    with pytest.raises(DataError, match=message):
        explain(make_toy(), x, target=1)


def test_a_pipeline_is_refused_by_a_hint():
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    with pytest.raises(ArgumentError, match=r"Got Pipeline.*the classifier at its end"):
        explain(make_pipeline(FunctionTransformer(), FunctionTransformer()), X, target=1)


@pytest.mark.parametrize("name", TOY)
def test_maps_on_another_device_are_those_on_the_cpu(name):
    asked = {"method": name, "target": 1, **OWN.get(name, {})}
    with pretended_device() as device:
        ours = explain(make_toy().to(device), PADDED, **asked)
    np.testing.assert_allclose(ours, explain(make_toy(), PADDED, **asked), atol=1e-10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", TOY)
def test_maps_on_a_gpu_are_those_on_a_cpu(name):
    asked = {"method": name, "target": 1, **OWN.get(name, {})}
    ours = explain(make_toy().cuda(), PADDED, **asked)
    np.testing.assert_allclose(ours, explain(make_toy(), PADDED, **asked), atol=1e-10)


def test_an_unfitted_classifier_is_refused():
    with pytest.raises(ArgumentError, match="fit it first"):
        explain(SimpleNamespace(classes_=[0, 1]), X, target=1)


@pytest.mark.parametrize("name", ["input-cell-lstm", "input-cell-bi-gru", "r-lstm"])
def test_every_method_takes_the_networks_of_this_package(name):
    torch.manual_seed(0)
    network = build_network(name, n_features=N, n_classes=C).eval()
    methods = [m for m in METHODS if m != "attention" or name.startswith("input-cell")]
    for method in methods:
        own = {k: v for k, v in OWN.get(method, {}).items() if k == "n_samples"}
        maps = explain(network, PADDED, method=method, target=1, **own)
        assert np.isfinite(maps).all(), method
        assert maps.dtype == np.float32
        assert not maps.values[1, 5:].any(), method


def test_the_samples_may_be_a_list_of_sequences():
    network = make_toy()
    ragged = [sample[: 7 - k] for k, sample in enumerate(X)]
    padded = np.where(np.arange(T)[:, None] < 7 - np.arange(5)[:, None, None], X, np.nan)
    np.testing.assert_array_equal(
        explain(network, ragged, target=1, method="gradient"),
        explain(network, padded, target=1, method="gradient"),
    )


def test_a_cheap_method_needs_one_pass_for_all_samples():
    calls = []
    network = make_toy()
    network.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    maps = explain(network, np.repeat(X, 60, axis=0), method="gradient", target=1)
    assert calls.count(True) == 2  # one sample to measure the memory, then all of them
    assert maps.attrs["forward_passes"] == maps.attrs["backward_passes"] == 1


def test_progress_speaks_up_only_after_a_while(capsys, monkeypatch):
    shown = Progress(10, "maps")
    shown.update(5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("time.monotonic", lambda: shown.started + 3.0)
    shown.update(6)
    assert capsys.readouterr().err == "maps: 6 of 10, 2 s left\n"


def test_no_warnings_from_libraries_reach_the_user():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in TOY:
            explain(make_toy(), X, method=name, target=1, batch_size=2, **OWN.get(name, {}))
