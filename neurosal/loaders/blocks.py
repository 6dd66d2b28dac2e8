"""Which stretches of a run belong to which condition: events pooled, joined, and the gaps.

>>> import pandas as pd
>>> events = pd.DataFrame({"onset": [0.0, 3.0, 20.0], "duration": 2.0, "trial_type": "face"})
>>> run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces")
>>> for block in find_blocks(run, {"face": ["face"], "rest": []}, merge=1, shortest_gap=10):
...     print(block)
Block(condition='face', onset=0.0, end=5.0)
Block(condition='rest', onset=5.0, end=20.0)
Block(condition='face', onset=20.0, end=22.0)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.runs import Run, events_of, shorten, type_name

REST = "rest"
TOLERANCE = 1e-6  # seconds by which two times may differ and still be the same


class Block(NamedTuple):
    """One stretch of one condition, in seconds from the run's start."""

    condition: str
    onset: float
    end: float


def find_blocks(
    run: Run,
    conditions: Mapping[str, Sequence[str] | None] | None = None,
    *,
    merge: float | None = None,
    shortest_gap: float = math.inf,
) -> list[Block]:
    """Find the blocks of a run's conditions.

    Parameters
    ----------
    run : Run
        Its events are used.
    conditions, merge
        As :func:`~neurosal.loaders.events.make_windows` takes them.
    shortest_gap : float
        Length in seconds from which a gap counts as rest, where rest is asked for.

    Returns
    -------
    list of Block
        By onset.

    Raises
    ------
    ArgumentError
        If a condition names a trial type that the task does not have, or that another has.
    DataError
        If the run's events cannot be used.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame({"onset": [0.0, 3.0], "duration": 2.0, "trial_type": ["a", "b"]})
    >>> find_blocks(Run("x.nii", events, 2.0, subject="1", task="t"), {"both": ["a", "b"]}, merge=1)
    [Block(condition='both', onset=0.0, end=5.0)]
    """
    events = events_of(run)
    known = list(dict.fromkeys([*events["trial_type"], *map(type_name, run.trial_types)]))
    name_of, gaps_wanted = _resolve_conditions(run, conditions, known)
    blocks: list[Block] = []
    for event in events.itertuples():
        if event.trial_type not in name_of:
            continue
        name, onset = name_of[event.trial_type], float(event.onset)
        end = onset + float(event.duration)
        last = blocks[-1] if blocks else None
        alike = merge is not None and last is not None and last.condition == name
        if alike and onset - last.end <= merge + TOLERANCE:
            blocks[-1] = last._replace(end=max(last.end, end))
        else:
            blocks.append(Block(name, onset, end))
    if gaps_wanted:
        gaps = _gaps(events, blocks, shortest_gap)
        blocks = sorted([*blocks, *gaps], key=lambda block: block.onset)
    return blocks


def default_window(
    runs: Iterable[Run],
    conditions: Mapping[str, Sequence[str] | None] | None = None,
    *,
    merge: float | None = None,
) -> float:
    """Find the longest window that no block is shorter than.

    Parameters
    ----------
    runs : iterable of Run
        The runs.
    conditions, merge
        As :func:`~neurosal.loaders.events.make_windows` takes them; gaps at rest do not count.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    DataError
        If some block has no duration.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame({"onset": [0, 9], "duration": [8, 6], "trial_type": ["a", "b"]})
    >>> run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces")
    >>> default_window([run]), default_window([run], {"a": ["a"]})
    (6.0, 8.0)
    """
    found = ((run, b) for run in runs for b in find_blocks(run, conditions, merge=merge))
    run, shortest = min(found, key=lambda pair: pair[1].end - pair[1].onset, default=(None, None))
    if shortest is None:
        raise DataError(
            "None of the runs has an event of the conditions. Choose other conditions, or correct "
            "the event tables if they have no rows."
        )
    if shortest.end - shortest.onset <= TOLERANCE:
        raise DataError(
            f"{run.label}: {shortest.condition!r} at {shortest.onset:g} s lasts 0 s, so the length "
            "of the windows cannot be taken from the events. Give window in seconds."
        )
    return round(shortest.end - shortest.onset, 6)


