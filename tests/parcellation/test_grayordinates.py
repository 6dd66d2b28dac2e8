"""Grayordinates: known values planted in CIFTI files come back, whatever the order of the file."""

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from gray_cases import (
    AXIS,
    LABELS,
    NAMES,
    gifti,
    join,
    parts,
    plain_means,
    write_dlabel,
    write_dscalar,
    write_dtseries,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.cifti2 import BrainModelAxis, ParcelsAxis, SeriesAxis

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.runs import Run
from neurosal.parcellation import grayordinate_runs
from neurosal.parcellation.atlas import Atlas, load_atlas
from neurosal.parcellation.extract import extract_regions
from neurosal.parcellation.grayordinates import GrayordinateAtlas, grayordinate_keys

IDS = [1, 2, 5, 300]
EVENTS = pd.DataFrame({"onset": [0.0], "duration": [1.0], "trial_type": ["a"]})


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def atlas(tmp_path):
    return load_atlas(write_dlabel(tmp_path / "mine.dlabel.nii"))


def frames(rng, n_times=6, n=23):
    return rng.normal(100, 10, (n_times, n)).astype(np.float32)


def test_the_label_axis_is_the_table(atlas):
    assert isinstance(atlas, GrayordinateAtlas)
    regions = atlas.regions.set_index("label_id")
    assert regions.index.tolist() == IDS
    assert regions["network"].tolist() == ["Vis", "Vis", "Subcortex", "unassigned"]
    assert regions["hemisphere"].tolist() == ["L", "R", "L", ""]
    assert regions["colour"].tolist() == ["#ff0000", "#00ff00", "#0000ff", "#0080ff"]
    assert atlas.sizes.tolist() == [5, 4, 4, 3]
    assert load_atlas(atlas) is atlas


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("block", [4, 4096])
def test_planted_values_come_back(tmp_path, rng, atlas, monkeypatch, dtype, block):
    monkeypatch.setattr(grayordinate_runs, "_BLOCK", block)
    planted = {label: rng.integers(-90, 90, 6) for label in IDS}
    data = np.stack([planted.get(label, np.full(6, 77)) for label in LABELS], axis=1)
    path = write_dtseries(tmp_path / "x.dtseries.nii", data.astype(dtype))
    series = extract_regions(path, atlas)
    for label, name in zip(IDS, series["region"].values, strict=True):
        np.testing.assert_array_equal(series.sel(region=name), planted[label])
    assert series["label_id"].values.tolist() == IDS
    assert series["n_voxels"].values.tolist() == [5, 4, 4, 3]
    np.testing.assert_allclose(series["time"], 0.72 * np.arange(6))
    assert (series.attrs["t_r"], series.attrs["atlas_hash"]) == (0.72, atlas.hash)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n_times=st.integers(1, 4))
def test_any_order_of_grayordinates_gives_the_plain_means(tmp_path_factory, seed, n_times):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("run")
    data = frames(rng, n_times)
    order = rng.permutation(3)
    pieces, where = [], []
    bounds = np.cumsum([0, 9, 8, 6])
    for number in order:  # whole structures change places, and grayordinates within each
        inner = rng.permutation(bounds[number + 1] - bounds[number])
        pieces.append(parts()[number][inner])
        where.append(bounds[number] + inner)
    moved = write_dtseries(
        folder / "m.dtseries.nii", data[:, np.concatenate(where)], axis=join(*pieces)
    )
    atlas = load_atlas(write_dlabel(folder / "a.dlabel.nii"))
    series = extract_regions(moved, atlas)
    np.testing.assert_allclose(series.values, plain_means(data, LABELS, IDS), rtol=1e-12)
    np.testing.assert_array_equal(series["coverage"], 1.0)
    other = load_atlas(
        write_dlabel(
            folder / "b.dlabel.nii", labels=LABELS[np.concatenate(where)], axis=join(*pieces)
        ),
        name="a",
    )
    assert other.hash == load_atlas(folder / "a.dlabel.nii", name="a").hash


def test_sums_are_double_precision(tmp_path):
    axis = BrainModelAxis.from_surface(np.arange(5000), 5000, "CORTEX_LEFT")
    path = write_dlabel(
        tmp_path / "a.dlabel.nii", labels=np.ones(5000), axis=axis, tables=[{1: NAMES[1]}]
    )
    data = np.full((2, 5000), 16777216, dtype=np.float32)
    data[1] = 1.1
    series = extract_regions(
        write_dtseries(tmp_path / "x.dtseries.nii", data, axis=axis), load_atlas(path)
    )
    np.testing.assert_allclose(series.values[:, 0], [16777216, np.float32(1.1)], rtol=1e-15)


