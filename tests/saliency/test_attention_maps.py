"""Attention as a map: after a step, and of what the layer really reads."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from neurosal.errors import ArgumentError
from neurosal.models import InputCellLSTM, build_network
from neurosal.saliency.explain import explain
from neurosal.saliency.hop_weights import hop_weights

T, N, C = 7, 4, 3
X = np.random.default_rng(0).normal(size=(4, T, N))
ASKED = {"method": "attention", "target": 1}


class Around(nn.Module):
    """Cells on top of one another and a linear layer, with a change of the samples before them."""

    def __init__(self, *cells, change=lambda x: x):
        super().__init__()
        self.cells, self.change = nn.ModuleList(cells), change
        last = cells[-1]
        self.out = nn.Linear(last.hidden_size * (1 + last.bidirectional), C)

    def forward(self, x, steps=False):
        states = self.change(x)
        for cell in self.cells:
            states = cell(states)[0]
        scores = self.out(states)
        return scores if steps else scores[:, -1]


class Packing(nn.Module):
    """A cell that is given packed sequences, laid out with the time first."""

    def __init__(self, network):
        super().__init__()
        self.cell, self.out = network.rnn, network.output

    def forward(self, x, lengths=None):
        ends = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        packed = pack_padded_sequence(x, ends, batch_first=True, enforce_sorted=False)
        states = pad_packed_sequence(self.cell(packed)[0], batch_first=True)[0]
        return self.out(states[torch.arange(len(x)), ends - 1])


def made(name="input-cell-lstm", **options):
    torch.manual_seed(0)
    return build_network(name, n_features=N, n_classes=C, hidden_size=5, **options).double().eval()


def cell(*sizes, seed=0, **options):
    torch.manual_seed(seed)
    return InputCellLSTM(*sizes, batch_first=True, hops=3, **options)


def around(*cells, **options):
    return Around(*cells, **options).double().eval()


def standardised(x):
    return (x - x.mean((0, 1))) / (3 * x.std((0, 1)))


def hooks_left(module):
    return [part for part in module.modules() if part._forward_pre_hooks]


@pytest.mark.parametrize("options", [{}, {"readout": "flatten"}, {"positional": True}])
@pytest.mark.parametrize("lengths", [[T] * 4, [T, 3, 1, 5]])
def test_attention_after_a_step_is_that_of_the_sample_cut_there(options, lengths):
    network = made(**options, n_steps=T)
    padded = np.where(np.arange(T)[:, None] < np.reshape(lengths, (4, 1, 1)), X, np.nan)
    every = explain(network, padded, at="all", **ASKED).values
    for step in range(T):
        some = np.flatnonzero(np.array(lengths) > step)
        cut = explain(network, X[some, : step + 1], **ASKED)
        after = explain(network, padded[some], at=step, **ASKED)
        np.testing.assert_allclose(after[:, : step + 1], cut, atol=1e-12)
        assert not after.values[:, step + 1 :].any()
        np.testing.assert_array_equal(every[some, step], after)


def test_attention_that_reads_backwards_has_none_after_a_step():
    module = around(cell(N, 5, bidirectional=True))
    for at in (2, "all"):
        with pytest.raises(ArgumentError, match=r"at must be 'end' .* reads backwards"):
            explain(module, X, at=at, **ASKED)
    shares = explain(module, X, **ASKED) / np.abs(X)
    np.testing.assert_allclose(shares.sum("time"), 1)


def test_attention_over_changed_samples_is_refused_and_that_over_them_as_given_is_not():
    module, plain = around(cell(N, 5), change=standardised), around(cell(N, 5))
    with pytest.raises(ArgumentError, match="Got Around, which changes x first; explain the part"):
        explain(module, X, **ASKED)
    assert not hooks_left(module)
    read = standardised(torch.tensor(X))
    logits = module.cells[0].attention.logits(read).detach().numpy()
    expected = np.zeros((4, T))
    for t in range(T):
        shares = np.exp(logits[:, : t + 1])
        expected[:, : t + 1] += (shares / shares.sum(1, keepdims=True)).mean(2) / T
    ours = explain(plain, read.numpy(), **ASKED)
    np.testing.assert_allclose(ours, expected[:, :, None] * np.abs(read.numpy()), atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_only_the_layer_that_reads_the_samples_counts(bidirectional):
    lower = cell(N, N // 2 if bidirectional else N, bidirectional=bidirectional)
    stacked, alone = around(lower, cell(N, 5, seed=1)), around(lower)
    np.testing.assert_array_equal(explain(stacked, X, **ASKED), explain(alone, X, **ASKED))
    np.testing.assert_array_equal(hop_weights(stacked, X), hop_weights(alone, X))
    assert not hooks_left(stacked)


def test_states_of_another_layer_are_no_samples():
    torch.manual_seed(0)
    module = around(nn.LSTM(N, N, batch_first=True), cell(N, 5))
    for ask in (hop_weights, lambda *given: explain(*given, **ASKED)):
        with pytest.raises(ArgumentError, match=r"reads x as it is. Got Around"):
            ask(module, X)


def test_hooks_are_taken_away_after_an_error():
    class Broken(Around):
        def forward(self, x):
            super().forward(x)
            raise OSError("broken")

    module = Broken(cell(N, 5))
    with pytest.raises(OSError, match="broken"):
        hop_weights(module, X)
    assert not hooks_left(module)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_samples_are_samples(bidirectional):
    network = made("input-cell-bi-lstm" if bidirectional else "input-cell-lstm")
    module = Packing(network)
    padded = X.copy()
    padded[1, 4:], padded[2:, 2:] = np.nan, np.nan
    for x in (padded, padded[1:]):  # the longest sample has padding, too
        np.testing.assert_array_equal(explain(module, x, **ASKED), explain(network, x, **ASKED))


def test_a_compiled_network_has_its_attention():
    network = made(dropout=0.5).train()
    expected = hop_weights(network, X)
    np.testing.assert_array_equal(hop_weights(torch.compile(network), X), expected)
    assert all(part.training for part in network.modules())
