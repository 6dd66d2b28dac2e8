"""The cells against the published algorithm, written plainly from its equations."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from neurosal.errors import ArgumentError
from neurosal.models.cells import InputCellGRU, InputCellLSTM, InputCellRNN
from neurosal.models.recurrence import FEW, NARROW, lstm_on_gates

F64 = torch.float64
CELLS = {"rnn": InputCellRNN, "lstm": InputCellLSTM, "gru": InputCellGRU}


def one_step(kind, read, state, rnn):
    """One step of a cell from torch's documented equations."""
    given = read @ rnn.weight_ih_l0.T + rnn.bias_ih_l0
    hidden, cell = state
    back = hidden @ rnn.weight_hh_l0.T + rnn.bias_hh_l0
    if kind == "rnn":
        return torch.tanh(given + back), cell
    if kind == "gru":
        (r1, z1, n1), (r2, z2, n2) = given.chunk(3, dim=-1), back.chunk(3, dim=-1)
        r, z = torch.sigmoid(r1 + r2), torch.sigmoid(z1 + z2)
        return (1 - z) * torch.tanh(n1 + r * n2) + z * hidden, cell
    i, f, g, o = (given + back).chunk(4, dim=-1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def run_sample(kind, attention, rnn, x, state):
    """One sample (time, features): attention over all earlier inputs anew at every step."""
    outputs = []
    for t in range(len(x)):
        past = x[: t + 1]
        inner = torch.tanh(past @ attention.first.weight.T + attention.first.bias)
        logits = inner @ attention.second.weight.T + attention.second.bias
        if attention.positional is not None:
            logits = logits + attention.positional[: t + 1]
        matrix = torch.softmax(logits, dim=0).T @ past
        read = matrix.mean(dim=0) if attention.readout == "mean" else matrix.flatten()
        if attention.normalize:
            read = read / torch.linalg.vector_norm(read)
        state = one_step(kind, read, state, rnn)
        outputs.append(state[0])
    return torch.stack(outputs), state, torch.softmax(logits, dim=0).T


def by_definition(kind, cell, x, lengths, start):
    """The first layer of a cell on a padded batch (batch, time, features)."""
    outputs, hiddens, cells = [], [], []
    for sample, length in enumerate(lengths):
        parts = []
        for d, end in enumerate(("", "_reverse") if cell.bidirectional else ("",)):
            attention, rnn = getattr(cell, f"attention{end}"), getattr(cell, f"rnn{end}")
            past = x[sample, :length].flip(0) if end else x[sample, :length]
            state = tuple(part[d, sample] for part in start)
            out, state, _ = run_sample(kind, attention, rnn, past, state)
            parts.append(out.flip(0) if end else out)
            hiddens.append(state[0])
            cells.append(state[1])
        rest = x.shape[1] - length
        outputs.append(torch.nn.functional.pad(torch.cat(parts, dim=1), (0, 0, 0, rest)))
    shape = (len(lengths), -1, cell.hidden_size)
    last = [torch.stack(part).view(shape).transpose(0, 1) for part in (hiddens, cells)]
    return torch.stack(outputs), last


def compare(
    kind, *, batch=3, time=11, hidden=3, std=0.7, lengths=None, start=True, seed=0, **options
):
    """Outputs, states and all gradients of a cell and of the definition, to 1e-12."""
    torch.manual_seed(seed)
    cell = CELLS[kind](4, hidden, dtype=F64, batch_first=True, attention_size=5, **options)
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter, std=std)
    directions = 1 + cell.bidirectional
    x = (torch.randn(batch, time, 4, dtype=F64) + 0.5).requires_grad_()
    states = torch.randn(2, directions, batch, hidden, dtype=F64) * start
    states.requires_grad_(start)
    hx = (tuple(states) if kind == "lstm" else states[0]) if start else None
    output, state = cell(x, hx, lengths=lengths)
    ours = (output, *(state if kind == "lstm" else (state,)))
    valid = [time] * batch if lengths is None else lengths.tolist()
    out, last = by_definition(kind, cell, x, valid, states)
    theirs = (out, *(last if kind == "lstm" else last[:1]))
    inputs = [x, *cell.parameters(), *([states] if start else [])]
    grads = [torch.randn_like(part) for part in ours]
    found = torch.autograd.grad(ours, inputs, grads)
    known = torch.autograd.grad(theirs, inputs, grads)
    for a, b in (*zip(ours, theirs, strict=True), *zip(found, known, strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


READOUTS = [
    {"readout": "mean", "hops": 3},
    {"readout": "flatten", "hops": 3},
    {"readout": "flatten", "hops": 2, "normalize": True},
    {"readout": "mean", "hops": 2, "positional": True, "max_length": 11},
]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("options", READOUTS)
@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 11, 1])])
def test_equals_the_definition(kind, bidirectional, options, lengths):
    compare(kind, lengths=lengths, bidirectional=bidirectional, **options)


