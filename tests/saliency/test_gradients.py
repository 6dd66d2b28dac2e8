"""The gradient family against captum, slow re-implementations and identities."""

import warnings

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from neurosal.errors import ArgumentError
from neurosal.models import build_network
from neurosal.saliency.explain import explain
from neurosal.saliency.guided import _Guided
from neurosal.saliency.network import as_network
from neurosal.saliency.scores import Score

T, N, C = 6, 4, 3
X = np.random.default_rng(0).normal(size=(4, T, N))
TARGET = [0, 2, 1, 1]


class Last(nn.Module):
    """A recurrent layer read at its last step."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn
        self.out = nn.Linear(rnn.hidden_size * (1 + rnn.bidirectional), C)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


class Square(nn.Module):
    """Logits whose gradient is twice a weight times the input."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, C * T * N).view(C, T, N).double())

    def forward(self, x):
        return torch.einsum("ctn,btn->bc", self.weight, x.square())


def network(kind=nn.LSTM, **options):
    torch.manual_seed(0)
    return Last(kind(N, 5, batch_first=True, **options)).double().eval()


@pytest.mark.parametrize(
    ("name", "oracle", "own"),
    [
        ("gradient", lambda f: captum.attr.Saliency(f), {"abs": False}),
        ("gradient_x_input", lambda f: captum.attr.InputXGradient(f), {}),
        ("integrated_gradients", lambda f: captum.attr.IntegratedGradients(f), {"n_steps": 50}),
    ],
)
def test_equal_to_captum(name, oracle, own):
    x = torch.tensor(X, requires_grad=True)
    expected = oracle(network()).attribute(x, target=torch.tensor(TARGET), **own)
    ours = explain(network(), X, method=name, target=TARGET)
    np.testing.assert_allclose(ours, expected.detach(), atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        network(),
        network(nn.GRU, bidirectional=True),
        nn.Sequential(nn.Flatten(), nn.Linear(T * N, 30), nn.ReLU(), nn.Linear(30, C)).double(),
        build_network("input-cell-lstm", n_features=N, n_classes=C),
        build_network("deep", n_features=N, n_classes=C),
        build_network("r-lstm", n_features=N, n_classes=C),
    ],
)
@pytest.mark.parametrize("output", ["logit", "margin", "probability"])
def test_integrated_gradients_are_complete(model, output):
    maps = explain(model, X, target=TARGET, output=output)
    base = explain(model, 0 * X, target=TARGET, output=output, method="gradient").score
    difference = maps.score - base
    missing = abs(maps.sum(("time", "region")) - difference)
    assert (missing <= 1e-3 * abs(difference) + 1e-6).all()
    np.testing.assert_allclose(maps.completeness_error, missing, atol=1e-6)
    assert maps.attrs["completeness_error"] == pytest.approx(float(missing.max()), abs=1e-6)


def test_halving_finds_the_kink_that_a_coarse_rule_misses():
    class Kink(nn.Module):
        def forward(self, x):
            return torch.stack([F.relu(x[:, 0, 0] - 0.7), x[:, 0, 0]], dim=1)

    x = np.ones((1, 1, 1))
    coarse = explain(Kink(), x, target=0, n_steps=5, tolerance=None)
    fine = explain(Kink(), x, target=0, n_steps=5)
    assert abs(coarse.item() - 0.3) > 0.01
    assert fine.item() == pytest.approx(0.3, abs=3e-4)
    assert 5 < fine.steps_used.item() < 200
    with pytest.warns(UserWarning, match="1 of 1 samples miss"):
        explain(Kink(), x, target=0, n_steps=5, max_halvings=1, tolerance=1e-6)


