"""Relevance against a second implementation that goes number by number."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from neurosal.models.attention import InputCellAttention
from neurosal.models.relu_cells import ReluCell, ReluLSTMCell, SequenceDropout
from neurosal.saliency.relevance import propagate
from neurosal.saliency.relevance_affine import Affine, Term, input_relevance_of
from neurosal.saliency.relevance_attention import PooledMap, pool_of
from neurosal.saliency.relevance_maps import CausalMap, ConvMap
from neurosal.saliency.relevance_networks import weighted_back
from neurosal.saliency.rules import input_relevance, linear_relevance, make_rule

EPS = 0.01
RULES = {
    "epsilon": {"name": "epsilon", "epsilon": EPS},
    "epsilon with bias": {"name": "epsilon", "epsilon": EPS, "bias_factor": 1.0},
    "alpha-beta": {"name": "alpha-beta", "alpha": 1.5, "beta": 0.5},
    "z+": {"name": "z+"},
}
GATES = ["all", "prop", "abs", "half"]


def messages(x, w, b, out, R, rule, n):
    """What every input i gets from every output j of an affine layer, w[j][i]."""
    found = np.zeros((len(x), len(out)))
    for j in range(len(out)):
        z = [w[j][i] * x[i] for i in range(len(x))]
        sign = EPS if out[j] >= 0 else -EPS
        for i in range(len(x)):
            if rule.name == "epsilon":
                share = (z[i] + rule.bias_factor * (b[j] + sign) / n) / (out[j] + sign)
            else:
                above = sum(v for v in z if v > 0)
                below = sum(v for v in z if v < 0)
                share = rule.alpha * z[i] / above if z[i] > 0 else 0.0
                share = -rule.beta * z[i] / below if z[i] < 0 else share
            found[i, j] = share * R[j]
    return found


def split_sum(parts, R, rule):
    """The summands' relevance."""
    d, total = len(R), sum(parts)
    if rule.name == "epsilon":
        eye = np.eye(d)
        return [messages(p, eye, np.zeros(d), total, R, rule, len(parts) * d).sum(1) for p in parts]
    found = [np.zeros(d) for _ in parts]
    for j in range(d):
        above = sum(p[j] for p in parts if p[j] > 0)
        below = sum(p[j] for p in parts if p[j] < 0)
        alpha, beta = rule.alpha, rule.beta
        if below == 0:
            alpha, beta = 1.0, 0.0
        elif above == 0:
            alpha, beta = 0.0, -1.0
        for k, p in enumerate(parts):
            found[k][j] = R[j] * (alpha * p[j] / above if p[j] > 0 else 0.0)
            found[k][j] += R[j] * (-beta * p[j] / below if p[j] < 0 else 0.0)
    return found


def split_product(gate, signal, R, gate_rule):
    if gate_rule == "all":
        return 0 * R, R
    if gate_rule == "half":
        return R / 2, R / 2
    if gate_rule == "abs":
        gate, signal = abs(gate), abs(signal)
    return gate / (gate + signal) * R, signal / (gate + signal) * R


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def slow_lstm(x, wx, wh, b, R, rule, *, relu=False):
    """Gates in the order i, f, g, o; returns relevance of x, and of what enters the gates."""
    T, d = len(x), wh.shape[1]
    squash, signal = ((lambda v: v), (lambda v: np.maximum(v, 0))) if relu else (np.tanh, np.tanh)
    h, c, pre = [np.zeros(d)], [np.zeros(d)], []
    for t in range(T):
        pre.append(wx @ x[t] + wh @ h[-1] + b)
        i, f, g, o = np.split(pre[-1], 4)
        c.append(sigmoid(f) * c[-1] + sigmoid(i) * signal(g))
        h.append(sigmoid(o) * squash(c[-1]))
    rows = slice(2 * d, 3 * d) if rule.gate_rule == "all" else slice(0, 4 * d)
    Rx, Rpre, Rh, Rc = np.zeros_like(x), [None] * T, np.zeros(d), np.zeros(d)
    for t in reversed(range(T)):
        i, f, g, o = np.split(pre[t], 4)
        i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), signal(g)
        Ro, Rs = split_product(o, squash(c[t + 1]), R[t] + Rh, rule.gate_rule)
        Rkeep, Rnew = split_sum([f * c[t], i * g], Rc + Rs, rule)
        Rf, Rc = split_product(f, c[t], Rkeep, rule.gate_rule)
        Ri, Rg = split_product(i, g, Rnew, rule.gate_rule)
        Rpre[t] = Rg if rule.gate_rule == "all" else np.concatenate([Ri, Rf, Rg, Ro])
        both, w = np.concatenate([x[t], h[t]]), np.concatenate([wx, wh], 1)[rows]
        found = messages(both, w, b[rows], pre[t][rows], Rpre[t], rule, len(both)).sum(1)
        Rx[t], Rh = found[: x.shape[1]], found[x.shape[1] :]
    return Rx, Rpre, (Rh + Rc).sum()


