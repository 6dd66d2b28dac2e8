"""Region means against plain loops, nilearn, and every kind of image."""

import gzip
import logging
import os
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.maskers import NiftiLabelsMasker

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.runs import Run
from neurosal.parcellation import grids, streaming
from neurosal.parcellation.atlas import Atlas, load_atlas
from neurosal.parcellation.extract import extract_regions
from neurosal.parcellation.maps import MapsAtlas
from neurosal.parcellation.maskers import atlas_of_masker

OBLIQUE = np.array(
    [[2.1, 0.4, -0.3, -9], [-0.35, 1.9, 0.5, -11], [0.42, -0.44, 2.3, 7], [0, 0, 0, 1.0]]
)


def make_atlas(labels, affine=None, **options):
    ids = np.unique(labels[labels != 0])
    table = pd.DataFrame({"index": ids, "name": [f"region {label}" for label in ids]})
    return Atlas(nib.Nifti1Image(labels, np.eye(4) if affine is None else affine), table, **options)


def plain_means(data, labels):
    """Average each region at each time, slowly and plainly, in float64."""
    ids = sorted(set(labels[labels != 0].tolist()))
    out = np.zeros((data.shape[3], len(ids)))
    for time in range(data.shape[3]):
        for column, label in enumerate(ids):
            total, count = 0.0, 0
            for place in np.argwhere(labels == label):
                total += float(data[(*place, time)])
                count += 1
            out[time, column] = total / count
    return out


def random_labels(rng, shape, ids=(2, 5, 9, 300)):
    labels = rng.choice([0, *ids], size=shape).astype(np.int32)
    labels.flat[0] = ids[0]
    return labels


def random_run(rng, shape, n_times=6, affine=None, dtype=np.float32):
    data = rng.normal(100, 10, (*shape, n_times)).astype(dtype)
    return nib.Nifti1Image(data, np.eye(4) if affine is None else affine)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def saved(tmp_path, rng):
    """A run on disk, .nii.gz and .nii, with an atlas on its grid."""
    img = random_run(rng, (7, 6, 5))
    for suffix in (".nii", ".nii.gz"):
        nib.save(img, tmp_path / f"bold{suffix}")
    return tmp_path, make_atlas(random_labels(rng, (7, 6, 5)))


def test_times_of_a_run_begin_where_its_first_volume_is(saved):
    folder, atlas = saved
    run = Run(folder / "bold.nii", pd.DataFrame(), 2.0, subject="01", task="t", start_time=0.975)
    series = extract_regions(run, atlas)
    np.testing.assert_allclose(series["time"], 0.975 + 2.0 * np.arange(6))
    atlas = atlas_of_masker(NiftiLabelsMasker(atlas.labels, standardize=None).fit())
    np.testing.assert_allclose(extract_regions(run, atlas)["time"], series["time"])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    n_times=st.integers(1, 5),
    dtype=st.sampled_from(["u1", "<i2", ">i2", "<i4", "<f4", ">f4", "<f8", ">f8", "u2", "i8"]),
    scale=st.sampled_from([None, (0.013, 7.5), (2.0, 0.0)]),
    suffix=st.sampled_from([".nii", ".nii.gz", ".img"]),
)
def test_any_file_gives_the_plain_means(
    tmp_path_factory, seed, shape, n_times, dtype, scale, suffix
):
    rng = np.random.default_rng(seed)
    labels = random_labels(rng, shape, ids=rng.choice(np.arange(1, 2000), 4, replace=False))
    raw = rng.integers(1, 200, (*shape, n_times)).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    img = (nib.Nifti1Pair if suffix == ".img" else nib.Nifti1Image)(raw, np.eye(4), header)
    if scale:
        img.header.set_slope_inter(*scale)
    path = tmp_path_factory.mktemp("run") / f"bold{suffix}"
    nib.save(img, path)
    expected = plain_means(nib.load(path).get_fdata(), labels)
    series = extract_regions(path, make_atlas(labels), t_r=1.0)
    np.testing.assert_allclose(series.values, expected, rtol=1e-12)
    assert series["label_id"].values.tolist() == np.unique(labels[labels != 0]).tolist()


