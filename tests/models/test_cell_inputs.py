"""What the cells and the attention take and give: layouts, types, options, and what they refuse."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from neurosal.errors import ArgumentError
from neurosal.models.attention import InputCellAttention
from neurosal.models.cells import InputCellGRU, InputCellLSTM, InputCellRNN
from neurosal.models.pooling import (
    attention_weights,
    prefix_norm,
    prefix_pool,
    prefix_pool_projected,
)

F64 = torch.float64
CELLS = [InputCellRNN, InputCellLSTM, InputCellGRU]
READOUTS = ["mean", "flatten"]


def steps(batch=20, time=20, features=6, **options):
    return torch.randn(batch, time, features, **options)


def states(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("batch", "time"), [(20, 9), (20, 53), (1, 60), (4, 60)])
def test_gradients_do_not_depend_on_the_layout(cell, readout, batch, time):
    torch.manual_seed(0)
    layer = cell(6, 8, hops=3, readout=readout, dtype=F64)
    x = steps(batch, time, dtype=F64).requires_grad_()
    found = []
    for layer.batch_first in (True, False):
        score = layer(x if layer.batch_first else x.transpose(0, 1))[0].square().sum()
        found.append(torch.autograd.grad(score, [x, *layer.parameters()]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch", [2, 20])
def test_checkpoints_recompute_a_cell(cell, readout, batch):
    torch.manual_seed(0)
    layer, x = cell(6, 8, readout=readout, hops=2), steps(batch).requires_grad_()
    whole = torch.autograd.grad(layer(x)[0].square().sum(), x)[0]
    score = checkpoint(layer, x, use_reentrant=False)[0].square().sum()
    assert torch.equal(torch.autograd.grad(score, x)[0], whole)


@pytest.mark.parametrize("growth", [8.0, 15.0, 30.0, 90.0])
def test_float16_holds_at_moderate_logits(growth):
    torch.manual_seed(0)
    x, weight = steps(2, 60), torch.randn(5, 24)
    logits = (torch.randn(2, 60, 4) + torch.linspace(0, growth, 60)[:, None]).half()
    pooled = prefix_pool(x.half(), logits).float()
    torch.testing.assert_close(pooled, prefix_pool(x, logits.float()), rtol=0, atol=5e-3)
    found = prefix_pool_projected(x.half(), logits, weight.half()).float()
    known = prefix_pool_projected(x, logits.float(), weight)
    torch.testing.assert_close(found, known, rtol=0, atol=3e-2)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32])
@pytest.mark.parametrize("cell", CELLS)
def test_lengths_of_any_whole_type_are_lengths(cell, kind):
    torch.manual_seed(0)
    layer = cell(6, 8, batch_first=True, hops=2, bidirectional=True)
    x, lengths = steps(), torch.randint(2, 20, (20,))
    output, state = layer(x, lengths=lengths)
    for given in (lengths.to(kind), lengths.to(kind).numpy(), lengths.tolist()):
        found, last = layer(x, lengths=given)
        assert torch.equal(found, output)
        for ours, theirs in zip(states(last), states(state), strict=True):
            assert torch.equal(ours, theirs)
    assert torch.equal(layer(x[0], lengths=5)[0], layer(x[0], lengths=[5])[0])


@pytest.mark.parametrize(
    "lengths",
    [
        torch.full((20,), 20.0),
        torch.ones(20, dtype=torch.bool),
        torch.full((10, 2), 3),
        torch.tensor(3),
        [2.0] * 20,
        [None] * 20,
        "twenty",
    ],
)
def test_other_lengths_are_refused(lengths):
    for call in (InputCellLSTM(6, 8, batch_first=True), InputCellAttention(6), prefix_norm):
        args = (steps(), steps()) if call is prefix_norm else (steps(),)
        with pytest.raises(ArgumentError, match=r"one integer per sample, shape \(20,\)"):
            call(*args, lengths=lengths)


ZERO = torch.zeros(1, 20, 8)


@pytest.mark.parametrize("batch", [4, 20])
@pytest.mark.parametrize(
    ("cell", "hx", "message"),
    [
        (InputCellLSTM, (ZERO, ZERO, ZERO), "a pair of tensors of shape .* Got 3 of them"),
        (InputCellLSTM, (ZERO,), "a pair of tensors of shape .* Got 1 of them"),
        (InputCellLSTM, "ab", "a pair of tensors of shape .* Got str"),
        (InputCellLSTM, ("a", "b"), "of shape .* Got str"),
        (InputCellLSTM, (ZERO, ZERO.double()), "torch.float32. Got torch.float64"),
        (InputCellLSTM, (ZERO.long(), ZERO.long()), "torch.float32. Got torch.int64"),
        (InputCellGRU, 5, "of shape .* Got int"),
        (InputCellGRU, (ZERO,), "of shape .* Got tuple"),
        (InputCellGRU, ZERO.double(), "torch.float32. Got torch.float64"),
    ],
)
def test_states_that_do_not_fit_are_refused(cell, hx, message, batch):
    cut = lambda part: part[:, :batch] if isinstance(part, torch.Tensor) else part  # noqa: E731
    hx = tuple(map(cut, hx)) if isinstance(hx, tuple) else cut(hx)
    with pytest.raises(ArgumentError, match=f"hx must be .*{message}"):
        cell(6, 8, batch_first=True)(steps(batch), hx)
    if not torch.is_tensor(hx) and not isinstance(hx, tuple):
        with pytest.raises(ArgumentError, match=f"hx must be .*{message}"):
            cell(6, 8)(steps()[0], hx)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("batch", [4, 20])
@pytest.mark.parametrize("hidden", [8, 40])
def test_outputs_are_contiguous_where_torchs_are(hidden, batch, dtype):
    ours, theirs = InputCellLSTM(6, hidden, dtype=dtype), nn.LSTM(6, hidden, dtype=dtype)
    x = steps(batch, dtype=dtype).transpose(0, 1)
    for output, state in (ours(x), theirs(x)):
        assert all(part.is_contiguous() for part in (output, *state))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("batch", [4, 20])
def test_types_under_autocast_are_torchs(batch, readout, options, dtype):
    ours = InputCellLSTM(6, 8, batch_first=True, readout=readout, dtype=dtype, **options)
    theirs = nn.LSTM(6, 8, batch_first=True, dtype=dtype, **options)
    x = steps(batch, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        (output, state), (output_, state_) = ours(x), theirs(x)
        assert [t.dtype for t in (output, *state)] == [t.dtype for t in (output_, *state_)]
        assert ours(x, state)[0].dtype == output.dtype


class Stop(torch.autograd.Function):
    """Passes no gradient on."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return None


