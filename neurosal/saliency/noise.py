"""Gradients averaged over chance: noise on the sample, or chance baselines.

Noise is drawn on the CPU from one generator per sample, so that a map depends on its sample and the
seed alone: not on the batch, the device, the other samples, the order of the regions or the
program's random state.
"""

from collections.abc import Iterator

import numpy as np
import torch

from neurosal.errors import ArgumentError, DataError, check_number
from neurosal.saliency.batching import passes
from neurosal.saliency.gradients import Attribution, input_gradient
from neurosal.saliency.scores import Score
from neurosal.saliency.windows import as_numpy, check_numbers, native_floats


def smoothgrad(
    score: Score,
    x: torch.Tensor,
    *,
    n_samples: int = 50,
    noise_level: float = 0.15,
    sd: float | None = None,
) -> Attribution:
    """Gradient averaged over noisy copies of the sample.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).
    n_samples : int
        Noisy copies of each sample.
    noise_level : float
        Standard deviation of the noise as a share of the sample's range (maximum - minimum).
    sd : float or None
        Standard deviation in the unit of ``x`` instead.

    Returns
    -------
    Attribution
        Signed maps.

    References
    ----------
    Smilkov et al. (2017), doi:10.48550/arXiv.1706.03825.

    Examples
    --------
    >>> from neurosal.saliency.explain import explain
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> explain(network, torch.ones(4, 2, 3), method="smoothgrad", target=1, sd=0.5).shape
    (4, 2, 3)
    """
    total = torch.zeros_like(x)
    for noisy, rows in noisy_copies(score, x, n_samples, noise_level, sd):
        total += input_gradient(score, noisy, rows).unflatten(0, (-1, len(x))).sum(0)
    return Attribution(total / n_samples, {})


def smoothgrad_squared(
    score: Score,
    x: torch.Tensor,
    *,
    n_samples: int = 50,
    noise_level: float = 0.15,
    sd: float | None = None,
) -> Attribution:
    """Squared gradient averaged over noisy copies of the sample.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).
    n_samples, noise_level, sd
        As in :func:`smoothgrad`.

    Returns
    -------
    Attribution
        Maps without sign.

    References
    ----------
    Hooker et al. (2019), doi:10.48550/arXiv.1806.10758.

    Examples
    --------
    >>> from neurosal.saliency.explain import explain
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> explain(network, torch.ones(4, 2, 3), method="smoothgrad_squared", target=1).shape
    (4, 2, 3)
    """
    total = torch.zeros_like(x)
    for noisy, rows in noisy_copies(score, x, n_samples, noise_level, sd):
        total += input_gradient(score, noisy, rows).square().unflatten(0, (-1, len(x))).sum(0)
    return Attribution(total / n_samples, {})


def vargrad(
    score: Score,
    x: torch.Tensor,
    *,
    n_samples: int = 50,
    noise_level: float = 0.15,
    sd: float | None = None,
) -> Attribution:
    """Variance of the gradient over noisy copies of the sample.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).
    n_samples, noise_level, sd
        As in :func:`smoothgrad`.

    Returns
    -------
    Attribution
        Maps without sign.

    References
    ----------
    Adebayo et al. (2018), doi:10.48550/arXiv.1810.03307.

    Examples
    --------
    >>> from neurosal.saliency.explain import explain
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> explain(network, torch.ones(4, 2, 3), method="vargrad", target=1, n_samples=5).shape
    (4, 2, 3)
    """
    mean, spread, seen = torch.zeros_like(x), torch.zeros_like(x), 0
    for noisy, rows in noisy_copies(score, x, n_samples, noise_level, sd):
        for drawn in input_gradient(score, noisy, rows).unflatten(0, (-1, len(x))):
            seen += 1
            step = drawn - mean
            mean += step / seen
            spread += step * (drawn - mean)
    return Attribution(spread / n_samples, {})


def expected_gradients(
    score: Score,
    x: torch.Tensor,
    *,
    n_samples: int = 50,
    background: object = None,
) -> Attribution:
    """Integrated gradients averaged over a background, by chance points on chance ways.

    Parameters
    ----------
    score : Score
        What is explained.
    x : torch.Tensor
        Samples (B, T, N).
    n_samples : int
        Points drawn for each sample.
    background : array-like or None
        Samples (K, T, N) to draw baselines from; ``explain`` puts a DataArray in the order of
        ``x``. None: the one baseline, which also stands for a sample's trailing steps that are NaN
        in every region.

    Returns
    -------
    Attribution
        Signed maps.

    Raises
    ------
    ArgumentError
        If the background is no such array of numbers, or ``n_samples`` no positive integer.
    DataError
        If the background holds NaN or infinity elsewhere.

    References
    ----------
    Erion et al. (2021), doi:10.1038/s42256-021-00343-w; Lundberg & Lee (2017),
    doi:10.48550/arXiv.1705.07874.

    Examples
    --------
    >>> from neurosal.saliency.explain import explain
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    >>> explain(network, torch.ones(4, 2, 3), method="expected_gradients", target=1).shape
    (4, 2, 3)
    """
    n_samples = check_number("n_samples", n_samples, low=1, whole=True)
    background = None if background is None else _checked_background(background, x)
    generators, total = _generators(score), torch.zeros_like(x)
    for n_draws, rows in passes(n_samples, len(x), score.rows, x.device):
        start = _draw_baselines(score, x, generators, n_draws, background)
        shares = [
            [torch.rand((), dtype=torch.float32, generator=g).item() for g in generators]
            for _ in range(n_draws)
        ]
        share = torch.tensor(shares, dtype=x.dtype, device=x.device).view(-1, 1, 1)
        way = x.repeat(n_draws, 1, 1) - start
        slopes = input_gradient(score, start + share * way, rows)
        total += (slopes * way).unflatten(0, (-1, len(x))).sum(0)
    return Attribution(total / n_samples, {})


