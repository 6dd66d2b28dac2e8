"""Causal prefix-softmax pooling against the definition, written as a loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurosal.errors import ArgumentError
from neurosal.models import factored
from neurosal.models.attention import InputCellAttention
from neurosal.models.cells import InputCellGRU, InputCellLSTM, InputCellRNN
from neurosal.models.chunks import chunk_length
from neurosal.models.pooling import (
    attention_weights,
    prefix_norm,
    prefix_pool,
    prefix_pool_projected,
)

F64 = torch.float64


def pool_by_definition(x, logits, readout):
    """A_t = softmax over 1..t; M_t = A_t X_t; one step at a time."""
    steps = []
    for t in range(x.shape[1]):
        weights = torch.softmax(logits[:, : t + 1], dim=1)
        matrix = torch.einsum("bik,bin->bkn", weights, x[:, : t + 1])
        steps.append(matrix.mean(dim=1) if readout == "mean" else matrix.flatten(1))
    return torch.stack(steps, dim=1)


def make(batch, time, features, hops, *, spread=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, time, features, dtype=F64, generator=generator)
    logits = spread * torch.randn(batch, time, hops, dtype=F64, generator=generator)
    return x.requires_grad_(), logits.requires_grad_()


def assert_same(ours, theirs, inputs, *, atol):
    """Outputs and all gradients, for a random gradient of the output."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
    grad = torch.randn(ours.shape, dtype=ours.dtype, generator=torch.Generator().manual_seed(1))
    first = torch.autograd.grad(ours, inputs, grad, retain_graph=True)
    second = torch.autograd.grad(theirs, inputs, grad)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    time=st.integers(1, 90),
    features=st.integers(1, 5),
    hops=st.integers(1, 4),
    chunk=st.none() | st.integers(1, 100),
    spread=st.sampled_from([0.0, 2.0, 20.0]),
    readout=st.sampled_from(["mean", "flatten"]),
)
def test_equals_the_definition(batch, time, features, hops, chunk, spread, readout):
    x, logits = make(batch, time, features, hops, spread=spread)
    ours = prefix_pool(x, logits, readout=readout, chunk_size=chunk)
    assert_same(ours, pool_by_definition(x, logits, readout), (x, logits), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    time=st.integers(1, 60),
    features=st.integers(1, 4),
    hops=st.integers(1, 4),
    spread=st.sampled_from([2.0, 100.0]),
    normalize=st.booleans(),
)
def test_projecting_first_equals_projecting_last(time, features, hops, spread, normalize):
    x, logits = make(2, time, features, hops, spread=spread)
    x = (x.detach() + 3).requires_grad_()  # keeps the norm, which is divided by, off zero
    weight = torch.randn(3, hops * features, dtype=F64).requires_grad_()
    bias = torch.randn(3, dtype=F64).requires_grad_()
    ours = prefix_pool_projected(x, logits, weight, bias=bias, normalize=normalize)
    flat = pool_by_definition(x, logits, "flatten")
    norm = torch.linalg.vector_norm(flat, dim=-1, keepdim=True)
    theirs = (flat / norm if normalize else flat) @ weight.T + bias
    assert_same(ours, theirs, (x, logits, weight, bias), atol=1e-11)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("outputs", [3, factored.WIDE])
@pytest.mark.parametrize("chunks", [1, 4, 100])
def test_projections_made_block_by_block_are_those_made_at_once(monkeypatch, chunks, outputs, kept):
    x, logits = make(3, 40, 4, 5, spread=2.0)
    weight = torch.randn(outputs, 20, dtype=F64).requires_grad_()
    monkeypatch.setitem(factored.BLOCK, "cpu", chunks * chunk_length(40, 12) * 5 * outputs * 8)
    monkeypatch.setattr(factored, "KEPT", 2**25 if kept else 0)
    made, project = [], factored._project
    monkeypatch.setattr(
        factored, "_project", lambda rows, *rest: made.append(len(rows)) or project(rows, *rest)
    )
    ours = prefix_pool_projected(x, logits, weight)
    theirs = pool_by_definition(x, logits, "flatten") @ weight.T
    assert_same(ours, theirs, (x, logits, weight), atol=1e-12)
    once = {1: [1] * 12, 4: [4] * 3, 100: [12]}[chunks]
    assert made == (once if kept else 2 * once)