def test_no_gradient_at_all_may_be_differentiated_again():
    layer, x = InputCellLSTM(6, 8, batch_first=True), steps().requires_grad_()
    (Stop.apply(layer(x)[0]).sum() + x.square().sum()).backward(create_graph=True)
    torch.testing.assert_close(x.grad, 2 * x)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "options", [{}, {"readout": "flatten"}, {"readout": "flatten", "normalize": True}]
)
@pytest.mark.parametrize("batch", [2, 16])
def test_nan_at_a_step_reaches_no_earlier_step(batch, options, cell):
    torch.manual_seed(0)
    layer = cell(6, 8, batch_first=True, hops=3, dtype=F64, **options)
    x = steps(batch, 60, dtype=F64)
    clean = layer(x)[0]
    x[0, 37] = torch.nan
    output = layer(x)[0]
    torch.testing.assert_close(output[0, :37], clean[0, :37], rtol=0, atol=1e-12)
    torch.testing.assert_close(output[1:], clean[1:], rtol=0, atol=1e-12)
    assert output[0, 37:].isnan().all()


def test_the_number_of_layers_is_the_third_argument_as_in_torch():
    for cell in CELLS:
        assert cell(6, 8, 2).num_layers == 2


def test_flatten_parameters_calls_torchs_layers(monkeypatch):
    layer, called = InputCellLSTM(6, 8, 2, bidirectional=True), []
    monkeypatch.setattr(nn.LSTM, "flatten_parameters", lambda layer: called.append(layer))
    layer.flatten_parameters()
    assert called == [layer.rnn, layer.rnn_reverse, layer.upper]


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("hidden", [8, 40])
@pytest.mark.parametrize("batch", [4, 20])
def test_functional_gradients_are_those_of_autograd(batch, hidden, readout):
    torch.manual_seed(0)
    layer, x = InputCellLSTM(6, hidden, batch_first=True, readout=readout, dtype=F64), steps(batch)
    named = dict(layer.named_parameters())
    score = lambda p: torch.func.functional_call(layer, p, x.double())[0].square().sum()  # noqa: E731
    found = torch.func.grad(score)({name: p.detach() for name, p in named.items()})
    known = torch.autograd.grad(score(named), list(named.values()))
    for name, theirs in zip(named, known, strict=True):
        torch.testing.assert_close(found[name], theirs, rtol=1e-10, atol=1e-12)


