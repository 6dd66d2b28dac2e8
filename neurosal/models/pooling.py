"""Causal prefix-softmax pooling: what input-cell attention computes, in time linear in the steps.

At step ``t`` hop ``k`` averages the inputs ``x_1 .. x_t`` with the softmax of that hop's logits
``s_1 .. s_t``. The logits do not depend on ``t``, so all steps are found together: time is cut
into chunks, each chunk is one small matrix product, and a running state (maximum, normaliser and
mean of each hop) is carried from chunk to chunk. Nothing of size time x time is kept.

Two forms of the chunk's weights serve all cases. The *factored* form
(:mod:`neurosal.models.factored`) writes the average over hops as a product of rank ``hops``; it is
the fast one and holds while the running maximum grows by less than 80 inside a chunk (by 10 in
float16, whose numbers end sooner). The *direct* form below exponentiates ``s_i - max(s_1 .. s_t)``
and holds for any logits; it also serves the second derivative. Which of the two runs is read off
the logits (one number; on a GPU that waits for the device).

>>> import torch
>>> x = torch.tensor([[[1.0], [3.0], [8.0]]])
>>> prefix_pool(x, torch.zeros(1, 3, 1)).flatten().tolist()  # equal weights: the running mean
[1.0, 2.0, 4.0]
"""

from numbers import Integral

import torch
from torch import Tensor

from neurosal.errors import ArgumentError, check_one_of
from neurosal.models.chunks import chunk_length, running_peaks
from neurosal.models.factored import HALF_GROWTH, MAX_GROWTH, FlatPool, MeanPool
from neurosal.models.scopes import full_precision

READOUTS = ("mean", "flatten")
MEAN_CHUNK = {"narrow": 24, "wide": 56}
FLAT_CHUNK = 12
DIRECT_CHUNK = 16


