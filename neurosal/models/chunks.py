"""Cutting time into chunks, for pooling every prefix of a sequence."""

import torch
from torch import Tensor


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
