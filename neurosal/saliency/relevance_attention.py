"""Relevance through input-cell attention: the weights are a gate, the inputs are the signal.

At step t the cell reads ``M_t = sum_i A_ti x_i``. Relevance of ``M_t[n]`` is shared among the
steps so far in proportion to ``A_ti x_i[n]``. Pooling is linear in x, so that the way back is
the transpose of :func:`neurosal.models.pooling.prefix_pool`, which autograd applies in time
linear in the steps; no (time, time) matrix is kept.

Where an input rule is asked for, attention and the input weights are one linear layer with the
weights ``W_jn A_ti``, and the rule is applied to that; so it conserves as it does without
attention.

>>> import torch
>>> from neurosal.saliency.rules import make_rule
>>> x = torch.tensor([[[1.0], [3.0]]])
>>> out, back = propagate(InputCellAttention(1, hops=2), x, None, make_rule("z+"))
>>> round(float(back(torch.tensor([[[0.0], [4.0]]]))[0].sum()), 4)
4.0
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ..models.attention import InputCellAttention
from ..models.cells import InputCellGRU, InputCellLSTM, InputCellRNN
from ..models.pooling import prefix_norm, prefix_pool
from .relevance_cells import CELLS, layer_weights, nonlinearity_of, turned
from .relevance_layers import nothing_absorbed, propagate, run_back
from .relevance_maps import LinearMap, safe_ratio, stabilised
from .rules import Rule, signed_shares

CHUNK_NUMBERS = 2**22
"""Attention weights that are held at once where they are needed one by one."""

SAFE_GROWTH = 500.0
"""Growth of logits up to which the factors of many steps' weights are finite."""