@pytest.mark.parametrize("layout", ["C", "F", "reversed"])
def test_images_in_memory_give_the_plain_means(rng, layout):
    labels = random_labels(rng, (4, 5, 3))
    data = rng.normal(size=(4, 5, 3, 70)).astype(np.float32)
    held = data[::-1][::-1] if layout == "reversed" else np.asarray(data, order=layout)
    series = extract_regions(nib.Nifti1Image(held, np.eye(4)), make_atlas(labels), t_r=1.0)
    np.testing.assert_allclose(series.values, plain_means(data, labels), rtol=1e-12)


@pytest.mark.parametrize("kind", ["mgz", "nifti2", "5D", "bytes", "bz2"])
def test_other_formats_give_the_plain_means(tmp_path, rng, kind):
    labels = random_labels(rng, (4, 5, 3))
    data = rng.normal(100, 10, (4, 5, 3, 6)).astype(np.float32)
    if kind == "mgz":
        nib.save(nib.MGHImage(data, np.eye(4)), tmp_path / "bold.mgz")
        source = tmp_path / "bold.mgz"
    elif kind == "bytes":
        source = nib.Nifti1Image.from_bytes(nib.Nifti1Image(data, np.eye(4)).to_bytes())
    else:
        held = data[:, :, :, None] if kind == "5D" else data
        source = tmp_path / f"bold.nii.{'bz2' if kind == 'bz2' else 'gz'}"
        nib.save(
            (nib.Nifti2Image if kind == "nifti2" else nib.Nifti1Image)(held, np.eye(4)), source
        )
    series = extract_regions(source, make_atlas(labels), t_r=1.0)
    np.testing.assert_allclose(series.values, plain_means(data, labels), rtol=1e-12)


def test_plain_gzip_gives_what_isal_gives(saved, monkeypatch):
    folder, atlas = saved
    fast = extract_regions(folder / "bold.nii.gz", atlas, t_r=1.0)
    monkeypatch.setattr(streaming, "_open_gzip", gzip.open)
    np.testing.assert_array_equal(extract_regions(folder / "bold.nii.gz", atlas, t_r=1.0), fast)


def test_equal_to_nilearn(rng):
    from nilearn.maskers import NiftiLabelsMasker

    affine = np.diag([3.0, 3, 3, 1])
    img, labels = random_run(rng, (8, 9, 7), 12, affine), random_labels(rng, (8, 9, 7))
    atlas = make_atlas(labels, affine)
    theirs = NiftiLabelsMasker(atlas.labels, standardize=None).fit_transform(img)
    np.testing.assert_allclose(extract_regions(img, atlas, t_r=1.0), theirs, rtol=1e-5)


@pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is unset: no real run"
)
def test_equal_to_nilearn_on_a_real_run_and_atlas():
    from nilearn.maskers import NiftiLabelsMasker

    folder = Path(os.environ["NEUROSAL_TEST_DATA"])
    stem = folder / "atlases" / "Schaefer2018_200Parcels_7Networks_order_Tian_Subcortex_S1"
    atlas = load_atlas(f"{stem}_MNI152NLin6Asym_2mm.nii.gz", table=f"{stem}_label.txt")
    run = next((folder / "studyforrest-localizer" / "derivatives").rglob("*_bold.nii.gz"))
    series = extract_regions(run, atlas)
    labels = atlas.resample_to(nib.load(run))
    theirs = NiftiLabelsMasker(labels, standardize=None).fit_transform(run)
    np.testing.assert_allclose(series, theirs, rtol=1e-5)
    assert (series.sizes["time"], series.attrs["t_r"], series.attrs["space"]) == (
        156,
        2.0,
        "MNI152NLin6Asym",
    )
    assert float(series["coverage"].min()) > 0.8


