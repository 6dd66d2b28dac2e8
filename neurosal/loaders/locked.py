"""Folders that may not be read: a search passes over them in silence, so they are told here."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from neurosal.loaders.runs import shorten


def locked_folders(root: Path, patterns: Sequence[str]) -> list[Path]:
    """Find the folders that may not be read or entered, which a search passes over in silence.

    Parameters
    ----------
    root : pathlib.Path
        Where to look.
    patterns : sequence of str
        Of the folders within ``root``, which is looked at too.

    Returns
    -------
    list of pathlib.Path
        Sorted; what lies below a locked folder is not known.

    Examples
    --------
    >>> locked_folders(Path("nowhere"), ["sub-*"])
    []
    """
    real = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    below = {path for pattern in patterns for path in root.glob(pattern)}
    folders = sorted(path for path in {root, *below} if os.path.isdir(path))
    return [path for path in folders if not os.access(path, os.R_OK | os.X_OK, **real)]


def tell_locked(folders: Sequence[Path]) -> str:
    """Say that folders are passed over.

    Parameters
    ----------
    folders : sequence of pathlib.Path
        Those that may not be read.

    Returns
    -------
    str
        What to add to a message; empty if there are none.

    Examples
    --------
    >>> tell_locked([Path("study/sub-02")])
    ' Folders that may not be read are left out: study/sub-02. Get the right to read them.'
    """
    if not folders:
        return ""
    return (
        f" Folders that may not be read are left out: {shorten(folders)}. "
        "Get the right to read them."
    )


def warn_locked(locked: Sequence[tuple[str, Path]], subjects: Sequence[str] | str | None) -> None:
    """Warn once of subjects that are passed over.

    Parameters
    ----------
    locked : sequence of (str, pathlib.Path)
        A subject and its folder that may not be read.
    subjects : sequence of str, str or None
        Those asked for; None are all.

    Examples
    --------
    >>> warn_locked([("02", Path("study/sub-02"))], "sub-01")
    """
    several = [subjects] if isinstance(subjects, str | int) else subjects
    wanted = None if several is None else {str(one).removeprefix("sub-") for one in several}
    folders = [path for subject, path in locked if wanted is None or subject in wanted]
    if folders:
        warnings.warn(tell_locked(folders).strip(), stacklevel=3)
