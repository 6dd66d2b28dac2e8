"""The errors a user can make, each naming what was allowed and what was got."""

from collections.abc import Iterable


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