def test_cortex_only_leaves_the_rest_nan_and_named(tmp_path, rng, atlas):
    data = frames(rng)[:, :17]
    path = write_dtseries(tmp_path / "c.dtseries.nii", data, axis=join(*parts()[:2]))
    with pytest.warns(UserWarning, match=r"1 regions of mine are NaN.*c\.dtseries\.nii.*HIP-lh"):
        series = extract_regions(path, atlas)
    assert np.isnan(series.sel(region="HIP-lh")).all()
    assert series["n_voxels"].values.tolist() == [5, 4, 0, 3]
    expected = plain_means(data, LABELS[:17], [1, 2, 300])
    np.testing.assert_allclose(series.values[:, [0, 1, 3]], expected, rtol=1e-12)


def test_left_only_gives_half_of_what_spans_both(tmp_path, rng, atlas):
    data = frames(rng)[:, :9]
    path = write_dtseries(tmp_path / "l.dtseries.nii", data, axis=parts()[0])
    with pytest.warns(UserWarning, match="7Networks_RH_Vis_1, HIP-lh"):
        series = extract_regions(path, atlas)
    np.testing.assert_allclose(series["coverage"], [1, 0, 0, 1 / 3])
    np.testing.assert_allclose(series.sel(region="both sides"), data[:, 5], rtol=1e-6)


