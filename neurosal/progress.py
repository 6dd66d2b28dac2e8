"""Progress of long work: a bar on a terminal, plain lines in a log, nothing when not asked for."""

import sys
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import track as rich_track


def say(message: str, *, show: bool = True) -> None:
    """Print one line to standard error, so that standard output stays for results.

    Parameters
    ----------
    message : str
        What happens now.
    show : bool
        False keeps silent.

    Examples
    --------
    >>> say("reading run 1 of 3", show=False)
    """
    if show:
        Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)


def track(items: Iterable, description: str, *, total: int, show: bool = True) -> Iterator:
    """Yield the items while showing how far the work is.

    Parameters
    ----------
    items : iterable
        What is worked through.
    description : str
        What is done with each item.
    total : int
        How many there are.
    show : bool
        False keeps silent.

    Yields
    ------
    object
        The items, one by one.

    Examples
    --------
    >>> list(track([1, 2], "adding", total=2, show=False))
    [1, 2]
    """
    if not show:
        yield from items
    elif sys.stderr.isatty():
        console = Console(stderr=True)
        yield from rich_track(items, description, total=total, console=console, transient=True)
    else:
        for number, item in enumerate(items, start=1):
            say(f"{description}: {number} of {total}")
            yield item
