"""Relevance through torch's recurrent layers, step by step backwards in time.

All products, sums and affine layers of a cell have denominators that are known after the way
forwards; they are worked out for all steps at once. What is left for every step is elementwise
work and one product with the recurrent weights; the inputs' share follows in one product.

>>> import torch
>>> from neurosal.saliency.rules import make_rule
>>> cell, rule = nn.LSTM(3, 2, batch_first=True), make_rule("epsilon", bias_factor=1.0)
>>> states, back = propagate(cell, torch.randn(1, 5, 3), None, rule)
>>> relevance, absorbed = back(states)
>>> torch.allclose(relevance.sum() + absorbed, states.sum(), atol=1e-3)
True
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import ArgumentError
from .relevance_affine import Affine, Term
from .relevance_layers import Back, nothing_absorbed, propagate
from .relevance_maps import LinearMap
from .rules import Product, Rule, Sum


@propagate.register
def _(module: nn.RNNBase, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Run each layer in each direction, on step-first sequences."""
    if module.proj_size:
        raise ArgumentError(
            f"Relevance of an LSTM with proj_size={module.proj_size} is not offered; "
            "build it with proj_size=0 and a linear layer behind it."
        )
    x, backs = x.transpose(0, 1), []
    for k in range(module.num_layers):
        x, back = _both_directions(module, k, x, lengths, rule if k == 0 else rule.hidden())
        backs.append(back)

    def through(relevance: Tensor) -> tuple[Tensor, Tensor]:
        relevance, absorbed = relevance.transpose(0, 1), nothing_absorbed(relevance)
        for back in reversed(backs):
            relevance, more = back(relevance)
            absorbed = absorbed + more
        return relevance.transpose(0, 1), absorbed

    return x.transpose(0, 1), through


def _both_directions(module, k: int, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Run one layer forwards and, if it is bidirectional, backwards in time."""
    run = CELLS[module.mode.split("_")[0]]
    out, back = run(x, layer_weights(module, f"l{k}"), rule, nonlinearity_of(module))
    if not module.bidirectional:
        return out, back
    weights = layer_weights(module, f"l{k}_reverse")
    other, other_back = run(turned(x, lengths), weights, rule, nonlinearity_of(module))

    def both(relevance: Tensor) -> tuple[Tensor, Tensor]:
        forwards, backwards = relevance.chunk(2, dim=-1)
        left, left_absorbed = back(forwards)
        right, right_absorbed = other_back(turned(backwards, lengths))
        return left + turned(right, lengths), left_absorbed + right_absorbed

    return torch.cat([out, turned(other, lengths)], -1), both


def turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn each sequence round within its own length; padding stays where it is.

    Parameters
    ----------
    x : Tensor
        (time, batch, features).
    lengths : Tensor or None
        Valid steps of each sample, (batch,).

    Returns
    -------
    Tensor
        Of the same shape.

    Examples
    --------
    >>> turned(torch.tensor([1.0, 2.0, 0.0]).view(3, 1, 1), torch.tensor([2])).flatten()
    tensor([2., 1., 0.])
    """
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=x.device)[:, None]
    index = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x.gather(0, index[:, :, None].expand_as(x))