def test_numpys_whole_numbers_are_sizes():
    size = np.int64
    layer = InputCellLSTM(
        size(6), size(8), size(2), hops=size(3), attention_size=size(4), max_length=size(9)
    )
    kept = [layer.input_size, layer.hidden_size, layer.num_layers, layer.attention.hops]
    assert kept == [6, 8, 2, 3]
    assert {type(number) for number in kept} == {int}
    assert prefix_pool(steps(), steps(), chunk_size=size(4)).shape == (20, 20, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: InputCellLSTM(6, True), "hidden_size must be an integer of at least 1. Got True"),
        (lambda: InputCellLSTM(6, 8, max_length=-3), "max_length must be .* Got -3"),
        (lambda: InputCellLSTM(6, 8, positional=True, max_length=2.5), "max_length must be"),
        (lambda: InputCellAttention(6, positional=True, max_length="5"), "max_length must be"),
        (lambda: InputCellLSTM(6, 8, dropout=2.0), "dropout must be a finite number from 0 to 1"),
        (lambda: InputCellLSTM(6, 8, hop=3), "InputCellLSTM has no option 'hop'. It has .*hops"),
        (lambda: InputCellGRU(6, 8, proj_size=3), "InputCellGRU has no option 'proj_size'"),
        (lambda: InputCellGRU(6, 8, nonlinearity="relu"), "no option 'nonlinearity'"),
        (lambda: InputCellRNN(6, 8, hop=3), "no option 'hop'. It has .*nonlinearity"),
        (lambda: prefix_pool(steps(), steps(), chunk_size=-1), "chunk_size must be"),
        (lambda: prefix_pool(steps(), steps(), chunk_size=2.5), "chunk_size must be"),
        (lambda: prefix_pool(steps().numpy(), steps()), "must be tensors. Got ndarray"),
        (lambda: prefix_pool(steps().long(), steps()), "Got torch.int64"),
        (lambda: prefix_pool(steps(), steps().double()), "of one type"),
        (lambda: attention_weights(steps()[0]), "logits must be .* Got .20, 6."),
        (lambda: attention_weights(steps().numpy().tolist()), "logits must be .* Got list"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (steps().double(), "of the weights' type, torch.float32. Got torch.float64"),
        (steps().long(), "Got torch.int64"),
        (steps().numpy(), "must be a tensor. Got ndarray"),
        (steps(features=7), "input_size=6"),
        (steps()[0, 0], r"Got shape \(6,\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_everywhere(x, message):
    layer = InputCellAttention(6)
    project = lambda x: layer.project(x, torch.ones(5, 6))  # noqa: E731
    for call in (layer, layer.logits, layer.weights, project, *(cell(6, 8) for cell in CELLS)):
        with pytest.raises(ArgumentError, match=message):
            call(x)


@pytest.mark.parametrize("readout", READOUTS)
def test_a_map_that_does_not_fit_the_readout_is_refused(readout):
    layer = InputCellAttention(6, hops=2, readout=readout)
    width = layer.output_size
    for weight in (torch.ones(5, width + 1), torch.ones(width), np.ones((5, width))):
        message = "weight must be .outputs, output_size. = .any, 6|12."
        with pytest.raises(ArgumentError, match=message):
            layer.project(steps(), weight)
    with pytest.raises(ArgumentError, match="weight must be of the weights' type"):
        layer.project(steps(), torch.ones(5, width, dtype=F64))
    for bias in (torch.ones(4), torch.ones(1), torch.ones(5, 1)):
        with pytest.raises(ArgumentError, match=r"bias must be \(outputs,\) = \(5,\)"):
            layer.project(steps(), torch.ones(5, width), bias=bias)