def test_noise_averages_of_a_known_gradient():
    """The gradient of w x^2 at noisy x has mean 2 w x and variance (2 w sd)^2."""
    model = Square()
    weight = model.weight[1].detach().numpy()
    asked = {"target": 1, "sd": 0.5, "n_samples": 8_000}
    mean = explain(model, X[:2], method="smoothgrad", **asked)
    error = 5 * 2 * np.abs(weight) * 0.5 / np.sqrt(8_000)
    assert (np.abs(mean - 2 * weight * X[:2]) <= error).all()
    spread = explain(model, X[:2], method="vargrad", **asked)
    np.testing.assert_allclose(spread, np.broadcast_to(weight**2, (2, T, N)), rtol=0.1)
    assert np.corrcoef(mean.values.ravel(), spread.values.ravel())[0, 1] < 0.9


def test_the_noise_level_is_a_share_of_each_samples_range():
    model = Square()
    spread = explain(model, np.stack([X[0], 10 * X[0]]), method="vargrad", target=1, n_samples=4000)
    weight = model.weight[1].detach().numpy()
    expected = (2 * weight * 0.15 * np.ptp(X[0])) ** 2
    np.testing.assert_allclose(spread[0], expected, rtol=0.15)
    np.testing.assert_allclose(spread[1], 100 * expected, rtol=0.15)


def test_mean_square_is_squared_mean_plus_variance():
    asked = {"target": TARGET, "n_samples": 11, "seed": 5}
    mean, square, variance = (
        explain(network(), X, method=name, **asked)
        for name in ("smoothgrad", "smoothgrad_squared", "vargrad")
    )
    np.testing.assert_allclose(square, mean**2 + variance, atol=1e-14)
    plain = explain(network(), X, method="gradient", target=TARGET)
    still = explain(network(), X, method="smoothgrad", target=TARGET, sd=0.0)
    np.testing.assert_allclose(still, plain, atol=1e-15)


def test_expected_gradients_are_integrated_gradients_averaged_over_the_background():
    background = np.random.default_rng(1).normal(size=(3, T, N))
    ours = explain(
        network(),
        X[:2],
        method="expected_gradients",
        target=1,
        background=background,
        n_samples=8_000,
    )
    each = [explain(network(), X[:2], target=1, baseline=sample) for sample in background]
    expected = np.mean(each, axis=0)
    np.testing.assert_allclose(ours, expected, atol=0.03 * np.abs(expected).max())
    assert not np.allclose(expected, each[0], atol=0.1 * np.abs(expected).max())


def test_negative_noise_and_no_steps_are_refused():
    with pytest.raises(ArgumentError, match="sd must be None or a finite number of at least 0"):
        explain(network(), X, method="smoothgrad", target=1, sd=-1.0)
    with pytest.raises(ArgumentError, match="n_steps must be a whole number of at least 1"):
        explain(network(), X, target=1, n_steps=0)
    with pytest.raises(ArgumentError, match="n_samples must be a whole number of at least 1"):
        explain(network(), X, method="vargrad", target=1, n_samples=0)


# Guided backpropagation


def test_guided_backprop_of_relus_equals_captum_and_sees_functional_relus():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(T * N, 20), nn.Linear(20, C)
            self.relu, self.how = nn.ReLU(), None

        def forward(self, x):
            return self.second((self.how or self.relu)(self.first(x.flatten(1))))

    torch.manual_seed(0)
    module = Functional().double()
    x, target = torch.tensor(X, requires_grad=True), torch.tensor(TARGET)
    with pytest.warns(UserWarning, match="backward hooks"):
        expected = captum.attr.GuidedBackprop(module).attribute(x, target=target).detach()
    assert not np.allclose(explain(module, X, method="gradient", target=TARGET), expected)
    hows = (F.relu, torch.relu, torch.Tensor.relu, torch.Tensor.relu_, nn.ReLU(inplace=True))
    for how in hows:
        module.how = how
        ours = explain(module, X, method="guided_backprop", target=TARGET)
        np.testing.assert_allclose(ours, expected, atol=1e-14)
    squared = explain(module, X, method="guided_backprop", target=TARGET, squared=True)
    np.testing.assert_allclose(squared, expected**2, atol=1e-14)


