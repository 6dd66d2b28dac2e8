"""The box data: where the boxes are, what is in them, and how they are standardised."""

import numpy as np
import pytest

from neurosal.errors import ArgumentError
from neurosal.experiments.boxes import BOXES, DATASETS, MOVING_BOX, make_boxes

CELLS = {
    "earlier": 30 * 80,
    "middle": 60 * 60,
    "latter": 30 * 80,
    "mixed": 60 * 60,
    "three-earlier": 40 * 90,
    "three-middle": 40 * 90,
} | dict.fromkeys(MOVING_BOX, 60 * 60)


@pytest.mark.parametrize("name", DATASETS)
def test_boxes_have_the_published_size(name):
    assert set(DATASETS[name].masks().sum(axis=(1, 2))) == {CELLS[name]}


def test_boxes_lie_where_they_should():
    earlier, latter = (BOXES[name].masks()[0] for name in ("earlier", "latter"))
    assert all([earlier[0, 10], earlier[29, 89], latter[70, 10], latter[99, 89]])
    assert not any([earlier[30, 50], earlier[5, 90], latter[69, 50]])
    three = BOXES["three-middle"].masks()[0]
    assert three[25:65, [0, 29, 35, 64, 70, 99]].all()
    assert not three[:, [30, 34, 65, 69]].any()
    assert len(np.unique(BOXES["mixed"].masks(), axis=0)) == 7


def test_standardised_at_each_cell_on_the_training_set():
    train, test = make_boxes("middle", seed=1, n_train=400, n_test=100)
    np.testing.assert_allclose(train.x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.x.std(axis=0), 1, atol=1e-4)
    assert 0.05 < np.abs(test.x.mean(axis=0)).mean() < 0.15
    assert (train.y.sum(), test.y.sum()) == (200, 50)


def test_classes_differ_in_the_box_and_nowhere_else():
    train, _ = make_boxes("mixed", seed=2, n_train=1000, n_test=2)
    signed = train.x * (2 * train.y - 1)[:, None, None]
    assert abs(signed[~train.truth].mean()) < 0.01
    # A mean of 1 over a standard deviation that the two classes' distance widens.
    share = train.truth.mean(axis=0)
    expected = (1 / np.sqrt(1 + share))[None].repeat(1000, axis=0)[train.truth].mean()
    assert signed[train.truth].mean() == pytest.approx(expected, abs=0.01)
    counts = [(train.truth == mask).all(axis=(1, 2)).sum() for mask in BOXES["mixed"].masks()]
    assert sum(counts) == 1000
    assert min(counts) > 100


def test_a_seed_is_a_data_set_and_the_test_set_is_new():
    first, again, other = (make_boxes("latter", seed=s, n_train=8, n_test=8) for s in (3, 3, 4))
    np.testing.assert_array_equal(first[0].x, again[0].x)
    np.testing.assert_array_equal(first[1].y, again[1].y)
    assert not np.allclose(first[0].x, other[0].x)
    assert not np.allclose(first[0].x, first[1].x)


def test_unknown_sets_and_no_samples_are_refused():
    with pytest.raises(ArgumentError, match=r"'earlier', .*Got 'early'"):
        make_boxes("early")
    with pytest.raises(ArgumentError, match="at least 2"):
        make_boxes("earlier", n_train=1)