def test_projections_are_not_kept_where_no_gradient_is_asked_for(monkeypatch):
    x, logits = make(3, 40, 4, 5)
    held, project = [], factored._project
    monkeypatch.setattr(factored, "_project", lambda *a: held.append(len(a[3])) or project(*a))
    weight = torch.randn(3, 20, dtype=F64)
    with torch.no_grad():
        without = prefix_pool_projected(x, logits, weight)
    assert torch.equal(without, prefix_pool_projected(x, logits, weight))
    assert held == [0, 12]


@pytest.mark.parametrize("readout", ["mean", "flatten"])
@pytest.mark.parametrize("cell", [InputCellRNN, InputCellLSTM, InputCellGRU])
@pytest.mark.parametrize("batch", [3, 40])
def test_half_precision_elsewhere_leaves_the_pooling_as_it_is(batch, cell, readout):
    torch.manual_seed(0)
    layer = cell(6, 4, batch_first=True, hops=3, readout=readout, normalize=readout == "flatten")
    x = torch.randn(batch, 50, 6)
    grads = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = layer(x)[0].float().square().mean()
            loss.backward()  # under autocast, as users do who should not
        grads.append(torch.cat([p.grad.flatten() for p in layer.parameters()]))
        layer.zero_grad()
    assert 1 - torch.cosine_similarity(*grads, dim=0) < 1e-3


