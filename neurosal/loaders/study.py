"""What a study holds and what is wrong with it, in tables."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.loaders.runs import shorten

SEVERITIES = ("error", "warning", "note")
_WHERE = ("subject", "session", "task", "run")
_IMAGES = (*_WHERE, "space", "kind", "n_volumes", "t_r", "n_events", "confounds", "file")
_PROBLEMS = ("severity", *_WHERE, "problem", "detail")
_EVENTS = (*_WHERE, "trial_type", "duration")
_MOST_ROWS = 3  # of one kind of problem, in the text
_UNITS = {"t_r": "t_r (s)", "duration": "duration (s)"}  # in the text


@dataclass(frozen=True)
class StudyInspection:
    """What :func:`~neurosal.loaders.inspect.inspect_study` found.

    Attributes
    ----------
    root : pathlib.Path
        The study's folder.
    layout : {"HCP", "BIDS"}
        How it is laid out.
    images : pandas.DataFrame
        A row an image: ``subject``, ``session``, ``task``, ``run``, ``space``, ``kind``
        (``"volume"``, ``"cifti"``, ``"surface"``), ``n_volumes``, ``t_r`` (s), ``n_events``,
        ``confounds`` (whether there are any), ``file``. What cannot be read is missing.
    conditions : pandas.DataFrame
        A row a trial type and task: ``task``, ``condition``, ``subjects``, ``runs``, ``events``
        (how many have it, and how often), ``duration`` (median, s).
    spaces : pandas.DataFrame
        A row a folder, space, kind and resolution, with the number of ``subjects`` and
        ``images``; also of derivatives that were not asked for.
    problems : pandas.DataFrame
        ``severity`` (``"error"``: the run cannot be loaded; ``"warning"``: look at it;
        ``"note"``), ``subject``, ``session``, ``task``, ``run``, ``problem``, ``detail``.

    Examples
    --------
    >>> empty = Ledger().inspection(Path("study"), "BIDS")
    >>> print(empty)
    study (BIDS): 0 subjects, 0 tasks, 0 runs
    <BLANKLINE>
    No problems.
    """

    root: Path
    layout: str
    images: pd.DataFrame
    conditions: pd.DataFrame
    spaces: pd.DataFrame
    problems: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether every run can be loaded."""
        return not (self.problems["severity"] == "error").any()

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, *, most: int | None = _MOST_ROWS) -> str:
        """Lay the tables out as text.

        Parameters
        ----------
        most : int or None
            Problems of one kind to list; None lists all.

        Returns
        -------
        str
            Several lines, without one at the end.
        """
        runs = self.images[list(_WHERE)].drop_duplicates()
        numbers = {"subject": runs["subject"].nunique(), "task": runs["task"].nunique()}
        counts = ", ".join(_count(n, word) for word, n in (*numbers.items(), ("run", len(runs))))
        parts = [f"{self.root} ({self.layout}): {counts}"]
        for title, table in (
            ("Tasks", _by_task(self.images)),
            ("Images", self.spaces),
            ("Conditions", self.conditions),
        ):
            if len(table):
                parts.append(f"{title}\n{_table(table)}")
        parts.append(self._problems_text(most))
        return "\n\n".join(parts)

    def _problems_text(self, most: int | None) -> str:
        """List the problems, the worst first."""
        if not len(self.problems):
            return "No problems."
        counts = self.problems["severity"].value_counts()
        total = ", ".join(_count(counts[word], word) for word in SEVERITIES if word in counts)
        lines = [f"Problems: {total}"]
        for (severity, problem), rows in self.problems.groupby(["severity", "problem"], sort=False):
            lines.append(f"  {severity}: {problem} ({len(rows)})")
            shown = len(rows) if most is None else most
            lines += [_problem_line(row) for row in rows.head(shown).itertuples()]
            if len(rows) > shown:
                lines.append(f"    ... and {len(rows) - shown} more")
        return "\n".join(lines)


