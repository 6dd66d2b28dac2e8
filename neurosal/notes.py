"""Warnings kept for the report."""

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager


@contextmanager
def noting(told: Collection[str] = ()) -> Iterator[list[str]]:
    """Collect the warnings of a piece of work, and still show them, each text once.

    Parameters
    ----------
    told : collection of str
        Texts that were shown before and are not shown again.

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
    ...         warnings.warn("2 windows dropped.")
    2 windows dropped. <class 'UserWarning'> ...
    >>> notes
    ['2 windows dropped.']
    """
    notes = []
    shown = warnings.showwarning

    def note(message, category, *args, **kwargs):
        if not issubclass(category, UserWarning):
            shown(message, category, *args, **kwargs)
        elif str(message) not in (*notes, *told):
            notes.append(str(message))
            shown(message, category, *args, **kwargs)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = note
        yield notes