def noisy_copies(
    score: Score, x: torch.Tensor, n_samples: int, noise_level: float, sd: float | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Add Gaussian noise to samples, a pass's worth at a time.

    Parameters
    ----------
    score : Score
        Gives the seed, the valid steps and the rows of a pass.
    x : torch.Tensor
        Samples (B, T, N).
    n_samples : int
        Copies of each.
    noise_level : float
        Standard deviation as a share of the sample's range.
    sd : float or None
        Standard deviation in the unit of ``x`` instead.

    Yields
    ------
    tuple of torch.Tensor
        Noisy samples (D * B, T, N) and the sample each stands for (D * B,).

    Examples
    --------
    >>> from neurosal.saliency.network import as_network
    >>> network = as_network(torch.nn.Linear(3, 2))
    >>> score = Score(network, torch.tensor([1]), torch.zeros(1, 2, 3), rows=2, seeds=(7,))
    >>> [len(rows) for noisy, rows in noisy_copies(score, torch.ones(1, 2, 3), 5, 0.15, 1.0)]
    [2, 2, 1]
    """
    n_samples = check_number("n_samples", n_samples, low=1, whole=True)
    spread = _spread(score, x, noise_level, sd)
    generators = _generators(score)
    for count, rows in passes(n_samples, len(x), score.rows, x.device):
        noise = torch.stack([_normal(score, x, generators) for _ in range(count)])
        yield (x + spread * noise.to(x.device)).flatten(0, 1), rows


def _spread(score: Score, x: torch.Tensor, noise_level: float, sd: float | None) -> torch.Tensor:
    """Standard deviation of the noise of each sample (B, 1, 1)."""
    check_number("noise_level", noise_level, low=0)
    check_number("sd", sd, low=0, optional=True)
    if sd is not None:
        return torch.full((len(x), 1, 1), float(sd), dtype=x.dtype, device=x.device)
    padding = ~score.valid(x)[:, :, None]
    top = x.masked_fill(padding, -torch.inf).amax((1, 2), keepdim=True)
    return noise_level * (top - x.masked_fill(padding, torch.inf).amin((1, 2), keepdim=True))


def _generators(score: Score) -> list[torch.Generator]:
    """One random generator per sample."""
    return [torch.Generator().manual_seed(seed) for seed in score.seeds]


def _normal(score: Score, x: torch.Tensor, generators: list[torch.Generator]) -> torch.Tensor:
    """Draw standard normal noise (B, T, N) on the CPU, zero in the padding."""
    noise = torch.zeros(x.shape, dtype=x.dtype)
    ends = score.valid(x).sum(1).tolist()
    for drawn, end, generator in zip(noise, ends, generators, strict=True):
        drawn[:end].normal_(generator=generator)
    if score.ranks is None:
        return noise
    return noise.gather(2, score.ranks[:, None].expand(noise.shape))


def _draw_baselines(
    score: Score,
    x: torch.Tensor,
    generators: list[torch.Generator],
    n_draws: int,
    background: torch.Tensor | None,
) -> torch.Tensor:
    """Baselines (D * B, T, N), drawn from the background where there is one."""
    absent = score.baseline.expand_as(x).repeat(n_draws, 1, 1)
    if background is None:
        return absent
    drawn = [
        int(torch.randint(len(background), (), generator=generator))
        for _ in range(n_draws)
        for generator in generators
    ]
    chosen = background[torch.tensor(drawn, device=x.device)]
    chosen = torch.where(chosen.isnan(), absent, chosen)
    return chosen * score.valid(x).repeat(n_draws, 1)[:, :, None]


def _checked_background(background: object, x: torch.Tensor) -> torch.Tensor:
    """Samples (K, T, N) as ``x`` is; NaN in their padding alone."""
    values = _background_values(background)
    if values.ndim != 3 or values.shape[1:] != x.shape[1:] or not len(values):
        raise ArgumentError(
            "background must be one or more samples (sample, time, region) with the "
            f"{x.shape[1]} steps and {x.shape[2]} regions of x. Got shape {values.shape}."
        )
    check_numbers("background", values)
    values = native_floats(values)
    padding = np.logical_and.accumulate(np.isnan(values).all(2)[:, ::-1], axis=1)[:, ::-1]
    padding[:, 0] = False
    bad = ~np.isfinite(values) & ~padding[:, :, None]
    if bad.any():
        sample, step, region = np.argwhere(bad)[0].tolist()
        raise DataError(
            f"background must be finite. Got {values[sample, step, region]} at sample {sample}, "
            f"step {step}, region {region} ({int(bad.sum())} such values). Leave out or fill such "
            "samples; only trailing steps that are NaN in every region count as padding."
        )
    return torch.as_tensor(values).to(x)


def _background_values(background: object) -> np.ndarray:
    """Take a background as an array."""
    if isinstance(background, torch.Tensor):
        return as_numpy(background)
    try:
        return np.asarray(background)
    except (ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"background must be samples of one shape (time, region). {error}"
        ) from error
