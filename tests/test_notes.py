"""Warnings of a piece of work: kept for the report, and shown once however often they come."""

import warnings

import nibabel as nib
import numpy as np
import pandas as pd
from decoder_cases import as_images, labels_of, planted, quick_decoder

from neurosal.notes import noting
from neurosal.parcellation.atlas import Atlas


def shown_by(work):
    """Texts that a user sees."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    return [str(one.message) for one in caught]


def test_each_text_is_shown_once_and_what_was_told_not_again():
    kept = []

    def work():
        with noting(told=["lost"]) as notes:
            for text in ("odd", "lost", "odd", "even"):
                warnings.warn(text, stacklevel=1)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        kept.extend(notes)

    assert shown_by(work) == ["odd", "even", "old", "old"]
    assert kept == ["odd", "even"]


def test_a_region_without_a_voxel_is_told_once_for_all_conditions_and_files(tmp_path):
    X, y, groups = planted()
    table = pd.DataFrame({"index": range(1, 7), "name": [f"R{k}" for k in range(1, 7)]})
    atlas = Atlas(labels_of(), table, name="slabs")
    images = [
        nib.Nifti1Image(one.get_fdata(dtype=np.float32)[:5], one.affine, one.header)
        for one in as_images(X)
    ]
    decoder = quick_decoder(atlas)

    def work():
        decoder.fit(images, y, groups)
        decoder.generate_report(tmp_path)

    told = [text for text in shown_by(work) if "no voxel on the grid" in text]
    assert len(told) == 1, told
    assert "in no image on it, whatever the condition: R6" in told[0]
    assert told[0] in decoder.notes_
    assert len(list(tmp_path.glob("*_saliency.nii.gz"))) == 2
