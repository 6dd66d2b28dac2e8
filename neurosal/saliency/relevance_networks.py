"""Relevance through whole networks: the reading rules, the head, the relu cells, convolutions.

>>> import torch
>>> from neurosal.models.recurrent import RecurrentNetwork
>>> from neurosal.saliency.rules import make_rule
>>> network, x = RecurrentNetwork(3, 2, read="mean"), torch.randn(4, 6, 3)
>>> logits, back = propagate(network, x, None, make_rule("epsilon"))
>>> back(logits)[0].shape
torch.Size([4, 6, 3])
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..models.reading import read_states, valid_steps
from ..models.recurrent import RecurrentNetwork, SelfAttentionNetwork
from ..models.relu_cells import (
    ConvolutionStack,
    NonPositiveConv2d,
    NonPositiveLinear,
    ReluCell,
    ReluLSTMCell,
    SequenceDropout,
    SumPool2d,
)
from ..models.thesis import ExplainableNetwork
from .relevance_affine import Affine, Term
from .relevance_cells import lstm_back
from .relevance_layers import (
    Back,
    affine,
    chain,
    nothing_absorbed,
    passed_on,
    propagate,
    run_back,
)
from .relevance_maps import ConvMap, LinearMap, safe_ratio, stabilised
from .rules import Rule, signed_shares


@propagate.register
def _(module: RecurrentNetwork, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Run the recurrent layer, what is read from it, and the head."""
    states, through_cell = propagate(module.rnn, x, lengths, rule)
    read, through_read = _read(module, states, lengths, rule.hidden())
    logits, through_head = propagate(module.output, read, None, rule.hidden())
    return logits, lambda relevance: run_back([through_cell, through_read, through_head], relevance)


def _read(module: RecurrentNetwork, states: Tensor, lengths: Tensor | None, rule: Rule):
    """Apply the network's reading rule."""
    if isinstance(module, SelfAttentionNetwork):
        return read_attended(module, states, lengths, rule)
    return read(states, module.read, lengths, rule)


def read(states: Tensor, how: str, lengths: Tensor | None, rule: Rule) -> tuple[Tensor, Back]:
    """Summarise states over time and return the way back.

    What was read at one step goes back to that step; a maximum's relevance goes to the step that
    had it; that of a mean is shared in proportion to the states.

    Parameters
    ----------
    states : Tensor
        (batch, time, units).
    how : {"last", "mean", "max", "both-ends"}
        As in :func:`neurosal.models.reading.read_states`.
    lengths : Tensor or None
        Valid steps of each sample, (batch,).
    rule : Rule
        For the mean.

    Returns
    -------
    out, back
        As in :func:`neurosal.saliency.relevance_layers.propagate`; out is (batch, units).

    Examples
    --------
    >>> from neurosal.saliency.rules import make_rule
    >>> states = torch.tensor([[[1.0], [3.0]]])
    >>> _, back = read(states, "mean", None, make_rule("z+"))
    >>> back(torch.tensor([[8.0]]))[0].flatten()
    tensor([2., 6.])
    """
    out = read_states(states, how, lengths)
    valid = valid_steps(states, lengths)
    if how == "mean":
        valid = states.new_ones(states.shape[:2]) if valid is None else valid.to(states)
        weights = (valid / valid.sum(1, keepdim=True))[:, None]
        return out, _weighted(states, weights, rule)
    if how == "max":
        shown = states if valid is None else states.masked_fill(~valid[:, :, None], -torch.inf)
        index = shown.argmax(1, keepdim=True)
    else:
        index = _read_steps(states, how, lengths)

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        placed = torch.zeros_like(states).scatter(1, index, relevance[:, None])
        return placed, nothing_absorbed(relevance)

    return out, back