def test_coordinates_and_attributes(rng):
    labels = random_labels(rng, (4, 5, 3))
    img = random_run(rng, (4, 5, 3))
    img.header.set_zooms((1, 1, 1, 720))
    img.header.set_xyzt_units("mm", "msec")
    atlas = make_atlas(labels, name="mine")
    series = extract_regions(img, atlas)
    assert series.dims == ("time", "region")
    assert series.dtype == np.float64
    np.testing.assert_allclose(series["time"], np.arange(6) * 0.72)
    counts = [(labels == label).sum() for label in atlas.regions["label_id"]]
    assert series["n_voxels"].values.tolist() == counts
    assert (series.attrs["atlas"], series.attrs["atlas_hash"]) == ("mine", atlas.hash)
    mgh = nib.MGHImage(img.get_fdata(dtype=np.float32), np.eye(4))
    mgh.header.set_zooms((1, 1, 1, 720))
    assert extract_regions(mgh, atlas).attrs["t_r"] == 0.72
    run = Run(img, pd.DataFrame(), 2.5, subject="1", task="x")
    assert extract_regions(run, atlas).attrs["t_r"] == 2.5


@pytest.mark.parametrize("n_times", [1, 4])
def test_coverage_is_the_share_of_voxels_with_signal(rng, n_times):
    labels = np.array([[[1, 1, 1, 1, 2, 2]]], dtype=np.int32)
    data = rng.normal(10, 1, (1, 1, 6, n_times))
    data[0, 0, 0] = 0
    data[0, 0, 1] = 5
    series = extract_regions(nib.Nifti1Image(data, np.eye(4)), make_atlas(labels), t_r=1.0)
    silent = 1 if n_times == 1 else 2
    assert series["coverage"].values.tolist() == [1 - silent / 4, 1.0]


def test_same_brain_stored_flipped_or_turned_gives_the_same_series(rng):
    labels, affine = random_labels(rng, (6, 5, 4)), np.diag([-2.0, 2, 2, 1])
    atlas, img = make_atlas(labels, affine), random_run(rng, (6, 5, 4), affine=affine)
    expected = extract_regions(img, atlas, t_r=1.0).values
    for codes in (("R", "A", "S"), ("P", "L", "I"), ("S", "R", "A")):
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
        )
        turned = img.as_reoriented(turn)
        assert nib.aff2axcodes(turned.affine) == codes
        np.testing.assert_allclose(extract_regions(turned, atlas, t_r=1.0), expected, rtol=1e-12)


@pytest.mark.parametrize("same_grid", [True, False])
def test_oblique_grids_take_the_nearest_label(rng, same_grid):
    labels = random_labels(rng, (9, 10, 11))
    straight = nib.affines.from_matvec(np.diag([2.0, 2, 2]), [-10.13, -12.07, 4.19])
    label_affine = OBLIQUE if same_grid else straight
    img = random_run(rng, (5, 6, 7) if not same_grid else (9, 10, 11), affine=OBLIQUE)
    nearest = np.zeros(img.shape[:3], dtype=int)
    to_labels = np.linalg.inv(label_affine) @ OBLIQUE
    for place in np.ndindex(*nearest.shape):
        at = np.rint(to_labels @ [*place, 1]).astype(int)[:3]
        if (at >= 0).all() and (at < labels.shape).all():
            nearest[place] = labels[tuple(at)]
    series = extract_regions(img, make_atlas(labels, label_affine), t_r=1.0)
    present = series.values[:, series["n_voxels"] > 0]
    np.testing.assert_allclose(present, plain_means(img.get_fdata(), nearest), rtol=1e-12)


def test_columns_stay_where_they_are_when_a_region_is_out_of_view(rng):
    labels = np.zeros((6, 4, 4), dtype=np.int16)
    labels[0], labels[1:3], labels[3:5], labels[5, :2], labels[5, 2:] = 4, 8, 15, 16, 23
    whole = random_run(rng, (6, 4, 4))
    cropped = whole.slicer[2:]
    silenced = nib.Nifti1Image(cropped.get_fdata(), cropped.affine)
    silenced.get_fdata()[3, :2] = 0
    silenced = nib.Nifti1Image(silenced.get_fdata(), cropped.affine)
    atlas = make_atlas(labels)
    full = extract_regions(whole, atlas, t_r=1.0)
    with pytest.warns(UserWarning, match=r"2 regions of atlas are NaN.*region 4, region 16\."):
        series = extract_regions(silenced, atlas, t_r=1.0)
    assert series["label_id"].values.tolist() == [4, 8, 15, 16, 23]
    assert np.isnan(series.values).all(axis=0).tolist() == [True, False, False, True, False]
    np.testing.assert_allclose(series[:, [2, 4]], full[:, [2, 4]])
    np.testing.assert_allclose(series[:, 1], whole.get_fdata()[2].mean(axis=(0, 1)))
    assert series["coverage"].values.tolist() == [0, 0.5, 1, 0, 1]
    assert series["n_voxels"].values.tolist() == [0, 16, 32, 8, 8]


