"""The errors a user can make, each naming what was allowed and what was got."""

import math
from collections.abc import Iterable
from numbers import Integral, Real


class NeurosalError(Exception):
    """Anything that neurosal refuses; the command line turns it into exit code 2."""


class DataError(NeurosalError, ValueError):
    """A file or folder that cannot be used as it is; the message names it and the remedy."""


class ArgumentError(NeurosalError, ValueError):
    """An argument that does not fit; the message names it, its value and what is allowed."""


def check_one_of(name: str, value: object, allowed: Iterable) -> object:
    """Return ``value`` if it is allowed, else say what would have been.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : object
        What the user gave.
    allowed : iterable
        The values that are accepted.

    Returns
    -------
    object
        ``value``, unchanged.

    Raises
    ------
    ArgumentError
        If ``value`` is not among ``allowed``.

    Examples
    --------
    >>> check_one_of("readout", "mean", ["mean", "flatten"])
    'mean'
    >>> check_one_of("readout", "men", ["mean", "flatten"])
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: readout must be one of 'mean', 'flatten'. Got 'men'.
    """
    allowed = list(allowed)
    if value in allowed:
        return value
    raise ArgumentError(f"{name} must be one of {', '.join(map(repr, allowed))}. Got {value!r}.")


def check_number(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    whole: bool = False,
    optional: bool = False,
) -> object:
    """Return an argument if it is a finite number within limits.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : object
        What the user gave; numpy's numbers will do.
    low, high : float
        Limits that are allowed themselves.
    above, below : float
        Limits that are not.
    whole : bool
        Whether it must be a whole number.
    optional : bool
        Whether None is allowed too.

    Returns
    -------
    object
        ``value``; a whole number of numpy as an int.

    Raises
    ------
    ArgumentError
        If it is no such number.

    Examples
    --------
    >>> check_number("n_samples", 2.5, low=1, whole=True)
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: n_samples must be a whole number of at least 1. Got 2.5.
    """
    if optional and value is None:
        return None
    real = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if real and math.isfinite(value) and low <= value <= high and above < value < below:
        return int(value) if whole else value
    kind = ("None or " if optional else "") + ("a whole number" if whole else "a finite number")
    raise ArgumentError(f"{name} must be {kind}{_limits(low, high, above, below)}. Got {value!r}.")


def _limits(low: float, high: float, above: float, below: float) -> str:
    """Write limits out."""
    if math.isfinite(low) and math.isfinite(high):
        return f" from {low:g} to {high:g}"
    words = {"of at least": low, "above": above, "of at most": high, "below": below}
    known = [f"{word} {limit:g}" for word, limit in words.items() if math.isfinite(limit)]
    return f" {' and '.join(known)}" if known else ""
