import hashlib
import os
import types
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
from image_cases import draw_images, idx_bytes, write_set

from neurosal.errors import ArgumentError, DataError
from neurosal.experiments import image_sets
from neurosal.experiments.image_sets import IMAGE_SETS, ImageSet, load_images

REAL = pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is unset: no real images"
)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mnist", "mnist"),
        ("mnist", "MNIST/raw"),
        ("fashion_mnist", "fashion_mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("fashion_mnist", "FashionMNIST/raw"),
    ],
)
def test_the_usual_layouts_are_found(tmp_path, name, place, ending):
    write_set(tmp_path / place, ending=ending)
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path / place, (tmp_path / place).parent):
        train, test = load_images(name, data=folder)
        x, y = draw_images(140, [0, 140])
        np.testing.assert_array_equal(train.x, x)
        np.testing.assert_array_equal(train.y, y)
        assert test.x.shape == (40, 28, 28)
        assert test.y.dtype == np.int64


def test_older_file_names_and_the_variable(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "MNIST", ending="")
    for path in folder.iterdir():
        path.rename(folder / path.name.replace("s-idx", "s.idx"))
    monkeypatch.setenv("NEUROSAL_DATA", str(tmp_path))
    assert len(load_images("mnist")[1].y) == 40
    with pytest.raises(DataError, match="nowhere is no folder"):
        load_images("mnist", data="nowhere")


def test_one_set_is_not_taken_for_the_other(tmp_path):
    write_set(tmp_path / "mnist")
    for folder in (tmp_path, tmp_path / "mnist"):
        with pytest.raises(DataError, match=r"no folder of the name fashion_mnist.*--data.*OpenML"):
            load_images("fashion_mnist", data=folder)
    with pytest.raises(ArgumentError, match=r"'mnist', 'fashion_mnist'\. Got 'cifar'"):
        load_images("cifar", data=tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("train-labels-idx1-ubyte.gz", None, "lacks train-labels-idx1-ubyte"),
        ("train-labels-idx1-ubyte.gz", np.zeros(139), "label for each of 140 images. Got .139"),
        ("t10k-labels-idx1-ubyte.gz", np.full(40, 10), "t10k-labels.*labels from 0 to 9. Got 10"),
        ("t10k-images-idx3-ubyte.gz", np.zeros((40, 28, 27)), "t10k-images.*28 x 28.*27"),
        ("t10k-images-idx3-ubyte.gz", np.zeros(40), "t10k-images.*28 x 28 pixels. Got .40"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, name, values, message):
    path = write_set(tmp_path / "mnist") / name
    path.unlink() if values is None else path.write_bytes(idx_bytes(values))
    with pytest.raises(DataError, match=message):
        load_images("mnist", data=tmp_path)


@pytest.fixture
def openml(monkeypatch):
    """A set of ten images that OpenML would give, and how it was asked."""
    monkeypatch.delenv("NEUROSAL_DATA", raising=False)
    x, y = draw_images(10, 0)
    digest = hashlib.sha256(x.tobytes() + y.astype(np.uint8).tobytes()).hexdigest()
    monkeypatch.setitem(IMAGE_SETS, "mnist", ImageSet("MNIST", 554, digest, tuple("0123456789")))
    monkeypatch.setattr(image_sets, "PARTS", {"train": 7, "t10k": 3})
    bunch = types.SimpleNamespace(data=x.reshape(10, -1).astype(float), target=y.astype(str))
    asked = []

    def fetch(**arguments):
        asked.append(arguments)
        return bunch

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    return types.SimpleNamespace(x=x, y=y, bunch=bunch, asked=asked)


def test_without_a_folder_the_set_is_fetched_and_checked(openml):
    train, test = load_images("mnist")
    assert openml.asked[0]["data_id"] == 554
    np.testing.assert_array_equal(train.x, openml.x[:7])
    np.testing.assert_array_equal(test.y, openml.y[7:])
    openml.bunch.data[3, 400] += 1
    with pytest.raises(DataError, match="not the published set: its digest is"):
        load_images("mnist")


def test_without_folder_and_network_both_ways_are_said(openml, monkeypatch):
    def fail(**arguments):
        raise URLError("Name or service not known")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fail)
    message = "cannot be fetched from OpenML.*not known.*four idx files, by --data.*NEUROSAL_DATA"
    with pytest.raises(DataError, match=message):
        load_images("mnist")


@REAL
@pytest.mark.parametrize("name", IMAGE_SETS)
def test_the_real_files_are_what_the_digest_says(name):
    train, test = load_images(name, data=Path(os.environ["NEUROSAL_TEST_DATA"]))
    assert (len(train.y), len(test.y)) == (60000, 10000)
    y = np.concatenate([train.y, test.y]).astype(np.uint8)
    content = train.x.tobytes() + test.x.tobytes() + y.tobytes()
    assert hashlib.sha256(content).hexdigest() == IMAGE_SETS[name].digest
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9] if name == "mnist" else [9, 0, 0, 3, 0]
