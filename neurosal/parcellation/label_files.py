"""Label files of surfaces and grayordinates: CIFTI ``.dlabel.nii``, GIFTI and FreeSurfer pairs.

Background is what a file calls so: key 0, vertices without a label, and the names ``???``,
``unknown``, ``Medial_wall`` and ``Background...``, also after the ``L_``, ``R_``, ``lh.`` or
``rh.`` that the HCP and others put before them. In a pair of files each hemisphere has a table of
its own. Where their keys mean different regions (always so in FreeSurfer's ``.annot``), 1000 is
added to those of the left and 2000 to those of the right hemisphere, as FreeSurfer's ``aparc+aseg``
does; where their names are the same, ``lh-`` and ``rh-`` come before them.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.cifti2 import BrainModelAxis, LabelAxis

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.beside import describe
from neurosal.parcellation.files import READ_ERRORS, open_any, read_values, shown
from neurosal.parcellation.grayordinates import CORTEX, GrayordinateAtlas
from neurosal.parcellation.surfaces import as_pair, check_side
from neurosal.parcellation.tables import read_table

_BACKGROUND = re.compile(
    r"^(?:[LR]_|[lr]h[._-])?"
    r"(\?\?\?|unknown|medial[ _]?wall|background.*|freesurfer_defined_medial_wall)$",
    re.IGNORECASE,
)
_FSAVERAGE = (642, 2562, 10242, 40962, 163842)


@dataclass(frozen=True, eq=False)
class _Side:
    """The labels of one hemisphere: a key for each vertex, and (name, colour) for each key."""

    keys: np.ndarray
    table: dict[int, tuple[str, str]]
    by_index: bool


def is_on_surface(source: object) -> bool:
    """Tell whether an atlas is given as surface files, by their kind.

    Parameters
    ----------
    source : anything
        What :meth:`~neurosal.parcellation.atlas.Atlas.from_files` takes.

    Returns
    -------
    bool
        True for a pair, a dict, and a path that ends in ``.gii`` or ``.annot``.

    Examples
    --------
    >>> is_on_surface(("lh.annot", "rh.annot")), is_on_surface("atlas.nii.gz")
    (True, False)
    """
    if isinstance(source, str | Path):
        return str(source).endswith((".gii", ".gii.gz", ".annot"))
    return isinstance(source, tuple | list | dict | nib.GiftiImage)


def read_dlabel(
    img: nib.Cifti2Image,
    *,
    table: str | Path | pd.DataFrame | None = None,
    space: str | None = None,
    name: str | None = None,
    label_map: int | str | None = None,
) -> GrayordinateAtlas:
    """Read an atlas of grayordinates with the table that is in its label axis.

    Parameters
    ----------
    img : nibabel.Cifti2Image
        A ``.dlabel.nii``.
    table : str, pathlib.Path, pandas.DataFrame or None
        Another region table; None takes the file's own.
    space, name : str or None
        None reads them from the file.
    label_map : int, str or None
        Position or name of the map in a file that has several.

    Returns
    -------
    GrayordinateAtlas
        With the colours of the regions.

    Raises
    ------
    DataError
        If the file is of another kind, or damaged, or has several maps and none is chosen.

    Examples
    --------
    >>> axis = BrainModelAxis.from_surface([0, 2, 3], 4, "CORTEX_LEFT")
    >>> labels = LabelAxis(["areas"], {0: ("???", (0, 0, 0, 0)), 7: ("L_V1", (1, 0, 0, 1))})
    >>> img = nib.Cifti2Image(np.array([[7, 7, 0]], "float32"), (labels, axis))
    >>> read_dlabel(img).regions.iloc[0].tolist()[1:]
    ['L_V1', 'unassigned', 'L', '#ff0000']
    """
    path = img.get_filename()
    shown_name = str(path or "the CIFTI image in memory")
    axes = cifti_axes(img, shown_name)
    if (
        len(axes) != 2
        or not isinstance(axes[0], LabelAxis)
        or not isinstance(axes[1], BrainModelAxis)
    ):
        kinds = ", ".join(type(axis).__name__ for axis in axes)
        raise DataError(
            f"{shown_name} is no atlas of grayordinates: its axes are {kinds}. Give a .dlabel.nii "
            "(LabelAxis, BrainModelAxis)."
        )
    row = _choose_map(list(map(str, axes[0].name)), label_map, shown_name)
    keys = np.asarray(read_values(img, shown_name)[row])
    own = {key: (text, _hex(rgba)) for key, (text, rgba) in axes[0].label[row].items()}
    _warn_named_zero(keys, own, shown_name)
    labels = np.where(_is_background(keys, own) | (keys == 0), 0, keys)
    return GrayordinateAtlas(
        labels,
        axes[1],
        _table(table, [(key, *words) for key, words in own.items() if key != 0], labels),
        **describe(Path(path) if path else None, name=name, space=space),
    )


def read_surface_labels(
    files: object,
    *,
    table: str | Path | pd.DataFrame | None = None,
    space: str | None = None,
    name: str | None = None,
    label_map: int | str | None = None,
) -> GrayordinateAtlas:
    """Read an atlas of the two cortical surfaces from a file of each.

    Parameters
    ----------
    files : tuple or dict
        ``(left, right)`` or ``{"left": ..., "right": ...}``, of ``.label.gii`` or ``.annot``
        files; a dict may hold one hemisphere only.
    table : str, pathlib.Path, pandas.DataFrame or None
        Another region table, by the label ids of the atlas; None takes the files' own.
    space, name : str or None
        None reads them from the names of the files.
    label_map : int, str or None
        Position or name of the map in GIFTI files that have several.

    Returns
    -------
    GrayordinateAtlas
        Every vertex of the surfaces has a label; 0 is background. Rows of the files' tables
        without a vertex are left out.

    Raises
    ------
    DataError
        If a file is missing, damaged, of another kind, or of the other hemisphere.

    Examples
    --------
    >>> read_surface_labels(("lh.annot", "rh.annot"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: There is no file lh.annot.
    """
    pair = as_pair(files, "The atlas")
    sides = {side: _read_side(one, side, label_map) for side, one in pair.items()}
    labels, rows = _join(sides)
    axes = [
        BrainModelAxis.from_surface(np.arange(len(one.keys)), len(one.keys), CORTEX[side])
        for side, one in sides.items()
    ]
    paths = [Path(one) for one in pair.values() if isinstance(one, str | Path)]
    notes = describe(paths[0] if paths else None, name=name, space=space)
    if len(paths) == 2 and notes["source"] == str(paths[0]):
        notes["source"] = "; ".join(map(str, paths))
    if not notes["space"] and all(one.by_index for one in sides.values()):
        known = all(len(one.keys) in _FSAVERAGE for one in sides.values())
        notes["space"] = "fsaverage" if known else ""
    axis = axes[0] if len(axes) == 1 else axes[0] + axes[1]
    return GrayordinateAtlas(labels, axis, _table(table, rows, labels), **notes)


def cifti_axes(img: nib.Cifti2Image, name: str) -> list:
    """Read the axes of a CIFTI image, or say that its header is damaged.

    Parameters
    ----------
    img : nibabel.Cifti2Image
        An open image.
    name : str
        The file, for messages.

    Returns
    -------
    list of nibabel.cifti2.Axis
        One for each dimension.

    Raises
    ------
    DataError
        If the header is incomplete, or does not have the shape of the data.

    Examples
    --------
    >>> axis = BrainModelAxis.from_surface([0, 2], 4, "CORTEX_LEFT")
    >>> axes = (nib.cifti2.ScalarAxis(["a"]), axis)
    >>> [len(one) for one in cifti_axes(nib.Cifti2Image(np.zeros((1, 2)), axes), "x")]
    [1, 2]
    """
    try:
        axes = [img.header.get_axis(number) for number in range(img.ndim)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"The CIFTI header of {name} is damaged: {error}. Copy it again."
        ) from error
    if tuple(map(len, axes)) != tuple(img.shape):
        raise DataError(
            f"{name} holds values of shape {img.shape}, its header tells "
            f"{tuple(map(len, axes))}. Write it again with the right header."
        )
    return axes


def _read_side(source: object, side: str, label_map: int | str | None) -> _Side:
    """Read one hemisphere from either kind of file."""
    check_side(source, side)
    if isinstance(source, str | Path) and str(source).endswith(".annot"):
        return _read_annot(source)
    img = open_any(source) if isinstance(source, str | Path) else source
    name = str(source) if isinstance(source, str | Path) else f"the {side} image in memory"
    check_side(img, side, name=name)
    is_gifti = isinstance(img, nib.GiftiImage)
    arrays = img.get_arrays_from_intent("NIFTI_INTENT_LABEL") if is_gifti else []
    if not arrays:
        raise DataError(f"{name} holds no labels. Give a .label.gii or .annot file.")
    names = [one.meta.get("Name", f"map {place}") for place, one in enumerate(arrays)]
    keys = np.asarray(arrays[_choose_map(names, label_map, name)].data).ravel()
    table = {one.key: (one.label or "", _hex(one.rgba)) for one in img.labeltable.labels}
    return _Side(keys.astype(np.int64), table, by_index=False)


def _read_annot(path: str | Path) -> _Side:
    """Read a FreeSurfer annotation; its keys are positions in its colour table, or -1."""
    if not Path(path).is_file():
        raise DataError(f"There is no file {path}.")
    try:
        keys, colours, names = nib.freesurfer.read_annot(path)
    except (*READ_ERRORS, IndexError, MemoryError, TypeError) as error:
        raise DataError(
            f"Cannot read {path} as a FreeSurfer annotation: {error}. Copy or download it again."
        ) from error
    table = {
        key: (name.decode("utf-8", "replace"), _hex(rgba[:4] / 255))
        for key, (name, rgba) in enumerate(zip(names, colours, strict=True))
    }
    return _Side(keys.astype(np.int64), table, by_index=True)


def _join(sides: dict[str, _Side]) -> tuple[np.ndarray, list[tuple[int, str, str]]]:
    """Bring the keys of two hemispheres to label ids; give them with (id, name, colour) rows."""
    used = {side: _used(one) for side, one in sides.items()}
    both = [set(one) for one in used.values()]
    apart = any(one.by_index for one in sides.values()) or any(0 in one for one in both)
    apart = apart or (len(both) == 2 and bool(both[0] & both[1]))
    names = [{sides[side].table.get(key, ("", ""))[0] for key in used[side]} for side in sides]
    same = len(names) == 2 and bool(names[0] & names[1])
    step = 10 ** max(3, len(str(max(max(one, default=0) for one in used.values()))))
    labels, rows = [], []
    for side, one in sides.items():
        shift = step * (1 if side == "left" else 2) * apart
        labels.append(np.where(_is_background(one.keys, one.table), 0, one.keys + shift))
        before = f"{side[0]}h-" if same else ""
        rows += [
            (key + shift, before + one.table[key][0], one.table[key][1])
            for key in used[side]
            if key in one.table
        ]
    return np.concatenate(labels), rows


def _used(side: _Side) -> list[int]:
    """List the keys of the regions that have a vertex."""
    keys = np.unique(side.keys)
    return keys[~_is_background(keys, side.table)].tolist()


def _is_background(keys: np.ndarray, table: dict[int, tuple[str, str]]) -> np.ndarray:
    """Mark the keys that stand for no region."""
    named = [key for key, (name, _) in table.items() if _BACKGROUND.match(name.strip())]
    unnamed = (keys <= 0) & ~np.isin(keys, [key for key in table if table[key][0].strip()])
    return np.isin(keys, named) | unnamed


def _choose_map(names: list[str], wanted: int | str | None, source: str) -> int:
    """Find the map asked for; the only one if there is one."""
    if wanted is None and len(names) == 1:
        return 0
    if wanted in names:
        return names.index(wanted)
    if isinstance(wanted, int) and 0 <= wanted < len(names):
        return wanted
    if wanted is None:
        raise DataError(
            f"{source} has {len(names)} label maps: {shown(names)}. Choose one: "
            f"label_map={names[0]!r}, or its position from 0."
        )
    raise ArgumentError(
        f"label_map must be one of {shown(map(repr, names))}, or a position below {len(names)}. "
        f"Got {wanted!r}."
    )


def _table(
    given: str | Path | pd.DataFrame | None, rows: list[tuple[int, str, str]], labels: np.ndarray
) -> pd.DataFrame:
    """Take the user's table, or the file's own without background that no label refers to."""
    if given is not None:
        return read_table(given) if isinstance(given, str | Path) else given
    present = set(np.unique(labels).tolist())
    kept = [row for row in rows if row[0] in present or not _BACKGROUND.match(row[1].strip())]
    return pd.DataFrame(kept, columns=["label_id", "name", "colour"])


def _warn_named_zero(keys: np.ndarray, table: dict[int, tuple[str, str]], source: str) -> None:
    """Say so if key 0, which is background in CIFTI, has the name of a region."""
    name = table.get(0, ("", ""))[0].strip()
    if name and not _BACKGROUND.match(name) and (keys == 0).any():
        warnings.warn(
            f"The label 0 of {source} is called {name!r}; 0 is background, so it is no region.",
            stacklevel=4,
        )


def _hex(rgba: object) -> str:
    """Write a colour (four numbers from 0 to 1) as #rrggbb."""
    parts = [0.0 if part is None else float(part) for part in tuple(rgba)[:3]]
    return "#" + "".join(f"{round(255 * min(max(part, 0.0), 1.0)):02x}" for part in parts)
