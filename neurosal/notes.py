"""Warnings kept for the report."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect the warnings of a piece of work, and still show them.

    Yields
    ------
    list of str
        Their texts, each once.

    Examples
    --------
    >>> with warnings.catch_warnings():
    ...     warnings.showwarning = print
    ...     with noting() as notes:
    ...         warnings.warn("2 windows dropped.")
    2 windows dropped. <class 'UserWarning'> ...
    >>> notes
    ['2 windows dropped.']
    """
    notes = []
    shown = warnings.showwarning

    def note(message, category, *args, **kwargs):
        if issubclass(category, UserWarning) and str(message) not in notes:
            notes.append(str(message))
        shown(message, category, *args, **kwargs)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = note
        yield notes