def layer_weights(module: nn.RNNBase, suffix: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the parameters of one layer and direction of a recurrent module.

    Parameters
    ----------
    module : torch.nn.RNNBase
        The module.
    suffix : str
        Such as ``l0`` or ``l1_reverse``.

    Returns
    -------
    tuple of Tensor
        W_x, W_h and both biases, zero where the module has none.

    Examples
    --------
    >>> [tuple(weight.shape) for weight in layer_weights(nn.RNN(3, 2), "l0")]
    [(2, 3), (2, 2), (2,), (2,)]
    """
    weight_x = getattr(module, f"weight_ih_{suffix}").detach()
    weight_h = getattr(module, f"weight_hh_{suffix}").detach()
    if not module.bias:
        zero = weight_x.new_zeros(weight_x.shape[0])
        return weight_x, weight_h, zero, zero
    biases = (getattr(module, f"bias_{kind}_{suffix}").detach() for kind in ("ih", "hh"))
    return weight_x, weight_h, *biases


def nonlinearity_of(module: nn.RNNBase) -> Callable[[Tensor], Tensor]:
    """Return relu for a plain recurrent layer built with it, else tanh.

    Parameters
    ----------
    module : torch.nn.RNNBase
        The module.

    Returns
    -------
    callable
        The function of the signal.

    Examples
    --------
    >>> nonlinearity_of(nn.RNN(3, 2, nonlinearity="relu")) is torch.relu
    True
    """
    return torch.relu if module.mode == "RNN_RELU" else torch.tanh


def _rnn(x: Tensor, weights, rule: Rule, nonlinearity, reads=LinearMap) -> tuple[Tensor, Back]:
    """Run a plain recurrent layer on (time, batch, features)."""
    weight_x, weight_h, *biases = weights
    drive = reads(weight_x)(x) + sum(biases)
    states, before = [drive.new_zeros(x.shape[1], weight_h.shape[1])], []
    for step in drive:
        before.append(torch.addmm(step, states[-1], weight_h.T))
        states.append(nonlinearity(before[-1]))
    states, before = torch.stack(states), torch.stack(before)

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        terms = [Term(x, reads(weight_x)), Term(states[:-1], LinearMap(weight_h))]
        layer = Affine(terms, sum(biases), before, rule)
        of_state, of_drive = 0.0, torch.empty_like(before)
        for t in range(len(x) - 1, -1, -1):
            of_drive[t] = relevance[t] + of_state
            of_state = layer.message(1, of_drive[t], t)
        return layer.message(0, of_drive), of_state.sum(-1)

    return states[1:], back


def _lstm(x: Tensor, weights, rule: Rule, nonlinearity, reads=LinearMap) -> tuple[Tensor, Back]:
    """Run an LSTM layer on (time, batch, features); gates in the order i, f, g, o."""
    weight_x, weight_h, *biases = weights
    size = weight_h.shape[1]
    drive = reads(weight_x)(x) + sum(biases)
    hidden, cells = [drive.new_zeros(x.shape[1], size)], [drive.new_zeros(x.shape[1], size)]
    before = []
    for step in drive:
        before.append(torch.addmm(step, hidden[-1], weight_h.T))
        i, f, g, o = _lstm_gates(before[-1])
        cells.append(f * cells[-1] + i * g)
        hidden.append(o * cells[-1].tanh())
    hidden, cells, before = map(torch.stack, (hidden, cells, before))

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        rows = slice(2 * size, 3 * size) if rule.gate_rule == "all" else slice(None)
        terms = [Term(x, reads(weight_x[rows])), Term(hidden[:-1], LinearMap(weight_h[rows]))]
        layer = Affine(terms, sum(biases)[rows], before[..., rows], rule)
        return lstm_back(relevance, layer, _lstm_gates(before), cells, rule)

    return hidden[1:], back


def _lstm_gates(before: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return i, f, g, o from what enters their nonlinearities."""
    i, f, g, o = before.chunk(4, dim=-1)
    return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()


def lstm_back(
    relevance: Tensor, layer: Affine, gates, cells: Tensor, rule: Rule, squash=torch.tanh
):
    """Take relevance back through the steps of an LSTM.

    Parameters
    ----------
    relevance : Tensor
        Of the hidden states, (time, batch, units).
    layer : Affine
        From (x, states before) to the candidate g, or to i, f, g, o where gates get relevance.
    gates : tuple of Tensor
        i, f, g, o, each (time, batch, units).
    cells : Tensor
        Cell states with the initial one in front, (time + 1, batch, units).
    rule : Rule
        The rule.
    squash : callable
        The function of the cell state that the output gate multiplies.

    Returns
    -------
    relevance, absorbed : Tensor
        Of x, (time, batch, features); by the initial states, (batch,).
    """
    i, f, g, o = gates
    shown, kept = Product(o, squash(cells[1:]), rule=rule), Product(f, cells[:-1], rule=rule)
    written, total = Product(i, g, rule=rule), Sum([f * cells[:-1], i * g], rule=rule)
    of_state, of_cell, of_before = 0.0, 0.0, [None] * len(i)
    for t in range(len(i) - 1, -1, -1):
        of_o, signal = shown.message(relevance[t] + of_state, t)
        keep, write = total.message(of_cell + signal, t)
        of_f, of_cell = kept.message(keep, t)
        of_i, of_g = written.message(write, t)
        of_before[t] = of_g if rule.gate_rule == "all" else torch.cat([of_i, of_f, of_g, of_o], -1)
        of_state = layer.message(1, of_before[t], t)
    return layer.message(0, torch.stack(of_before)), of_state.sum(-1) + of_cell.sum(-1)


def _gru(x: Tensor, weights, rule: Rule, nonlinearity, reads=LinearMap) -> tuple[Tensor, Back]:
    """Run a GRU layer on (time, batch, features); gates in the order r, z, n."""
    weight_x, weight_h, bias_x, bias_h = weights
    drive = reads(weight_x)(x) + bias_x
    states, recurrent = [drive.new_zeros(x.shape[1], weight_h.shape[1])], []
    for step in drive:
        recurrent.append(torch.addmm(bias_h, states[-1], weight_h.T))
        _, z, n = _gru_gates(step, recurrent[-1])
        states.append((1 - z) * n + z * states[-1])
    states, recurrent = torch.stack(states), torch.stack(recurrent)

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        return _gru_back(relevance, (x, drive, states, recurrent), weights, rule, reads)

    return states[1:], back


def _gru_gates(drive: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return r, z and the candidate n from the contributions of input and state."""
    (x_r, x_z, x_n), (h_r, h_z, h_n) = drive.chunk(3, -1), recurrent.chunk(3, -1)
    r = (x_r + h_r).sigmoid()
    return r, (x_z + h_z).sigmoid(), (x_n + r * h_n).tanh()


def _gru_layers(run, weights, rule: Rule, reads) -> tuple[Affine, Affine | None]:
    """Return the affine layers of the candidate and, where gates get relevance, of r and z."""
    x, drive, states, recurrent = run
    weight_x, weight_h, bias_x, bias_h = weights
    size = weight_h.shape[1]
    r = _gru_gates(drive, recurrent)[0]
    new, old = slice(2 * size, None), slice(0, 2 * size)
    terms = [
        Term(x, reads(weight_x[new])),
        Term(states[:-1], LinearMap(weight_h[new]), scale=r),
    ]
    out = drive[..., new] + r * recurrent[..., new]
    candidate = Affine(terms, bias_x[new] + r * bias_h[new], out, rule)
    if rule.gate_rule == "all":
        return candidate, None
    terms = [Term(x, reads(weight_x[old])), Term(states[:-1], LinearMap(weight_h[old]))]
    out = drive[..., old] + recurrent[..., old]
    return candidate, Affine(terms, (bias_x + bias_h)[old], out, rule)


def _gru_back(relevance: Tensor, run, weights, rule: Rule, reads) -> tuple[Tensor, Tensor]:
    """Take relevance back through the steps of a GRU."""
    _, drive, states, recurrent = run
    r, z, n = _gru_gates(drive, recurrent)
    candidate, gates = _gru_layers(run, weights, rule, reads)
    kept, written = Product(z, states[:-1], rule=rule), Product(1 - z, n, rule=rule)
    reset = Product(r, recurrent.chunk(3, -1)[2], rule=rule)
    total = Sum([z * states[:-1], (1 - z) * n], rule=rule)
    of_state, of_n, of_gates = 0.0, [None] * len(z), [None] * len(z)
    for t in range(len(z) - 1, -1, -1):
        keep, write = total.message(relevance[t] + of_state, t)
        of_z, of_state = kept.message(keep, t)
        of_other, of_n[t] = written.message(write, t)
        of_r, _ = reset.message(candidate.total(1, of_n[t], t), t) if gates else (0.0, None)
        signal = reset.message(of_n[t], t)[1]
        of_state = of_state + candidate.message(1, signal, t)
        if gates:
            of_gates[t] = torch.cat([of_r, of_z + of_other], -1)
            of_state = of_state + gates.message(1, of_gates[t], t)
    of_x = candidate.message(0, torch.stack(of_n))
    if gates:
        of_x = of_x + gates.message(0, torch.stack(of_gates))
    return of_x, of_state.sum(-1)


CELLS = {"RNN": _rnn, "LSTM": _lstm, "GRU": _gru}