def parse_conditions(words: Iterable[str]) -> dict[str, list[str]]:
    """Read conditions as one writes them on a command line.

    Parameters
    ----------
    words : iterable of str
        ``"face"`` (a trial type by its own name), ``"stimulus=face,house"`` (a new name for one
        or more) or ``"rest"`` (the gaps, unless a trial type is called so).

    Returns
    -------
    dict of str to list of str
        For :func:`~neurosal.loaders.events.make_windows`.

    Raises
    ------
    ArgumentError
        If a word is empty, says nothing after ``=``, or a name comes twice.

    Examples
    --------
    >>> parse_conditions(["stimulus=face,house", "scene", "rest"])
    {'stimulus': ['face', 'house'], 'scene': ['scene'], 'rest': []}
    """
    conditions: dict[str, list[str]] = {}
    for word in [words] if isinstance(words, str) else words:
        name, equals, listed = (part.strip() for part in word.partition("="))
        types = [part.strip() for part in listed.split(",")] if equals else [name]
        if not name or not all(types):
            raise ArgumentError(
                f"conditions must be words such as 'face', 'stimulus=face,house' or 'rest'. "
                f"Got {word!r}."
            )
        if name in conditions:
            raise ArgumentError(f"conditions must have different names. Got {name!r} twice.")
        conditions[name] = [] if (name, equals) == (REST, "") else types
    return conditions


def _resolve_conditions(
    run: Run, conditions: Mapping | None, known: list[str]
) -> tuple[dict[str, str], bool]:
    """Trial type to the name of its condition, and whether rest means the gaps."""
    if conditions is None:
        return {name: name for name in known}, False
    if not isinstance(conditions, Mapping):
        raise ArgumentError(
            "conditions must be a dict of a name each to the trial types it pools, such as "
            f"{{'face': ['face']}}. Got {conditions!r}."
        )
    if not conditions:
        raise ArgumentError("conditions must name at least one condition. Got an empty dict.")
    name_of: dict[str, str] = {}
    gaps_wanted = False
    for name, types in conditions.items():
        types = [types] if isinstance(types, str | int | float) else list(types or ())
        types = [type_name(kind) for kind in types]
        if not types and name == REST:
            gaps_wanted = REST not in known
            types = [] if gaps_wanted else [REST]
        elif not types:
            raise ArgumentError(f"conditions: {name!r} names no trial type; only 'rest' may.")
        _check_types(run, name, types, known, name_of)
        name_of |= dict.fromkeys(types, name)
    return name_of, gaps_wanted


def _check_types(run: Run, name: str, types: list, known: list, taken: Mapping) -> None:
    """Refuse trial types that are unknown, or that another condition has."""
    for kind in types:
        if kind not in known:
            raise ArgumentError(
                f"conditions: {name!r} asks for the trial type {kind!r}, which {run.label} does "
                f"not have. It has {shorten(map(repr, sorted(known)), 40) or 'no event'}."
            )
        if kind in taken:
            raise ArgumentError(
                f"conditions: the trial type {kind!r} is in both {taken[kind]!r} and {name!r}. "
                "Put it in one of them."
            )


def _gaps(events: pd.DataFrame, blocks: Iterable[Block], window: float) -> list[Block]:
    """Stretches of at least ``window`` s between events, none inside a joined block."""
    onsets = events["onset"]
    spans = list(zip(onsets, onsets + events["duration"], strict=True))
    spans += [(block.onset, block.end) for block in blocks]
    gaps, reached = [], None
    for onset, end in sorted(spans):
        if reached is not None and onset - reached >= window - TOLERANCE:
            gaps.append(Block(REST, float(reached), float(onset)))
        reached = end if reached is None else max(reached, end)
    return gaps
