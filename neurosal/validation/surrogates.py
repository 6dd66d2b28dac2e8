"""Windows that look like the data and tell nothing: the noise that signals are planted in."""

import numpy as np

from neurosal.errors import ArgumentError
from neurosal.validation.likeness import class_means


def noise_windows(
    windows: np.ndarray, y: np.ndarray, *, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw windows with the spectrum and the correlations of the data, and nothing else of it.

    Each is one of the data's windows, less its class's mean, with the phase of every frequency
    drawn anew, the same for all regions, and its level turned around at random. So power spectra
    and the correlations between regions stay, classes are gone, and no moment in time differs
    from another: turned around in time, the windows are as likely as before.

    Parameters
    ----------
    windows : numpy.ndarray
        (sample, time, region).
    y : numpy.ndarray
        (sample,) classes.
    n : int
        How many to draw.
    rng : numpy.random.Generator
        Draws.

    Returns
    -------
    numpy.ndarray
        (n, time, region), each region of standard deviation 1 over samples and time; 0 where the
        data do not vary.

    Raises
    ------
    ArgumentError
        If each class has one window only, so that nothing is left of it.

    References
    ----------
    Prichard & Theiler (1994), Generating surrogate data for time series with several
    simultaneously measured variables. https://doi.org/10.1103/PhysRevLett.73.951

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 16, 3)), np.tile(["rest", "task"], 4)
    >>> noise = noise_windows(X, y, n=100, rng=np.random.default_rng(1))
    >>> noise.shape, float(noise[:, :, 0].std().round(6))
    ((100, 16, 3), 1.0)
    """
    classes, place = np.unique(y, return_inverse=True)
    if len(classes) == len(y):
        raise ArgumentError("y must give some class two windows, to have noise to draw from.")
    left = np.asarray(windows, dtype=np.float64) - class_means(windows, y)[place]
    turns = [rng.permutation(len(left)) for _ in range(-(-n // len(left)))]
    drawn = left[np.concatenate(turns)[:n]]
    spectrum, steps = np.fft.rfft(drawn, axis=1), drawn.shape[1]
    phases = rng.uniform(0, 2 * np.pi, (n, spectrum.shape[1], 1))
    real = [0, spectrum.shape[1] - 1] if steps % 2 == 0 else [0]
    phases[:, real] = np.pi * rng.integers(0, 2, (n, len(real), 1))
    noise = np.fft.irfft(spectrum * np.exp(1j * phases), n=steps, axis=1)
    noise -= noise.mean(axis=(0, 1))
    scale = noise.std(axis=(0, 1))
    return np.divide(noise, scale, out=np.zeros_like(noise), where=scale > 1e-12)