def _read_steps(states: Tensor, how: str, lengths: Tensor | None) -> Tensor:
    """Return at which step each unit is read, (batch, 1, units)."""
    last = states.shape[1] - 1 if lengths is None else (lengths - 1)[:, None, None]
    index = torch.zeros_like(states[:, :1], dtype=torch.long) + last
    if how == "both-ends":
        index[:, :, states.shape[2] // 2 :] = 0
    return index


def _weighted(states: Tensor, weights: Tensor, rule: Rule) -> Back:
    """Return the way back through sums over time, each with its own weights (batch, sums, time)."""

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        of_sums = relevance.reshape(len(states), weights.shape[1], -1)
        return weighted_back(states, weights, of_sums, rule), nothing_absorbed(relevance)

    return back


def weighted_back(states: Tensor, weights: Tensor, relevance: Tensor, rule: Rule) -> Tensor:
    """Share the relevance of weighted sums over time among the steps; the weights are a gate.

    Parameters
    ----------
    states : Tensor
        (batch, time, units).
    weights : Tensor
        Not negative, (batch, sums, time).
    relevance : Tensor
        Of the sums, (batch, sums, units).
    rule : Rule
        A hidden rule.

    Returns
    -------
    Tensor
        Of the states, (batch, time, units).

    Examples
    --------
    >>> from neurosal.saliency.rules import make_rule
    >>> states, weights = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[0.75, 0.25]]])
    >>> weighted_back(states, weights, torch.tensor([[[8.0]]]), make_rule("z+")).flatten()
    tensor([4., 4.])
    """
    spread = weights.transpose(1, 2)
    if rule.name == "epsilon":
        out = weights @ states
        total = stabilised(out, rule.epsilon)
        message = states * (spread @ safe_ratio(relevance, total))
        if rule.bias_factor:
            used = (weights > 0).to(states)
            even = used / used.sum(2, keepdim=True)
            rest = rule.bias_factor * safe_ratio(total - out, total)
            message = message + even.transpose(1, 2) @ (rest * relevance)
        return message
    above, below = states.clamp(min=0), states.clamp(max=0)
    up, down = signed_shares(weights @ above, weights @ below, rule)
    return above * (spread @ (up * relevance)) + below * (spread @ (down * relevance))


def read_attended(
    module: SelfAttentionNetwork, states: Tensor, lengths: Tensor | None, rule: Rule
) -> tuple[Tensor, Back]:
    """Weight states over time by learned attention and return the way back to the states.

    Parameters
    ----------
    module : SelfAttentionNetwork
        Holds the attention, whose weights are a gate and get no relevance.
    states : Tensor
        (batch, time, units).
    lengths : Tensor or None
        Valid steps of each sample, (batch,).
    rule : Rule
        A hidden rule.

    Returns
    -------
    out, back
        As in :func:`neurosal.saliency.relevance_layers.propagate`; out is (batch, hops * units).
    """
    logits = module.attention(states)
    valid = valid_steps(states, lengths)
    if valid is not None:
        logits = logits.masked_fill(~valid[:, :, None], -torch.inf)
    weights = logits.softmax(1).transpose(1, 2)
    return (weights @ states).flatten(1), _weighted(states, weights, rule)


@propagate.register
def _(module: ExplainableNetwork, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Run the input layers, the cell, what is read from it, and the layers behind."""
    a, through_input = propagate(module.input_layers, x, lengths, rule)
    rule, hidden = rule if len(module.input_layers) == 0 else rule.hidden(), rule.hidden()
    states, through_cell = propagate(module.cell, a, lengths, rule)
    summary, through_read = read(states, module.read, lengths, hidden)
    head = [*module.output_layers, module.output]
    logits, through_head = chain(head, summary, None, hidden)
    backs = [through_input, through_cell, through_read, through_head]
    return logits, lambda relevance: run_back(backs, relevance)


@propagate.register
def _(module: SequenceDropout, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Pass everything: dropout does nothing in evaluation."""
    return passed_on(x)


@propagate.register
def _(module: NonPositiveLinear, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Share the relevance of an affine layer."""
    return affine(x, module.weight, module.bias, rule)


@propagate.register
def _(module: NonPositiveConv2d, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Share the relevance of a convolution."""
    layer, bias = ConvMap(module.weight, padding=(module.padding,) * 2), module.bias[:, None, None]
    out = layer(x) + bias

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        message = Affine([Term(x, layer)], bias, out, rule).message(0, relevance)
        return message, nothing_absorbed(relevance)

    return out, back


@propagate.register
def _(module: SumPool2d, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Share each block's relevance in proportion to its pixels, evenly where all are zero."""
    out, count = module(x), module(torch.ones_like(x[:1, :1]))

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        even = torch.where(out == 0, relevance / count, 0.0)
        blocks = torch.stack([safe_ratio(relevance, out), even])
        wide = blocks.repeat_interleave(2, 3).repeat_interleave(2, 4)
        of_pixel, even = wide[..., : x.shape[2], : x.shape[3]]
        return x * of_pixel + even, nothing_absorbed(relevance)

    return out, back


@propagate.register
def _(module: ConvolutionStack, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Chain the convolutions over the images of all steps."""
    shape = (-1, 1, *module.image_shape)
    if rule.input_rule == "zB":
        rule = replace(rule, low=_image(rule.low, x, shape), high=_image(rule.high, x, shape))
    out, back = chain(list(module), x.reshape(shape), None, rule)

    def through(relevance: Tensor) -> tuple[Tensor, Tensor]:
        images, _ = back(relevance.reshape(out.shape))
        return images.reshape(x.shape), nothing_absorbed(relevance)

    return out.reshape(*x.shape[:2], -1), through


def _image(bound: float | Tensor, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Lay a bound of the features out as an image."""
    bound = torch.as_tensor(bound, dtype=like.dtype, device=like.device)
    return bound.expand(like.shape[2:]).reshape(shape)


@propagate.register
def _(module: ReluCell, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Run the cell without gates, on step-first sequences."""
    x = x.transpose(0, 1)
    weight, size = module.hidden.weight, module.input_size
    recurrent = module.recurrent
    drive = LinearMap(weight[:, :size])(x) + module.hidden.bias
    carried, hidden, before, returned = (
        [x.new_zeros(x.shape[1], recurrent.out_features)],
        [],
        [],
        [],
    )
    for step in drive:
        before.append(step + carried[-1] @ weight[:, size:].T)
        hidden.append(before[-1].relu())
        returned.append(recurrent(hidden[-1]))
        carried.append(returned[-1].relu())
    carried, hidden, before, returned = map(torch.stack, (carried, hidden, before, returned))
    terms = [Term(x, LinearMap(weight[:, :size])), Term(carried[:-1], LinearMap(weight[:, size:]))]
    inner = Affine(terms, module.hidden.bias, before, rule)
    outer = Affine(
        [Term(hidden, LinearMap(recurrent.weight))], recurrent.bias, returned, rule.hidden()
    )

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        relevance = relevance.transpose(0, 1)
        of_carried, of_before = None, [None] * len(x)
        for t in range(len(x) - 1, -1, -1):
            more = 0.0 if of_carried is None else outer.message(0, of_carried, t)
            of_before[t] = relevance[t] + more
            of_carried = inner.message(1, of_before[t], t)
        return inner.message(0, torch.stack(of_before)).transpose(0, 1), of_carried.sum(-1)

    return hidden.transpose(0, 1), back


@propagate.register
def _(module: ReluLSTMCell, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Run the gated cell without tanh, on step-first sequences; the order is i, f, o, signal."""
    x, n, size = x.transpose(0, 1), module.input_size, module.output_size
    weight = torch.cat([module.gates.weight, module.signal.weight])
    bias = torch.cat([module.gates.bias, module.signal.bias])
    drive = LinearMap(weight[:, :n])(x) + bias
    hidden, cells, before = [x.new_zeros(x.shape[1], size)], [x.new_zeros(x.shape[1], size)], []
    for step in drive:
        before.append(step + hidden[-1] @ weight[:, n:].T)
        i, f, g, o = _relu_gates(before[-1])
        cells.append(i * g + f * cells[-1])
        hidden.append(o * cells[-1])
    hidden, cells, before = map(torch.stack, (hidden, cells, before))
    if rule.gate_rule == "all":
        rows = slice(3 * size, None)
    else:
        rows = torch.arange(4 * size, device=x.device).view(4, size)[[0, 1, 3, 2]].flatten()
    terms = [Term(x, LinearMap(weight[rows, :n])), Term(hidden[:-1], LinearMap(weight[rows, n:]))]
    layer = Affine(terms, bias[rows], before[..., rows], rule)

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        gates, relevance = _relu_gates(before), relevance.transpose(0, 1)
        found, absorbed = lstm_back(relevance, layer, gates, cells, rule, squash=lambda c: c)
        return found.transpose(0, 1), absorbed

    return hidden[1:].transpose(0, 1), back


def _relu_gates(before: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return i, f, g, o from what enters their nonlinearities, stored in the order i, f, o, g."""
    i, f, o, g = before.chunk(4, dim=-1)
    return i.sigmoid(), f.sigmoid(), g.relu(), o.sigmoid()