STEPS = torch.arange(60, dtype=F64)
HARD = {
    "equal": torch.zeros(60, dtype=F64),
    "equal and large": torch.full((60,), 1000.0, dtype=F64),
    "+-80": torch.where(STEPS % 2 == 0, 80.0, -80.0),
    "ramp up to 1000": torch.linspace(0, 1000, 60, dtype=F64),
    "ramp down from 1000": torch.linspace(1000, 0, 60, dtype=F64),
    "steps of 200 up": 200 * (STEPS // 10),
    "steps of 200 down": -200 * (STEPS // 10),
    "one peak of 500": torch.where(STEPS == 30, 500.0, 0.0).to(F64),
    "one trough of -500": torch.where(STEPS == 30, -500.0, 0.0).to(F64),
    "slow ramp just below the limit": torch.linspace(0, 79, 60, dtype=F64),
    "noise of 30": 30 * torch.randn(60, dtype=F64, generator=torch.Generator().manual_seed(3)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", HARD)
def test_any_logits(name, dtype):
    x, noise = make(2, 60, 3, 2, spread=0.5)
    logits = (HARD[name][None, :, None] + noise.detach()).to(torch.float32)
    x = x.detach().to(torch.float32)
    wide = [x.to(F64).requires_grad_(), logits.to(F64).requires_grad_()]
    ours = [x.to(dtype).requires_grad_(), logits.to(dtype).requires_grad_()]
    weight = torch.randn(3, 6, dtype=F64, generator=torch.Generator().manual_seed(2))
    for function, expected in (
        (prefix_pool(*ours), pool_by_definition(*wide, "mean")),
        (
            prefix_pool_projected(*ours, weight.to(dtype)),
            pool_by_definition(*wide, "flatten") @ weight.T,
        ),
    ):
        grad = torch.randn(expected.shape, dtype=F64, generator=torch.Generator().manual_seed(1))
        found = torch.autograd.grad(function, ours, grad.to(dtype))
        known = torch.autograd.grad(expected, wide, grad)
        small, large = (1e-14, 1e-13) if dtype == F64 else (1e-6, 1e-5)
        assert (function - expected).abs().max() <= small * expected.abs().max()
        for a, b in zip(found, known, strict=True):
            assert (a - b).abs().max() <= large * b.abs().max().clamp_min(1)


def test_second_derivatives_are_right():
    x, logits = make(1, 11, 2, 2)
    weight = torch.randn(2, 4, dtype=F64).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda a, b: prefix_pool(a, b, chunk_size=4), (x, logits))
    assert torch.autograd.gradgradcheck(prefix_pool_projected, (x, logits, weight))


def test_a_gradient_penalty_trains_as_with_the_definition():
    x, _ = make(2, 30, 3, 2)
    weight = torch.randn(3, 2, dtype=F64)
    found = []
    for pool in (prefix_pool, lambda x, logits: pool_by_definition(x, logits, "mean")):
        out = pool(x, (x.square() @ weight).tanh())  # logits that depend on x, as in the cell
        slope = torch.autograd.grad(out.square().sum(), x, create_graph=True)[0]
        found.append(torch.autograd.grad(slope.square().sum(), x))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("readout", ["mean", "flatten"])
def test_padding_is_not_read_even_if_nan(readout):
    layer = InputCellAttention(3, hops=2, readout=readout, dtype=F64)
    x, _ = make(2, 20, 3, 2)
    dirty = x.detach().clone()
    dirty[1, 13:] = torch.nan
    dirty.requires_grad_()
    out = layer(dirty, torch.tensor([20, 13]))
    alone = layer(x[1:, :13])
    torch.testing.assert_close(out[1:, :13], alone, rtol=0, atol=1e-13)
    assert not out[1, 13:].any()
    out.square().sum().backward()
    assert not dirty.grad[1, 13:].any()
    assert all(p.grad.isfinite().all() for p in (dirty, *layer.parameters()))


def test_nothing_looks_ahead():
    layer = InputCellAttention(3, hops=2, dtype=F64)
    x, _ = make(1, 70, 3, 2)
    slope = torch.autograd.grad(layer(x)[0, 40].sum(), x)[0]
    assert slope[0, :41].abs().amin() > 0
    assert not slope[0, 41:].any()


def test_attention_of_the_last_valid_step_rebuilds_its_readout():
    layer = InputCellAttention(3, hops=4, dtype=F64, positional=True, max_length=30)
    torch.nn.init.normal_(layer.positional)
    x, _ = make(2, 25, 3, 1)
    lengths = torch.tensor([25, 7])
    weights = layer.weights(x, lengths=lengths)
    out = layer(x, lengths)
    assert not weights[1, :, 7:].any()
    for sample, length in enumerate(lengths):
        rebuilt = (weights[sample] @ x[sample]).mean(dim=0)
        torch.testing.assert_close(out[sample, length - 1], rebuilt, rtol=0, atol=1e-13)


def test_normalized_readout_has_norm_one_and_prefix_norm_agrees():
    x, logits = make(2, 40, 3, 4)
    flat = pool_by_definition(x, logits, "flatten")
    norm = torch.linalg.vector_norm(flat, dim=-1, keepdim=True)
    torch.testing.assert_close(prefix_norm(x, logits), norm, rtol=1e-12, atol=1e-12)
    layer = InputCellAttention(3, hops=4, readout="flatten", normalize=True, dtype=F64)
    ones = torch.linalg.vector_norm(layer(x), dim=-1)
    torch.testing.assert_close(ones, torch.ones_like(ones), rtol=0, atol=1e-12)


def test_a_constant_first_input_has_no_infinite_gradient():
    x = torch.zeros(1, 5, 2, dtype=F64, requires_grad=True)
    logits = torch.zeros(1, 5, 2, dtype=F64, requires_grad=True)
    weight = torch.ones(1, 4, dtype=F64)
    out = prefix_pool_projected(x, logits, weight, normalize=True)
    grads = torch.autograd.grad(out.sum(), (x, logits))
    assert not out.any()
    assert all(g.isfinite().all() for g in grads)


def test_chunks_cover_the_sequence_and_avoid_a_rest():
    for steps in range(1, 500):
        chunk = chunk_length(steps, 40)
        assert chunk <= 60
        assert -(-steps // chunk) * chunk - steps < chunk
    assert [chunk_length(s, 40) for s in (100, 120, 405)] == [50, 40, 45]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prefix_pool(torch.ones(2, 3), torch.ones(2, 3, 1)), "x must be"),
        (lambda: prefix_pool(torch.ones(2, 3, 4), torch.ones(2, 5, 1)), "x must be"),
        (lambda: prefix_pool(torch.ones(2, 3, 4), torch.ones(2, 3, 1), readout="men"), "'flatten'"),
        (
            lambda: prefix_pool(torch.ones(2, 3, 4), torch.ones(2, 3, 1), lengths=[3, 4]),
            "between 1 and the number of steps, 3",
        ),
        (
            lambda: prefix_pool(torch.ones(2, 3, 4), torch.ones(2, 3, 1), lengths=[3]),
            "one integer per sample",
        ),
        (
            lambda: prefix_pool_projected(
                torch.ones(2, 3, 4), torch.ones(2, 3, 2), torch.ones(5, 7)
            ),
            "hops \\* features",
        ),
        (lambda: InputCellAttention(3, normalize=True), "readout='flatten'"),
        (lambda: InputCellAttention(3, positional=True), "max_length"),
        (lambda: InputCellAttention(0), "input_size must be an integer of at least 1"),
        (
            lambda: InputCellAttention(3, positional=True, max_length=4)(torch.ones(1, 5, 3)),
            "max_length=4",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_weights_of_a_padded_batch_sum_to_one():
    weights = attention_weights(torch.randn(3, 6, 2), lengths=torch.tensor([1, 4, 6]))
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 2))
    assert weights[0, :, 0].eq(1).all()