def slow_guided_lstm(module, x, target):
    """Go back through an LSTM by hand, gates held constant (one sample, numpy)."""
    weights = {name: part.detach().numpy() for name, part in module.named_parameters()}
    w, u = weights["rnn.weight_ih_l0"], weights["rnn.weight_hh_l0"]
    bias = weights["rnn.bias_ih_l0"] + weights["rnn.bias_hh_l0"]
    h = c = np.zeros(u.shape[1])
    steps = []
    for t in range(len(x)):
        i, f, g, o = np.split(w @ x[t] + u @ h + bias, 4)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        g = np.tanh(g)
        c = f * c + i * g
        squashed = np.tanh(c)
        h = o * squashed
        steps.append((i, f, g, o, squashed))
    signal, state = np.split(w, 4)[2], np.split(u, 4)[2]
    dh, dc, out = weights["out.weight"][target], 0.0, np.zeros_like(x)

    def back(d, y):
        return np.where(d * y > 0, d * (1 - y**2), 0.0)

    for t in reversed(range(len(x))):
        i, f, g, o, squashed = steps[t]
        dc = dc + back(dh * o, squashed)
        dz = back(dc * i, g)
        out[t], dh, dc = signal.T @ dz, state.T @ dz, dc * f
    return out


def test_guided_backprop_through_an_lstm_by_hand():
    module = network()
    ours = explain(module, X, method="guided_backprop", target=TARGET)
    for sample, target, expected in zip(X, TARGET, ours.values, strict=True):
        np.testing.assert_allclose(slow_guided_lstm(module, sample, target), expected, atol=1e-14)
    assert not np.allclose(ours, explain(module, X, method="gradient", target=TARGET), atol=1e-3)


