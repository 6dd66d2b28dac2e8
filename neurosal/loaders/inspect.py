"""A look at a study before it is analysed: what there is, and what is missing or broken."""

from collections.abc import Sequence
from pathlib import Path

from neurosal.errors import DataError
from neurosal.loaders.bids import is_bids
from neurosal.loaders.hcp import is_hcp
from neurosal.loaders.inspect_bids import inspect_bids
from neurosal.loaders.inspect_hcp import inspect_hcp
from neurosal.loaders.study import StudyInspection


def inspect_study(
    root: str | Path,
    *,
    task: str | Sequence[str] | None = None,
    derivatives: str | Path | None = None,
    space: str | None = None,
    event_column: str = "trial_type",
) -> StudyInspection:
    """Find out what a study in the HCP's layout or in BIDS holds, and what is wrong with it.

    Headers, events and confounds are read, no voxels. A file that is broken or missing is listed
    among the problems, and the rest is read.

    Parameters
    ----------
    root : str or pathlib.Path
        The study's folder.
    task : str or sequence of str, optional
        Look at these tasks only.
    derivatives : str or pathlib.Path, optional
        BIDS: the folder of preprocessed images to look at, absolute or within ``root``; None
        looks at the images of ``root``, and counts those of its derivatives.
    space : str, optional
        Look at the images of this space only (``"native"`` for those that name none).
    event_column : str
        BIDS: the column that tells the events' types.

    Returns
    -------
    StudyInspection
        Tables ``images``, ``conditions``, ``spaces`` and ``problems``; ``print`` shows them.

    Raises
    ------
    DataError
        If the folder is neither in the HCP's layout nor in BIDS.
    ArgumentError
        If a task or space is not there.

    Examples
    --------
    >>> inspect_study("nowhere")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is not a folder. Give the top folder of a study.
    """
    root = Path(root)
    tasks = None if task is None else [task] if isinstance(task, str) else list(task)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Give the top folder of a study.")
    if is_hcp(root):
        return inspect_hcp(root, tasks=tasks, space=space)
    if not is_bids(root):
        raise DataError(
            f"{root} is neither in the HCP's layout ({{subject}}/MNINonLinear/Results/tfMRI_*) nor "
            "in BIDS (sub-*/func). Give the folder that holds the subjects."
        )
    return inspect_bids(
        root, tasks=tasks, derivatives=derivatives, space=space, event_column=event_column
    )
