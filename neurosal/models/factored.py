"""The fast form of causal prefix-softmax pooling: chunks of time as matrix products.

Inside a chunk, with a reference ``c`` between the first and the last running maximum, the weight
of input ``i`` at step ``t`` is ``a_t E_i`` where ``E = exp(s - c)`` and ``a = 1 / cumsum(E)``, a
lower-triangular matrix of rank ``hops``. What precedes the chunk enters as one more input per hop:
the mean that the hop had reached (``state``), with weight ``old``. The exponentials are taken in
float64, which costs little (they are as wide as the hops, not the features), so float32 loses no
digits at large logits. All weights are at most one; this holds while the running maximum grows by
less than :data:`MAX_GROWTH` in a chunk, which the caller checks with :func:`running_peaks`.

The backward passes below are first derivatives written out. A second derivative is asked for with
gradients enabled; then the ``slow`` function given to ``apply``, made of plain differentiable
operations, is differentiated instead.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MAX_GROWTH = 80.0
"""Growth of the running maximum inside a chunk up to which the factored form is exact."""
WIDE = 64
"""Values per hop from which a chunk's steps and its states are found in one product."""


def chunk_length(steps: int, wish: int) -> int:
    """Choose steps per chunk near ``wish``, dividing ``steps`` without rest where possible.

    Parameters
    ----------
    steps : int
        Length of the sequence.
    wish : int
        Preferred length of a chunk.

    Returns
    -------
    int
        Length of a chunk.

    Examples
    --------
    >>> chunk_length(284, 56), chunk_length(40, 56), chunk_length(283, 56)
    (71, 40, 48)
    """
    if steps <= wish:
        return steps
    exact = [c for c in range(-(-2 * wish // 3), 3 * wish // 2 + 1) if steps % c == 0]
    if exact:
        return min(exact, key=lambda c: abs(c - wish))
    return -(-steps // -(-steps // wish))


def running_peaks(logits: Tensor, chunk: int) -> tuple[Tensor, Tensor, float]:
    """Find the running maximum at the ends of each chunk, and its largest growth inside one.

    Parameters
    ----------
    logits : Tensor, shape (batch, time, hops)
        The attention logits.
    chunk : int
        Steps per chunk.

    Returns
    -------
    start, end : Tensor, shape (batch, chunks, hops)
        Running maximum after a chunk's first and last step, in float64.
    growth : float
        The largest difference of the two; infinite if a logit is not finite.

    Examples
    --------
    >>> start, end, growth = running_peaks(torch.tensor([[[0.0], [5.0], [1.0], [9.0]]]), 2)
    >>> start.flatten().tolist(), end.flatten().tolist(), growth
    ([0.0, 5.0], [5.0, 9.0], 5.0)
    """
    wide = cut(logits.detach(), chunk, last=True)
    end = wide.amax(dim=2).cummax(dim=1).values
    start = wide[:, :, 0].clone()
    torch.maximum(start[:, 1:], end[:, :-1], out=start[:, 1:])
    grown = float((end - start).max())
    return start.double(), end.double(), grown if grown == grown else float("inf")


def cut(x: Tensor, chunk: int, *, last: bool = False) -> Tensor:
    """Cut time into chunks, filling up the last one if it is not whole.

    Parameters
    ----------
    x : Tensor, shape (batch, time, width)
        A sequence.
    chunk : int
        Steps per chunk.
    last : bool, default=False
        Fill with the last step instead of zeros.

    Returns
    -------
    Tensor, shape (batch, chunks, chunk, width)
        A view where ``chunk`` divides the steps.

    Examples
    --------
    >>> cut(torch.ones(1, 3, 1), 2).flatten().tolist()
    [1.0, 1.0, 1.0, 0.0]
    """
    rest = -x.shape[1] % chunk
    if rest:
        tail = x[:, -1:].expand(-1, rest, -1)
        x = torch.cat([x, tail if last else torch.zeros_like(tail)], dim=1)
    return x.reshape(x.shape[0], -1, chunk, x.shape[2])


def _factors(logits: Tensor, chunk: int, peaks: tuple, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """``E``, ``a`` and ``old``, each (batch, chunks, chunk, hops), from the logits alone."""
    start, end = peaks
    before, centre = torch.cat([start[:, :1], end[:, :-1]], dim=1), (start + end) / 2
    exps = (cut(logits, chunk, last=True) - centre[:, :, None]).exp_()
    entered = _scan(exps.sum(dim=2) * (centre - end).exp(), (before - end).exp())
    entered = (entered * (before - centre).exp())[:, :, None]
    inverse = (_ones(chunk, exps) @ exps).add_(entered).reciprocal_()
    return exps.to(dtype), inverse.to(dtype), (inverse * entered).to(dtype)


def _ones(chunk: int, like: Tensor) -> Tensor:
    """Lower-triangular ones: a product with them is the cumulative sum over a chunk."""
    return torch.ones(chunk, chunk, dtype=like.dtype, device=like.device).tril_()


def _scan(own: Tensor, decay: Tensor) -> Tensor:
    """What enters each chunk: ``decay`` times what entered the one before, plus its ``own``."""
    entering = torch.empty_like(own)
    entering[:, 0] = 0
    for j in range(1, own.shape[1]):
        torch.addcmul(own[:, j - 1], entering[:, j - 1], decay[:, j - 1], out=entering[:, j])
    return entering


def _scan_back(own: Tensor, decay: Tensor) -> Tensor:
    """The same from the end: gradient of what leaves each chunk."""
    leaving = torch.empty_like(own)
    leaving[:, -1] = 0
    for j in range(own.shape[1] - 2, -1, -1):
        torch.addcmul(own[:, j + 1], leaving[:, j + 1], decay[:, j + 1], out=leaving[:, j])
    return leaving


def slow_gradients(function: Callable, inputs: Sequence[Tensor], grads: tuple) -> tuple:
    """Gradients of a function through plain operations, to be differentiated again.

    Parameters
    ----------
    function : callable
        Takes the inputs, returns a tensor or a tuple of them, by differentiable operations.
    inputs : sequence of Tensor
        Where to take the gradients; inputs may depend on one another, which does not count.
    grads : tuple of Tensor or None
        Gradients of the outputs.

    Returns
    -------
    tuple of Tensor or None
        One per input, None where an input needs none.

    Examples
    --------
    >>> x = torch.tensor([3.0], requires_grad=True)
    >>> slope = slow_gradients(torch.square, [x], (torch.ones(1),))[0]
    >>> torch.autograd.grad(slope, x)[0].tolist()
    [2.0]
    """
    own = [x.view_as(x) for x in inputs]  # as if leaves: an input's history is not walked
    out = function(*own)
    outs = out if isinstance(out, tuple) else (out,)
    known = [pair for pair in zip(outs, grads, strict=True) if pair[1] is not None]
    outs, weights = zip(*known, strict=True)
    wanted = [x for x in own if x.requires_grad]
    found = torch.autograd.grad(outs, wanted, weights, create_graph=True, allow_unused=True)
    found = iter(found)
    return tuple(next(found) if x.requires_grad else None for x in own)


class _Recomputed(torch.autograd.Function):
    """What both readouts share: which tensors are kept, and the second derivative.

    Kept are the inputs and the small factors (a tenth of the inputs). A second derivative uses
    the inputs alone, through the ``slow`` function, so it is right.
    """

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        """Keep the inputs and the factors."""
        values, logits, _, ctx.chunk, ctx.slow = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(values, logits, *output[1:])

    @classmethod
    def backward(cls, ctx, grad: Tensor | None, *unused: None) -> tuple:
        """Gradients of the values and the logits."""
        values, logits, *factors = ctx.saved_tensors
        if grad is None:
            return (None,) * 5
        if torch.is_grad_enabled():
            return *slow_gradients(ctx.slow, (values, logits), (grad,)), None, None, None
        grad = cut(grad, ctx.chunk).flatten(0, 1)
        return *cls.first(values, *factors, grad, ctx.chunk, ctx.needs_input_grad), None, None, None


class MeanPool(_Recomputed):
    """Prefix means of shared values, averaged over hops."""

    @staticmethod
    def forward(x: Tensor, logits: Tensor, peaks: tuple, chunk: int, slow: Callable) -> tuple:
        """Pool; returns the result and the factors."""
        exps, inverse, old = _factors(logits, chunk, peaks, x.dtype)
        shape, part = exps.shape, cut(x, chunk).flatten(0, 1)
        state = (exps * inverse[:, :, -1:]).flatten(0, 1).transpose(1, 2) @ part
        state = _scan(state.view(*shape[:2], shape[3], -1), old[:, :, -1, :, None])
        weights = _rank(inverse / shape[3], exps)
        out = weights @ part
        if shape[1] > 1:
            out.baddbmm_(old.flatten(0, 1), state.flatten(0, 1), alpha=1 / shape[3])
        return _join(out, x), exps, inverse, old, state, weights

    @staticmethod
    def first(x, exps, inverse, old, state, weights, grad, chunk: int, needs) -> tuple:
        """First derivative."""
        shape, hops = exps.shape, exps.shape[3]
        grad_x = grad_logits = None
        each = inverse / hops
        leaving = ((old / hops).flatten(0, 1).transpose(1, 2) @ grad).view_as(state)
        leaving = _scan_back(leaving, old[:, :, -1, :, None]).flatten(0, 1)
        last = exps * inverse[:, :, -1:]
        if needs[0]:
            grad_x = weights.transpose(1, 2) @ grad
            grad_x = _join(grad_x.baddbmm_(last.flatten(0, 1), leaving), x)
        if needs[1]:
            part, state = cut(x, chunk).flatten(0, 1), state.flatten(0, 1)
            pair = (grad @ part.transpose(1, 2)).tril_()
            own = (pair.transpose(1, 2) @ each.flatten(0, 1)).view(shape).mul_(exps)
            seen = (pair @ exps.flatten(0, 1)).view(shape).mul_(each)
            past = (grad @ state.transpose(1, 2)).div_(hops).view(shape)
            through = (part @ leaving.transpose(1, 2)).view(shape)
            kept = (state * leaving).sum(dim=2).view(shape[0], shape[1], hops)
            grad_logits = _logits(exps, inverse, old, last, own, seen, past, through, kept)
            grad_logits = _join(grad_logits.flatten(0, 1), x)
        return grad_x, grad_logits


class FlatPool(_Recomputed):
    """Prefix means of each hop's own values, (batch, time, hops * outputs), summed over hops."""

    @staticmethod
    def forward(y: Tensor, logits: Tensor, peaks: tuple, chunk: int, slow: Callable) -> tuple:
        """Pool; returns the result and the factors."""
        exps, inverse, old = _factors(logits, chunk, peaks, y.dtype)
        batch, chunks, _, hops = exps.shape
        part = cut(y, chunk).reshape(batch * chunks, chunk * hops, -1)
        weights = _hop_weights(exps, inverse, states=_is_wide(part))
        out = weights @ part
        if _is_wide(part):
            out, state = out[:, :chunk].contiguous(), out[:, chunk:]
        else:
            state = _weighted_sum(part.unflatten(1, (chunk, hops)), weights[:, -1])
        state = _scan(state.view(batch, chunks, hops, -1), old[:, :, -1, :, None])
        if chunks > 1:
            out.baddbmm_(old.flatten(0, 1), state.flatten(0, 1))
        return _join(out, y), exps, inverse, old, state, weights

    @staticmethod
    def first(y, exps, inverse, old, state, weights, grad, chunk: int, needs) -> tuple:
        """First derivative."""
        shape, hops = exps.shape, exps.shape[3]
        grad_y = grad_logits = None
        leaving = (old.flatten(0, 1).transpose(1, 2) @ grad).view_as(state)
        leaving = _scan_back(leaving, old[:, :, -1, :, None]).flatten(0, 1)
        part = cut(y, chunk).reshape(len(grad), chunk * hops, -1)
        by_hop = len(grad), chunk, hops, part.shape[2]
        wide, last = _is_wide(part), (exps * inverse[:, :, -1:]).flatten(0, 1)
        both = torch.cat([grad, leaving], dim=1) if wide else grad
        if needs[0]:
            grad_y = (weights.transpose(1, 2) @ both).view(by_hop)
            if not wide:
                grad_y.addcmul_(last[..., None], leaving[:, None])
            grad_y = _join(grad_y.flatten(2), y)
        if needs[1]:
            pair = (both @ part.transpose(1, 2)).view(len(grad), -1, chunk, hops)
            if wide:
                through = pair[:, chunk:].diagonal(dim1=1, dim2=3)
            else:
                through = torch.linalg.vecdot(part.view(by_hop), leaving[:, None])
            pair = pair[:, :chunk].mul_(weights[:, :chunk].view(-1, chunk, chunk, hops))
            own, seen = pair.sum(dim=1).view(shape), pair.sum(dim=2).view(shape)
            state, last, through = state.flatten(0, 1), last.view(shape), through.reshape(shape)
            past = (grad @ state.transpose(1, 2)).view(shape)
            kept = (state * leaving).sum(dim=2).view(shape[0], shape[1], hops)
            grad_logits = _logits(exps, inverse, old, last, own, seen, past, through, kept)
            grad_logits = _join(grad_logits.flatten(0, 1), y)
        return grad_y, grad_logits


def _weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Sum (batch, chunk, hops, width) over the chunk, step by step: no product of the whole."""
    weights = weights.view(*values.shape[:3], 1).unbind(1)
    total = values[:, 0] * weights[0]
    for value, weight in zip(values.unbind(1)[1:], weights[1:], strict=True):
        total.addcmul_(value, weight)
    return total


def _join(out: Tensor, x: Tensor) -> Tensor:
    """(batch * chunks, chunk, width) to (batch, time, width)."""
    return out.reshape(x.shape[0], -1, out.shape[-1])[:, : x.shape[1]]


def _rank(inverse: Tensor, exps: Tensor) -> Tensor:
    """Weights of a chunk's steps on its inputs, added over hops (product of rank hops)."""
    return (inverse.flatten(0, 1) @ exps.flatten(0, 1).transpose(1, 2)).tril_()


def _is_wide(part: Tensor) -> bool:
    """Whether a product with zeros for the other hops beats a second pass over the values."""
    return part.shape[2] >= WIDE


def _hop_weights(exps: Tensor, inverse: Tensor, *, states: bool) -> Tensor:
    """Weights on each hop's inputs, (batch * chunks, chunk [+ hops], chunk * hops).

    Of the chunk's steps, which add the hops up, then of the state that each hop leaves behind.
    """
    chunk, hops = exps.shape[2:]
    exps, inverse = exps.flatten(0, 1), inverse.flatten(0, 1)
    out = exps.new_empty(len(exps), chunk + hops * states, chunk, hops)
    torch.mul(inverse[:, :, None], exps[:, None], out=out[:, :chunk])
    out[:, :chunk].mul_(_ones(chunk, exps)[:, :, None])
    if states:
        apart = torch.eye(hops, dtype=exps.dtype, device=exps.device)[:, None]
        torch.mul(out[:, chunk - 1, None], apart, out=out[:, chunk:])
    return out.flatten(2)


def _logits(exps, inverse, old, last, own, seen, past, through, kept) -> Tensor:
    """Softmax backward inside the chunks, plus what passes through the carried normaliser.

    ``last`` is the weight of each input in the state that leaves its chunk, ``own`` what each
    input gains over the chunk's steps, ``seen`` and ``past`` the mean that each step has of its
    chunk's inputs and of the state, ``through`` and ``kept`` the gains of inputs and state through
    the state that leaves the chunk; all in units of the gradient. The last five are used up.
    """
    keep = old[:, :, -1]
    mean = seen.addcmul_(old, past)
    total = keep * kept + (last * through).sum(dim=2)
    entering = past.sub_(mean).mul_(old).sum(dim=2) + keep * (kept - total)
    leaving = _scan_back(entering, keep)
    suffix = _ones(exps.shape[2], exps).T @ mean.mul_(inverse)
    own.addcmul_(exps, suffix, value=-1)
    return own.addcmul_(last, through.sub_((total - leaving)[:, :, None]))