def slow_gru(x, wx, wh, bx, bh, R, rule):
    """Gates in the order r, z, n."""
    T, d, N = len(x), wh.shape[1], x.shape[1]
    h, gates = [np.zeros(d)], []
    for t in range(T):
        a, u = wx @ x[t] + bx, wh @ h[-1] + bh
        r, z = sigmoid(a[:d] + u[:d]), sigmoid(a[d : 2 * d] + u[d : 2 * d])
        gates.append((r, z, np.tanh(a[2 * d :] + r * u[2 * d :]), a, u))
        h.append((1 - z) * gates[-1][2] + z * h[-1])
    Rx, Rh = np.zeros_like(x), np.zeros(d)
    for t in reversed(range(T)):
        r, z, n, a, u = gates[t]
        Rkeep, Rnew = split_sum([z * h[t], (1 - z) * n], R[t] + Rh, rule)
        Rz, Rh = split_product(z, h[t], Rkeep, rule.gate_rule)
        Rz2, Rn = split_product(1 - z, n, Rnew, rule.gate_rule)
        both = np.concatenate([x[t], h[t]])
        w = np.concatenate([wx[2 * d :], r[:, None] * wh[2 * d :]], 1)
        bias = bx[2 * d :] + r * bh[2 * d :]
        found = messages(both, w, bias, a[2 * d :] + r * u[2 * d :], Rn, rule, N + d)
        part = split_product(r, u[2 * d :], np.ones(d), rule.gate_rule)
        Rr = part[0] * found[N:].sum(0)
        Rx[t] = found[:N].sum(1)
        Rh = Rh + (found[N:] * part[1]).sum(1)
        if rule.gate_rule != "all":
            w = np.concatenate([wx, wh], 1)[: 2 * d]
            Rg = np.concatenate([Rr, Rz + Rz2])
            found = messages(both, w, (bx + bh)[: 2 * d], (a + u)[: 2 * d], Rg, rule, N + d).sum(1)
            Rx[t] += found[:N]
            Rh = Rh + found[N:]
    return Rx, Rh.sum()


def close(found, expected):
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-8, atol=1e-10)


def arrays(*tensors):
    return [t.detach().numpy() for t in tensors]


@pytest.fixture
def data():
    torch.manual_seed(3)
    return torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)


@pytest.mark.parametrize("gate_rule", GATES)
@pytest.mark.parametrize("rule", RULES)
def test_lstm(data, rule, gate_rule):
    x, R = data
    cell, rule = (
        nn.LSTM(4, 3, batch_first=True).double(),
        make_rule(gate_rule=gate_rule, **RULES[rule]),
    )
    wx, wh, b1, b2 = arrays(*cell.parameters())
    found, absorbed = propagate(cell, x, None, rule)[1](R)
    for k in range(2):
        expected, _, kept = slow_lstm(x[k].numpy(), wx, wh, b1 + b2, R[k].numpy(), rule)
        close(found[k], expected)
        assert absorbed[k].item() == pytest.approx(kept, abs=1e-10, rel=1e-8)


