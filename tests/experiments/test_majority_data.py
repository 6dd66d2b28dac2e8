"""The majority problem against its description, and its score against a slow one."""

import math
import os
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_cases import draw_images

from neurosal.errors import ArgumentError
from neurosal.experiments.image_sets import IMAGE_SETS, Images, load_images
from neurosal.experiments.majority_data import (
    as_steps,
    image_relevance,
    leave_fold_out,
    leave_sequences_out,
    majority_cosine,
    make_majority,
)

IMAGES = Images(*draw_images(600, 1))


def slow_steps(images, sources, columns):
    """The picture of three images, pixel by pixel, in steps of so many columns."""
    steps = []
    for start in range(0, 84, columns):
        step = []
        for row in range(28):
            for column in range(start, start + columns):
                value = images.x[sources[column // 28], row, column % 28]
                step.append(2.0 * value / 255.0 - 1.0)
        steps.append(step)
    return steps


@pytest.mark.parametrize(("columns", "steps"), [(7, 12), (4, 21), (28, 3)])
def test_sequences_are_three_images_read_from_left_to_right(columns, steps):
    found = make_majority(IMAGES, seed=2, columns=columns)
    assert found.x.shape == (600, steps, 28 * columns)
    assert found.x.dtype == np.float32
    for index in (0, 17, 599):
        expected = slow_steps(IMAGES, found.sources[index], columns)
        np.testing.assert_allclose(found.x[index], expected, atol=1e-6)


def test_every_image_has_a_twin_and_a_fake_in_random_order():
    found = make_majority(IMAGES, seed=2)
    np.testing.assert_array_equal(found.y, IMAGES.y)
    np.testing.assert_array_equal(IMAGES.y[found.sources] == found.y[:, None], found.majority)
    assert (found.majority.sum(axis=1) == 2).all()
    assert (found.sources == np.arange(600)[:, None]).any(axis=1).all()
    fakes = found.sources[~found.majority]
    assert len(np.unique(fakes)) < 600  # Drawn with replacement.
    assert set(IMAGES.y[fakes]) == set(range(10))
    own = np.argmax(found.sources == np.arange(600)[:, None], axis=1)
    fake = np.argmin(found.majority, axis=1)
    for order in permutations(range(3), 2):
        assert 60 < ((own == order[0]) & (fake == order[1])).sum() < 140


def test_same_seed_same_sequences_and_other_seed_others():
    first, again, other = (make_majority(IMAGES, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.x, again.x)
    assert (first.sources != other.sources).any(axis=1).mean() > 0.9


def test_folds_of_sequences_share_images_but_no_sequence():
    test = Images(*draw_images(140, 2))
    pairs = [leave_sequences_out(IMAGES, test, fold=fold) for fold in range(7)]
    y = np.concatenate([IMAGES.y, test.y])
    for learned, left in pairs:
        assert len(learned.y) + len(left.y) == 740
        assert len(left.y) in (105, 106)
        for part in (learned, left):
            np.testing.assert_array_equal(y[part.sources] == part.y[:, None], part.majority)
            split = np.digitize(part.sources, [480, 600])  # Four fifths, a fifth, the test images.
            assert (split == split[:, :1]).all()
        rows = [{tuple(row) for row in part.sources.tolist()} for part in (learned, left)]
        assert not rows[0] & rows[1]
        seen = np.isin(left.sources, learned.sources)
        assert seen.all(axis=1).mean() > 0.5  # A tested sequence's images have been learned.
    all_left = np.concatenate([left.sources for _, left in pairs])
    assert len(np.unique(all_left, axis=0)) == len(all_left) == 740
    x = np.concatenate([IMAGES.x, test.x])
    expected = slow_steps(Images(x, y), pairs[3][1].sources[-1], 7)
    np.testing.assert_allclose(pairs[3][1].x[-1], expected, atol=1e-6)


@pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is unset: no real images"
)
@pytest.mark.parametrize("name", IMAGE_SETS)
def test_real_backgrounds_are_minus_one_and_the_test_set_is_whole(name):
    _, test = load_images(name, data=Path(os.environ["NEUROSAL_TEST_DATA"]))
    found = make_majority(test)
    assert found.x.shape == (10000, 12, 196)
    assert (found.x.min(), found.x.max()) == (-1.0, 1.0)


def test_seven_folds_leave_each_image_out_once():
    numbered = Images(np.arange(600), IMAGES.y)
    left_out = []
    for fold in range(7):
        train, held_out = leave_fold_out(numbered, fold=fold)
        assert not set(train.x) & set(held_out.x)
        assert len(train.x) + len(held_out.x) == 600
        assert np.bincount(held_out.y).min() >= 8
        left_out += held_out.x.tolist()
    assert sorted(left_out) == list(range(600))


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ArgumentError, match="at least two classes"):
        make_majority(Images(IMAGES.x[:3], np.zeros(3, dtype=int)))
    with pytest.raises(ArgumentError, match=r"columns must divide the 84 columns\. Got 5"):
        as_steps(np.zeros((1, 28, 84), dtype=np.uint8), columns=5)


@pytest.mark.parametrize(
    ("mask", "relevance", "expected"),
    [
        ((1, 1, 0), (0.9, 0.1, 0.0), 0.780869),
        ((1, 1, 0), (0.5, 0.3, 0.2), 0.917663),
        ((1, 1, 0), (0.5, 0.5, 0.0), 1.0),
        ((1, 1, 0), (0.1, 0.1, 0.8), 0.174078),
        ((1, 1, 0), (0.0, 0.0, 1.0), 0.0),
        ((1, 0, 1), (0.0, 0.1, 0.9), 0.702782),
        ((1, 0, 1), (0.0, 0.0, 0.0), 0.0),
    ],
)
def test_cosines_of_the_thesis(mask, relevance, expected):
    steps = np.repeat(np.array(relevance) / 4, 4)[None, :, None]
    assert majority_cosine(steps, np.array([mask], bool))[0] == pytest.approx(expected, abs=1e-6)


def slow_cosine(sample, mask):
    """The cosine of one sample, from the words of its definition."""
    steps = [sum(float(value) for value in step) for step in sample]
    total = sum(steps)
    if total == 0:
        return 0.0
    steps = [step / total for step in steps]
    size = len(steps) // 3
    images = [sum(steps[size * k : size * (k + 1)]) for k in range(3)]
    norm = math.sqrt(sum(r * r for r in images)) * math.sqrt(sum(mask))
    return sum(m * r for m, r in zip(mask, images, strict=True)) / norm if norm else 0.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), signed=st.booleans(), scale=st.sampled_from([1e-20, 1.0, 1e9]))
def test_cosine_against_a_slow_one(seed, signed, scale):
    rng = np.random.default_rng(seed)
    maps = rng.random((5, 12, 4)) - (0.4 if signed else 0.0)
    maps[3] = 0.0
    mask = rng.permuted(np.tile([True, True, False], (5, 1)), axis=1)
    expected = [slow_cosine(sample, row) for sample, row in zip(maps, mask, strict=True)]
    np.testing.assert_allclose(majority_cosine(maps * scale, mask), expected, atol=1e-9)
    totals = image_relevance(maps).sum(axis=1)
    np.testing.assert_allclose(totals, [1, 1, 1, 0, 1], atol=1e-9)