def test_constant_zero_and_nan_grayordinates(tmp_path, rng, atlas):
    data = frames(rng)
    vis, right, hip = (np.flatnonzero(label == LABELS) for label in (1, 2, 5))
    data[:, vis[0]] = 4.0  # constant: in the mean, not in the coverage
    data[:, right] = 0.0  # zero throughout: NaN
    data[:, hip[0]] = np.nan  # NaN throughout: not in the run
    path = write_dtseries(tmp_path / "x.dtseries.nii", data)
    with pytest.warns(UserWarning, match=r"1 regions .* 7Networks_RH_Vis_1"):
        series = extract_regions(path, atlas)
    np.testing.assert_allclose(series["coverage"], [0.8, 0, 0.75, 1])
    assert series["n_voxels"].values.tolist() == [5, 4, 3, 3]
    np.testing.assert_allclose(series.values[:, 0], data[:, vis].mean(1, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(
        series.values[:, 2], data[:, hip[1:]].mean(1, dtype=float), rtol=1e-12
    )
    data[2, vis[0]] = np.nan
    with pytest.raises(
        DataError, match=r"y\.dtseries\.nii has NaN.*1 regions \(7Networks_LH_Vis_1"
    ):
        extract_regions(write_dtseries(tmp_path / "y.dtseries.nii", data), atlas)


def test_time_comes_from_the_series_axis_the_run_or_the_argument(tmp_path, rng, atlas):
    data = frames(rng, 3)
    path = write_dtseries(tmp_path / "x.dtseries.nii", data, t_r=2.0, start=4.0)
    assert extract_regions(path, atlas)["time"].values.tolist() == [4, 6, 8]
    run = Run(path, EVENTS, 0.8, subject="1", task="x", space="MNI152NLin6Asym")
    series = extract_regions(run, atlas)
    assert series.attrs["t_r"] == 0.8
    assert extract_regions(run, atlas, t_r=1.5).attrs["t_r"] == 1.5
    hertz = write_dtseries(tmp_path / "hz.dtseries.nii", data, unit="HERTZ")
    with pytest.raises(ArgumentError, match=r"t_r must be above 0 s.*hz\.dtseries"):
        extract_regions(hertz, atlas)
    assert extract_regions(nib.load(path), atlas).equals(extract_regions(path, atlas))


def test_a_parcellated_series_fits_by_name_and_size(tmp_path, rng, atlas):
    by_label = {
        name: np.flatnonzero(label == LABELS) for label, (name, _) in NAMES.items() if label
    }
    order = ["HIP-lh", "both sides", "7Networks_LH_Vis_1", "7Networks_RH_Vis_1"]
    parcels = ParcelsAxis.from_brain_models([(name, AXIS[by_label[name]]) for name in order])
    data = frames(rng, 5, 4)
    img = nib.Cifti2Image(data, (SeriesAxis(0, 0.72, 5), parcels))
    nib.save(img, tmp_path / "x.ptseries.nii")
    series = extract_regions(tmp_path / "x.ptseries.nii", atlas)
    for column, name in enumerate(order):
        np.testing.assert_array_equal(series.sel(region=name), data[:, column].astype(float))
    wrong = ParcelsAxis.from_brain_models([(name, AXIS[by_label[name][1:]]) for name in order])
    nib.save(nib.Cifti2Image(data, (SeriesAxis(0, 0.72, 5), wrong)), tmp_path / "w.ptseries.nii")
    with pytest.raises(DataError, match=r"w\.ptseries\.nii is parcellated by another atlas.*size"):
        extract_regions(tmp_path / "w.ptseries.nii", atlas)


def test_several_maps_ask_for_one(tmp_path):
    other = {0: NAMES[0], **{label: (f"other {label}", (0, 0, 0, 1)) for label in IDS}}
    path = write_dlabel(tmp_path / "two.dlabel.nii", tables=[NAMES, other])
    with pytest.raises(
        DataError, match=r"two\.dlabel\.nii has 2 label maps: map 0, map 1.*label_map="
    ):
        load_atlas(path)
    assert load_atlas(path, label_map="map 1").regions["name"].tolist()[0] == "other 1"
    assert load_atlas(path, label_map=0).regions["name"].tolist()[0] == NAMES[1][0]
    with pytest.raises(ArgumentError, match=r"label_map must be one of 'map 0'.*Got 'map 7'"):
        load_atlas(path, label_map="map 7")


def test_a_table_of_ones_own_and_a_named_background(tmp_path):
    path = write_dlabel(tmp_path / "a.dlabel.nii", tables=[{**NAMES, 2: ("Medial_wall", (0,) * 4)}])
    assert load_atlas(path).regions["label_id"].tolist() == [1, 5, 300]
    hcp = {**NAMES, 1: ("L_Medial_wall", (0,) * 4), 2: ("R_unknown", (0,) * 4)}
    prefixed = write_dlabel(tmp_path / "p.dlabel.nii", tables=[hcp])
    assert load_atlas(prefixed).regions["label_id"].tolist() == [5, 300]
    table = pd.DataFrame({"index": [1, 5, 300], "name": ["x", "y", "z"]})
    assert load_atlas(path, table=table).regions["name"].tolist() == ["x", "y", "z"]
    with pytest.raises(DataError, match="1 labels of a are not in its table: 300"):
        load_atlas(path, table=table[:2])
    with pytest.raises(DataError, match="same name for several regions: 'dup'"):
        load_atlas(
            write_dlabel(
                tmp_path / "d.dlabel.nii",
                tables=[{**NAMES, 1: ("dup", (0,) * 4), 2: ("dup", (0,) * 4)}],
            )
        )
    with pytest.raises(DataError, match=r"no name for the labels \[5\]"):
        load_atlas(write_dlabel(tmp_path / "n.dlabel.nii", tables=[{**NAMES, 5: (" ", (0,) * 4)}]))
    with pytest.warns(UserWarning, match=r"label 0 of .*z\.dlabel\.nii is called 'V1'"):
        load_atlas(write_dlabel(tmp_path / "z.dlabel.nii", tables=[{**NAMES, 0: ("V1", (0,) * 4)}]))


@pytest.mark.parametrize("kind", ["vertices", "grid", "affine", "structures"])
def test_another_mesh_or_grid_is_refused_by_both_names(tmp_path, rng, atlas, kind):
    left, right, hip = parts()
    if kind == "vertices":
        axis, words = (
            join(parts(11)[0], right, hip),
            "11 vertices in CORTEX_LEFT, the atlas mine 10",
        )
    elif kind == "structures":
        axis = BrainModelAxis.from_surface([0, 1], 10, "CEREBELLUM")
        words = "no grayordinate in common: the run has CEREBELLUM, the atlas CORTEX_LEFT"
    else:
        shape, affine = ((3, 4, 6), hip.affine) if kind == "grid" else ((3, 4, 5), np.eye(4))
        voxels = BrainModelAxis(
            "HIPPOCAMPUS_LEFT", voxel=hip.voxel, affine=affine, volume_shape=shape
        )
        axis, words = join(left, right, voxels), r"another grid .* than those of the atlas mine"
    path = write_dtseries(tmp_path / "x.dtseries.nii", frames(rng, 3, len(axis)), axis=axis)
    with pytest.raises(DataError, match=rf"x\.dtseries\.nii.*{words}"):
        extract_regions(path, atlas)


def test_surfaces_of_another_space_are_refused(tmp_path, rng):
    mine = load_atlas(write_dlabel(tmp_path / "a_space-fsLR_x.dlabel.nii"))
    path = write_dtseries(tmp_path / "s_space-fsaverage_bold.dtseries.nii", frames(rng))
    with pytest.raises(DataError, match=r"surfaces of fsaverage, the atlas .* on those of fsLR"):
        extract_regions(path, mine)
    assert extract_regions(path, mine, space="fsLR").attrs["space"] == "fsLR"


def test_what_is_no_run_says_what_to_give(tmp_path, rng, atlas):
    scalar = write_dscalar(tmp_path / "x.dscalar.nii", frames(rng, 2))
    with pytest.raises(DataError, match=r"x\.dscalar\.nii is no series.*ScalarAxis.*dtseries"):
        extract_regions(scalar, atlas)
    with pytest.raises(DataError, match=r"mine\.dlabel\.nii is no series.*LabelAxis"):
        extract_regions(tmp_path / "mine.dlabel.nii", atlas)
    for path in (scalar, write_dtseries(tmp_path / "x.dtseries.nii", frames(rng))):
        with pytest.raises(DataError, match=rf"{path.name} is no atlas of grayordinates.*dlabel"):
            load_atlas(path)
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5, 2)), np.eye(4)), tmp_path / "vol.nii.gz")
    with pytest.raises(
        DataError, match=r"vol\.nii\.gz is no run on surfaces.*Nothing is resampled"
    ):
        extract_regions(tmp_path / "vol.nii.gz", atlas)
    volume = load_atlas("dosenbach160")
    with pytest.raises(DataError, match=r"x\.dtseries\.nii is on surfaces.*dosenbach160.*dlabel"):
        extract_regions(tmp_path / "x.dtseries.nii", volume)
    with pytest.raises(DataError, match=r"There is no file nowhere\.dtseries\.nii"):
        extract_regions("nowhere.dtseries.nii", atlas)
    packed = tmp_path / "x.dtseries.nii.gz"
    packed.write_bytes(gzip.compress((tmp_path / "x.dtseries.nii").read_bytes()))
    with pytest.raises(ArgumentError, match=r"uncompressed.*x\.dtseries\.nii\.gz"):
        extract_regions(packed, atlas)
    with pytest.raises(ArgumentError, match="Got GiftiImage"):
        extract_regions(gifti([np.ones(3, "f4")], "NIFTI_INTENT_TIME_SERIES"), atlas)


