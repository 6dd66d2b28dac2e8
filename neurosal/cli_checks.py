"""What the command line refuses before the work begins, which may take hours."""

from importlib.util import find_spec

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
        If one of them is not among what is allowed, or needs what is not installed.

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
    if statistics == "cluster" and find_spec("mne") is None:
        raise ArgumentError(
            "--statistics cluster needs mne, which is not installed. Install it with "
            "pip install 'neurosal[stats]', or take --statistics max-t."
        )
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
    >>> check_held_out([SimpleNamespace(subject="01", session="", run="")], "subject", None)
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: --cv subject in 2 folds needs as many subjects, and there is 1.
    Take --cv block, or more subjects.
    """
    n_units = len({run.subject for run in runs} if cv == "subject" else run_groups(runs))
    wanted = folds or 2
    if cv == "block" or n_units >= wanted:
        return
    other = "--cv run" if cv == "subject" and len(run_groups(runs)) >= wanted else "--cv block"
    alike = ", for runs of one name are held out together" if n_units < len(runs) else ""
    alike = alike if cv == "run" else ""
    remedy = f"--folds {n_units} or fewer" if n_units > 1 else f"{other}, or more {cv}s"
    raise ArgumentError(
        f"--cv {cv} in {wanted} folds needs as many {cv}s, and there "
        f"{'is' if n_units == 1 else 'are'} {n_units}{alike}. Take {remedy}."
    )


def check_conditions(conditions: dict | None, label: str) -> None:
    """Refuse a single condition, from which there is nothing to tell apart.

    Parameters
    ----------
    conditions : dict or None
        New names to trial types; None: all there are.
    label : {'condition', 'task'}
        What is told apart.

    Raises
    ------
    ArgumentError
        If conditions are told apart and there is one.

    Examples
    --------
    >>> check_conditions({"face": ["face"]}, "condition")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: --conditions must name two at least. Got 'face' alone: ...
    """
    if label == "condition" and conditions is not None and len(conditions) == 1:
        raise ArgumentError(
            f"--conditions must name two at least. Got {next(iter(conditions))!r} alone: there is "
            "nothing to tell it from. Add another, such as rest."
        )


def run_groups(runs: list) -> set[tuple]:
    """Tell what is held out together as a run: runs of several tasks under one name are.

    Parameters
    ----------
    runs : list of Run
        The runs.

    Returns
    -------
    set of tuple
        Subject, session and run.

    Examples
    --------
    >>> run_groups([])
    set()
    """
    return {(run.subject, run.session, run.run) for run in runs}