@dataclass
class Ledger:
    """Rows of the tables, as they are found.

    Attributes
    ----------
    images, problems, spaces : list of dict
        Rows.
    events : list of pandas.DataFrame
        Events of a run each, with its ``subject``, ``session``, ``task`` and ``run``.

    Examples
    --------
    >>> ledger = Ledger()
    >>> ledger.attempt({"subject": "01"}, "broken image", float, "x", catch=ValueError)
    >>> ledger.problems[0]["problem"]
    'broken image'
    """

    images: list[dict] = field(default_factory=list)
    problems: list[dict] = field(default_factory=list)
    spaces: list[dict] = field(default_factory=list)
    events: list[pd.DataFrame] = field(default_factory=list)

    def add_problem(self, severity: str, where: dict, problem: str, detail: str) -> None:
        """Write a problem down.

        Parameters
        ----------
        severity : {"error", "warning", "note"}
            How bad it is.
        where : dict
            ``subject``, ``session``, ``task``, ``run``, as far as they matter.
        problem : str
            Its kind, in a few words.
        detail : str
            A sentence with the file and the remedy.
        """
        check_one_of("severity", severity, SEVERITIES)
        self.problems.append({"severity": severity, "problem": problem, "detail": detail, **where})

    def attempt(
        self,
        where: dict,
        problem: str,
        function: Callable,
        *args,
        catch: type[Exception] = DataError,
        **options,
    ) -> object:
        """Call a function; if it refuses the data, write that down.

        Parameters
        ----------
        where : dict
            As of :meth:`add_problem`.
        problem : str
            The problem's kind, if there is one.
        function : callable
            What to call with ``args`` and ``options``.
        catch : type
            The error that is written down.

        Returns
        -------
        object
            What the function returned; None if it refused.
        """
        try:
            return function(*args, **options)
        except catch as error:
            self.add_problem("error", where, problem, str(error))
            return None

    def add_events(self, where: dict, events: pd.DataFrame, empty: list[str] | None = None) -> None:
        """Write the events of a run down.

        Parameters
        ----------
        where : dict
            The run.
        events : pandas.DataFrame
            Columns ``onset``, ``duration``, ``trial_type``.
        empty : list of str, optional
            Types that the run might have had.
        """
        rows = events[["trial_type", "duration"]]
        none = pd.DataFrame({"trial_type": list(empty or ()), "duration": np.nan})
        rows = pd.concat([rows, none]) if len(none) and len(rows) else (rows if len(rows) else none)
        self.events.append(rows.assign(**where))

    def inspection(self, root: Path, layout: str) -> StudyInspection:
        """Put the rows into tables.

        Parameters
        ----------
        root : pathlib.Path
            The study's folder.
        layout : {"HCP", "BIDS"}
            Its layout.

        Returns
        -------
        StudyInspection
            The tables; problems with the worst first.
        """
        rows = [dict.fromkeys(_PROBLEMS, "") | row for row in self.problems]
        problems = pd.DataFrame(rows, columns=list(_PROBLEMS))
        rank = problems["severity"].map(SEVERITIES.index) if len(problems) else []
        order = np.argsort(np.asarray(rank, dtype=int), kind="stable")
        return StudyInspection(
            root,
            layout,
            pd.DataFrame(self.images, columns=list(_IMAGES)),
            self._conditions(),
            pd.DataFrame(self.spaces, columns=["folder", "space", "kind", "resolution", *_COUNTS]),
            problems.iloc[order].reset_index(drop=True),
        )

    def _conditions(self) -> pd.DataFrame:
        """Count the events of each type."""
        rows = []
        events = [table for table in self.events if len(table)]
        everything = pd.concat(events) if events else pd.DataFrame(columns=list(_EVENTS))
        for (task, name), group in everything.groupby(["task", "trial_type"]):
            real = group.dropna(subset="duration")
            rows.append(
                {
                    "task": task,
                    "condition": name,
                    "subjects": real["subject"].nunique(),
                    "runs": len(real[list(_WHERE)].drop_duplicates()),
                    "events": len(real),
                    "duration": float(real["duration"].median()) if len(real) else np.nan,
                }
            )
        names = ["task", "condition", "subjects", "runs", "events", "duration"]
        return pd.DataFrame(rows, columns=names)


_COUNTS = ("subjects", "images")


def check_known(name: str, wanted: Iterable[str], there: Iterable[str]) -> None:
    """Refuse a task or space that the study does not have.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    wanted, there : iterable of str
        What is asked for, and what there is.

    Raises
    ------
    ArgumentError
        If something is asked for that is not there.

    Examples
    --------
    >>> check_known("task", ["rest"], ["faces", "rest"])
    """
    there = sorted(set(there))
    unknown = [one for one in wanted if one not in there]
    if unknown:
        raise ArgumentError(f"{name} must be among {shorten(there)}. Got {unknown[0]!r}.")


def _by_task(images: pd.DataFrame) -> pd.DataFrame:
    """Sum the images up, a row a task."""
    rows = []
    for task, group in images.groupby("task"):
        rows.append(
            {
                "task": task,
                "subjects": group["subject"].nunique(),
                "runs": len(group[list(_WHERE)].drop_duplicates()),
                "sessions": shorten(sorted({s for s in group["session"] if s}), 4) or "-",
                "volumes": _values(group["n_volumes"]),
                "t_r": _values(group["t_r"]),
                "with confounds": _runs_with_confounds(group),
            }
        )
    return pd.DataFrame(rows)


def _runs_with_confounds(images: pd.DataFrame) -> int:
    """Count the runs that have a table of confounds or motion."""
    return len(images.loc[images["confounds"].astype(bool), list(_WHERE)].drop_duplicates())


def _values(column: pd.Series) -> str:
    """Name the different values of a column."""
    return shorten([f"{value:g}" for value in sorted(column.dropna().unique())], 3) or "unknown"


def _table(table: pd.DataFrame) -> str:
    """Lay a table out, indented."""
    shown = table.rename(columns=_UNITS)
    for name in shown:
        if pd.api.types.is_float_dtype(shown[name]):
            shown[name] = [f"{value:g}" if np.isfinite(value) else "-" for value in shown[name]]
    text = shown.replace("", "-").to_string(index=False)
    return "\n".join(f"  {line}" for line in text.splitlines())


def _problem_line(row: tuple) -> str:
    """One problem as a line."""
    keys = (("sub", row.subject), ("ses", row.session), ("task", row.task), ("run", row.run))
    where = " ".join(f"{key}-{value}" for key, value in keys if value)
    return f"    {where}{': ' if where else ''}{row.detail}"


def _count(number: int, word: str) -> str:
    """Count things."""
    return f"{number} {word}{'' if number == 1 else 's'}"