@pytest.mark.parametrize("n_bytes", [200, 600, -10, -300])
def test_a_file_cut_short_is_named(tmp_path, rng, atlas, n_bytes):
    path = write_dtseries(tmp_path / "cut.dtseries.nii", frames(rng, 20))
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(DataError, match=r"cut\.dtseries\.nii"):
        extract_regions(path, atlas)


def test_a_grayordinate_that_occurs_twice_is_refused():
    axis = BrainModelAxis.from_surface([0, 2, 2], 4, "CORTEX_LEFT")
    with pytest.raises(DataError, match="1 that occur twice"):
        grayordinate_keys(axis)


def test_labels_of_ones_own_are_checked():
    table = pd.DataFrame({"index": [1], "name": ["a"]})
    axis = BrainModelAxis.from_surface([0, 2, 3], 4, "CORTEX_LEFT")
    for labels, words in (
        ([1, 1], "one is needed for each of the 3"),
        ([1, 0.5, 1], "not whole numbers"),
        ([1, -2, 1], "must be from 0"),
        ([0, 0, 0], "is empty: every vertex or voxel is 0"),
    ):
        with pytest.raises(DataError, match=words):
            GrayordinateAtlas(labels, axis, table)


@pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is unset: no Schaefer dlabel"
)
def test_schaefer_with_tian_over_91282_grayordinates(tmp_path, rng):
    folder = Path(os.environ["NEUROSAL_TEST_DATA"]) / "atlases"
    path = folder / "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1.dlabel.nii"
    atlas = Atlas.from_files(path)
    assert (len(atlas), len(atlas.labels), atlas.space) == (116, 91282, "fsLR")
    assert atlas.regions["hemisphere"].value_counts().to_dict() == {"L": 58, "R": 58}
    labels = np.asarray(nib.load(path).dataobj)[0].astype(int)
    planted = rng.normal(size=(5, 117)).astype(np.float32)
    axis = atlas.axis
    right = np.flatnonzero(axis.name == "CIFTI_STRUCTURE_CORTEX_RIGHT")
    order = np.concatenate([right, np.setdiff1d(np.arange(91282), right)[::-1]])
    bold = write_dtseries(tmp_path / "x.dtseries.nii", planted[:, labels[order]], axis=axis[order])
    series = extract_regions(bold, atlas)
    np.testing.assert_allclose(series.values, planted[:, 1:], rtol=1e-12)
    assert (series["coverage"].values == 1).all()
    assert series["n_voxels"].values.tolist() == np.bincount(labels)[1:].tolist()
