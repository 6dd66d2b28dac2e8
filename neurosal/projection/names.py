"""File names of maps as BIDS derivatives have them.

A name is a row of entities in the order that BIDS prescribes, then what the file holds and its
format: ``sub-01_task-MOTOR_space-MNI152NLin6Asym_seg-power264_desc-lefthand_saliency.nii.gz``. The
regions are the segmentation (``seg``), the condition is the description (``desc``).
"""

import re
from collections.abc import Mapping

from neurosal.errors import check_one_of

#: Entities of names, in their order.
ENTITIES = ("sub", "ses", "task", "acq", "dir", "run", "hemi", "space", "seg", "res", "den", "desc")
_DIRECTIONS = ("LR", "RL", "AP", "PA", "SI", "IS")


def bids_name(
    entities: Mapping[str, object], *, suffix: str = "saliency", ending: str = ".nii.gz"
) -> str:
    """Build a file name of entities.

    Parameters
    ----------
    entities : mapping of str to anything
        Keys of :data:`ENTITIES`. Characters that BIDS does not allow are left out of the values;
        entities without a value are left out. A run that is no number becomes ``dir`` if it is a
        direction of phase encoding (``LR``), else ``acq``.
    suffix : str
        What the file holds.
    ending : str
        Its format.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ArgumentError
        If an entity is unknown.

    Examples
    --------
    >>> bids_name({"desc": "left hand", "sub": "01", "task": "MOTOR", "ses": "", "run": "LR"})
    'sub-01_task-MOTOR_dir-LR_desc-lefthand_saliency.nii.gz'
    """
    for entity in entities:
        check_one_of("entity", entity, ENTITIES)
    plain = {entity: _plain(value) for entity, value in entities.items()}
    run = plain.get("run", "")
    if run and not run.isdigit():
        plain |= {"run": "", "dir" if run in _DIRECTIONS else "acq": run}
    parts = [f"{entity}-{plain[entity]}" for entity in ENTITIES if plain.get(entity)]
    return "_".join([*parts, suffix]) + ending


def with_hemisphere(name: str, side: str) -> str:
    """Put the hemisphere into a file name, where BIDS has it.

    Parameters
    ----------
    name : str
        The name of a file.
    side : {"L", "R"}
        The hemisphere.

    Returns
    -------
    str
        The name with ``hemi-L`` or ``hemi-R``.

    Examples
    --------
    >>> with_hemisphere("task-MOTOR_seg-power264_desc-lh_saliency.func.gii", "L")
    'task-MOTOR_hemi-L_seg-power264_desc-lh_saliency.func.gii'
    """
    later = ENTITIES[ENTITIES.index("hemi") + 1 :]
    *parts, last = name.split("_")
    place = next((i for i, part in enumerate(parts) if part.split("-")[0] in later), len(parts))
    return "_".join([*parts[:place], f"hemi-{side}", *parts[place:], last])


def _plain(value: object) -> str:
    """Leave out the characters that BIDS does not allow."""
    return re.sub(r"[^0-9A-Za-z]", "", str(value))
