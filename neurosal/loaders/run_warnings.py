"""Warnings of single runs, which of a thousand runs are told once."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MOST_RUNS = 2  # told one by one


class RunWarning(UserWarning):
    """What is odd about one run.

    Parameters
    ----------
    run : str
        The run's name; may be empty.
    problem : str
        Its kind, after "3 of 80 runs": ``"have windows that were dropped"``.
    detail : str
        A sentence on this run, without a full stop.
    remedy : str
        What to do about it, if anything: one sentence or more.

    Examples
    --------
    >>> print(RunWarning("sub-01", "are too short", "it lasts 9 s", "Take longer runs."))
    sub-01: it lasts 9 s. Take longer runs.
    """

    def __init__(self, run: str, problem: str, detail: str, remedy: str = ""):
        super().__init__(run, problem, detail, remedy)
        self.run, self.problem, self.detail, self.remedy = run, problem, detail, remedy

    def __str__(self) -> str:
        return f"{self.named}.{self.remedy and f' {self.remedy}'}"

    @property
    def named(self) -> str:
        """The detail after the run's name."""
        return f"{self.run}: {self.detail}" if self.run else self.detail


@contextmanager
def collected(into: list[Warning]) -> Iterator[None]:
    """Keep warnings for later.

    Parameters
    ----------
    into : list of Warning
        Where they are added.

    Yields
    ------
    None
        Nothing.

    Examples
    --------
    >>> kept = []
    >>> with collected(kept):
    ...     warnings.warn("odd")
    >>> kept
    [UserWarning('odd')]
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            into += [one.message for one in caught]


def warn_once(kept: Iterable[Warning], n_runs: int) -> None:
    """Warn of what was collected: once for each kind of problem, and each text once.

    Parameters
    ----------
    kept : iterable of Warning
        From :func:`collected`.
    n_runs : int
        How many runs there are.

    Examples
    --------
    >>> kept = [RunWarning(f"sub-{n}", "are short", f"{n} s", "Scan longer.") for n in range(5)]
    >>> again = []
    >>> with collected(again):
    ...     warn_once(kept, 80)
    >>> print(again[0])
    5 of 80 runs are short. Scan longer. sub-0: 0 s; sub-1: 1 s; and 3 more.
    """
    groups: dict[tuple, list[Warning]] = {}
    for one in kept:
        of_run = isinstance(one, RunWarning)
        groups.setdefault((type(one), one.problem if of_run else str(one)), []).append(one)
    for group in groups.values():
        together = len(group) > 1 and isinstance(group[0], RunWarning)
        warnings.warn(_summed_up(group, n_runs) if together else group[0], stacklevel=3)


def _summed_up(group: list[RunWarning], n_runs: int) -> UserWarning:
    """Make one warning of those of several runs."""
    rest = len(group) - MOST_RUNS
    told = [one.named for one in group[:MOST_RUNS]] + ([f"and {rest} more"] if rest > 0 else [])
    remedy = group[0].remedy and f"{group[0].remedy} "
    return UserWarning(
        f"{len(group)} of {n_runs} runs {group[0].problem}. {remedy}{'; '.join(told)}."
    )
