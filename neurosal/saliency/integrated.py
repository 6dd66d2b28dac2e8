"""Integrated gradients, with an integral that is exact enough wherever the gradient jumps."""

import warnings

import numpy as np
import torch

from neurosal.errors import check_number
from neurosal.saliency.batching import passes, split
from neurosal.saliency.gradients import Attribution, input_gradient
from neurosal.saliency.scores import Score

STRETCH_POINTS = 3


def integrated_gradients(
    score: Score,
    x: torch.Tensor,
    *,
    n_steps: int = 50,
    tolerance: float | None = 1e-3,
    max_halvings: int = 14,
) -> Attribution:
    """Gradient averaged on the straight way from the baseline, times the distance.

    The sum of a map is the score minus the baseline's score, up to the error of the numerical
    integral by Gauss and Legendre. Where the error is above ``tolerance``, as it can be for relu
    networks, whose gradient jumps on the way, the way is halved, and every stretch whose own error
    is too large is halved again.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).
    n_steps : int
        Points on the way.
    tolerance : float or None
        Largest error allowed, as a share of the score difference; None: no halving.
    max_halvings : int
        How often a stretch may be halved; 0: never.

    Returns
    -------
    Attribution
        Signed maps, with ``completeness_error`` (absolute) and ``steps_used``.

    Raises
    ------
    ArgumentError
        If an argument is no number of its kind.

    References
    ----------
    Sundararajan, Taly & Yan (2017), doi:10.48550/arXiv.1703.01365.

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3))
    >>> weight = network.modules[0][1].weight[1].view(1, 2, 3)
    >>> torch.allclose(integrated_gradients(score, torch.ones(1, 2, 3)).maps, weight, atol=1e-6)
    True
    """
    n_steps = check_number("n_steps", n_steps, low=1, whole=True)
    check_number("tolerance", tolerance, low=0, optional=True)
    check_number("max_halvings", max_halvings, low=0, whole=True)
    with torch.no_grad():
        end, base = score(x), score(score.baseline.expand_as(x))
    maps = _integral(score, x, n_steps)
    used = torch.full((len(x),), n_steps, device=x.device)
    error = maps.flatten(1).sum(1) - (end - base)
    if tolerance is not None:
        allowed = _allowed(end, base, tolerance)
        left = (error.abs() > allowed).nonzero().squeeze(1)
        if len(left) and max_halvings:
            maps[left] = 0
            used += _add_stretches(score, x, left, allowed, max_halvings, maps)
            error = maps.flatten(1).sum(1) - (end - base)
        _warn_incomplete(error.abs() > allowed)
    found = {"completeness_error": error.abs(), "steps_used": used}
    return Attribution(maps, {"score": end, **found})


def _integral(score: Score, x: torch.Tensor, n_steps: int) -> torch.Tensor:
    """Integrate over the whole way, a pass's worth of points at a time."""
    points, weights = _nodes(n_steps, x)
    baseline = score.baseline.expand_as(x)
    way, total, done = x - baseline, torch.zeros_like(x), 0
    for count, rows in passes(n_steps, len(x), score.rows, x.device):
        share = points[done : done + count, None, None, None]
        slopes = input_gradient(score, (baseline + share * way).flatten(0, 1), rows)
        slopes = slopes.unflatten(0, (count, len(x)))
        total += torch.einsum("p,pbtn->btn", weights[done : done + count], slopes)
        done += count
    return total * way


def _nodes(n_points: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and weights of Gauss and Legendre on the way from 0 to 1."""
    points, weights = np.polynomial.legendre.leggauss(n_points)
    return torch.as_tensor((points + 1) / 2).to(like), torch.as_tensor(weights / 2).to(like)


def _add_stretches(
    score: Score,
    x: torch.Tensor,
    rows: torch.Tensor,
    allowed: torch.Tensor,
    max_halvings: int,
    maps: torch.Tensor,
) -> torch.Tensor:
    """Add the integrals of samples ``rows`` to ``maps``, by halves; return the points used (B,)."""
    used = torch.zeros(len(x), dtype=torch.long, device=x.device)
    rows, starts, width = rows.repeat(2), torch.arange(2, device=x.device) / 2, 0.5
    starts = starts.repeat_interleave(len(rows) // 2)
    for halvings in range(1, max_halvings + 1):
        again = []
        for some, start in split(score.rows // STRETCH_POINTS, rows, starts):
            part, error = _stretch(score, x, some, start, width)
            used.index_add_(0, some, torch.full_like(some, STRETCH_POINTS))
            fine = error.abs() <= allowed[some] / 16
            fine |= halvings == max_halvings
            maps.index_add_(0, some[fine], part[fine])
            again.append(torch.stack([some[~fine].to(start), start[~fine]]))
        width /= 2
        rows, starts = torch.cat(again, dim=1)
        rows, starts = rows.long().repeat(2), torch.cat([starts, starts + width])
        if not len(rows):
            break
    return used


def _stretch(
    score: Score, x: torch.Tensor, rows: torch.Tensor, starts: torch.Tensor, width: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integrals (P, T, N) over stretches of the way, and by how much each misses the score."""
    points, weights = _nodes(STRETCH_POINTS, x)
    baseline = score.baseline.expand_as(x)[rows]
    way = x[rows] - baseline

    def reached(share: torch.Tensor) -> torch.Tensor:
        """Points on the way (K * P, T, N) at shares (K, P) of it."""
        return (baseline + share.to(x)[:, :, None, None] * way).flatten(0, 1)

    shares = starts + width * points[:, None]
    slopes = input_gradient(score, reached(shares), rows.repeat(STRETCH_POINTS))
    slopes = torch.einsum("p,pktn->ktn", weights * width, slopes.unflatten(0, shares.shape))
    with torch.no_grad():
        ends = torch.stack([starts, starts + width])
        low, high = score(reached(ends), rows.repeat(2)).view(2, -1)
    part = slopes * way
    return part, part.flatten(1).sum(1) - (high - low)


def _allowed(end: torch.Tensor, base: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Largest error of completeness, not below what the floating-point type can resolve."""
    resolution = 100 * torch.finfo(end.dtype).eps * (end.abs() + base.abs())
    return torch.maximum(tolerance * (end - base).abs(), resolution)


def _warn_incomplete(above: torch.Tensor) -> None:
    """Say that some integrals have not converged."""
    if above.any():
        warnings.warn(
            f"integrated gradients of {int(above.sum())} of {len(above)} samples miss the score "
            "difference; see completeness_error, and raise n_steps or max_halvings.",
            stacklevel=4,
        )
