"""Where in an atlas a task is seen: the region of each published peak."""

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from neurosal.errors import DataError
from neurosal.loaders.simulate_tasks import TASKS, task_conditions

MAX_DISTANCE = 20.0
COLUMNS = ["task", "condition", "label_id", "region", "network", "amplitude", "x", "y", "z"]


def match_peaks(
    task: str, *, labels: nib.Nifti1Image, regions: pd.DataFrame
) -> tuple[pd.DataFrame, list[dict]]:
    """Find the atlas's region for each published peak of a task.

    Distances run from the peak to the nearest voxel of a region of the same hemisphere (or of no
    hemisphere). Different peaks get different regions, at the smallest sum of squared distances;
    a peak without a region within 20 mm is left out.

    Parameters
    ----------
    task : str
        One of the seven tasks.
    labels : nibabel.Nifti1Image
        Integer labels in MNI space.
    regions : pandas.DataFrame
        Columns ``label_id``, ``name``, ``network``, ``hemisphere``.

    Returns
    -------
    table : pandas.DataFrame
        Columns ``task``, ``condition`` (``"cue"`` for the response to cues), ``label_id``,
        ``region``, ``network``, ``amplitude`` (of the strongest, 1), ``x``, ``y``, ``z`` (mm),
        ``distance`` (mm).
    left_out : list of dict
        Condition and coordinates of the peaks without a region.

    Raises
    ------
    DataError
        If the atlas is too coarse to tell two conditions apart.

    Examples
    --------
    >>> image = nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4))
    >>> one = pd.DataFrame(
    ...     {"label_id": [1], "name": ["A"], "network": ["N"], "hemisphere": ["L"]})
    >>> match_peaks("EMOTION", labels=image, regions=one)
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: The atlas has no region within 20 mm of any peak of condition...
    """
    wanted = _peak_table(task)
    points, place = np.unique(wanted[["x", "y", "z"]], axis=0, return_inverse=True)
    distance = _peak_distances(points, labels, regions)
    row = _assign(distance)[place]
    left_out = wanted[row < 0].drop(columns="task").to_dict("records")
    nearest = regions.iloc[row[row >= 0]].reset_index(drop=True)
    found = wanted[row >= 0].reset_index(drop=True)
    found = found.assign(
        label_id=nearest["label_id"].astype(int),
        region=nearest["name"].astype(str),
        network=nearest["network"].astype(str),
        distance=distance[place, row][row >= 0].round(2),
    )
    _check_distinct(task, found)
    return found[[*COLUMNS, "distance"]], left_out


def _peak_table(task: str) -> pd.DataFrame:
    """Every peak of every condition, those of every block ("all") given to each condition."""
    peaks = TASKS[task].peaks
    rows = [("cue", *peak) for peak in peaks.get("cue", ())]
    for condition in task_conditions(task):
        rows += [(condition, *peak) for peak in peaks.get("all", ()) + peaks[condition]]
    table = pd.DataFrame(rows, columns=["condition", "x", "y", "z", "amplitude"])
    return table.assign(task=task)


def _peak_distances(
    points: np.ndarray, labels: nib.Nifti1Image, regions: pd.DataFrame
) -> np.ndarray:
    """Distance (mm) from each peak to each region's nearest voxel; infinite across hemispheres."""
    data = np.asanyarray(labels.dataobj)
    index = np.argwhere(data > 0)
    world = nib.affines.apply_affine(labels.affine, index)
    ids = data[tuple(index.T)]
    order = np.argsort(ids, kind="stable")
    world, ids = world[order], ids[order]
    distance = np.full((len(points), len(regions)), np.inf)
    side = np.where(points[:, 0] < 0, "L", "R")
    for row, (label, hemisphere) in enumerate(regions[["label_id", "hemisphere"]].to_numpy()):
        span = slice(*np.searchsorted(ids, [label, label + 1]))
        usable = (side == hemisphere) | (hemisphere not in ("L", "R"))
        if span.start < span.stop and usable.any():
            distance[usable, row] = cKDTree(world[span]).query(points[usable])[0]
    return distance


def _assign(distance: np.ndarray) -> np.ndarray:
    """Give different peaks different regions; -1 for a peak too far from all."""
    near = distance <= MAX_DISTANCE
    cost = np.where(near, np.square(distance, where=near, out=np.zeros_like(distance)), 1e6)
    peaks, regions = linear_sum_assignment(cost)
    chosen = np.full(len(distance), -1)
    chosen[peaks] = np.where(near[peaks, regions], regions, -1)
    return chosen


def _check_distinct(task: str, table: pd.DataFrame) -> None:
    """Refuse an atlas in which a condition has no region or two conditions look the same."""
    seen = {}
    for condition in task_conditions(task):
        rows = table[table["condition"] == condition]
        pattern = frozenset(zip(rows["label_id"], rows["amplitude"], strict=True))
        if not pattern:
            raise DataError(
                f"The atlas has no region within {MAX_DISTANCE:g} mm of any peak of condition "
                f"{condition!r} of {task}. Use an atlas that covers the brain."
            )
        if pattern in seen:
            raise DataError(
                f"The atlas cannot tell {seen[pattern]!r} from {condition!r} of {task}: both fall "
                f"into the same regions. Use a finer atlas or another task."
            )
        seen[pattern] = condition


def amplitude_matrix(task: str, table: pd.DataFrame, *, regions: pd.DataFrame) -> pd.DataFrame:
    """Spread a table of responding regions over all regions.

    Parameters
    ----------
    task : str
        One of the seven tasks.
    table : pandas.DataFrame
        Columns ``condition``, ``label_id``, ``amplitude``.
    regions : pandas.DataFrame
        The atlas's region table.

    Returns
    -------
    pandas.DataFrame
        Rows: the conditions of the task, then ``"cue"``; columns: ``label_id`` of all regions;
        values: amplitudes, 0 where nothing responds.

    Examples
    --------
    >>> table = pd.DataFrame({"condition": ["t"], "label_id": [2], "amplitude": [1.0]})
    >>> regions = pd.DataFrame({"label_id": [1, 2]})
    >>> amplitude_matrix("MOTOR", table, regions=regions).loc["t"].tolist()
    [0.0, 1.0]
    """
    wide = table.pivot(index="condition", columns="label_id", values="amplitude")
    rows = [*task_conditions(task), "cue"]
    return wide.reindex(index=rows, columns=list(regions["label_id"])).fillna(0.0)
