"""The fast form of causal prefix-softmax pooling: chunks of time as matrix products.

Inside a chunk, with a reference ``c`` between the first and the last running maximum, the weight
of input ``i`` at step ``t`` is ``a_t E_i`` where ``E = exp(s - c)`` and ``a = 1 / cumsum(E)``, a
lower-triangular matrix of rank ``hops``. What precedes the chunk enters as one more input per hop:
the mean that the hop had reached (``state``), with weight ``old``. The exponentials are taken in
float64, which costs little (they are as wide as the hops, not the features), so float32 loses no
digits at large logits. All weights are at most one; this holds while the running maximum grows by
less than :data:`MAX_GROWTH` in a chunk, which the caller checks with
:func:`~neurosal.models.chunks.running_peaks`.

The backward passes below are first derivatives written out. A second derivative is asked for with
gradients enabled; then the ``slow`` function given to ``apply``, made of plain differentiable
operations, is differentiated instead.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from neurosal.models.chunks import cut
from neurosal.models.scopes import without_autocast

MAX_GROWTH = 80.0
"""Growth of the running maximum inside a chunk up to which the factored form is exact."""
HALF_GROWTH = 10.0
"""The same in float16, whose numbers end at e^11: half the growth is the largest exponent."""
WIDE = 64
"""Values per hop from which a chunk's steps and its states are found in one product."""
BLOCK = {"cpu": 2**22, "gpu": 2**28}
"""Bytes of projected inputs, and of their gradients, made at once (on a CPU: in its cache)."""
KEPT = 2**25
"""Bytes from which memory is fresh from the system at every step, page by page."""
CHEAP = 256
"""Features up to which it takes less time to project them again than to wait for that memory."""


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
    if all(grad is None for grad in grads):
        return (None,) * len(inputs)
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
    the inputs alone, through the ``slow`` function, so it is right. Gradients are not autocast.
    """

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        """Keep the inputs and the factors."""
        *tensors, _, ctx.chunk, ctx.slow = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *output[1:])

    @classmethod
    def backward(cls, ctx, grad: Tensor | None, *unused: None) -> tuple:
        """Gradients of the tensors that the result is made of."""
        needs = ctx.needs_input_grad[:-3]
        saved = ctx.saved_tensors  # once: checkpoints unpack them a single time
        tensors, factors = saved[: len(needs)], saved[len(needs) :]
        if grad is None:
            return (None,) * (len(needs) + 3)
        with without_autocast(grad.device.type):
            if torch.is_grad_enabled():
                found = slow_gradients(ctx.slow, tensors, (grad,))
            else:
                rows = cut(grad, ctx.chunk).flatten(0, 1)
                found = cls.first(tensors, factors, rows, ctx.chunk, needs)
        return *found, None, None, None


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
    def first(tensors, factors, grad, chunk: int, needs) -> tuple:
        """First derivative."""
        (x, _), (exps, inverse, old, state, weights) = tensors, factors
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
            through = (part @ leaving.transpose(1, 2)).view(shape).mul_(last)
            kept = (state * leaving).sum(dim=2).view(shape[0], shape[1], hops)
            total = through.sum(dim=2).addcmul_(old[:, :, -1], kept)
            gained = own.add_(through)
            grad_logits = _logits(exps, inverse, old, last, gained, seen, past, kept, total)
            grad_logits = _join(grad_logits.flatten(0, 1), x)
        return grad_x, grad_logits


class FlatPool(_Recomputed):
    """Prefix means of each hop's own projection of ``x``, summed over hops.

    The projections are ``hops * outputs`` wide, so they and their gradients are made block by
    block of chunks, each used while it is in the cache; :func:`_keeps` says what is kept of them.
    Nothing is where ``slow`` is None, which says that no gradient will be asked for.
    """

    @staticmethod
    def forward(x, logits, weight, peaks: tuple, chunk: int, slow: Callable | None) -> tuple:
        """Project and pool; returns the result, the factors, and the projections if kept."""
        exps, inverse, old = _factors(logits, chunk, peaks, x.dtype)
        batch, chunks, _, hops = exps.shape
        rows, maps, outputs = cut(x, chunk).flatten(0, 1), _by_hop(weight, hops), len(weight)
        weights = _hop_weights(exps, inverse, states=outputs >= WIDE)
        out, state = x.new_empty(len(rows), chunk, outputs), x.new_empty(len(rows), hops, outputs)
        kept = len(rows) if slow is not None and _keeps(rows, maps) else 0
        kept = x.new_empty(kept, chunk * hops, outputs)
        for block in _blocks(rows, maps):
            part = _project(rows[block], maps, hops, kept[block])
            if outputs >= WIDE:
                both = weights[block] @ part
                out[block], state[block] = both[:, :chunk], both[:, chunk:]
            else:
                torch.bmm(weights[block], part, out=out[block])
                state[block] = _weighted_sum(part.unflatten(1, (chunk, hops)), weights[block, -1])
        state = _scan(state.view(batch, chunks, hops, -1), old[:, :, -1, :, None])
        if chunks > 1:
            out.baddbmm_(old.flatten(0, 1), state.flatten(0, 1))
        return _join(out, x), exps, inverse, old, state, weights, kept

    @staticmethod
    def first(tensors, factors, grad, chunk: int, needs) -> tuple:
        """First derivative."""
        (x, _, weight), (exps, inverse, old, state, weights, kept) = tensors, factors
        hops, rows = exps.shape[3], cut(x, chunk).flatten(0, 1)
        maps, last = _by_hop(weight, hops), (exps * inverse[:, :, -1:]).flatten(0, 1)
        leaving = (old.flatten(0, 1).transpose(1, 2) @ grad).view_as(state)
        leaving = _scan_back(leaving, old[:, :, -1, :, None]).flatten(0, 1)
        both = torch.cat([grad, leaving], dim=1) if len(weight) >= WIDE else grad
        grad_x = rows.new_empty(rows.shape) if needs[0] else None  # rows may be a turned view
        gained, seen = last.new_empty(last.shape), last.new_empty(last.shape)
        grad_maps = torch.zeros_like(maps) if needs[2] else None
        for block in _blocks(rows, maps):
            slope = _slope(weights[block], both[block], leaving[block], last[block])
            each = slope.view(-1, len(maps))
            if needs[0]:
                torch.mm(each, maps, out=grad_x[block].view(len(each), -1))
            if needs[2]:
                grad_maps.addmm_(each.t(), rows[block].flatten(0, 1))
            if needs[1]:
                part = kept[block] if len(kept) else _project(rows[block], maps, hops)
                seen[block] = _seen(part, weights[block, :chunk], grad[block], hops)
                gained[block] = _inner(slope, part).view(-1, chunk, hops)
        if needs[0]:
            grad_x = _join(grad_x, x)
        if needs[2]:
            grad_maps = grad_maps.unflatten(0, (hops, -1)).transpose(0, 1).flatten(1)
        if not needs[1]:
            return grad_x, None, grad_maps
        past = grad @ state.flatten(0, 1).transpose(1, 2)
        leaving = leaving.view_as(state)
        stayed = (state * leaving).sum(dim=3)
        total = torch.zeros_like(stayed)
        total[:, :-1] = (state[:, 1:] * leaving[:, :-1]).sum(dim=3)
        last, gained, seen, past = (part.view_as(exps) for part in (last, gained, seen, past))
        grad_logits = _logits(exps, inverse, old, last, gained, seen, past, stayed, total)
        return grad_x, _join(grad_logits.flatten(0, 1), x), grad_maps


def _by_hop(weight: Tensor, hops: int) -> Tensor:
    """(outputs, hops * features) to (hops * outputs, features)."""
    return weight.unflatten(1, (hops, -1)).transpose(0, 1).flatten(0, 1)


def _blocks(rows: Tensor, maps: Tensor) -> list[slice]:
    """Cut chunks (number, chunk, features) into blocks whose projections fit in :data:`BLOCK`."""
    room = BLOCK.get(rows.device.type, BLOCK["gpu"])
    size = max(1, room // (rows.shape[1] * len(maps) * rows.element_size()))
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def _keeps(rows: Tensor, maps: Tensor) -> bool:
    """Whether to keep the projections for the backward pass, or to make them again there."""
    size = rows.shape[0] * rows.shape[1] * len(maps) * rows.element_size()
    return size < KEPT or rows.shape[2] > CHEAP


def _project(rows: Tensor, maps: Tensor, hops: int, kept: Tensor | None = None) -> Tensor:
    """Projections (number, chunk * hops, outputs) of a block, written where they are kept."""
    if kept is None or not len(kept):
        return (rows @ maps.t()).view(len(rows), rows.shape[1] * hops, -1)
    torch.mm(rows.flatten(0, 1), maps.t(), out=kept.view(-1, len(maps)))
    return kept


def _seen(part: Tensor, weights: Tensor, grad: Tensor, hops: int) -> Tensor:
    """What each step and hop gets from a block's projections, (number, chunk, hops)."""
    pair = (grad @ part.transpose(1, 2)).mul_(weights)
    return pair.unflatten(2, (-1, hops)).sum(dim=2)