class Pool:
    """Causal pooling with fixed weights, as a linear map over time.

    Parameters
    ----------
    groups : list of Tensor
        Logits, (batch, time, hops), of each pooled sequence; hops of one group are averaged.
    power : int
        Power of the averaged weights; 1 is the pooling itself.

    Examples
    --------
    >>> pool = Pool([torch.zeros(1, 2, 1)])
    >>> pool(torch.tensor([[[2.0], [4.0]]]), 0).flatten()
    tensor([2., 3.])
    >>> pool.back(torch.tensor([[[2.0], [4.0]]]), 0).flatten()
    tensor([4., 2.])
    """

    def __init__(self, groups: list[Tensor], power: int = 1):
        self.groups, self.power = groups, power

    def __call__(self, x: Tensor, k: int) -> Tensor:
        """Pool with the weights of one group."""
        if self.power == 1:
            return prefix_pool(x, self.groups[k][:, : x.shape[1]])
        rows = [weights @ x[:, : steps.stop] for steps, weights in self.rows(k)]
        return torch.cat(rows, 1)

    def back(self, relevance: Tensor, k: int) -> Tensor:
        """Apply the transpose.

        Parameters
        ----------
        relevance : Tensor
            On the pooled sequence, (batch, time, features).
        k : int
            Which of the groups.

        Returns
        -------
        Tensor
            On the inputs, (batch, time, features).
        """
        if self.power == 1:
            with torch.enable_grad():
                x = torch.zeros_like(relevance, requires_grad=True)
                out = prefix_pool(x, self.groups[k])
            return torch.autograd.grad(out, x, relevance.contiguous())[0]
        found = torch.zeros_like(relevance)
        for steps, weights in self.rows(k):
            found[:, : steps.stop] += weights.transpose(1, 2) @ relevance[:, steps]
        return found

    def rows(self, k: int) -> Iterator[tuple[slice, Tensor]]:
        """Work the weights out, some steps at a time.

        A step's weights are the product of two factors for each hop, ``exp(c - L_t)`` and
        ``exp(s_i - c)`` with the logarithm ``L_t`` of the sum of exponentials so far.

        Parameters
        ----------
        k : int
            Which of the groups.

        Yields
        ------
        steps : slice
            The reading steps.
        weights : Tensor
            (batch, these steps, steps up to the last of these), to the power.
        """
        logits = self.groups[k].double()
        totals, (batch, n_steps, hops) = logits.logcumsumexp(1), logits.shape
        grows = float((totals[:, -1] - totals[:, 0]).max()) > SAFE_GROWTH
        chunk = 1 if grows else max(1, CHUNK_NUMBERS // (batch * n_steps))
        for first in range(0, n_steps, chunk):
            steps = slice(first, min(first + chunk, n_steps))
            last = totals[:, steps.stop - 1, None]
            left = (last - totals[:, steps]).exp() / hops
            weights = left @ (logits[:, : steps.stop] - last).exp().transpose(1, 2)
            yield steps, (weights**self.power).tril(first).to(self.groups[k].dtype)


class PooledMap(LinearMap):
    """Attention over time and the weights behind it as one map, on step-first sequences.

    Parameters
    ----------
    weight : Tensor
        (m, groups * features).
    pool : Pool
        The attention.
    norm : Tensor or None
        What each pooled step is divided by, (batch, time, 1).

    Examples
    --------
    >>> layer = PooledMap(torch.ones(1, 1), Pool([torch.zeros(1, 2, 1)]), None)
    >>> layer(torch.tensor([[[2.0]], [[4.0]]])).flatten()
    tensor([2., 3.])
    """

    constant = False

    def __init__(self, weight: Tensor, pool: Pool, norm: Tensor | None):
        super().__init__(weight)
        self.pool, self.norm = pool, norm

    def __call__(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Apply the map, or the same with other weights."""
        x = x.transpose(0, 1).expand(len(self.pool.groups[0]), -1, -1)
        parts = enumerate((self.weight if weight is None else weight).split(x.shape[2], 1))
        out = sum(self.pool(x @ part.T, k) for k, part in parts)
        return (out if self.norm is None else out / self.norm).transpose(0, 1)

    def back(self, relevance: Tensor, like: Tensor, weight: Tensor | None = None) -> Tensor:
        """Apply the transpose; see :meth:`LinearMap.back`.

        Parameters
        ----------
        relevance, like, weight : Tensor
            As there.

        Returns
        -------
        Tensor
            On the inputs.
        """
        relevance = relevance.transpose(0, 1)
        relevance = relevance if self.norm is None else relevance / self.norm
        parts = enumerate((self.weight if weight is None else weight).split(like.shape[2], 1))
        return sum(self.pool.back(relevance, k) @ part for k, part in parts).transpose(0, 1)

    def raised(self, power: int) -> LinearMap:
        """Return the map whose weights, those of attention too, are raised to a power.

        Parameters
        ----------
        power : int
            As in :meth:`LinearMap.raised`.

        Returns
        -------
        PooledMap
            The map.
        """
        return PooledMap(self.weight.abs() ** power, Pool(self.pool.groups, power), None)


def pool_of(attention: InputCellAttention, x: Tensor) -> tuple[Pool, Tensor | None]:
    """Return the pooling that an attention layer does on given inputs.

    Parameters
    ----------
    attention : InputCellAttention
        The layer.
    x : Tensor
        (batch, time, features).

    Returns
    -------
    pool : Pool
        With one group for the readout "mean", else one for each hop.
    norm : Tensor or None
        What each step's readout is divided by, (batch, time, 1).

    Examples
    --------
    >>> pool, norm = pool_of(InputCellAttention(3, hops=4, readout="flatten"), torch.ones(1, 2, 3))
    >>> len(pool.groups), norm
    (4, None)
    """
    logits = attention.logits(x).detach()
    groups = [logits] if attention.readout == "mean" else list(logits.split(1, 2))
    if not attention.normalize:
        return Pool(groups), None
    return Pool(groups), prefix_norm(x, logits).clamp_min(torch.finfo(x.dtype).tiny)


@propagate.register
def _(module: InputCellAttention, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Pool; relevance goes to the inputs so far, none to the weights or the norm."""
    pool, norm = pool_of(module, x)
    pooled = [pool(x, k) for k in range(len(pool.groups))]
    out = torch.cat(pooled, 2)

    def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
        parts, share = relevance.split(x.shape[2], 2), _SPLITS[rule.name]
        found = sum(share(x, pool, k, (pooled[k], part), rule) for k, part in enumerate(parts))
        return found, nothing_absorbed(relevance)

    return out if norm is None else out / norm, back


def _epsilon_back(x: Tensor, pool: Pool, k: int, pooled: tuple[Tensor, Tensor], rule: Rule):
    """Share the relevance of one pooled sequence (value, relevance) by the epsilon rule."""
    out, relevance = pooled
    total = stabilised(out, rule.epsilon)
    message = x * pool.back(safe_ratio(relevance, total), k)
    if rule.bias_factor:
        message = message + _evenly_back(safe_ratio(total - out, total) * relevance, rule)
    return message


def _signed_back(x: Tensor, pool: Pool, k: int, pooled: tuple[Tensor, Tensor], rule: Rule):
    """Share the relevance of one pooled sequence (value, relevance) by signs of the inputs."""
    both, relevance = torch.cat([x.clamp(min=0), x.clamp(max=0)], 2), pooled[1]
    shares = torch.cat(signed_shares(*pool(both, k).chunk(2, 2), rule), 2)
    above, below = (both * pool.back(shares * relevance.repeat(1, 1, 2), k)).chunk(2, 2)
    return above + below


_SPLITS = {"epsilon": _epsilon_back, "alpha-beta": _signed_back}


def _evenly_back(rest: Tensor, rule: Rule) -> Tensor:
    """Share the stabiliser's part of every step evenly among the steps so far."""
    count = torch.arange(1, rest.shape[1] + 1, device=rest.device).to(rest)[:, None]
    return rule.bias_factor * (rest / count).flip(1).cumsum(1).flip(1)


def _input_cell(module: nn.Module, x: Tensor, lengths: Tensor | None, rule: Rule):
    """Run a cell with input-cell attention in each direction, then the layers on top of it."""
    out, back = _direction(module.attention, module.rnn, x, rule)
    if module.bidirectional:
        turn = partial(_turned, lengths=lengths)
        other, other_back = _direction(module.attention_reverse, module.rnn_reverse, turn(x), rule)
        out, back = torch.cat([out, turn(other)], 2), _joined(back, other_back, turn)
    if module.upper is None:
        return out, back
    out, upper_back = propagate(module.upper, out, lengths, rule.hidden())
    return out, lambda relevance: run_back([back, upper_back], relevance)


for _kind in (InputCellRNN, InputCellLSTM, InputCellGRU):
    propagate.register(_kind, _input_cell)


def _turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn batch-first sequences round within their lengths."""
    return turned(x.transpose(0, 1), lengths).transpose(0, 1)


def _joined(back, other_back, turn):
    """Return the way back through both directions."""

    def both(relevance: Tensor) -> tuple[Tensor, Tensor]:
        forwards, backwards = relevance.chunk(2, 2)
        (left, left_absorbed), (right, right_absorbed) = back(forwards), other_back(turn(backwards))
        return left + turn(right), left_absorbed + right_absorbed

    return both


def _direction(attention: InputCellAttention, rnn: nn.RNNBase, x: Tensor, rule: Rule):
    """Run attention and one recurrent layer, as two layers or, for an input rule, as one."""
    if rule.input_rule is None:
        pooled, through_pool = propagate(attention, x, None, rule)
        out, through_cell = propagate(rnn, pooled, None, rule)
        return out, lambda relevance: run_back([through_pool, through_cell], relevance)
    reads = partial(_read_through, pool_of(attention, x))
    run = CELLS[rnn.mode.split("_")[0]]
    weights = layer_weights(rnn, "l0")
    out, back = run(x.transpose(0, 1), weights, rule, nonlinearity_of(rnn), reads)

    def through(relevance: Tensor) -> tuple[Tensor, Tensor]:
        found, absorbed = back(relevance.transpose(0, 1))
        return found.transpose(0, 1), absorbed

    return out.transpose(0, 1), through


def _read_through(attended: tuple[Pool, Tensor | None], weight: Tensor) -> PooledMap:
    """Return input weights together with the attention before them."""
    return PooledMap(weight, *attended)
