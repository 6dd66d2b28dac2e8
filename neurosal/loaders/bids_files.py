"""The functional images of a BIDS data set: volumes, grayordinates, pairs of surfaces."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nilearn.interfaces.bids import get_bids_files, parse_bids_filename

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.locked import locked_folders
from neurosal.loaders.runs import shorten
from neurosal.loaders.surfaces import SIDES

NATIVE = "native"
KINDS = {"volume": ("nii", "nii.gz"), "cifti": ("dtseries.nii",), "surface": ("func.gii",)}
_RUN_ENTITIES = ("acq", "ce", "rec", "dir", "run")
_INDICES = ("run", "echo")  # numbers: run-1 is run-01
_PATTERNS = ("nii*", "dtseries.nii", "func.gii")
_FOLDERS = ("sub-*", "sub-*/ses-*", "sub-*/func", "sub-*/ses-*/func")


@dataclass(frozen=True)
class BidsImage:
    """A functional image, as its file name tells it.

    Attributes
    ----------
    img : pathlib.Path or dict
        The file; ``{"left": path, "right": path}`` for surfaces.
    entities : dict of str to str
        ``sub``, ``task``, ``space``, ... as written; ``hemi`` is that of the first file.
    kind : {"volume", "cifti", "surface"}
        What it is.

    Examples
    --------
    >>> name = "sub-01_task-rest_dir-AP_run-02_space-T1w_res-2_bold.nii.gz"
    >>> image = BidsImage(Path(name), parse_bids_filename(name)["entities"], "volume")
    >>> image.identity, image.run, image.space, image.resolution
    (('01', '', 'rest', 'AP-2'), 'AP-02', 'T1w', '2')
    """

    img: Path | dict
    entities: dict
    kind: str

    @property
    def path(self) -> Path:
        """The file, or the first of a pair."""
        return next(iter(self.img.values())) if isinstance(self.img, dict) else self.img

    @property
    def space(self) -> str:
        """The space, or an empty string."""
        return self.entities.get("space") or ""

    @property
    def resolution(self) -> str:
        """The resolution of a volume, the density of surfaces, or an empty string."""
        return self.entities.get("res") or self.entities.get("den") or ""

    @property
    def run(self) -> str:
        """All that tells the runs of a task apart, as written."""
        return _run_name(self.entities)

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Subject, session, task and run; numbers without leading zeros."""
        plain = plain_entities(self.entities)
        return plain["sub"], plain.get("ses") or "", plain.get("task") or "", _run_name(plain)


def plain_entities(entities: dict) -> dict:
    """Write the numbers among entities without leading zeros, so that run-01 is run-1.

    Parameters
    ----------
    entities : dict of str to str
        As a file name has them.

    Returns
    -------
    dict of str to str
        The same but for ``run`` and ``echo``.

    Examples
    --------
    >>> plain_entities({"sub": "01", "run": "01"})
    {'sub': '01', 'run': '1'}
    """
    numbers = {
        key: str(int(entities[key])) for key in _INDICES if str(entities.get(key) or "").isdecimal()
    }
    return entities | numbers


def list_images(folder: str | Path, *, desc: str | None = None) -> list[BidsImage]:
    """List the functional images below a folder.

    Parameters
    ----------
    folder : str or pathlib.Path
        A raw data set, or one of its derivatives.
    desc : str, optional
        Keep volumes with this ``desc`` only, and surfaces with this or none; None keeps all.

    Returns
    -------
    list of BidsImage
        By file name. Two hemispheres are one image; where one is missing, the other is alone.

    Examples
    --------
    >>> list_images("nowhere")
    []
    """
    images, halves = [], {}
    for parsed in _parsed_files(folder, desc):
        entities, path = parsed["entities"], Path(parsed["file_path"])
        kind = next((name for name, ends in KINDS.items() if parsed["extension"] in ends), None)
        if kind == "surface":
            rest = tuple(sorted((k, v) for k, v in entities.items() if k != "hemi"))
            halves.setdefault(rest, {})[SIDES.get(entities.get("hemi"))] = (path, entities)
        elif kind:
            images.append(BidsImage(path, entities, kind))
    for pair in halves.values():
        img = {side: pair[side][0] for side in SIDES.values() if side in pair}
        if img:
            images.append(BidsImage(img, next(iter(pair.values()))[1], "surface"))
    return sorted(images, key=lambda image: image.path)


def locked_subjects(folders: Iterable[Path]) -> list[tuple[str, Path]]:
    """Find the subjects' folders that may not be read.

    Parameters
    ----------
    folders : iterable of pathlib.Path
        A data set, and its derivatives.

    Returns
    -------
    list of (str, pathlib.Path)
        The subject and the folder, each once.

    Examples
    --------
    >>> locked_subjects([Path("nowhere")])
    []
    """
    return [
        ("".join(path.relative_to(folder).parts[:1]).removeprefix("sub-"), path)
        for folder in dict.fromkeys(folders)
        for path in locked_folders(folder, _FOLDERS)
    ]


def _parsed_files(folder: str | Path, desc: str | None) -> list[dict]:
    """The functional images' file names, parsed; by file name."""
    found = []
    for pattern in _PATTERNS:
        paths = get_bids_files(
            glob.escape(str(folder)), file_tag="bold", file_type=pattern, modality_folder="func"
        )
        parsed = [parse_bids_filename(path) for path in paths]
        allowed = (desc,) if pattern == "nii*" else (desc, None)
        found += [p for p in parsed if desc is None or p["entities"].get("desc") in allowed]
    return sorted(found, key=lambda p: p["file_path"])