def test_resampling_is_said_once_for_a_pair_of_grids(rng, caplog, monkeypatch):
    monkeypatch.setattr(grids, "_told", set())
    fine = make_atlas(random_labels(rng, (8, 8, 8)))
    runs = [random_run(rng, (4, 4, 4), affine=np.diag([2.0, 2, 2, 1])) for _ in range(2)]
    with caplog.at_level(logging.WARNING, logger="neurosal"):
        for img in runs:
            extract_regions(img, fine, t_r=1.0)
            fine.resample_to(img)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "8x8x8, 1x1x1 mm, to the data's 4x4x4, 2x2x2 mm" in told[0]


def test_a_compressed_run_is_never_held_whole(tmp_path, rng):
    shape, n_times = (20, 20, 20), 150
    nib.save(random_run(rng, shape, n_times), tmp_path / "bold.nii.gz")
    atlas = make_atlas(random_labels(rng, shape))
    extract_regions(tmp_path / "bold.nii.gz", atlas, t_r=1.0)
    tracemalloc.start()
    extract_regions(tmp_path / "bold.nii.gz", atlas, t_r=1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < np.prod(shape) * n_times * 4 / 4


@pytest.mark.parametrize("keep", [0.3, 0.97, -6])
def test_cut_gzip_is_named(saved, keep):
    folder, atlas = saved
    path = folder / "bold.nii.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if keep > 0 else keep])
    with pytest.raises(DataError, match=r"bold\.nii\.gz (is damaged|ends after)"):
        extract_regions(path, atlas, t_r=1.0)


@pytest.mark.parametrize("kind", ["labels", "maps", "masker"])
def test_flipped_bits_are_found_by_the_checksum(saved, kind):
    from nilearn.maskers import NiftiLabelsMasker

    folder, atlas = saved
    path = folder / "bold.nii.gz"
    if kind == "maps":
        weights = np.asarray(atlas.labels.dataobj)[..., None] == [2, 5]
        table = pd.DataFrame({"index": [1, 2], "name": ["a", "b"]})
        atlas = MapsAtlas(nib.Nifti1Image(weights.astype("f4"), np.eye(4)), table)
    if kind == "masker":
        atlas = load_atlas(NiftiLabelsMasker(atlas.labels, standardize=None))
    extract_regions(path, atlas, t_r=1.0)
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bold\.nii\.gz is damaged"):
        extract_regions(path, atlas, t_r=1.0)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("n_times", "words"), [(9, "ends after 6 of the 9"), (3, "goes on after")])
