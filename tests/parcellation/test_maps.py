"""Probabilistic atlases: equal to nilearn's masker, with every region in its place."""

import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.maskers import NiftiMapsMasker
from sklearn.utils import Bunch

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.atlas import Atlas, list_atlases, load_atlas
from neurosal.parcellation.extract import extract_regions
from neurosal.parcellation.maps import MapsAtlas

NAMES = ["7Networks_LH_Vis_1", "HIP-rh", "c"]
TABLE = pd.DataFrame({"index": [1, 2, 3], "name": NAMES})
AFFINE = np.diag([3.0, 3, 3, 1])


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def blobs(shape=(8, 9, 7), centres=((2, 2, 2), (3, 3, 3), (6, 6, 4))):
    """Make overlapping bumps, zero far from their centres."""
    grid = np.indices(shape).reshape(3, -1).T
    maps = [np.exp(-((grid - centre) ** 2).sum(1) / 3).reshape(shape) for centre in centres]
    maps = np.stack(maps, axis=3).astype(np.float32)
    return np.where(maps > 0.01, maps, 0)


def maps_image(affine=AFFINE):
    return nib.Nifti1Image(blobs(), affine)


def run_image(rng, shape=(8, 9, 7), n_times=6, affine=AFFINE):
    return nib.Nifti1Image(rng.normal(100, 10, (*shape, n_times)).astype(np.float32), affine)


def test_a_4d_image_of_weights_is_a_maps_atlas(tmp_path):
    nib.save(maps_image(), tmp_path / "atlas-X_space-MNI152NLin6Asym_probseg.nii.gz")
    TABLE.to_csv(tmp_path / "x.tsv", sep="\t", index=False)
    path = tmp_path / "atlas-X_space-MNI152NLin6Asym_probseg.nii.gz"
    atlas = load_atlas(path, table=tmp_path / "x.tsv")
    assert isinstance(atlas, MapsAtlas)
    assert (atlas.name, atlas.space, len(atlas)) == ("X", "MNI152NLin6Asym", 3)
    assert atlas.regions["hemisphere"].tolist() == ["L", "R", ""]
    assert atlas.hash == MapsAtlas(maps_image(), TABLE).hash
    assert atlas.hash != MapsAtlas(maps_image(np.eye(4)), TABLE).hash
    with pytest.warns(UserWarning, match="named map_<id>"):
        assert load_atlas(path).regions["name"].tolist() == ["map_1", "map_2", "map_3"]


@pytest.mark.parametrize("other_grid", [False, True])
def test_equal_to_nilearn(rng, other_grid):
    affine = np.diag([3.5, 3.2, 4, 1]) if other_grid else AFFINE
    img = run_image(rng, (7, 9, 6), affine=affine) if other_grid else run_image(rng)
    atlas = Atlas.from_files(maps_image(), TABLE)
    series = extract_regions(img, atlas, t_r=2.0)
    theirs = NiftiMapsMasker(maps_image(), standardize=None).fit_transform(img)
    np.testing.assert_allclose(series.values, theirs, rtol=1e-5)
    assert series["region"].values.tolist() == NAMES
    assert series["time"].values.tolist() == [0, 2, 4, 6, 8, 10]


def test_planted_amplitudes_come_back_through_the_overlap(tmp_path, rng):
    planted = rng.normal(size=(6, 3))
    nib.save(nib.Nifti1Image(blobs() @ planted.T, AFFINE), tmp_path / "x.nii.gz")
    series = extract_regions(tmp_path / "x.nii.gz", MapsAtlas(maps_image(), TABLE), t_r=1.0)
    np.testing.assert_allclose(series.values, planted, atol=1e-5)
    np.testing.assert_allclose(series["coverage"], 1.0)
    weights = blobs()
    assert series["n_voxels"].values.tolist() == [(weights[..., i] > 0).sum() for i in range(3)]


def test_a_map_outside_is_nan_and_named_and_one_cut_through_says_how_much(rng):
    img = run_image(rng, (5, 9, 7))
    far = blobs(centres=((2, 2, 2), (5, 3, 3), (100, 3, 3)))
    far[7, :, :, 2] = 1
    table = TABLE.assign(name=["in", "cut", "out"])
    atlas = MapsAtlas(nib.Nifti1Image(far, AFFINE), table, name="m")
    with pytest.warns(UserWarning, match=r"1 regions of m are NaN.*: out"):
        series = extract_regions(img, atlas, t_r=1.0)
    assert np.isnan(series.values).all(axis=0).tolist() == [False, False, True]
    share = far[:5, ..., 1].sum() / far[..., 1].sum()
    inside = far[:5, ..., 0].sum() / far[..., 0].sum()
    np.testing.assert_allclose(series["coverage"], [inside, share, 0], rtol=1e-5)
    silent = np.zeros((8, 9, 7, 4), np.float32)
    with pytest.raises(DataError, match="No map of atlas lies on voxels"):
        extract_regions(nib.Nifti1Image(silent, AFFINE), MapsAtlas(maps_image(), TABLE), t_r=1.0)