@pytest.mark.parametrize("hidden", [NARROW, NARROW + 1])
@pytest.mark.parametrize("readout", ["mean", "flatten"])
@pytest.mark.parametrize("lengths", [None, torch.tensor([30, 40, 7])])
def test_equals_the_definition_with_many_units(hidden, readout, lengths):
    compare("lstm", time=40, hidden=hidden, std=0.2, lengths=lengths, readout=readout, hops=2)


@pytest.mark.parametrize("hidden", [2, NARROW + 1])
@pytest.mark.parametrize("steps", [[5], [0, 3], []])
def test_gradients_of_any_steps_reach_the_recurrence(hidden, steps):
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(4 * hidden, hidden, bias=False, dtype=F64, batch_first=True)
    torch.nn.init.eye_(lstm.weight_ih_l0)
    x = torch.randn(3, 6, 4 * hidden, dtype=F64, requires_grad=True)
    zero = torch.zeros(3, hidden, dtype=F64)
    output, cells = lstm_on_gates(x, zero, zero, lstm.weight_hh_l0)
    known, (_, last) = lstm(x)
    found = []
    for out, cell in ((output, cells[:, -1]), (known, last[0])):
        score = -out[:, steps, 0].sum() - (cell.sum() if not steps else 0)
        found.append(torch.autograd.grad(score, [x, lstm.weight_hh_l0]))
    for a, b in zip(*found, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("batch", [FEW // (4 * NARROW), FEW // (4 * NARROW) + 1])
@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_few_and_many_numbers_a_step_take_the_same_steps(batch, size):
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(4 * NARROW, NARROW, bias=False, dtype=F64, batch_first=True)
    torch.nn.init.eye_(lstm.weight_ih_l0)
    x = (size * torch.randn(batch, 5, 4 * NARROW, dtype=F64)).requires_grad_()
    start = [torch.randn(batch, NARROW, dtype=F64, requires_grad=True) for _ in range(2)]
    known, _ = lstm(x, tuple(state[None] for state in start))
    output, _ = lstm_on_gates(x, *start, lstm.weight_hh_l0)
    torch.testing.assert_close(output, known, rtol=1e-12, atol=1e-13)
    given = [x, *start, lstm.weight_hh_l0]
    found = (torch.autograd.grad(out.square().sum(), given) for out in (output, known))
    for ours, theirs in zip(*found, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_numbers_that_numpy_has_not_are_taken():
    torch.manual_seed(0)
    gates, zero, weight = torch.randn(16, 5, 8), torch.zeros(16, 2), torch.randn(8, 2)
    known, _ = lstm_on_gates(gates, zero, zero, weight)
    found, _ = lstm_on_gates(*(given.bfloat16() for given in (gates, zero, zero, weight)))
    torch.testing.assert_close(found.float(), known, rtol=0, atol=0.05)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(CELLS)), batch=st.integers(1, 4))
def test_equals_the_definition_for_any_shape(data, kind, batch):
    time = data.draw(st.integers(1, 20))
    lengths = data.draw(st.lists(st.integers(1, time), min_size=batch, max_size=batch))
    readout, hops = data.draw(st.sampled_from(["mean", "flatten"])), data.draw(st.integers(1, 4))
    start = data.draw(st.booleans())
    lengths = torch.tensor(lengths)
    compare(kind, batch=batch, time=time, lengths=lengths, start=start, readout=readout, hops=hops)


def float32_pair(batch, hidden, **options):
    torch.manual_seed(0)
    narrow = InputCellLSTM(6, hidden, batch_first=True, hops=3, **options)
    return narrow, copy.deepcopy(narrow).double(), torch.randn(batch, 30, 6)


@pytest.mark.parametrize("batch", [2, 16])
@pytest.mark.parametrize("hidden", [1, 8, NARROW + 1])
@pytest.mark.parametrize("readout", ["mean", "flatten"])
def test_float32_agrees_with_float64_in_every_regime(batch, hidden, readout):
    narrow, wide, x = float32_pair(batch, hidden, readout=readout)
    for cell, inputs in ((narrow, x), (wide, x.double())):
        cell(inputs)[0].square().mean().backward()
    torch.testing.assert_close(narrow(x)[0].double(), wide(x.double())[0], rtol=0, atol=1e-6)
    for a, b in zip(narrow.parameters(), wide.parameters(), strict=True):
        assert (a.grad - b.grad).abs().max() <= 1e-5 * b.grad.abs().max().clamp_min(1e-3)


def test_recurrence_on_gates_has_right_second_derivatives():
    torch.manual_seed(0)
    shapes = ((2, 4, 8), (2, 2), (2, 2), (8, 2))
    inputs = [torch.randn(shape, dtype=F64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lstm_on_gates, inputs)
    assert torch.autograd.gradgradcheck(lstm_on_gates, inputs)
    hidden_only = lambda *given: lstm_on_gates(*given)[0][:, -1]  # noqa: E731
    assert torch.autograd.gradgradcheck(hidden_only, inputs)


def test_a_gradient_penalty_agrees_with_the_definition():
    torch.manual_seed(0)
    cell = InputCellLSTM(4, 3, dtype=F64, batch_first=True, hops=2)
    x = torch.randn(1, 6, 4, dtype=F64, requires_grad=True)
    zeros = torch.zeros(2, 1, 1, 3, dtype=F64)
    found = []
    for out in (cell(x)[0], by_definition("lstm", cell, x, [6], zeros)[0]):
        slope = torch.autograd.grad(out.square().sum(), x, create_graph=True)[0]
        found.append(torch.autograd.grad(slope.square().sum(), [x, *cell.parameters()]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layouts_and_packing_agree(kind, bidirectional):
    torch.manual_seed(0)
    options = {"hops": 2, "num_layers": 3, "bidirectional": bidirectional, "dtype": F64}
    cell = CELLS[kind](4, 3, batch_first=True, **options)
    x, lengths = torch.randn(3, 9, 4, dtype=F64), torch.tensor([5, 9, 2])
    start = torch.randn(3 * (1 + bidirectional), 3, 3, dtype=F64)
    hx = (start, 2 * start) if kind == "lstm" else start
    output, state = cell(x, hx, lengths=lengths)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    out_packed, state_packed = cell(packed, hx)
    torch.testing.assert_close(pad_packed_sequence(out_packed, batch_first=True)[0], output)
    torch.testing.assert_close(state_packed, state)
    cell.batch_first = False
    torch.testing.assert_close(
        cell(x.transpose(0, 1), hx, lengths=lengths)[0], output.mT.permute(2, 0, 1)
    )
    one = (start[:, 1], 2 * start[:, 1]) if kind == "lstm" else start[:, 1]
    single, single_state = cell(x[1], one)
    torch.testing.assert_close(single, output[1])
    whole = state[0] if kind == "lstm" else state
    alone = single_state[0] if kind == "lstm" else single_state
    torch.testing.assert_close(alone, whole[:, 1])


@pytest.mark.parametrize("kind", CELLS)
def test_upper_layers_are_torchs(kind):
    torch.manual_seed(0)
    deep = CELLS[kind](4, 3, num_layers=3, hops=2, batch_first=True, dtype=F64)
    x = torch.randn(2, 7, 4, dtype=F64)
    first = CELLS[kind](4, 3, hops=2, batch_first=True, dtype=F64)
    first.load_state_dict({k: v for k, v in deep.state_dict().items() if "upper" not in k})
    torch.testing.assert_close(deep(x)[0], deep.upper(first(x)[0])[0])


def test_shapes_are_those_of_torchs_lstm():
    for layers, two, first in ((1, False, True), (2, True, False)):
        options = {"num_layers": layers, "bidirectional": two, "batch_first": first}
        ours, theirs = InputCellLSTM(4, 3, hops=2, **options), torch.nn.LSTM(4, 3, **options)
        x = torch.randn(5, 6, 4)
        (out, (h, c)), (out_, (h_, c_)) = ours(x), theirs(x)
        assert [out.shape, h.shape, c.shape] == [out_.shape, h_.shape, c_.shape]


def test_dropout_acts_between_layers_in_training_only():
    torch.manual_seed(0)
    cell = InputCellLSTM(4, 8, num_layers=2, dropout=0.5, batch_first=True)
    x = torch.randn(2, 5, 4)
    assert not torch.equal(cell(x)[0], cell(x)[0])
    cell.eval()
    assert torch.equal(cell(x)[0], cell(x)[0])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_attention_is_that_of_each_directions_last_step(bidirectional):
    torch.manual_seed(0)
    cell = InputCellLSTM(4, 3, hops=2, bidirectional=bidirectional, batch_first=True, dtype=F64)
    x, lengths = torch.randn(2, 8, 4, dtype=F64), torch.tensor([8, 5])
    _, _, attention = cell(x, lengths=lengths, return_attention=True)
    assert attention.shape == ((2, 2, 8, 2) if bidirectional else (2, 2, 8))
    attention = attention if bidirectional else attention[..., None]
    zero = (torch.zeros(3, dtype=F64),) * 2
    for d, end in enumerate(("", "_reverse") if bidirectional else ("",)):
        past = x[1, :5].flip(0) if end else x[1, :5]
        pool, rnn = getattr(cell, f"attention{end}"), getattr(cell, f"rnn{end}")
        expected = run_sample("lstm", pool, rnn, past, zero)[2]
        expected = expected.flip(1) if end else expected
        torch.testing.assert_close(attention[1, :, :5, d], expected)
        assert not attention[1, :, 5:, d].any()


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("readout", ["mean", "flatten"])
def test_nan_in_the_padding_reaches_nothing(kind, readout):
    torch.manual_seed(0)
    cell = CELLS[kind](4, 3, hops=2, readout=readout, bidirectional=True, batch_first=True)
    x = torch.randn(2, 9, 4)
    x[0, 6:] = torch.nan
    x.requires_grad_()
    output, _, attention = cell(x, lengths=torch.tensor([6, 9]), return_attention=True)
    (output.square().sum() + attention.square().sum()).backward()
    tensors = [output, attention, x.grad, *(p.grad for p in cell.parameters())]
    assert all(t.isfinite().all() for t in tensors if t is not None)
    assert not x.grad[0, 6:].any()


def test_weights_start_as_released():
    cell = InputCellLSTM(40, 10, hops=20, bidirectional=True, num_layers=2)
    for name, parameter in cell.named_parameters():
        if parameter.ndim == 1:
            assert not parameter.any(), name
        else:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert 0.9 * bound < parameter.abs().max() <= bound, name


def test_state_dict_round_trip():
    options = {"hops": 2, "positional": True, "max_length": 9, "bidirectional": True}
    torch.manual_seed(0)
    first, second = (InputCellGRU(4, 3, batch_first=True, **options) for _ in range(2))
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 9, 4)
    assert torch.equal(first(x)[0], second(x)[0])


def test_relu_and_no_bias_reach_torchs_layer():
    torch.manual_seed(0)
    cell = InputCellRNN(4, 3, nonlinearity="relu", bias=False, hops=2, readout="flatten")
    assert not [name for name, _ in cell.rnn.named_parameters() if "bias" in name]
    out = cell(torch.randn(8, 5, 4))[0]
    assert out.min() == 0
    assert out.max() > 0
    lstm = InputCellLSTM(4, 3, bias=False, hops=2, dtype=F64, batch_first=True)
    x = torch.randn(2, 5, 4, dtype=F64)
    expected = lstm.rnn(lstm.attention(x))[0]
    torch.testing.assert_close(lstm(x)[0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: InputCellLSTM(4, 0), "hidden_size must be an integer of at least 1"),
        (lambda: InputCellLSTM(4, 3)(torch.ones(5, 2, 7)), "input_size=4"),
        (lambda: InputCellLSTM(4, 3)(torch.ones(4)), "2 or 3 dimensions"),
        (
            lambda: InputCellGRU(4, 3)(torch.ones(5, 2, 4), torch.ones(1, 1, 3)),
            r"hx must be of shape \(1, 2, 3\)",
        ),
        (
            lambda: InputCellLSTM(4, 3)(torch.ones(5, 2, 4), torch.ones(1, 2, 3)),
            r"pair of tensors",
        ),
        (
            lambda: InputCellLSTM(4, 3)(torch.ones(5, 2, 4), lengths=torch.tensor([6, 1])),
            "between 1 and the number of steps, 5",
        ),
        (
            lambda: InputCellLSTM(4, 3, positional=True, max_length=4)(torch.ones(5, 2, 4)),
            "max_length=4",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
