"""What the command line refuses before the work begins, which may take hours."""

from neurosal.errors import ArgumentError, check_one_of

STATISTICS = ("max-t", "fdr", "cluster", "none")
TRUST = ("quick", "full", "none")


def check_settings(
    *, method: str, cv: str | None, screening: float, statistics: str, trust: str
) -> None:
    """Refuse what cannot work before the runs are read, which may take hours.

    Parameters
    ----------
    method, cv, screening, statistics, trust
        Options of ``neurosal run``.

    Raises
    ------
    ArgumentError
        If one of them is not among what is allowed.

    Examples
    --------
    >>> check_settings(method="lrp", cv="run", screening=20, statistics="fdr", trust="non")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: --trust must be one of 'quick', 'full', 'none'. Got 'non'.
    """
    from neurosal.models.folds import SCHEMES
    from neurosal.saliency.methods import METHODS

    check_one_of("--method", method, METHODS)
    if cv is not None:
        check_one_of("--cv", cv, SCHEMES)
    if not 0 < screening <= 100:
        raise ArgumentError(f"--screening must be above 0 and at most 100. Got {screening:g}.")
    check_one_of("--statistics", statistics, STATISTICS)
    check_one_of("--trust", trust, TRUST)


def check_held_out(runs: list, cv: str, folds: int | None) -> None:
    """Refuse to hold out more subjects or runs than there are.

    Parameters
    ----------
    runs : list of Run
        The runs.
    cv : {'subject', 'run', 'block'}
        What is held out.
    folds : int or None
        How many folds.

    Raises
    ------
    ArgumentError
        If there are fewer of them than folds, or than two.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> check_held_out([SimpleNamespace(subject="01")], "subject", None)
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: --cv subject in 2 folds needs as many subjects, and there is 1.
    Take --cv block, or more subjects.
    """
    n_units = len({run.subject for run in runs} if cv == "subject" else runs)
    wanted = folds or 2
    if cv == "block" or n_units >= wanted:
        return
    other = "--cv run" if cv == "subject" and len(runs) >= wanted else "--cv block"
    remedy = f"--folds {n_units} or fewer" if n_units > 1 else f"{other}, or more {cv}s"
    raise ArgumentError(
        f"--cv {cv} in {wanted} folds needs as many {cv}s, and there "
        f"{'is' if n_units == 1 else 'are'} {n_units}. Take {remedy}."
    )