@pytest.mark.parametrize("gate_rule", GATES)
@pytest.mark.parametrize("rule", RULES)
def test_gru(data, rule, gate_rule):
    x, R = data
    cell, rule = (
        nn.GRU(4, 3, batch_first=True).double(),
        make_rule(gate_rule=gate_rule, **RULES[rule]),
    )
    wx, wh, b1, b2 = arrays(*cell.parameters())
    found, absorbed = propagate(cell, x, None, rule)[1](R)
    for k in range(2):
        expected, kept = slow_gru(x[k].numpy(), wx, wh, b1, b2, R[k].numpy(), rule)
        close(found[k], expected)
        assert absorbed[k].item() == pytest.approx(kept, abs=1e-10, rel=1e-8)


@pytest.mark.parametrize("gate_rule", GATES)
@pytest.mark.parametrize("rule", RULES)
def test_gated_relu_cell(data, rule, gate_rule):
    x, R = data
    x, cell = x.abs(), ReluLSTMCell(4, 3).double()
    rule = make_rule(gate_rule=gate_rule, **RULES[rule])
    torch.nn.init.normal_(cell.gates.bias)
    states, back = propagate(cell, x, None, rule)
    torch.testing.assert_close(states, cell(x, SequenceDropout(0.0)))
    i, f, o = arrays(*cell.gates.weight.chunk(3))
    bi, bf, bo = arrays(*cell.gates.bias.chunk(3))
    g, bg = arrays(cell.signal.weight, cell.signal.bias)
    w, b = np.concatenate([i, f, g, o]), np.concatenate([bi, bf, bg, bo])
    for k in range(2):
        expected, *_ = slow_lstm(x[k].numpy(), w[:, :4], w[:, 4:], b, R[k].numpy(), rule, relu=True)
        close(back(R)[0][k], expected)


def slow_attention(layer, x):
    """Weights [hop][t][i] of one sample, step by step as published."""
    w1, b1, w2, b2 = arrays(
        layer.first.weight, layer.first.bias, layer.second.weight, layer.second.bias
    )
    T, r = len(x), len(w2)
    A = np.zeros((r, T, T))
    for t in range(T):
        for k in range(r):
            s = [float(w2[k] @ np.tanh(w1 @ x[i] + b1) + b2[k]) for i in range(t + 1)]
            for i in range(t + 1):
                A[k, t, i] = math.exp(s[i] - max(s)) / sum(math.exp(v - max(s)) for v in s)
    return A if layer.readout == "flatten" else A.mean(0, keepdims=True)


def slow_pool_back(A, x, R, rule):
    """Relevance R[t][k * N + n] of pooled inputs, shared among the steps so far."""
    T, N = x.shape
    found = np.zeros_like(x)
    for k in range(len(A)):
        for t in range(T):
            for n in range(N):
                z = [x[i, n] for i in range(t + 1)]
                out = sum(A[k, t, i] * x[i, n] for i in range(t + 1))
                if rule.name == "epsilon":
                    part = messages(z, [A[k, t]], [0], [out], [R[t, k * N + n]], rule, t + 1)[:, 0]
                else:
                    parts = [np.array([A[k, t, i] * v]) for i, v in enumerate(z)]
                    part = np.concatenate(split_sum(parts, np.array([R[t, k * N + n]]), rule))
                found[: t + 1, n] += part
    return found


@pytest.fixture(params=[("mean", False), ("flatten", False), ("flatten", True)], ids=str)
def attention(request):
    readout, normalize = request.param
    layer = InputCellAttention(
        4, hops=2, attention_size=3, readout=readout, normalize=normalize
    ).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


