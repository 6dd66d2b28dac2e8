"""How class scores are read from the states of a network: at which step, or over all of them."""

import torch

from neurosal.errors import ArgumentError

READS = ("last", "mean", "max", "both-ends")


def valid_steps(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor | None:
    """Mark the steps that belong to a sample, not to its padding.

    Parameters
    ----------
    x : torch.Tensor
        (batch, time, ...).
    lengths : torch.Tensor or None
        (batch,) number of valid steps of each sample; None if all are valid.

    Returns
    -------
    torch.Tensor or None
        (batch, time) bool; None if all steps are valid.

    Raises
    ------
    ArgumentError
        If a length is below 1 or above the number of steps, or there is not one per sample.

    Examples
    --------
    >>> valid_steps(torch.zeros(2, 3, 1), torch.tensor([1, 3])).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    if lengths is None:
        return None
    if lengths.shape != (len(x),) or lengths.min() < 1 or lengths.max() > x.shape[1]:
        raise ArgumentError(
            f"lengths must hold one number from 1 to {x.shape[1]} for each of the {len(x)} "
            f"samples. Got {lengths.tolist()}."
        )
    return torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]


def zero_padding(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Set the steps after each sample's end to zero, whatever they held.

    Parameters
    ----------
    x : torch.Tensor
        (batch, time, features).
    lengths : torch.Tensor or None
        (batch,) number of valid steps of each sample; None if all are valid.

    Returns
    -------
    torch.Tensor
        ``x``, zero in the padding; ``x`` itself without lengths.

    Examples
    --------
    >>> zero_padding(torch.full((1, 3, 1), torch.nan), torch.tensor([0 + 1])).shape
    torch.Size([1, 3, 1])
    >>> zero_padding(torch.tensor([[[1.0], [torch.nan]]]), torch.tensor([1])).flatten().tolist()
    [1.0, 0.0]
    """
    valid = valid_steps(x, lengths)
    return x if valid is None else x.masked_fill(~valid[:, :, None], 0.0)


def read_states(states: torch.Tensor, read: str, lengths: torch.Tensor | None = None):
    """Summarise a sequence of hidden states into the vector that class scores are read from.

    Parameters
    ----------
    states : torch.Tensor
        (batch, time, hidden).
    read : {'last', 'mean', 'max', 'both-ends'}
        The last valid step; the mean or the maximum over the valid steps; or, of a network that
        reads in both directions, each direction where it has seen everything: the first half of
        the states at the last step, the second half at the first.
    lengths : torch.Tensor, optional
        (batch,) number of valid steps.

    Returns
    -------
    torch.Tensor
        (batch, hidden).

    Examples
    --------
    >>> states = torch.tensor([[[1.0, 5.0], [3.0, 4.0]]])
    >>> [read_states(states, read).tolist() for read in READS]
    [[[3.0, 4.0]], [[2.0, 4.5]], [[3.0, 5.0]], [[3.0, 5.0]]]
    """
    if read == "both-ends":
        half = states.shape[2] // 2
        forwards = read_states(states[:, :, :half], "last", lengths)
        return torch.cat([forwards, states[:, 0, half:]], dim=1)
    if read == "last":
        return states[:, -1] if lengths is None else _pick(states, lengths - 1)
    valid = valid_steps(states, lengths)
    if read == "max":
        if valid is not None:
            states = states.masked_fill(~valid[:, :, None], -torch.inf)
        return states.max(dim=1).values
    if valid is None:
        return states.mean(dim=1)
    total = states.masked_fill(~valid[:, :, None], 0.0).sum(dim=1)
    return total / valid.sum(dim=1, keepdim=True)


def read_each_step(states: torch.Tensor, read: str) -> torch.Tensor:
    """Summarise, for every step, the states up to it: what would be read if the sample ended there.

    Parameters
    ----------
    states : torch.Tensor
        (batch, time, hidden).
    read : {'last', 'mean', 'max'}
        As in :func:`read_states`.

    Returns
    -------
    torch.Tensor
        (batch, time, hidden).

    Examples
    --------
    >>> states = torch.tensor([[[1.0], [3.0], [2.0]]])
    >>> [read_each_step(states, read).flatten().tolist() for read in ("last", "mean", "max")]
    [[1.0, 3.0, 2.0], [1.0, 2.0, 2.0], [1.0, 3.0, 3.0]]
    """
    if read == "last":
        return states
    if read == "max":
        return states.cummax(dim=1).values
    counts = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)
    return states.cumsum(dim=1) / counts[:, None]


def _pick(states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Take one step of each sample."""
    index = steps.to(states.device)[:, None, None].expand(-1, 1, states.shape[2])
    return states.gather(1, index).squeeze(1)