@full_precision
def prefix_pool(
    x: Tensor,
    logits: Tensor,
    *,
    readout: str = "mean",
    lengths: Tensor | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Pool every prefix of a sequence with softmax weights, all steps at once.

    Parameters
    ----------
    x : Tensor, shape (batch, time, features)
        The inputs, any unit. NaN at a step reaches no earlier one if its logits are NaN too, as in
        the cells; NaN or infinity with finite logits spoils its chunk from the beginning.
    logits : Tensor, shape (batch, time, hops)
        The attention logits of each input; they must not depend on the reading step.
    readout : {"mean", "flatten"}, default="mean"
        ``"mean"`` averages the hops; it costs one product of rank ``hops``, of width
        ``features``. ``"flatten"`` puts the hops side by side; its output alone is ``hops`` times
        as large, so use :func:`prefix_pool_projected` where a linear map follows.
    lengths : Tensor of int, shape (batch,), optional
        Valid steps of each sample; what lies behind is padding (it may be NaN), is not read, and
        comes out as zero.
    chunk_size : int, optional
        Steps per chunk, near enough; 24 to 56 unless given. Changes the speed only.

    Returns
    -------
    Tensor, shape (batch, time, features) or (batch, time, hops * features)
        The pooled inputs of steps ``1 .. t`` at every step ``t``.

    Raises
    ------
    ArgumentError
        If shapes or types do not fit together, ``chunk_size`` is no size or ``readout`` is unknown.

    Examples
    --------
    >>> x = torch.tensor([[[1.0], [3.0]]])
    >>> logits = torch.tensor([[[0.0, 0.0], [0.0, 100.0]]])  # hop 2 sees the last step alone
    >>> prefix_pool(x, logits, readout="flatten")[0].tolist()
    [[1.0, 1.0], [2.0, 3.0]]
    """
    check_one_of("readout", readout, READOUTS)
    if chunk_size is not None:
        (chunk_size,) = _check_sizes(chunk_size=chunk_size)
    x, logits, valid = _prepare(x, logits, lengths)
    if readout == "mean":
        return _zero_padding(_pool(x, logits, chunk_size), valid)
    hops = [_pool(x, hop, chunk_size) for hop in logits.split(1, dim=-1)]
    return _zero_padding(torch.cat(hops, dim=-1), valid)


@full_precision
def prefix_pool_projected(
    x: Tensor,
    logits: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    normalize: bool = False,
) -> Tensor:
    """Pool with ``readout="flatten"`` and apply a linear map, without the flattened matrix.

    Projects first, hop by hop (``Y_k = x W_k^T``), and sums the hops' prefix means of ``Y_k``:
    the same result as ``prefix_pool(..., readout="flatten") @ weight.T`` in memory of at most
    ``batch * time * hops * outputs`` instead of ``batch * time * hops * features`` numbers, made
    block by block (4 MB on a CPU).

    Parameters
    ----------
    x : Tensor, shape (batch, time, features)
        The inputs.
    logits : Tensor, shape (batch, time, hops)
        The attention logits of each input.
    weight : Tensor, shape (outputs, hops * features)
        The linear map; columns are ordered hop by hop.
    bias : Tensor, shape (outputs,), optional
        Added to the result.
    lengths : Tensor of int, shape (batch,), optional
        Valid steps of each sample, as in :func:`prefix_pool`.
    normalize : bool, default=False
        Divide by the Euclidean norm of the flattened matrix (see :func:`prefix_norm`).

    Returns
    -------
    Tensor, shape (batch, time, outputs)
        The projected readout at every step.

    Raises
    ------
    ArgumentError
        If shapes do not fit together.

    Examples
    --------
    >>> x, logits, weight = torch.randn(2, 7, 3), torch.randn(2, 7, 4), torch.randn(5, 12)
    >>> slow = prefix_pool(x, logits, readout="flatten") @ weight.T
    >>> torch.allclose(prefix_pool_projected(x, logits, weight), slow, atol=1e-5)
    True
    """
    x, logits, valid = _prepare(x, logits, lengths)
    width = logits.shape[2] * x.shape[2]
    _check_matrix(weight, bias, "hops * features", width)
    out = _pool_flat(x, logits, weight)
    if normalize:
        out = out / _norm(x, logits)
    return _zero_padding(out if bias is None else out + bias, valid)


@full_precision
def prefix_norm(x: Tensor, logits: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Euclidean norm of the flattened readout at every step, without forming it.

    Adds up each hop's squared norm from Gram matrices of chunks of 16 steps, in float64: about
    ``16 * features + 256 * hops`` products per step, beside the ``2 * hops * features`` that the
    carried state costs. Differentiable any number of times.

    Parameters
    ----------
    x : Tensor, shape (batch, time, features)
        The inputs.
    logits : Tensor, shape (batch, time, hops)
        The attention logits of each input.
    lengths : Tensor of int, shape (batch,), optional
        Valid steps of each sample, as in :func:`prefix_pool`.

    Returns
    -------
    Tensor, shape (batch, time, 1)
        The norm, at least 1e-12 (as in :func:`torch.nn.functional.normalize`), so that it can be
        divided by.

    Raises
    ------
    ArgumentError
        If shapes do not fit together.

    Examples
    --------
    >>> x = torch.tensor([[[3.0, 4.0]]])
    >>> round(prefix_norm(x, torch.zeros(1, 1, 1)).item(), 4)
    5.0
    """
    x, logits, _ = _prepare(x, logits, lengths)
    return _norm(x, logits)


def attention_weights(logits: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Softmax over the valid steps: what the last valid step attends to.

    Parameters
    ----------
    logits : Tensor, shape (batch, time, hops)
        The attention logits of each input.
    lengths : Tensor of int, shape (batch,), optional
        Valid steps of each sample.

    Returns
    -------
    Tensor, shape (batch, hops, time)
        Weights, zero in the padding; they sum to one over time.

    Raises
    ------
    ArgumentError
        If shapes do not fit together.

    Examples
    --------
    >>> attention_weights(torch.zeros(1, 4, 1), lengths=torch.tensor([2])).tolist()
    [[[0.5, 0.5, 0.0, 0.0]]]
    """
    if not isinstance(logits, Tensor) or logits.ndim != 3:
        got = tuple(getattr(logits, "shape", ())) or type(logits).__name__
        raise ArgumentError(f"logits must be a tensor (batch, time, hops). Got {got}.")
    if lengths is not None:
        logits = logits.masked_fill(~_valid_steps(logits, lengths), float("-inf"))
    return logits.softmax(dim=1).transpose(1, 2)


def clear_padding(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Put zero where there is padding, whatever is there (a product with zero keeps NaN).

    Parameters
    ----------
    x : Tensor, shape (batch, time, width)
        A padded batch.
    lengths : Tensor of int, shape (batch,), or None
        Valid steps of each sample; None leaves ``x`` as it is.

    Returns
    -------
    Tensor, shape (batch, time, width)
        ``x`` with clean padding.

    Raises
    ------
    ArgumentError
        If ``lengths`` do not fit ``x``.

    Examples
    --------
    >>> clear_padding(torch.tensor([[[1.0], [torch.nan]]]), torch.tensor([1])).flatten().tolist()
    [1.0, 0.0]
    """
    return x if lengths is None else x.masked_fill(~_valid_steps(x, lengths), 0.0)


def _valid_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """Mask (batch, time, 1), true where a step is not padding."""
    lengths = _whole_lengths(x, lengths)
    if bool(((lengths < 1) | (lengths > x.shape[1])).any()):
        raise ArgumentError(
            f"lengths must lie between 1 and the number of steps, {x.shape[1]}. "
            f"Got {lengths.tolist()}."
        )
    return (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]


def _whole_lengths(x: Tensor, lengths: Tensor) -> Tensor:
    """Lengths as int64 on the device of ``x``: smaller types, or a mask, would index otherwise."""
    rule = f"lengths must be one integer per sample, shape ({x.shape[0]},): its valid steps. "
    try:
        lengths = torch.atleast_1d(torch.as_tensor(lengths, device=x.device))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"{rule}Got {lengths!r}.") from error
    whole = not (lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool)
    if lengths.shape != x.shape[:1] or not whole:
        raise ArgumentError(f"{rule}Got {lengths.dtype} of shape {tuple(lengths.shape)}.")
    return lengths.long()


def _check_sizes(**sizes: int) -> list[int]:
    """Sizes as Python's integers; refuse those below one."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise ArgumentError(f"{name} must be an integer of at least 1. Got {size!r}.")
    return [int(size) for size in sizes.values()]


def _check_matrix(weight: Tensor, bias: Tensor | None, name: str, width: int) -> None:
    """Refuse a linear map that does not read ``width`` numbers, or a bias that is not its own."""
    if not isinstance(weight, Tensor) or weight.ndim != 2 or weight.shape[1] != width:
        got = tuple(getattr(weight, "shape", ())) or type(weight).__name__
        raise ArgumentError(f"weight must be (outputs, {name}) = (any, {width}). Got {got}.")
    if bias is not None and tuple(getattr(bias, "shape", ())) != (len(weight),):
        got = tuple(getattr(bias, "shape", ())) or type(bias).__name__
        raise ArgumentError(f"bias must be (outputs,) = ({len(weight)},), as weight's. Got {got}.")


def _prepare(x: Tensor, logits: Tensor, lengths: Tensor | None) -> tuple:
    """Check the shapes and clear the padding, which may hold NaN."""
    if not isinstance(x, Tensor) or not isinstance(logits, Tensor):
        got = f"{type(x).__name__} and {type(logits).__name__}"
        raise ArgumentError(f"x and logits must be tensors. Got {got}.")
    if not x.is_floating_point() or x.dtype != logits.dtype:
        raise ArgumentError(
            f"x and logits must hold real numbers of one type. Got {x.dtype} and {logits.dtype}; "
            "convert them, for example with .float()."
        )
    if x.ndim != 3 or logits.ndim != 3 or x.shape[:2] != logits.shape[:2] or 0 in x.shape:
        raise ArgumentError(
            "x must be (batch, time, features) and logits (batch, time, hops), none empty. "
            f"Got {tuple(x.shape)} and {tuple(logits.shape)}."
        )
    if lengths is None:
        return x, logits, None
    valid = _valid_steps(x, lengths)
    return x.masked_fill(~valid, 0.0), logits.masked_fill(~valid, 0.0), valid


def _zero_padding(out: Tensor, valid: Tensor | None) -> Tensor:
    """Zero where ``valid`` is false."""
    return out if valid is None else out.masked_fill(~valid, 0.0)


def _pool(x: Tensor, logits: Tensor, chunk: int | None) -> Tensor:
    """Mean over hops of the prefix means, by the form that the logits allow."""
    wish = MEAN_CHUNK["narrow" if x.shape[2] <= 64 else "wide"]
    chunk = chunk_length(x.shape[1], chunk or wish)
    *peaks, growth = running_peaks(logits, chunk)
    if _holds(growth, x):
        return MeanPool.apply(x, logits, peaks, chunk, _direct_pool)[0]
    return _direct_pool(x, logits)


def _pool_flat(x: Tensor, logits: Tensor, weight: Tensor) -> Tensor:
    """Sum over hops of the prefix means of each hop's own projection."""
    chunk = chunk_length(x.shape[1], FLAT_CHUNK)
    *peaks, growth = running_peaks(logits, chunk)
    if _holds(growth, x):
        slow = _direct_pool_flat if torch.is_grad_enabled() else None
        return FlatPool.apply(x, logits, weight, peaks, chunk, slow)[0]
    return _direct_pool_flat(x, logits, weight)


def _holds(growth: float, x: Tensor) -> bool:
    """Whether the factored form does."""
    return growth <= (HALF_GROWTH if x.dtype == torch.float16 else MAX_GROWTH)


# ---- the direct form: plain differentiable operations, any logits ---------------------------


def _direct_chunks(logits: Tensor, chunk: int):
    """Yield, chunk by chunk, weights on the carried state (B, C, r) and on inputs (B, C, C, r)."""
    peak = logits.detach().cummax(dim=1).values
    carried, carried_peak = logits.new_zeros(logits.shape[0], logits.shape[2]), peak[:, 0]
    for s, top in zip(logits.split(chunk, dim=1), peak.split(chunk, dim=1), strict=True):
        later = torch.ones(s.shape[1], s.shape[1], dtype=torch.bool, device=s.device).triu(1)
        gap = (s[:, None] - top[:, :, None]).masked_fill(later[..., None], float("-inf"))
        old = carried[:, None] * (carried_peak[:, None] - top).exp()
        new = gap.exp()
        total = old + new.sum(dim=2)
        carried, carried_peak = total[:, -1], top[:, -1]
        yield old / total, new / total[:, :, None]


def _unpoisoned(x: Tensor, logits: Tensor) -> Tensor:
    """Zero where a logit is NaN: so are its weights, from its step on; before, 0 * NaN would be."""
    return x.masked_fill(logits.isnan().any(dim=2, keepdim=True), 0.0)


def _direct_pool(x: Tensor, logits: Tensor, chunk: int = DIRECT_CHUNK) -> Tensor:
    """Mean over hops of the prefix means for any logits; differentiable any number of times."""
    x, state = _unpoisoned(x, logits), x.new_zeros(x.shape[0], logits.shape[2], x.shape[2])
    out = []
    for part, (old, new) in zip(x.split(chunk, dim=1), _direct_chunks(logits, chunk), strict=True):
        weights = new.mean(dim=-1)
        out.append(weights @ part + old @ state / logits.shape[2])
        state = old[:, -1, :, None] * state + new[:, -1].transpose(1, 2) @ part
    return torch.cat(out, dim=1)


def _norm(x: Tensor, logits: Tensor, chunk: int = DIRECT_CHUNK) -> Tensor:
    """Norm (batch, time, 1) of all hops' prefix means, from the chunks' Gram matrices."""
    state = x.new_zeros(x.shape[0], logits.shape[2], x.shape[2], dtype=torch.float64)
    x, out = _unpoisoned(x, logits), []
    for part, (old, new) in zip(
        x.split(chunk, dim=1), _direct_chunks(logits.double(), chunk), strict=True
    ):
        part, weights = part.double(), new.permute(0, 3, 1, 2)  # (batch, hops, step, input)
        gram = part @ part.transpose(1, 2)
        own = ((weights @ gram[:, None]) * weights).sum(dim=(1, 3))
        cross = (weights * (state @ part.transpose(1, 2))[:, :, None]).sum(dim=3).transpose(1, 2)
        past = (state * state).sum(dim=-1)[:, None]
        out.append(own + (old * (2 * cross + old * past)).sum(dim=-1))
        state = old[:, -1, :, None] * state + weights[:, :, -1] @ part
    return torch.cat(out, dim=1).clamp_min(1e-24).sqrt()[..., None].to(x.dtype)


def _direct_pool_flat(x: Tensor, logits: Tensor, weight: Tensor) -> Tensor:
    """Sum over hops of the prefix means of each hop's own projection, for any logits."""
    maps = weight.unflatten(1, (logits.shape[2], -1)).unbind(1)
    parts = zip(maps, logits.split(1, dim=-1), strict=True)
    return sum(_direct_pool(x @ own.t(), hop) for own, hop in parts)
