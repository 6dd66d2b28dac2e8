"""MNIST and FashionMNIST: from a folder of idx files, else fetched once from OpenML.

The folder is the one that is given, or that the environment variable ``NEUROSAL_DATA`` names. It
holds the four files of a set in a folder of the set's name (``mnist``, ``fashion_mnist``,
``FashionMNIST/raw``, ...), or is such a folder.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neurosal.errors import DataError, check_one_of
from neurosal.experiments.idx_files import read_idx

FOLDER_VARIABLE = "NEUROSAL_DATA"
SIDE = 28
N_CLASSES = 10
PARTS = {"train": 60000, "t10k": 10000}


@dataclass(frozen=True)
class ImageSet:
    """What is known of a published set.

    Parameters
    ----------
    title : str
        Its name, for figures.
    openml : int
        Its number on OpenML.
    digest : str
        SHA-256 of all 70000 images, training images first, and their labels behind them.
    classes : tuple of str
        Names of the classes.

    Examples
    --------
    >>> IMAGE_SETS["mnist"].classes[3]
    '3'
    """

    title: str
    openml: int
    digest: str
    classes: tuple[str, ...]


class Images(NamedTuple):
    """Images ``x`` (image, row, column) uint8 and their classes ``y`` (image,) int64."""

    x: np.ndarray
    y: np.ndarray


#: The sets by name.
IMAGE_SETS: dict[str, ImageSet] = {
    "mnist": ImageSet(
        "MNIST",
        554,
        "c2069063c1105f2bf96266aef1ff68c6e13bdda7a54e37bf19c16f1db24efc83",
        tuple("0123456789"),
    ),
    "fashion_mnist": ImageSet(
        "FashionMNIST",
        40996,
        "2cbc59191665e1ba3f2494648f17edac5974f748ab89fb2ae05597d658161f54",
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
}


def load_images(name: str, *, data: str | Path | None = None) -> tuple[Images, Images]:
    """Load MNIST or FashionMNIST.

    Parameters
    ----------
    name : {'mnist', 'fashion_mnist'}
        Which set.
    data : path-like, optional
        Folder of idx files; by default the one that ``NEUROSAL_DATA`` names. Where neither is
        given, scikit-learn fetches the set from OpenML, once, and it is checked by its digest.

    Returns
    -------
    tuple of Images and Images
        60000 training and 10000 test images of 28 x 28 pixels.

    Raises
    ------
    DataError
        If the folder does not hold the set, a file is damaged, or the set cannot be fetched.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner (1998), https://doi.org/10.1109/5.726791; Xiao, Rasul, Vollgraf
    (2017), https://doi.org/10.48550/arXiv.1708.07747.

    Examples
    --------
    >>> load_images("mnist", data="nowhere")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is no folder. ...
    """
    known = IMAGE_SETS[check_one_of("name", name, IMAGE_SETS)]
    folder = data or os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return _fetch(known)
    found = find_folder(name, folder)
    return _read_part(found, "train"), _read_part(found, "t10k")


def find_folder(name: str, folder: str | Path) -> Path:
    """Find the folder with a set's files.

    Parameters
    ----------
    name : {'mnist', 'fashion_mnist'}
        Which set.
    folder : path-like
        The set's own folder, or one above.

    Returns
    -------
    pathlib.Path
        Where the files are.

    Raises
    ------
    DataError
        If no folder of the set's name holds idx files.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     raw = Path(folder) / "FashionMNIST" / "raw"
    ...     raw.mkdir(parents=True)
    ...     _ = (raw / "train-images-idx3-ubyte.gz").write_bytes(b"")
    ...     find_folder("fashion_mnist", folder).parent.name
    'FashionMNIST'
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is no folder. {_remedy()}")
    places = [root.resolve(), *sorted(path for path in root.iterdir() if path.is_dir())]
    for place in places:
        own = place.parent if place.name == "raw" else place
        if _plain(own.name) != _plain(name):
            continue
        for inner in (place, place / "raw"):
            if _file(inner, "train", "images"):
                return inner
    raise DataError(
        f"{root} holds no folder of the name {name} with the file train-images-idx3-ubyte(.gz). "
        f"{_remedy()}"
    )


def _remedy() -> str:
    """Say what a folder of images must look like, and the other way."""
    return (
        "Give a folder that holds mnist and fashion_mnist, each with its four idx files, by --data "
        f"or the environment variable {FOLDER_VARIABLE}; or neither, and the sets are fetched from "
        "OpenML."
    )


def _plain(name: str) -> str:
    """Drop what folder names are spelled differently by."""
    return re.sub(r"[^a-z]", "", name.lower())


def _file(folder: Path, part: str, kind: str) -> Path | None:
    """Find one of a set's files by the names in use."""
    dimensions = 3 if kind == "images" else 1
    for separator in "-.":
        for ending in (".gz", ""):
            path = folder / f"{part}-{kind}{separator}idx{dimensions}-ubyte{ending}"
            if path.is_file():
                return path
    return None


def _read_part(folder: Path, part: str) -> Images:
    """Read the training or the test images and check that files fit each other."""
    paths = {kind: _file(folder, part, kind) for kind in ("images", "labels")}
    for kind, path in paths.items():
        if path is None:
            dimensions = 3 if kind == "images" else 1
            raise DataError(
                f"{folder} lacks {part}-{kind}-idx{dimensions}-ubyte(.gz). A set has four files."
            )
    x, y = read_idx(paths["images"]), read_idx(paths["labels"])
    if x.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{paths['images']} must hold images of 28 x 28 pixels. Got {x.shape}.")
    if y.shape != x.shape[:1]:
        raise DataError(
            f"{paths['labels']} must hold one label for each of {len(x)} images. Got {y.shape}."
        )
    if y.size and y.max() >= N_CLASSES:
        raise DataError(f"{paths['labels']} must hold labels from 0 to 9. Got {y.max()}.")
    return Images(x, y.astype(np.int64))


def _fetch(known: ImageSet) -> tuple[Images, Images]:
    """Fetch a set through scikit-learn, which keeps it, and check every pixel."""
    from sklearn.datasets import fetch_openml

    try:
        found = fetch_openml(data_id=known.openml, as_frame=False, parser="auto")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{known.title} is in no folder and cannot be fetched from OpenML: {error}. {_remedy()}"
        ) from error
    x = found.data.astype(np.uint8).reshape(-1, SIDE, SIDE)
    y = found.target.astype(np.uint8)
    digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    if digest != known.digest:
        raise DataError(
            f"{known.title} as fetched from OpenML is not the published set: its digest is "
            f"{digest}, not {known.digest}. {_remedy()}"
        )
    ends = np.cumsum(list(PARTS.values()))
    parts = zip(np.split(x, ends)[:2], np.split(y, ends)[:2], strict=True)
    train, test = (Images(images, labels.astype(np.int64)) for images, labels in parts)
    return train, test
