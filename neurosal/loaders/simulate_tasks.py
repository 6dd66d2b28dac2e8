"""The seven tasks of the Human Connectome Project: their blocks in time, their regions in space.

One :class:`TaskDesign` a task holds how many volumes a run has, the order of its blocks in the
``LR`` and in the ``RL`` run, how long cue, block and fixation last, which event files are written
and which MNI coordinates respond to which condition (relative to the strongest response, 1).
Numbers of volumes, block lengths and block counts follow Barch et al. (2013), except that stories
and arithmetic do not vary in length; the orders are of the same kind, not copies, and the blocks
of MOTOR are ordered so that what came before hardly tells what comes next. Coordinates
lie at or near published peaks: the hand knob
(Yousry et al. 1997), cerebellar somatotopy (Buckner et al. 2011), n-back (Owen et al. 2005),
faces, places and bodies (Kanwisher et al. 1997; Epstein & Kanwisher 1998; Downing et al. 2001),
and the group activations of Barch et al. (2013) for the rest.

References
----------
Barch et al. (2013) https://doi.org/10.1016/j.neuroimage.2013.05.033
Yousry et al. (1997) https://doi.org/10.1093/brain/120.1.141
Buckner et al. (2011) https://doi.org/10.1152/jn.00339.2011
Owen et al. (2005) https://doi.org/10.1002/hbm.20131
Kanwisher et al. (1997) https://doi.org/10.1523/JNEUROSCI.17-11-04302.1997
Epstein & Kanwisher (1998) https://doi.org/10.1038/33402
Downing et al. (2001) https://doi.org/10.1126/science.1063414

Examples
--------
>>> block_events("MOTOR", "LR").query("trial_type == 'rh'")["onset"].tolist()
[26.0, 176.0]
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from neurosal.errors import check_one_of

T_R = 0.72
FIXATION = "-"
RUNS = ("LR", "RL")

Peak = tuple[float, float, float, float]


@dataclass(frozen=True)
class TaskDesign:
    """Timing and anatomy of one task.

    Attributes
    ----------
    n_volumes : int
        Volumes in a run, 0.72 s apart.
    orders : dict of str to str
        For ``"LR"`` and ``"RL"``, the blocks in order, separated by spaces; ``-`` is fixation.
    durations : dict of str to float
        Length in seconds of each condition's block, as its event file says it.
    fixation : float
        Length in seconds of a fixation block.
    lead_in : float
        Seconds before the first cue or block.
    cue : float
        Length in seconds of the cue of every block; 0 for none.
    cue_inside : bool
        Whether the cue is the beginning of the block rather than before it.
    cue_file : bool
        Whether the cues have an event file of their own.
    trials : dict of str to tuple
        For a condition, seconds from block to first trial, seconds between trials, length of a
        trial, and the event files the trials are written to, in order.
    empty_files : tuple of str
        Event files that hold no event.
    peaks : dict of str to tuple
        For each condition, and for ``"cue"`` (every cue) and ``"all"`` (every block),
        ``(x, y, z, amplitude)`` in MNI mm.
    """

    n_volumes: int
    orders: dict[str, str]
    durations: dict[str, float]
    fixation: float
    peaks: dict[str, tuple[Peak, ...]]
    lead_in: float = 8.0
    cue: float = 0.0
    cue_inside: bool = False
    cue_file: bool = False
    trials: dict[str, tuple] = field(default_factory=dict)
    empty_files: tuple[str, ...] = ()


def _pair(x: float, y: float, z: float, amplitude: float) -> tuple[Peak, Peak]:
    """A peak and its mirror image in the other hemisphere."""
    return (-x, y, z, amplitude), (x, y, z, amplitude)


def _wm_peaks() -> dict[str, tuple[Peak, ...]]:
    """Each load by each category: what the load drives and what the category drives."""
    load = {
        "0bk": (*_pair(44, 34, 28, 0.3), *_pair(36, -50, 46, 0.3)),
        "2bk": (
            *_pair(44, 34, 28, 1.0),
            *_pair(36, -50, 46, 1.0),
            *_pair(30, 2, 56, 0.8),
            *_pair(4, -54, 28, -0.5),
            *_pair(4, 48, -8, -0.5),
        ),
    }
    category = {
        "body": (*_pair(48, -70, 2, 1.0), (44, -46, -20, 0.5)),
        "faces": (*_pair(40, -56, -18, 1.0), (54, -42, 8, 0.6)),
        "places": (*_pair(26, -46, -10, 1.0), *_pair(16, -56, 12, 0.8)),
        "tools": ((-48, -58, -6, 1.0), (-54, -32, 36, 0.8), (-50, 6, 26, 0.6)),
    }
    return {f"{n}_{c}": load[n] + category[c] for n in load for c in category}


_V1 = _pair(10, -92, 2, 0.8)
_LEFT_HAND_KNOB = (-38, -26, 60)

TASKS = {
    "EMOTION": TaskDesign(
        n_volumes=176,
        orders={"LR": "neut fear neut fear neut fear", "RL": "fear neut fear neut fear neut"},
        durations={"neut": 18.0, "fear": 18.0},
        fixation=8.0,
        cue=3.0,
        peaks={
            "cue": _pair(10, -92, 2, 0.6),
            "all": (*_V1, *_pair(32, -86, -6, 0.8)),
            "fear": (*_pair(22, -6, -18, 0.8), *_pair(40, -54, -18, 1.0), (46, 18, 24, 0.6)),
            "neut": (*_pair(26, -60, 54, 0.7), *_pair(46, -36, 44, 0.5)),
        },
    ),
    "GAMBLING": TaskDesign(
        n_volumes=253,
        orders={"LR": "win - loss - win - loss -", "RL": "loss - win - loss - win -"},
        durations={"win": 28.0, "loss": 28.0},
        fixation=15.0,
        trials={
            "win": (0.0, 3.5, 2.5, ("win_event",) * 3 + ("neut_event", "loss_event")),
            "loss": (0.0, 3.5, 2.5, ("loss_event",) * 3 + ("neut_event", "win_event")),
        },
        peaks={
            "all": (*_V1, *_pair(28, -62, 50, 0.6), (*_LEFT_HAND_KNOB, 0.6)),
            "win": (*_pair(12, 10, -6, 1.0), *_pair(4, 48, -8, 0.7)),
            "loss": (*_pair(36, 22, -2, 1.0), *_pair(4, 26, 34, 0.7)),
        },
    ),
    "LANGUAGE": TaskDesign(
        n_volumes=316,
        orders={
            "LR": "math story math story math story math story",
            "RL": "story math story math story math story math",
        },
        durations={"math": 24.0, "story": 28.0},
        fixation=0.0,
        lead_in=1.0,
        cue=2.0,
        cue_file=True,
        trials={
            "story": (0.0, 20.0, 8.0, ("present_story", "question_story")),
            "math": (0.0, 6.0, 5.0, ("present_math", "question_math")),
        },
        peaks={
            "cue": _pair(50, -20, 6, 0.5),
            "all": _pair(50, -20, 6, 0.8),
            "story": (*_pair(54, -10, -16, 1.0), *_pair(48, 12, -26, 0.8), *_pair(4, -54, 28, 0.5)),
            "math": (*_pair(36, -50, 46, 1.0), *_pair(44, 34, 28, 0.7), *_pair(4, 20, 46, 0.6)),
        },
    ),
    "MOTOR": TaskDesign(
        n_volumes=284,
        orders={
            "LR": "t rh rf - lf lh lf - rf t lh rh -",
            "RL": "rf lf rh - rh t rf lh - lh t lf -",
        },
        durations=dict.fromkeys(("lf", "rf", "lh", "rh", "t"), 12.0),
        fixation=15.0,
        cue=3.0,
        cue_file=True,
        peaks={
            "cue": (*_V1, *_pair(32, -86, -6, 0.6)),
            "all": _pair(4, -2, 58, 0.5),
            "lf": ((6, -28, 68, 1.0), (-16, -36, -26, 0.6)),
            "rf": ((-6, -28, 68, 1.0), (16, -36, -26, 0.6)),
            "lh": ((38, -26, 60, 1.0), (-20, -52, -24, 0.6)),
            "rh": ((-38, -26, 60, 1.0), (20, -52, -24, 0.6)),
            "t": (*_pair(56, -8, 30, 1.0), *_pair(16, -62, -22, 0.5)),
        },
    ),
    "RELATIONAL": TaskDesign(
        n_volumes=232,
        orders={
            "LR": "relation match - match relation - relation match -",
            "RL": "match relation - relation match - match relation -",
        },
        durations={"relation": 16.0, "match": 16.0},
        fixation=16.0,
        cue=2.0,
        empty_files=("error",),
        peaks={
            "cue": _pair(10, -92, 2, 0.5),
            "all": (*_V1, *_pair(34, -84, 6, 0.7)),
            "relation": (
                *_pair(34, 54, 6, 1.0),
                *_pair(44, 32, 28, 0.8),
                *_pair(34, -56, 46, 0.8),
                *_pair(4, 22, 46, 0.6),
            ),
            "match": (*_pair(34, -56, 46, 0.4), *_pair(4, -54, 28, 0.5), *_pair(58, -24, 20, 0.5)),
        },
    ),
    "SOCIAL": TaskDesign(
        n_volumes=274,
        orders={
            "LR": "mental - rnd - mental - rnd - mental -",
            "RL": "rnd - mental - rnd - mental - rnd -",
        },
        durations={"mental": 23.0, "rnd": 23.0},
        fixation=15.0,
        trials={
            "mental": (20.0, 3.0, 3.0, ("mental_resp",)),
            "rnd": (20.0, 3.0, 3.0, ("other_resp",)),
        },
        peaks={
            "all": (*_V1, *_pair(46, -68, 4, 0.8)),
            "mental": (*_pair(54, -52, 18, 1.0), *_pair(54, -10, -16, 0.7), *_pair(6, 54, 28, 0.7)),
            "rnd": (*_pair(26, -60, 54, 0.7), *_pair(30, 2, 56, 0.5)),
        },
    ),
    "WM": TaskDesign(
        n_volumes=405,
        orders={
            "LR": "2bk_body 0bk_faces - 2bk_tools 0bk_body - "
            "0bk_places 2bk_faces - 0bk_tools 2bk_places -",
            "RL": "0bk_tools 2bk_faces - 0bk_body 2bk_places - "
            "2bk_tools 0bk_places - 2bk_body 0bk_faces -",
        },
        durations=dict.fromkeys(_wm_peaks(), 27.5),
        fixation=15.0,
        cue=2.5,
        cue_inside=True,
        trials={name: (2.5, 2.5, 2.0, (f"{name[:3]}_cor",)) for name in _wm_peaks()},
        empty_files=("0bk_err", "2bk_err", "0bk_nlr", "2bk_nlr"),
        peaks={
            "cue": _pair(10, -92, 2, 0.4),
            "all": (*_V1, *_pair(34, -84, 6, 0.8)),
            **_wm_peaks(),
        },
    ),
}


def task_conditions(task: str) -> list[str]:
    """Name the block conditions of a task.

    Parameters
    ----------
    task : str
        One of ``"EMOTION"``, ``"GAMBLING"``, ``"LANGUAGE"``, ``"MOTOR"``, ``"RELATIONAL"``,
        ``"SOCIAL"``, ``"WM"``.

    Returns
    -------
    list of str
        The conditions, as their event files are named.

    Raises
    ------
    ArgumentError
        If there is no such task.

    Examples
    --------
    >>> task_conditions("MOTOR")
    ['lf', 'rf', 'lh', 'rh', 't']
    """
    return list(TASKS[check_one_of("task", task, TASKS)].durations)


def block_events(task: str, run: str) -> pd.DataFrame:
    """List what happens in a run: blocks, cues and trials.

    Parameters
    ----------
    task : str
        One of the seven tasks.
    run : str
        ``"LR"`` or ``"RL"``.

    Returns
    -------
    pandas.DataFrame
        Columns ``onset`` and ``duration`` (s), ``trial_type``, ``kind`` (``"block"``, ``"cue"`` or
        ``"trial"``); by onset.

    Raises
    ------
    ArgumentError
        If there is no such task or run.

    Examples
    --------
    >>> block_events("EMOTION", "LR").head(2)[["onset", "duration", "trial_type", "kind"]]
       onset  duration trial_type   kind
    0    8.0       3.0        cue    cue
    1   11.0      18.0       neut  block
    """
    design = TASKS[check_one_of("task", task, TASKS)]
    clock, rows = design.lead_in, []
    for name in design.orders[check_one_of("run", run, RUNS)].split():
        if name == FIXATION:
            clock += design.fixation
            continue
        onset = clock if design.cue_inside else clock + design.cue
        if design.cue:
            rows.append((clock, design.cue, "cue", "cue"))
        rows.append((onset, design.durations[name], name, "block"))
        rows.extend(_trials(design, name, onset))
        clock = onset + design.durations[name]
    events = pd.DataFrame(rows, columns=["onset", "duration", "trial_type", "kind"])
    events = events[events["onset"] < design.n_volumes * T_R]
    return events.sort_values("onset", kind="stable", ignore_index=True)


def _trials(design: TaskDesign, name: str, onset: float) -> list[tuple]:
    """The trials inside one block, going round the event files of its condition."""
    if name not in design.trials:
        return []
    first, step, length, files = design.trials[name]
    times = onset + np.arange(first, design.durations[name] - 1e-9, step)
    return [(t, length, files[k % len(files)], "trial") for k, t in enumerate(times)]


def event_files(task: str, run: str) -> dict[str, pd.DataFrame]:
    """Sort a run's events into the event files the Human Connectome Project has.

    Parameters
    ----------
    task : str
        One of the seven tasks.
    run : str
        ``"LR"`` or ``"RL"``.

    Returns
    -------
    dict of str to pandas.DataFrame
        File name without ``.txt`` to its three columns onset (s), duration (s), weight; an empty
        table is an event that did not happen in this run.

    Raises
    ------
    ArgumentError
        If there is no such task or run.

    Examples
    --------
    >>> event_files("RELATIONAL", "LR")["match"].to_numpy().tolist()[0]
    [28.0, 16.0, 1.0]
    >>> len(event_files("RELATIONAL", "LR")["error"])
    0
    """
    events, design = block_events(task, run), TASKS[task]
    named = set(events["trial_type"]) | set(design.empty_files) | set(design.durations)
    tables = {}
    for name in sorted(named - (set() if design.cue_file else {"cue"})):
        rows = events.loc[events["trial_type"] == name, ["onset", "duration"]]
        tables[name] = rows.assign(weight=1.0).reset_index(drop=True)
    return tables