@pytest.mark.parametrize("shift", [-300, 300, -22.7])
def test_maps_beside_the_run_are_refused_by_the_name_of_the_run(tmp_path, rng, shift):
    affine = AFFINE.copy()
    affine[:3, 3] = shift
    nib.save(run_image(rng), tmp_path / "bold.nii.gz")
    atlas = MapsAtlas(maps_image(affine), TABLE, name="m", space="MNI")
    with pytest.raises(DataError, match=r"No map of m lies .*bold\.nii\.gz.*space.*MNI"):
        extract_regions(tmp_path / "bold.nii.gz", atlas, t_r=1.0)


@settings(max_examples=25, deadline=None)
@given(shift=st.tuples(*[st.integers(-30, 30)] * 3))
def test_maps_anywhere_are_in_part_outside_or_refused_in_words(shift):
    affine = AFFINE.copy()
    affine[:3, 3] = shift
    img = run_image(np.random.default_rng(5))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        try:
            series = extract_regions(img, MapsAtlas(maps_image(affine), TABLE), t_r=1.0)
        except DataError:
            return
    lost = np.isnan(series.values).all(axis=0)
    np.testing.assert_array_equal(lost, series["n_voxels"].values == 0)
    assert not np.isnan(series.values[:, ~lost]).any()
    assert (series["coverage"].values <= 1 + 1e-6).all()


def test_nan_within_a_map_is_refused_by_name(rng):
    img = run_image(rng)
    data = np.asarray(img.dataobj).copy()
    data[0, 8, 6] = np.nan  # far from every map
    atlas = MapsAtlas(maps_image(), TABLE)
    extract_regions(nib.Nifti1Image(data, AFFINE), atlas, t_r=1.0)
    data[6, 6, 4, 2] = np.inf
    with pytest.raises(DataError, match=r"NaN or infinite voxels in 1 regions \(c\), in 1 of 6"):
        extract_regions(nib.Nifti1Image(data, AFFINE), atlas, t_r=1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda maps, table: (maps, table[:2]), r"needs one row for each map"),
        (lambda maps, table: (maps, table.assign(index=[1, 2, 4])), "positions of the maps from 1"),
        (lambda maps, table: (maps * [1, 0, 1], table), "maps of HIP-rh in mine are empty"),
        (lambda maps, table: (maps * [1, 1, np.nan], table), "maps of c in mine are empty or hold"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    maps, table = change(blobs(), TABLE)
    with pytest.raises(DataError, match=words):
        MapsAtlas(nib.Nifti1Image(maps, AFFINE), table, name="mine")


def test_another_space_is_refused(rng):
    atlas = MapsAtlas(maps_image(), TABLE, space="MNI152NLin6Asym")
    with pytest.raises(DataError, match="in the space MNI152NLin2009cAsym"):
        extract_regions(run_image(rng), atlas, t_r=1.0, space="MNI152NLin2009cAsym")


def test_difumo_and_msdl_come_through_nilearn(monkeypatch):
    def fetch_atlas_difumo(dimension=64, resolution_mm=2, verbose=1):
        assert (dimension, resolution_mm) == (3, 3)
        labels = pd.DataFrame(
            {"component": [1, 2, 3], "difumo_names": ["a", "b RH", "a"],
             "yeo_networks7": ["VisCent", "DefaultA", "No network found"]}
        )  # fmt: skip
        return Bunch(maps=maps_image(), labels=labels, template="MNI152NLin6Asym",
                     atlas_type="probabilistic")  # fmt: skip

    def fetch_atlas_msdl(verbose=1):
        return Bunch(maps=maps_image(), labels=["L Aud", "R Aud", "Striate"],
                     networks=["Aud", "Aud", "Striate"], template="MNI?",
                     atlas_type="probabilistic")  # fmt: skip

    monkeypatch.setattr("nilearn.datasets.fetch_atlas_difumo", fetch_atlas_difumo)
    monkeypatch.setattr("nilearn.datasets.fetch_atlas_msdl", fetch_atlas_msdl)
    difumo = load_atlas("difumo", n_regions=3, resolution_mm=3)
    assert difumo.regions["name"].tolist() == ["a 1", "b RH", "a 3"]
    assert difumo.regions["network"].tolist() == ["VisCent", "DefaultA", "No network found"]
    assert (difumo.name, difumo.space) == ("difumo", "MNI152NLin6Asym")
    assert "117126" in difumo.citation
    msdl = load_atlas("msdl")
    assert msdl.regions[["network", "hemisphere"]].values.tolist() == [
        ["Aud", "L"], ["Aud", "R"], ["Striate", ""]
    ]  # fmt: skip
    assert list_atlases()["difumo"] == "nilearn"


def test_label_map_is_for_cifti_and_gifti():
    with pytest.raises(ArgumentError, match="label_map is for CIFTI and GIFTI"):
        Atlas.from_files(maps_image(), TABLE, label_map=1)