def _run_name(entities: dict) -> str:
    """Join what tells runs apart."""
    return "-".join(entities[key] for key in _RUN_ENTITIES if entities.get(key))


def choose_label(
    images: list[BidsImage], entity: str, labels: str | Sequence[str], folder: Path
) -> list[BidsImage]:
    """Keep the images with one of some labels, or list the labels that are there.

    Parameters
    ----------
    images : list of BidsImage
        What there is.
    entity : str
        ``"task"``, ``"ses"``, ``"run"``, ...
    labels : str or sequence of str
        With or without the entity before them (``"ses-a"`` or ``"a"``).
    folder : pathlib.Path
        For messages.

    Returns
    -------
    list of BidsImage
        Those with the labels.

    Raises
    ------
    DataError
        If a label is not there.
    ArgumentError
        If none is asked for.

    Examples
    --------
    >>> image = BidsImage(Path("x"), {"sub": "01", "run": "01"}, "volume")
    >>> choose_label([image], "run", ["1"], Path("study")) == [image]
    True
    """
    labels = [labels] if isinstance(labels, str | int) else list(labels)
    if not labels:
        raise ArgumentError(f"Name one {entity} or more, or None for all. Got none.")
    wanted = [str(label).removeprefix(f"{entity}-") for label in labels]
    plain = {label: plain_entities({entity: label})[entity] for label in wanted}
    have = [plain_entities(image.entities).get(entity) for image in images]
    missing = [label for label in wanted if plain[label] not in have]
    if missing:
        there = sorted({image.entities.get(entity) or "none" for image in images})
        raise DataError(
            f"{folder} has no images with {entity}-{missing[0]}. There: {shorten(there)}."
        )
    return [image for image, own in zip(images, have, strict=True) if own in set(plain.values())]


def choose_space(
    images: list[BidsImage], space: str | None, kind: str | None, raw: Path | None
) -> list[BidsImage]:
    """Keep the images of one space and kind.

    Parameters
    ----------
    images : list of BidsImage
        What there is.
    space : str or None
        The space; ``"native"`` for none in the file name; None if there is but one.
    kind : {"volume", "cifti", "surface"} or None
        The kind; None takes volumes where the space leaves a choice and is not given.
    raw : pathlib.Path or None
        The data set, if the images are raw.

    Returns
    -------
    list of BidsImage
        Those of the space.

    Raises
    ------
    DataError
        If there is none, or more than one space or kind to choose from.

    Examples
    --------
    >>> images = [BidsImage(Path(s), {"sub": "1", "space": s}, "volume") for s in ("MNI", "T1w")]
    >>> len(choose_space(images, "MNI", None, None))
    1
    """
    everywhere = _spaces(images)
    kept = [image for image in images if kind in (None, image.kind)]
    if kind is None and space is None and any(image.kind == "volume" for image in kept):
        kept = [image for image in kept if image.kind == "volume"]
    spaces = _spaces(kept)
    if space is None and len(spaces) > 1:
        raise DataError(
            f"The images are in several spaces: {', '.join(everywhere)}. Choose one with space."
        )
    kept = [image for image in kept if space is None or (image.space or NATIVE) == space]
    if not kept:
        hint = f" The images of {raw} are raw: name a folder with derivatives." if raw else ""
        what = "No images" if kind is None else f"No images of the kind {kind!r}"
        where = "" if space is None else f" in the space {space!r}"
        kinds = ", ".join(sorted({image.kind for image in images}))
        there = f"{'' if kind is None else f'{kinds}, in '}{', '.join(everywhere)}"
        raise DataError(f"{what} are{where or ' there'}. There: {there}.{hint}")
    kinds = sorted({image.kind for image in kept})
    if len(kinds) > 1:
        raise DataError(
            f"The images in the space {space!r} are of several kinds: {', '.join(kinds)}. Choose "
            "one with kind."
        )
    return kept


def _spaces(images: Iterable[BidsImage]) -> list[str]:
    """The spaces of images, by name."""
    return sorted({image.space or NATIVE for image in images})


def one_resolution(images: list[BidsImage]) -> tuple[list[BidsImage], dict[tuple, str]]:
    """Keep the first resolution of each run, and note that there are others.

    Parameters
    ----------
    images : list of BidsImage
        Images of one space.

    Returns
    -------
    images : list of BidsImage
        Those kept.
    notes : dict of tuple to str
        Identity of a run to what was chosen, where there was a choice.

    Raises
    ------
    DataError
        If two images of one run are left.

    Examples
    --------
    >>> images = [BidsImage(Path(r), {"sub": "1", "res": r}, "volume") for r in "12"]
    >>> one_resolution(images)[1]
    {('1', '', '', ''): "resolution '1' taken of ['1', '2']"}
    """
    labels: dict[tuple, set] = {}
    for image in images:
        labels.setdefault(image.identity, set()).add(image.resolution)
    kept = [image for image in images if image.resolution == min(labels[image.identity])]
    notes = {
        key: f"resolution {min(several) or 'unnamed'!r} taken of {sorted(several)}"
        for key, several in labels.items()
        if len(several) > 1
    }
    seen: dict[tuple, str] = {}
    for image in kept:
        other = seen.setdefault(image.identity, image.path.name)
        if other != image.path.name:
            raise DataError(
                f"{other} and {image.path.name} are images of one run. Keep one: combine "
                "echoes, leave out phase images, choose a description with desc, and do not "
                "store .nii beside .nii.gz."
            )
    return kept, notes