@pytest.mark.parametrize("rule", RULES)
def test_attention_splits_over_the_inputs_so_far(data, attention, rule):
    x = data[0].clone()
    x[:, :, 0].abs_()  # a region whose inputs are of one sign
    rule = make_rule(**RULES[rule])
    out, back = propagate(attention, x, None, rule)
    torch.testing.assert_close(out, attention(x))
    R = torch.randn(out.shape, dtype=torch.float64)
    for k in range(2):
        A = slow_attention(attention, x[k].numpy())
        close(back(R)[0][k], slow_pool_back(A, x[k].numpy(), R[k].numpy(), rule))


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_weights_one_by_one_are_those_of_the_published_attention(
    data, attention, scale, monkeypatch
):
    monkeypatch.setattr("neurosal.saliency.relevance_attention.CHUNK_NUMBERS", 20)
    x, _ = data
    attention.second.weight.data *= scale
    pool, _ = pool_of(attention, x)
    for b in range(2):
        A = slow_attention(attention, x[b].numpy())
        for k in range(len(A)):
            seen = 0
            for steps, weights in pool.rows(k):
                close(weights[b], A[k, steps, : steps.stop])
                seen = steps.stop
            assert seen == 5


@pytest.mark.parametrize("rule", ["zB", "w2", "flat"])
def test_input_rules_see_attention_and_input_weights_as_one_layer(data, attention, rule):
    x, _ = data
    low, high = x.min().item(), x.amax((0, 1))
    bounds = {"low": low, "high": high} if rule == "zB" else {}
    chosen = make_rule("z+", input_rule=rule, **bounds)
    weight = torch.randn(2, attention.output_size, dtype=torch.float64)
    R = torch.randn(5, 2, 2, dtype=torch.float64)
    layer = PooledMap(weight, *pool_of(attention, x))
    found = input_relevance_of(x.transpose(0, 1), layer, R, chosen).transpose(0, 1)
    for b in range(2):
        A, expected = slow_attention(attention, x[b].numpy()), np.zeros((5, 4))
        for t in range(5):
            for j in range(2):
                share = np.zeros((5, 4))
                for k in range(len(A)):
                    for i in range(t + 1):
                        for n in range(4):
                            w = float(weight[j, k * 4 + n]) * A[k, t, i]
                            v = {"w2": w * w, "flat": 1.0}.get(rule)
                            if rule == "zB":
                                v = w * (float(x[b, i, n]) - (low if w > 0 else float(high[n])))
                            share[i, n] += v
                expected += share / share.sum() * float(R[t, b, j])
        close(found[b], expected)


@pytest.mark.parametrize("rule", RULES)
def test_weighted_sums_over_time(data, rule):
    states, _ = data
    rule, weights = make_rule(**RULES[rule]), torch.rand(2, 3, 5, dtype=torch.float64)
    R = torch.randn(2, 3, 4, dtype=torch.float64)
    found = weighted_back(states, weights, R, rule)
    for b in range(2):
        expected = np.zeros((5, 4))
        for k in range(3):
            for n in range(4):
                z, w = states[b, :, n].numpy(), weights[b, k].numpy()
                parts = [np.array([v]) for v in z * w]
                if rule.name == "epsilon":
                    part = messages(z, [w], [0], [float(z @ w)], [float(R[b, k, n])], rule, 5)
                    expected[:, n] += part[:, 0]
                else:
                    expected[:, n] += np.concatenate(
                        split_sum(parts, R[b, k, n : n + 1].numpy(), rule)
                    )
        close(found[b], expected)


