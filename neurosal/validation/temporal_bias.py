"""Does the map find a signal wherever in time it lies? A planted one, moved through the window.

Recurrent networks forget, and their gradients fade with every step: importance can gather at the
end of a window, or at its start, whatever the data say. To see whether this decoder does so on
data of this shape, a class difference is planted in noise that is like the data, at one position
in time after the other, and the very same decoder is trained and explained each time.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.parcellation.coverage import covered
from neurosal.progress import track
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.check import Check
from neurosal.validation.halves import reseed
from neurosal.validation.localization_metrics import average_precision, check_maps
from neurosal.validation.surrogates import noise_windows
from neurosal.validation.twins import mean_map

QUESTION = "Does the map find a signal wherever in time it lies?"
#: Difference of the planted classes, in standard deviations of the noise.
EFFECT = 3.0
#: Shares of the window and of the regions that carry the signal, if not said otherwise.
WIDTH, REGIONS = 0.2, 0.05
#: The worst position has to keep this share of the best one's recovery above random maps. Between
#: trainings of a decoder without bias it varies by a fifth; recurrent networks keep 0.0 to 0.4.
KEPT = 0.5
#: Where not even the best recovery is above this quantile of that of random maps, there is nothing
#: to compare.
FOUND = 0.999
N_RANDOM = 1000
HELD_OUT = 40


class Planted(NamedTuple):
    """Windows with a class difference at the start, and where it is.

    Attributes
    ----------
    train, test : numpy.ndarray
        (sample, time, region); classes 0 and 1 take turns.
    cells : numpy.ndarray of bool
        (time, region): the cells that differ.
    """

    train: np.ndarray
    test: np.ndarray
    cells: np.ndarray


def temporal_bias(
    decoder: WindowDecoder,
    windows: xr.DataArray,
    *,
    y: object,
    n_positions: int = 5,
    n_draws: int = 1,
    n_windows: int | None = None,
    width: int | None = None,
    n_regions: int | None = None,
    effect: float = EFFECT,
    seed: int = 0,
    progress: bool = False,
) -> Check:
    """Slide a planted signal through time, and see how well the map finds it at each position.

    The noise has the data's spectra and correlations, and is the same at all times
    (:func:`~neurosal.validation.surrogates.noise_windows`). In a few regions and for a short time,
    the means of two classes are set apart. The same windows, turned around in time, have the
    signal at the next position; so the positions differ in nothing but when the network sees it.
    Recovery is the AUPR of the planted cells in the mean maps of held-out windows.

    This trains ``n_positions * n_draws`` decoders.

    Parameters
    ----------
    decoder : WindowDecoder
        Fitted or not; copies are trained.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows, for their noise; ``time`` is used as it is labelled.
    y : array-like of shape (sample,)
        Their classes.
    n_positions : int
        How many positions, from the first to the last that hold the whole signal.
    n_draws : int
        How often to draw noise, regions and seeds anew.
    n_windows : int, optional
        Windows to train on; by default as many as there are.
    width : int, optional
        Time points of the signal; by default a fifth of the window.
    n_regions : int, optional
        Regions of the signal; by default 5 % of them.
    effect : float
        Difference of the class means, in standard deviations of the noise.
    seed : int
        Of the draws and the decoders trained.
    progress : bool
        Show on standard error how far the work is.

    Returns
    -------
    Check
        Flagged if the recovery at the worst position, above that of random maps, is below half of
        that at the best; only ``reported`` if the signal is found nowhere. ``data`` holds
        ``recovery`` and ``accuracy`` (draw, position), ``profile`` (position, time), each
        position's share of importance at each time, and ``start`` and ``end`` (position) of the
        signal.

    Raises
    ------
    ArgumentError
        If an argument is out of range.

    References
    ----------
    Ismail et al. (2019), Input-cell attention reduces vanishing saliency of recurrent neural
    networks. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(40, 6, 10)), np.tile(["rest", "task"], 20)
    >>> check = temporal_bias(WindowDecoder(), X, y=y, n_positions=2, n_regions=2)
    >>> check.data["recovery"].sizes
    Frozen({'draw': 1, 'position': 2})
    """
    labelled, y = covered(windows), np.asarray(y)
    steps, regions = labelled.shape[1:]
    width = max(1, round(WIDTH * steps)) if width is None else width
    n_regions = max(1, round(REGIONS * regions)) if n_regions is None else n_regions
    n_windows = len(y) if n_windows is None else n_windows
    _check(steps, regions, width, n_regions, n_positions, n_draws, n_windows)
    starts = np.unique(np.rint(np.linspace(0, steps - width, n_positions)).astype(int))
    rng, jobs = np.random.default_rng(seed), []
    for draw in range(n_draws):
        options = {"n": n_windows, "width": width, "n_regions": n_regions, "effect": effect}
        planted = _plant(labelled.to_numpy(), y, rng=rng, **options)
        jobs += [(planted, start, seed + draw) for start in starts]
    found = [
        _recover(decoder, *job)
        for job in track(jobs, "moving a signal through time", total=len(jobs), show=progress)
    ]
    scores = np.array([one[:2] for one in found]).reshape(n_draws, len(starts), 2)
    profiles = np.array([one[2] for one in found]).reshape(n_draws, len(starts), steps)
    time = labelled["time"].to_numpy() if "time" in labelled.coords else np.arange(steps)
    data = xr.Dataset(
        {
            "recovery": (("draw", "position"), scores[..., 0]),
            "accuracy": (("draw", "position"), scores[..., 1]),
            "profile": (("position", "time"), profiles.mean(axis=0)),
            "start": ("position", time[starts]),
            "end": ("position", time[starts + width - 1]),
        },
        coords={"time": time, "position": (time[starts] + time[starts + width - 1]) / 2},
    )
    return _judge(data, _random_recovery(width * n_regions, steps * regions, seed), effect=effect)


def _check(steps, regions, width, n_regions, n_positions, n_draws, n_windows) -> None:
    """Refuse what cannot be planted."""
    if steps < 2:
        raise ArgumentError("windows have one time point only: a signal cannot move through it.")
    limits = (
        ("width", width, 1, steps - 1),
        ("n_regions", n_regions, 1, regions),
        ("n_positions", n_positions, 2, steps),
        ("n_draws", n_draws, 1, np.inf),
        ("n_windows", n_windows, 4, np.inf),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            raise ArgumentError(
                f"{name} must be {least} to {most:g} for windows of {steps} time points and "
                f"{regions} regions. Got {value!r}."
            )


def _plant(
    windows: np.ndarray,
    y: np.ndarray,
    *,
    n: int,
    width: int,
    n_regions: int,
    effect: float,
    rng: np.random.Generator,
) -> Planted:
    """Set the means of two classes apart, at the start of noise windows."""
    cells = np.zeros(windows.shape[1:], dtype=bool)
    cells[:width, rng.choice(windows.shape[2], n_regions, replace=False)] = True
    noise = noise_windows(windows, y, n=n + HELD_OUT, rng=rng)
    signs = np.where(np.arange(len(noise)) % 2, 0.5, -0.5)
    noise += effect * signs[:, None, None] * cells
    return Planted(noise[:n], noise[n:], cells)


def _recover(
    decoder: WindowDecoder, planted: Planted, start: int, seed: int
) -> tuple[float, float, np.ndarray]:
    """AUPR, accuracy, and the share of importance at each time, with the signal at a position."""
    train, test, cells = (np.roll(one, start, axis=-2) for one in planted)
    labels = [np.arange(len(one)) % 2 for one in (train, test)]
    twin = reseed(decoder, seed).fit(train, labels[0])
    own = mean_map(twin, test, labels[1], chosen=np.arange(len(test)))
    sizes, truth = check_maps(own, np.broadcast_to(cells, own.shape))
    profile = sizes.sum(axis=(0, 2))
    accuracy = float(np.mean(twin.predict(test) == labels[1]))
    recovery = float(average_precision(sizes, truth).mean())
    return recovery, accuracy, profile / (profile.sum() or 1.0)


def _random_recovery(n_planted: int, n_cells: int, seed: int) -> np.ndarray:
    """AUPR of maps of random numbers."""
    maps = np.random.default_rng(seed).random((N_RANDOM, 1, n_cells))
    cells = np.broadcast_to(np.arange(n_cells) < n_planted, maps.shape)
    return average_precision(maps, cells)


def _judge(data: xr.Dataset, random: np.ndarray, *, effect: float) -> Check:
    """Say whether recovery depends on the position."""
    chance = float(random.mean())
    recovery = data["recovery"].mean("draw").to_numpy()
    places = data["position"].to_numpy()
    unit = " s" if places.dtype.kind == "f" and data["time"].dtype.kind == "f" else ""
    best, worst = recovery.argmax(), recovery.argmin()
    above = (recovery - chance) / (1 - chance)
    kept = float(max(above[worst], 0) / above[best]) if above[best] > 0 else 0.0
    verdict = "passed" if kept >= KEPT else "flagged"
    said = f"The worst position keeps {kept:.0%} of the best one's recovery."
    if recovery[best] <= np.quantile(random, FOUND):
        verdict, said = "reported", "The signal is found nowhere, so positions cannot be compared."
    finding = (
        f"Recovery (AUPR) of a planted signal of {effect:g} SD: {recovery[0]:.2f} at the earliest "
        f"position, {recovery[-1]:.2f} at the latest, at worst {recovery[worst]:.2f} (at "
        f"{places[worst]:.1f}{unit}), at best {recovery[best]:.2f} (at {places[best]:.1f}{unit}); "
        f"random maps {chance:.3f}. {said}"
    )
    values = {"earliest": recovery[0], "latest": recovery[-1], "worst": recovery[worst]}
    values |= {"best": recovery[best], "kept": kept, "random": chance}
    values["worst_position"] = places[worst]
    return Check(
        name="temporal bias",
        question=QUESTION,
        verdict=verdict,
        finding=finding,
        cannot_show=(
            "The planted signal is short, in a few regions, and the same in all windows of a "
            "class; a bias in finding sustained or variable responses can be another. Each "
            "position is a training of its own, whose luck counts too."
        ),
        values={name: float(value) for name, value in values.items()},
        data=data,
    )
