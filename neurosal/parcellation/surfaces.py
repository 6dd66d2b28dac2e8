"""The two hemispheres: how files of each are given, and which is which."""

from pathlib import Path

import nibabel as nib

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.beside import hemisphere_of

_SIDES = ("left", "right")


def as_pair(files: object, what: str) -> dict[str, object]:
    """Bring surface files to a dict of hemispheres.

    Parameters
    ----------
    files : tuple, list or dict
        ``(left, right)``, or ``{"left": ..., "right": ...}`` with one of them at least.
    what : str
        What the files are, for messages.

    Returns
    -------
    dict
        ``"left"`` and ``"right"``, in this order.

    Raises
    ------
    ArgumentError
        If it is neither, for instance a file of one hemisphere alone.

    Examples
    --------
    >>> as_pair(("lh.annot", "rh.annot"), "The atlas")
    {'left': 'lh.annot', 'right': 'rh.annot'}
    >>> as_pair("lh.annot", "The atlas")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: The atlas must be given as {'left': ..., 'right': ...} ...
    """
    if isinstance(files, tuple | list) and len(files) == 2:
        files = dict(zip(_SIDES, files, strict=True))
    if isinstance(files, dict) and set(files) <= set(_SIDES):
        pair = {side: files[side] for side in _SIDES if files.get(side) is not None}
        if pair:
            return pair
    got = repr(files) if isinstance(files, str | dict) else str(files)
    raise ArgumentError(
        f"{what} must be given as {{'left': ..., 'right': ...}} if it is on surfaces; one "
        f"hemisphere alone as {{'left': ...}}. Got {got[:200]}."
    )


def check_side(source: object, side: str, *, name: str | Path = "An image in memory") -> None:
    """Refuse a file of the other hemisphere, by its name and by what it says inside.

    Parameters
    ----------
    source : str, pathlib.Path or nibabel.GiftiImage
        A file or image of one hemisphere.
    side : str
        ``"left"`` or ``"right"``.
    name : str or pathlib.Path
        What to call an image in messages.

    Raises
    ------
    DataError
        If it is of the other one.

    Examples
    --------
    >>> check_side("rh.aparc.annot", "left")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: rh.aparc.annot was given as the left hemisphere, but is the
    right. ...
    """
    told = [hemisphere_of(source)] if isinstance(source, str | Path) else _told_inside(source)
    if told and told[0] and told[0] != side:
        name = source if isinstance(source, str | Path) else name
        raise DataError(
            f"{name} was given as the {side} hemisphere, but is the {told[0]}. Give the left "
            "hemisphere first, or a dict with 'left' and 'right'."
        )


def _told_inside(img: nib.GiftiImage) -> list[str]:
    """Read the hemisphere from the metadata of a GIFTI image."""
    metas = [getattr(one, "meta", None) or {} for one in (img, *getattr(img, "darrays", ()))]
    told = [str(meta.get("AnatomicalStructurePrimary", "")).lower() for meta in metas]
    return [side for text in told for side in _SIDES if text == f"cortex{side}"]