def slow_shallow(x, w, b, wr, br, R, rule, low, high):
    """The cell without gates; but under epsilon its data count as the zB rule has them."""
    T, N = x.shape
    r, pre, out = [np.zeros(len(wr))], [], []
    for t in range(T):
        pre.append(w @ np.concatenate([x[t], r[-1]]) + b)
        out.append(wr @ np.maximum(pre[-1], 0) + br)
        r.append(np.maximum(out[-1], 0))
    Rx, Rr = np.zeros_like(x), np.zeros(len(wr))
    for t in reversed(range(T)):
        h = np.maximum(pre[t], 0)
        Rh = R[t] + messages(h, wr, br, out[t], Rr, rule, len(h)).sum(1)
        zb = np.array(
            [
                [v * (a - (low if v > 0 else high)) for a, v in zip(x[t], row[:N], strict=True)]
                for row in w
            ]
        )
        both = np.concatenate([x[t], r[t]])
        if rule.name == "alpha-beta":
            from_r = w[:, N:] * r[t]
            sized = np.where(from_r > 0, rule.alpha, -rule.beta) * from_r
            z = np.concatenate([zb, sized], 1)
            found = (z / z.sum(1, keepdims=True) * Rh[:, None]).sum(0)
            Rx[t], Rr = found[:N], found[N:]
        else:
            found = messages(both, w, b, pre[t], Rh, rule, len(both))
            of_data = found[:N].sum(0)
            Rx[t] = (zb / zb.sum(1, keepdims=True) * of_data[:, None]).sum(0)
            Rr = found[N:].sum(1)
    return Rx


@pytest.mark.parametrize("rule", RULES)
def test_cell_without_gates_that_reads_bounded_data(data, rule):
    x, R = data
    cell, low, high = ReluCell(4, 3, recurrent=5).double(), -4.0, 4.0
    rule = make_rule(**RULES[rule], input_rule="zB", low=low, high=high)
    states, back = propagate(cell, x, None, rule)
    torch.testing.assert_close(states, cell(x, SequenceDropout(0.0)))
    weights = arrays(
        cell.hidden.weight, cell.hidden.bias, cell.recurrent.weight, cell.recurrent.bias
    )
    for k in range(2):
        expected = slow_shallow(x[k].numpy(), *weights, R[k].numpy(), rule, low, high)
        close(back(R)[0][k], expected)


@pytest.mark.parametrize("rule", [*RULES, "zB", "w2", "flat"])
@pytest.mark.parametrize("kind", ["image", "time"])
def test_convolutions_are_the_linear_layers_that_they_are(kind, rule):
    torch.manual_seed(4)
    if kind == "image":
        shape = (2, 4, 3)
        layer = ConvMap(torch.randn(3, 2, 3, 3, dtype=torch.float64), padding=(1, 1))
    else:
        shape = (2, 6)
        layer = CausalMap(torch.randn(3, 2, 3, dtype=torch.float64), dilation=2)
    n = math.prod(shape)
    dense = layer(torch.eye(n, dtype=torch.float64).view(n, *shape)).flatten(1).T
    x = torch.randn(5, *shape, dtype=torch.float64)
    out = layer(x) + 0.3
    R = torch.randn(out.shape, dtype=torch.float64)
    if rule in RULES:
        chosen = make_rule(**RULES[rule])
        bias = torch.full((len(dense),), 0.3, dtype=torch.float64)
        found = Affine([Term(x, layer)], torch.tensor(0.3), out, chosen).message(0, R)
        if rule == "epsilon with bias":  # which a convolution gives to the inputs it has only
            torch.testing.assert_close(found.sum(), R.sum())
            return
        expected = linear_relevance(x.flatten(1), dense, bias, R.flatten(1), rule=chosen)
        close(found.flatten(1), expected)
        return
    bounds = {"low": -5.0, "high": 5.0} if rule == "zB" else {}
    chosen = make_rule("z+", input_rule=rule, **bounds)
    found = input_relevance_of(x, layer, R, chosen)
    if rule == "flat":
        torch.testing.assert_close(found.sum(), R.sum())
        return
    close(found.flatten(1), input_relevance(x.flatten(1), dense, R.flatten(1), rule=chosen))