def _inner(used_up: Tensor, other: Tensor) -> Tensor:
    """Inner products over the last axis; the sum is a product with ones, for speed."""
    return used_up.mul_(other) @ used_up.new_ones(used_up.shape[-1])


def _slope(weights: Tensor, both: Tensor, leaving: Tensor, last: Tensor) -> Tensor:
    """Gradient (number, chunk * hops, outputs) of a block's projections."""
    slope = weights.transpose(1, 2) @ both
    if both.shape[1] == last.shape[1]:  # the states' part is not among the products
        slope.view(*last.shape, -1).addcmul_(last[..., None], leaving[:, None])
    return slope


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


def _logits(exps, inverse, old, last, gained, seen, past, kept, total) -> Tensor:
    """Softmax backward inside the chunks, plus what passes through the carried normaliser.

    ``last`` is the weight of each input in the state that leaves its chunk, ``gained`` what each
    input's share gains over the chunk's steps and through that state, ``seen`` and ``past`` the
    mean that each step has of its chunk's inputs and of the state before, ``kept`` and ``total``
    the gains of the states before and after the chunk through what follows; all in units of the
    gradient. ``gained``, ``seen`` and ``past`` are used up.
    """
    keep = old[:, :, -1]
    mean = seen.addcmul_(old, past)
    entering = past.sub_(mean).mul_(old).sum(dim=2) + keep * (kept - total)
    leaving = _scan_back(entering, keep)
    suffix = _ones(exps.shape[2], exps).T @ mean.mul_(inverse)
    gained.addcmul_(exps, suffix, value=-1)
    return gained.addcmul_(last, (leaving - total)[:, :, None])
