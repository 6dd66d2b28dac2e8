"""Surfaces: pairs of GIFTI or FreeSurfer files and nilearn's SurfaceImage."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from gray_cases import (
    gifti,
    plain_means,
    write_annot,
    write_dlabel,
    write_func,
    write_label_gii,
)

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.runs import Run
from neurosal.parcellation.atlas import Atlas, load_atlas
from neurosal.parcellation.extract import extract_regions

LEFT = np.array([0, 4, 4, 9, 0, 4, 9, 9])
RIGHT = np.array([7, 0, 7, 7, 12, 0, 12])
GREY = (0.5, 0.5, 0.5, 1.0)
TABLE = {0: ("???", (0, 0, 0, 0)), 4: ("L_a", GREY), 9: ("L_b", GREY), 7: ("R_a", GREY),
         12: ("R_b", GREY)}  # fmt: skip
IDS = [4, 7, 9, 12]


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def atlas(tmp_path):
    return load_atlas(label_pair(tmp_path))


def label_pair(folder, left=LEFT, right=RIGHT, tables=(TABLE, TABLE)):
    return (
        write_label_gii(folder / "atlas-Mine_hemi-L_dseg.label.gii", left, tables[0]),
        write_label_gii(
            folder / "atlas-Mine_hemi-R_dseg.label.gii", right, tables[1], side="right"
        ),
    )


def run_pair(folder, data, *, n_left=8, space="", **options):
    left = folder / f"sub-1_hemi-L{space}_bold.func.gii"
    right = folder / f"sub-1_hemi-R{space}_bold.func.gii"
    write_func(left, data[:, :n_left], **options)
    write_func(right, data[:, n_left:], **{"side": "right", **options})
    return {"left": left, "right": right}


def frames(rng, n_times=5, n=15):
    return rng.normal(100, 10, (n_times, n)).astype(np.float32)


def test_a_pair_of_label_files_keeps_its_keys(atlas):
    assert atlas.regions["label_id"].tolist() == IDS
    assert atlas.regions["name"].tolist() == ["L_a", "R_a", "L_b", "R_b"]
    assert atlas.regions["hemisphere"].tolist() == ["L", "R", "L", "R"]
    assert atlas.regions["colour"].tolist() == ["#808080"] * 4
    assert (atlas.name, len(atlas.labels)) == ("Mine", 15)


def test_a_pair_of_runs_gives_the_plain_means(tmp_path, rng, atlas):
    data = frames(rng)
    pair = run_pair(tmp_path, data)
    series = extract_regions(pair, atlas, t_r=2.0)
    expected = plain_means(data, np.concatenate([LEFT, RIGHT]), IDS)
    np.testing.assert_allclose(series.values, expected, rtol=1e-12)
    assert series["n_voxels"].values.tolist() == [3, 3, 3, 2]
    held = {side: nib.load(path) for side, path in pair.items()}
    np.testing.assert_array_equal(extract_regions(held, atlas, t_r=2.0), series)
    events = pd.DataFrame({"onset": [0.0], "duration": [1.0], "trial_type": ["a"]})
    run = Run(pair, events, 2.0, subject="1", task="x")
    np.testing.assert_array_equal(extract_regions(run, atlas), series)


def test_one_array_of_vertex_by_time(tmp_path, rng, atlas):
    data = frames(rng)
    pair = {}
    for side, part in (("left", data[:, :8]), ("right", data[:, 8:])):
        img = gifti([part.T.copy()], "NIFTI_INTENT_NONE", side=side)
        pair[side] = tmp_path / f"{side}.func.gii"
        nib.save(img, pair[side])
    expected = extract_regions(run_pair(tmp_path, data), atlas, t_r=1.0)
    np.testing.assert_array_equal(extract_regions(pair, atlas, t_r=1.0), expected)


def test_a_surface_image_of_nilearn(rng, atlas):
    from nilearn.surface import InMemoryMesh, PolyMesh, SurfaceImage

    data = frames(rng)
    meshes = {
        side: InMemoryMesh(rng.normal(size=(n, 3)), np.array([[0, 1, 2]]))
        for side, n in (("left", 8), ("right", 7))
    }
    img = SurfaceImage(PolyMesh(**meshes), {"left": data[:, :8].T, "right": data[:, 8:].T})
    series = extract_regions(img, atlas, t_r=1.0)
    expected = plain_means(data, np.concatenate([LEFT, RIGHT]), IDS)
    np.testing.assert_allclose(series.values, expected, rtol=1e-12)
    with pytest.raises(ArgumentError, match=r"t_r must be above 0.*SurfaceImage.*Give t_r="):
        extract_regions(img, atlas)


def test_the_same_labels_as_dlabel_give_the_same(tmp_path, rng, atlas):
    labels = np.concatenate([LEFT, RIGHT])
    gray = load_atlas(
        write_dlabel(tmp_path / "x.dlabel.nii", labels=labels, axis=atlas.axis, tables=[TABLE]),
        name="Mine",
    )
    assert gray.hash == atlas.hash
    pair = run_pair(tmp_path, frames(rng))
    np.testing.assert_array_equal(
        extract_regions(pair, gray, t_r=1.0), extract_regions(pair, atlas, t_r=1.0)
    )


@pytest.mark.parametrize(("step", "t_r"), [("720.000000", 0.72), ("2.2", 2.2)])
def test_repetition_time_in_the_file_or_beside_it(tmp_path, rng, atlas, step, t_r):
    pair = run_pair(tmp_path, frames(rng), meta={"TimeStep": step})
    assert extract_regions(pair, atlas).attrs["t_r"] == t_r
    beside = tmp_path / "sub-1_hemi-L_bold.json"
    beside.write_text(json.dumps({"RepetitionTime": 1.5}))
    with pytest.raises(DataError, match="different repetition times"):
        extract_regions(pair, atlas)
    (tmp_path / "sub-1_hemi-R_bold.json").write_text(json.dumps({"RepetitionTime": 1.5}))
    assert extract_regions(pair, atlas).attrs["t_r"] == 1.5


def test_one_hemisphere_leaves_the_other_nan_and_named(tmp_path, rng, atlas):
    pair = run_pair(tmp_path, frames(rng))
    with pytest.warns(UserWarning, match=r"2 regions of Mine are NaN.*R_a, R_b"):
        series = extract_regions({"left": pair["left"]}, atlas, t_r=1.0)
    assert np.isnan(series.values).all(axis=0).tolist() == [False, True, False, True]


def test_annotations_number_each_hemisphere_as_freesurfer_does(tmp_path, rng):
    keys = np.array([0, 1, 2, 2, -1, 1]), np.array([2, 2, 0, 1, 1, -1])
    names = ["unknown", "bankssts", "cuneus"]
    files = [
        write_annot(tmp_path / f"{side}h.aparc.annot", one, names)
        for side, one in zip("lr", keys, strict=True)
    ]
    atlas = Atlas.from_files(files)
    assert atlas.regions["label_id"].tolist() == [1001, 1002, 2001, 2002]
    assert atlas.regions["name"].tolist() == [
        "lh-bankssts", "lh-cuneus", "rh-bankssts", "rh-cuneus"
    ]  # fmt: skip
    assert atlas.regions["hemisphere"].tolist() == ["L", "L", "R", "R"]
    assert atlas.name == "aparc"
    data = frames(rng, n=12)
    data[:, [0, 4]] = np.nan  # the medial wall, as fMRIPrep may write it
    series = extract_regions(run_pair(tmp_path, data, n_left=6), atlas, t_r=1.0)
    shifted = [np.where(one > 0, one + add, 0) for one, add in zip(keys, (1000, 2000), strict=True)]
    expected = plain_means(data, np.concatenate(shifted), [1001, 1002, 2001, 2002])
    np.testing.assert_allclose(series.values, expected, rtol=1e-12)


def test_keys_that_mean_different_regions_are_kept_apart(tmp_path):
    tables = ({0: TABLE[0], 4: ("a", GREY)}, {0: TABLE[0], 4: ("a", GREY), 2000: ("b", GREY)})
    files = label_pair(tmp_path, LEFT[:3], np.array([4, 2000, 0]), tables)
    regions = load_atlas(files).regions
    assert regions["label_id"].tolist() == [10004, 20004, 22000]
    assert regions["name"].tolist() == ["lh-a", "rh-a", "rh-b"]


def test_other_vertex_counts_are_refused_by_both_names(tmp_path, rng, atlas):
    pair = run_pair(tmp_path, frames(rng, n=16), n_left=9)
    with pytest.raises(DataError, match=r"hemi-L.*9 vertices in CORTEX_LEFT, the atlas Mine 8"):
        extract_regions(pair, atlas, t_r=1.0)


@pytest.mark.parametrize("how", ["name", "inside"])
def test_hemispheres_that_changed_places_are_refused(tmp_path, rng, atlas, how):
    pair = run_pair(tmp_path, frames(rng))
    if how == "inside":
        for side, path in pair.items():
            pair[side] = path.rename(tmp_path / f"{side[::-1]}.gii")
    swapped = {"left": pair["right"], "right": pair["left"]}
    with pytest.raises(DataError, match=rf"{pair['right'].name} was given as the left"):
        extract_regions(swapped, atlas, t_r=1.0)
    labels = label_pair(tmp_path)
    with pytest.raises(DataError, match=r"hemi-R_dseg\.label\.gii was given as the left"):
        load_atlas(labels[::-1])


def test_what_is_no_pair_says_how_to_give_one(tmp_path, rng, atlas):
    pair = run_pair(tmp_path, frames(rng))
    labels = label_pair(tmp_path)
    with pytest.raises(ArgumentError, match=r"A run must be given as \{'left'.*hemi-L_bold"):
        extract_regions(pair["left"], atlas)
    with pytest.raises(ArgumentError, match=r"A run must be given as \{'left'.*'left': None"):
        extract_regions({"left": None}, atlas)
    with pytest.raises(ArgumentError, match=r"The atlas must be given as \{'left'"):
        load_atlas(labels[0])
    with pytest.raises(DataError, match=r"hemi-L_bold\.func\.gii holds no labels"):
        load_atlas((pair["left"], pair["right"]))
    with pytest.raises(DataError, match=r"holds no series.*NIFTI_INTENT_LABEL"):
        extract_regions(dict(zip(pair, labels, strict=True)), atlas)
    with pytest.raises(DataError, match=r"on surfaces .* dosenbach160 is an atlas of volumes"):
        extract_regions(pair, load_atlas("dosenbach160"))
    write_func(pair["right"], frames(rng, 4, 7), side="right")
    with pytest.raises(DataError, match=r"different numbers of frames, \{'left': 5, 'right': 4\}"):
        extract_regions(pair, atlas)


@pytest.mark.parametrize("suffix", ["label.gii", "annot"])
def test_damaged_and_missing_files_are_named(tmp_path, suffix):
    if suffix == "annot":
        good = write_annot(tmp_path / "lh.x.annot", [0, 1, 1], ["unknown", "a"])
    else:
        good = write_label_gii(tmp_path / "lh.x.label.gii", LEFT, TABLE)
    with pytest.raises(DataError, match=r"There is no file .*rh"):
        load_atlas((good, tmp_path / f"rh.x.{suffix}"))
    bad = tmp_path / f"rh.x.{suffix}"
    bad.write_bytes(good.read_bytes()[: len(good.read_bytes()) // 2])
    with pytest.raises(DataError, match=rf"Cannot read .*rh\.x\.{suffix}"):
        load_atlas((good, bad))


@pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is unset: no fsaverage annot"
)
def test_schaefer_on_fsaverage(rng):
    from nilearn.surface import InMemoryMesh, PolyMesh, SurfaceImage

    folder = Path(os.environ["NEUROSAL_TEST_DATA"]) / "atlases/fsaverage_schaefer200-yeo17"
    files = [folder / f"{side}h.schaefer200-yeo17.annot" for side in "lr"]
    atlas = load_atlas(files)
    assert (len(atlas), atlas.space, atlas.name) == (200, "fsaverage", "schaefer200-yeo17")
    assert atlas.regions["hemisphere"].value_counts().to_dict() == {"L": 100, "R": 100}
    assert atlas.regions["network"].nunique() == 17
    first = atlas.regions.iloc[100]
    assert (first["label_id"], first["name"]) == (2001, "17Networks_RH_VisCent_ExStr_1")
    planted = {"left": rng.normal(size=(101, 3)), "right": rng.normal(size=(101, 3))}
    keys = {
        side: nib.freesurfer.read_annot(path)[0] for side, path in zip(planted, files, strict=True)
    }
    mesh = InMemoryMesh(np.zeros((163842, 3)), np.array([[0, 1, 2]]))
    data = {side: planted[side][keys[side]] for side in planted}
    series = extract_regions(SurfaceImage(PolyMesh(mesh, mesh), data), atlas, t_r=1.0)
    expected = np.concatenate([planted["left"][1:], planted["right"][1:]]).T
    np.testing.assert_allclose(series.values, expected, rtol=1e-12)
