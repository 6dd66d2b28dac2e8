"""The image that fits an atlas, and saving it."""

import json

import nibabel as nib
import numpy as np
import pytest
from projection_cases import gray_atlas, labelled, make_maps

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.atlas import load_atlas
from neurosal.projection.grayordinates import from_cifti
from neurosal.projection.images import map_extension, save_map, to_image
from neurosal.projection.volume import from_nifti, to_nifti

VALUES = np.arange(8.0).reshape(2, 4)


def test_the_image_fits_the_atlas():
    volume = load_atlas("dosenbach160")
    reference = nib.Nifti1Image(np.zeros((46, 55, 46)), volume.labels.affine * [2, 2, 2, 1])
    img = to_image(np.ones((2, 160)), volume, reference, t_r=0.72)
    assert (type(img), img.shape) == (nib.Nifti1Image, (46, 55, 46, 2))
    assert type(to_image(VALUES, make_maps())) is nib.Nifti1Image
    img = to_image(VALUES, gray_atlas(), reference, t_r=0.72)
    assert (type(img), img.shape) == (nib.Cifti2Image, (2, 4))
    np.testing.assert_array_equal(from_cifti(img, gray_atlas()), VALUES)
    with pytest.raises(ArgumentError, match="kind is for atlases of grayordinates"):
        to_image(np.ones(160), volume, kind="dscalar")
    assert map_extension(make_maps()) == map_extension(volume) == ".nii.gz"
    assert map_extension(gray_atlas()) == ".ptseries.nii"


@pytest.mark.parametrize("read", [to_nifti, from_nifti])
def test_grayordinates_are_sent_on_from_volumes(read):
    with pytest.raises(ArgumentError, match=r"one of grayordinates; .*_cifti or \w+_surface"):
        read(np.ones(4), gray_atlas())


@pytest.mark.parametrize("kind", ["ptseries", "dtseries", "pscalar", "dscalar"])
def test_saved_grayordinates_say_what_they_are(tmp_path, kind):
    atlas = gray_atlas(name="mine", space="fsLR", citation="Doe 2020")
    array = labelled(VALUES if "series" in kind else VALUES[1], atlas, t_r=0.72, method="lrp")
    path = save_map(array, atlas, tmp_path / "new" / f"a_b.{kind}.nii", provenance={"seed": 3})
    assert {one.name for one in path.parent.iterdir()} == {f"a_b.{kind}.nii", "a_b.json"}
    notes = json.loads((tmp_path / "new" / "a_b.json").read_text())
    assert notes["Atlas"]["SHA256"] == atlas.hash
    assert notes["SpatialReference"] == "fsLR"
    assert notes["Attributes"] == {"t_r": 0.72, "method": "lrp"}
    assert notes["Provenance"] == {"seed": 3}
    assert notes.get("RepetitionTime") == (0.72 if "series" in kind else None)
    assert ("parcel" in notes["Description"]) == kind.startswith("p")
    np.testing.assert_array_equal(from_cifti(path, atlas), array)


def test_names_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"\.pscalar\.nii or .* for a map of atlas"):
        save_map(VALUES, gray_atlas(), tmp_path / "map.nii.gz")
    with pytest.raises(ArgumentError, match=r"must end in \.nii\.gz or \.nii for a map"):
        save_map(VALUES, make_maps(), tmp_path / "map.ptseries.nii")
    with pytest.raises(ArgumentError, match=r"take 'pscalar'"):
        save_map(VALUES[0], gray_atlas(), tmp_path / "map.ptseries.nii")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot write .*map\.pscalar\.nii"):
        save_map(VALUES[0], gray_atlas(), tmp_path / "file" / "map.pscalar.nii")