def test_header_and_data_that_disagree_are_named(saved, suffix, n_times, words):
    folder, atlas = saved
    path = folder / f"bold{suffix}"
    content = bytearray((folder / "bold.nii").read_bytes())
    content[48:50] = np.int16(n_times).tobytes()
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(DataError, match=rf"bold\{suffix} {words}"):
        extract_regions(path, atlas, t_r=1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_voxels_inside_regions_are_named_and_outside_do_not_matter(tmp_path, rng, bad):
    labels = random_labels(rng, (4, 5, 3))
    data = rng.normal(size=(4, 5, 3, 6)).astype(np.float32)
    data[tuple(np.argwhere(labels == 0)[0])] = bad
    path, atlas = tmp_path / "bold.nii.gz", make_atlas(labels)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    assert np.isfinite(extract_regions(path, atlas, t_r=1.0)).all()
    data[(*np.argwhere(labels == 9)[0], 4)] = bad
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    words = r"bold\.nii\.gz has NaN or infinite voxels in 1 regions \(region 9\), in 1 of 6"
    with pytest.raises(DataError, match=words):
        extract_regions(path, atlas, t_r=1.0)


def test_images_that_are_no_run_are_refused(rng, tmp_path):
    atlas = make_atlas(random_labels(rng, (4, 5, 3)))
    good = random_run(rng, (4, 5, 3))
    with pytest.raises(DataError, match="is 3D"):
        extract_regions(good.slicer[..., 0], atlas, t_r=1.0)
    with pytest.raises(DataError, match="complex"):
        extract_regions(random_run(rng, (4, 5, 3), dtype=np.complex64), atlas, t_r=1.0)
    five = nib.Nifti1Image(rng.normal(size=(4, 5, 3, 2, 6)), np.eye(4))
    with pytest.raises(DataError, match="axes x, y, z and time"):
        extract_regions(five, atlas, t_r=1.0)
    with pytest.raises(DataError, match="holds no volume"):
        extract_regions(good.__class__(good.get_fdata()[..., :0], np.eye(4)), atlas, t_r=1.0)
    with pytest.raises(DataError, match="no file nowhere"):
        extract_regions("nowhere.nii.gz", atlas)
    (tmp_path / "bold.nii.gz").write_text("no image")
    with pytest.raises(DataError, match=r"Cannot read .*bold\.nii\.gz"):
        extract_regions(tmp_path / "bold.nii.gz", atlas)
    with pytest.raises(ArgumentError, match="Got int"):
        extract_regions(3, atlas)


def test_repetition_time_must_be_known(rng):
    atlas, img = make_atlas(random_labels(rng, (4, 5, 3))), random_run(rng, (4, 5, 3))
    img.header["pixdim"][4] = 0
    with pytest.raises(ArgumentError, match=r"t_r must be above 0 s\. Got 0.0"):
        extract_regions(img, atlas)
    with pytest.raises(ArgumentError, match=r"t_r must be above 0 s\. Got nan"):
        extract_regions(img, atlas, t_r=np.nan)


def test_run_and_atlas_that_do_not_overlap_are_refused(rng):
    atlas, img = make_atlas(random_labels(rng, (4, 5, 3))), random_run(rng, (4, 5, 3))
    away = np.eye(4)
    away[:3, 3] = 500
    with pytest.raises(DataError, match="No region of atlas lies inside"):
        extract_regions(random_run(rng, (4, 5, 3), affine=away), atlas, t_r=1.0)
    with pytest.raises(DataError, match="zero in every region"):
        extract_regions(nib.Nifti1Image(img.get_fdata() * 0, np.eye(4)), atlas, t_r=1.0)
    flat = nib.MGHImage(img.get_fdata(dtype=np.float32), np.eye(4))
    flat.affine[0, 0] = 0
    with pytest.raises(DataError, match="singular"):
        extract_regions(flat, atlas, t_r=1.0)


@pytest.mark.parametrize("name", ["run", "file"])
def test_known_and_different_spaces_are_refused(tmp_path, rng, name):
    labels, img = random_labels(rng, (4, 5, 3)), random_run(rng, (4, 5, 3))
    path = tmp_path / "sub-1_space-MNI152NLin2009cAsym_bold.nii.gz"
    nib.save(img, path)
    run = Run(img, pd.DataFrame(), 1.0, subject="1", task="x", space="MNI152NLin2009cAsym")
    source = run if name == "run" else path
    strict = make_atlas(labels, space="MNI152NLin6Asym")
    with pytest.raises(DataError, match=r"MNI152NLin2009cAsym, the atlas atlas in MNI152NLin6Asym"):
        extract_regions(source, strict, t_r=1.0)
    for space in ("", "MNI152NLin2009cAsym"):
        assert extract_regions(source, make_atlas(labels, space=space), t_r=1.0).size
    near = make_atlas(labels, space="MNI152NLin6Asym", approximate=True)
    assert extract_regions(source, near, t_r=1.0).size
    with pytest.raises(DataError, match="fsaverage"):
        extract_regions(source, near, t_r=1.0, space="fsaverage")