KINDS = {
    "rnn": lambda **options: nn.RNN(N, 5, batch_first=True, **options),
    "relu": lambda **options: nn.RNN(N, 5, batch_first=True, nonlinearity="relu", **options),
    "lstm": lambda **options: nn.LSTM(N, 5, batch_first=True, **options),
    "gru": lambda **options: nn.GRU(N, 5, batch_first=True, **options),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_the_step_by_step_layers_compute_what_torchs_do(kind, bias, packed):
    torch.manual_seed(0)
    layer = KINDS[kind](num_layers=2, bidirectional=True, bias=bias).double().eval()
    x = torch.tensor(X)
    if packed:
        lengths = torch.tensor([3, 6, 1, 5])
        x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, ended = layer(x)
    with _Guided() as guided:
        ours, our_end = layer(x)
    assert guided.seen == 1
    pick = (lambda out: out.data) if packed else (lambda out: out)
    torch.testing.assert_close(pick(ours), pick(expected))
    torch.testing.assert_close(our_end, ended)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_the_cells_compute_what_torchs_do(kind):
    cell = kind(N, 5).double()
    expected = cell(torch.tensor(X[:, 0]))
    with _Guided() as guided:
        torch.testing.assert_close(cell(torch.tensor(X[:, 0])), expected)
    assert guided.seen == 1


def test_guided_backprop_of_the_gated_relu_cell_holds_the_gates():
    """With the gates' outputs as constants, only relus are left: captum's rule by another way."""
    torch.manual_seed(0)
    model = build_network("r-lstm", n_features=N, n_classes=C).double().eval()
    gates = []

    def record(original):
        def sigmoid(x):
            gates.append(original(x).detach())
            return gates[-1]

        return sigmoid

    class Positive(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, grad):
            return grad.clamp(min=0) * (ctx.saved_tensors[0] > 0)

    x = torch.tensor(X, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "sigmoid", record(torch.Tensor.sigmoid))
        patch.setattr(torch, "sigmoid", record(torch.sigmoid))
        for place in (torch, torch.Tensor, F):
            patch.setattr(place, "relu", lambda x, *_, **__: Positive.apply(x))
        scores = model(x)
    (expected,) = torch.autograd.grad(scores[range(4), TARGET].sum(), x)
    assert gates
    ours = explain(model, X, method="guided_backprop", target=TARGET)
    np.testing.assert_allclose(ours, expected, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_guided_backprop_of_input_cells_in_large_batches(dtype):
    """The layer's own fast backward pass must not take the place of the rules."""
    torch.manual_seed(0)
    model = build_network("input-cell-lstm", n_features=N, n_classes=C).to(dtype)
    x = np.random.default_rng(0).normal(size=(40, T, N))
    ours = explain(model, x, method="guided_backprop", target=1)
    pooled = model.rnn.attention
    plain = Last(model.rnn.rnn).to(dtype)
    plain.out = model.output
    tensor = torch.tensor(x, dtype=dtype)
    below = explain(plain, pooled(tensor), method="guided_backprop", target=1)
    tensor.requires_grad_()
    with _Guided():
        out = pooled(tensor)
    (expected,) = torch.autograd.grad(out, tensor, torch.tensor(below.values))
    np.testing.assert_allclose(ours, expected, atol=1e-6 if dtype == torch.float32 else 1e-14)
    assert "_run_first" not in vars(model.rnn)


def test_guided_backprop_refuses_a_hidden_backward_pass():
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.relu()

        @staticmethod
        def backward(ctx, grad):
            return grad

    class Module(Square):
        def forward(self, x):
            return super().forward(Hidden.apply(x)).relu()

    with pytest.raises(ArgumentError, match="its own backward pass, Hidden"):
        explain(Module(), X, method="guided_backprop", target=1)


def test_guided_backprop_refuses_what_it_cannot_see():
    for layer in (nn.GELU(), nn.ELU(), nn.LeakyReLU()):
        module = nn.Sequential(nn.Flatten(), nn.Linear(T * N, C), layer).double()
        with pytest.raises(ArgumentError, match="takes networks of relu, sigmoid and tanh"):
            explain(module, X, method="guided_backprop", target=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network(), torch.tensor(X))
    np.testing.assert_allclose(
        explain(traced, X, method="gradient", target=1),
        explain(network(), X, method="gradient", target=1),
        atol=1e-15,
    )
    with pytest.raises(ArgumentError, match="compiled or scripted"):
        explain(traced, X, method="guided_backprop", target=1)
    projected = Last(nn.LSTM(N, 6, proj_size=5, batch_first=True))
    projected.out = nn.Linear(5, C)
    with pytest.raises(ArgumentError, match="proj_size"):
        explain(projected.double(), X, method="guided_backprop", target=1)


# Attention


@pytest.mark.parametrize("lengths", [None, [6, 3, 1, 5]])
@pytest.mark.parametrize("name", ["input-cell-lstm", "input-cell-bi-lstm"])
def test_attention_is_the_mean_of_every_reading_steps_weights(name, lengths):
    torch.manual_seed(0)
    options = {"positional": True, "n_steps": T, "hops": 3}
    model = build_network(name, n_features=N, n_classes=C, **options).double().eval()
    x = X.copy()
    expected = np.zeros((4, T))
    for b, sample in enumerate(X):
        end = T if lengths is None else lengths[b]
        x[b, end:] = np.nan
        pools = [(model.rnn.attention, 1)]
        if model.rnn.bidirectional:
            pools.append((model.rnn.attention_reverse, -1))
        for pool, direction in pools:
            nn.init.normal_(pool.positional, generator=torch.Generator().manual_seed(1))
            seen = torch.tensor(sample[:end][::direction].copy())[None]
            for t in range(1, end + 1):
                weights = pool.logits(seen[:, :t]).softmax(1).mean(2)[0].detach().numpy()
                place = np.arange(end)[::direction][:t]
                expected[b, place] += weights / end / len(pools)
    ours = explain(model, x, method="attention", target=1)
    expected = expected[:, :, None] * np.abs(np.nan_to_num(x))
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_a_score_of_some_rows_is_the_score_of_those_samples():
    model = as_network(network())
    score = Score(model, torch.tensor(TARGET), torch.zeros(1, T, N).double())
    x, rows = torch.tensor(X), torch.tensor([2, 2, 0])
    torch.testing.assert_close(score(x[rows], rows), score(x)[rows])
