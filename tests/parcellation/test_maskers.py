"""nilearn's maskers as atlases: what they extract, what they paint, and what they are called."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from joblib import dump, load
from nilearn.maskers import (
    NiftiLabelsMasker,
    NiftiMapsMasker,
    NiftiMasker,
    NiftiSpheresMasker,
    SurfaceLabelsMasker,
)
from nilearn.surface import InMemoryMesh, PolyMesh, SurfaceImage

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.runs import Run
from neurosal.parcellation.atlas import load_atlas
from neurosal.parcellation.extract import extract_regions
from neurosal.parcellation.maskers import MaskerAtlas
from neurosal.parcellation.series import extract_runs
from neurosal.projection.images import from_image, to_image

SHAPE = (6, 5, 4)
AFFINE = nib.affines.from_matvec(np.diag([3.0, 3, 3]), [-9, -7, -6])
FIVES = nib.affines.from_matvec(np.diag([6.0, 3, 3]), [-9, -7, -6])


def label_image(ids=(2, 5, 9), shape=SHAPE, affine=AFFINE):
    labels = np.random.default_rng(0).choice([0, *ids], size=shape).astype(np.int32)
    return nib.Nifti1Image(labels, affine)


def bold(seed=0, n=7, shape=SHAPE, affine=AFFINE):
    data = np.random.default_rng(seed).normal(100, 5, (*shape, n)).astype(np.float32)
    img = nib.Nifti1Image(data, affine)
    img.header["pixdim"][4] = 2.0
    return img


def surface_labels(left=(0, 1, 1, 2, 3, 3), right=(0, 7, 7, 8, 3, 3)):
    points = np.random.default_rng(1).normal(size=(6, 3))
    part = InMemoryMesh(points, np.array([[0, 1, 2]]))
    mesh = PolyMesh(left=part, right=part)
    return SurfaceImage(mesh, {"left": np.array(left), "right": np.array(right)})


def maskers():
    weights = np.random.default_rng(2).random((*SHAPE, 3)).astype(np.float32)
    ones = nib.Nifti1Image(np.ones(SHAPE, "uint8"), AFFINE)
    return {
        "labels": NiftiLabelsMasker(label_image(), standardize=None),
        "maps": NiftiMapsMasker(nib.Nifti1Image(weights, AFFINE), standardize=None),
        "spheres": NiftiSpheresMasker([(-6, -4, 0), (3, 2, 0)], radius=3, standardize=None),
        "spheres on a mask": NiftiSpheresMasker(
            [(-6, -4, 0), (3, 2, 0)], radius=3, mask_img=ones, standardize=None
        ),
        "voxels": NiftiMasker(ones, standardize=None),
    }


@pytest.mark.filterwarnings("ignore:.*Generation of a mask")
@pytest.mark.parametrize("kind", list(maskers()))
@pytest.mark.parametrize("fitted", [False, True])
def test_series_and_maps_are_the_maskers_own(kind, fitted):
    masker, run = maskers()[kind], bold()
    expected = maskers()[kind].fit(run)
    atlas = load_atlas(masker.fit(run) if fitted else masker)
    series = extract_regions(run, atlas)
    np.testing.assert_allclose(series, expected.transform(run), rtol=1e-6)
    np.testing.assert_array_equal(series["time"], 2.0 * np.arange(7))
    assert series["region"].to_numpy().tolist() == atlas.regions["name"].tolist()
    values = np.random.default_rng(3).normal(size=(2, len(atlas))).astype(np.float32)
    img = to_image(values, atlas, run, t_r=0.72)
    if kind == "spheres":
        expected.set_params(mask_img=nib.Nifti1Image(np.ones(SHAPE, "uint8"), AFFINE)).fit()
    np.testing.assert_allclose(img.get_fdata(), expected.inverse_transform(values).get_fdata())
    assert img.get_data_dtype() == np.float32
    assert float(img.header["pixdim"][4]) == pytest.approx(0.72)
    back = from_image(img, atlas)
    np.testing.assert_allclose(back, values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.diff(back["time"]), 0.72, rtol=1e-6)


def test_labels_are_named_and_cleaned_as_the_masker_says():
    lut = pd.DataFrame({"index": [0, 9, 2, 5], "name": ["Background", "V1_R", "HIP-lh", "M1_L"]})
    masker = NiftiLabelsMasker(
        label_image(), lut=lut, standardize="zscore_sample", detrend=True, strategy="median"
    )
    atlas = load_atlas(masker, name="mine")
    assert (atlas.name, atlas.regions["label_id"].tolist()) == ("mine", [2, 5, 9])
    assert atlas.regions["name"].tolist() == ["HIP-lh", "M1_L", "V1_R"]
    assert atlas.regions["hemisphere"].tolist() == ["L", "L", "R"]
    series = extract_regions(Run(bold(), pd.DataFrame(), 0.72, subject="1", task="x"), atlas)
    np.testing.assert_allclose(series.std("time", ddof=1), 1.0)
    assert series.attrs["t_r"] == 0.72
    values = np.float32([3.0, 4.0, 5.0])
    np.testing.assert_array_equal(from_image(to_image(values, atlas), atlas), values)
    with pytest.raises(DataError, match="same name for several regions: 'a'"):
        load_atlas(NiftiLabelsMasker(label_image(), labels=["Background", "a", "a", "b"]))


def test_regions_without_a_voxel_in_the_data_are_nan_and_keep_their_place():
    labels = np.zeros(SHAPE, dtype=np.int32)
    labels[0], labels[1], labels[2:] = 1, 2, 3  # 2 falls between the voxels of the coarse run
    run = bold(shape=(3, 5, 4), affine=FIVES)
    for img in (None, run):
        masker = NiftiLabelsMasker(nib.Nifti1Image(labels, AFFINE), standardize=None)
        atlas = load_atlas(masker) if img is None else load_atlas(masker.fit(img))
        names = atlas.regions["name"].tolist()
        if img is None:
            with pytest.warns(UserWarning, match="1 regions of NiftiLabelsMasker are NaN"):
                series = extract_regions(run, atlas)
            assert names == ["1", "2", "3"]
            assert np.isnan(series.sel(region="2")).all()
        else:
            series = extract_regions(run, atlas)
            assert names == ["1", "3"]
        data = run.get_fdata()
        np.testing.assert_allclose(series.sel(region="1"), data[0].mean((0, 1)), rtol=1e-6)
        np.testing.assert_allclose(series.sel(region="3"), data[1:].mean((0, 1, 2)), rtol=1e-6)
        values = np.arange(len(atlas)) + 1.0
        back = from_image(to_image(values, atlas), atlas)
        np.testing.assert_array_equal(back, values)


def test_filters_for_another_repetition_time_are_refused():
    masker = NiftiLabelsMasker(label_image(), standardize=None, high_pass=0.05, t_r=0.72)
    img, run = bold(n=60), Run(bold(n=60), pd.DataFrame(), 2.0, subject="1", task="x")
    with pytest.raises(ArgumentError, match=r"filters with t_r=0\.72 s, but .* has 2 s"):
        extract_regions(run, load_atlas(masker))
    right = masker.set_params(t_r=2.0)
    filtered = extract_regions(run, load_atlas(right))
    np.testing.assert_allclose(filtered, right.fit().transform(img), rtol=1e-6)
    extract_regions(run, load_atlas(masker.set_params(high_pass=None, t_r=0.72)))


@pytest.mark.parametrize("kind", ["labels", "maps", "voxels"])
def test_missing_values_stay_where_they_are(kind):
    atlas = load_atlas(maskers()[kind])
    values = np.ones((2, len(atlas)), np.float32)
    values[0, 1] = np.nan
    img = to_image(values, atlas, t_r=1.0)
    data = img.get_fdata()
    touched = atlas.paint(np.eye(len(atlas))[1]).get_fdata() != 0
    np.testing.assert_array_equal(np.isnan(data[..., 0]), touched)
    assert np.isfinite(data[..., 1]).all()
    if kind != "maps":  # overlapping maps share voxels that are lost
        np.testing.assert_array_equal(from_image(img, atlas), values)


def test_labels_of_surfaces():
    labels = surface_labels()
    atlas = load_atlas(SurfaceLabelsMasker(labels, standardize=None))
    assert atlas.regions["hemisphere"].tolist() == ["L", "L", "", "R", "R"]
    assert atlas.on_surface
    rng = np.random.default_rng(0)
    parts = {side: rng.normal(size=(6, 4)).astype(np.float32) for side in ("left", "right")}
    series = extract_regions(SurfaceImage(labels.mesh, parts), atlas, t_r=2.0)
    both = np.vstack([parts["left"][4:], parts["right"][4:]])
    np.testing.assert_allclose(series.sel(region="3"), both.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(series.sel(region="7"), parts["right"][1:3].mean(axis=0), rtol=1e-5)
    values = np.array([[1.0, 2, 3, 4, 5], [6, 7, np.nan, 9, 10]], np.float32)
    img = to_image(values, atlas, t_r=1.0)
    assert img.data.parts["left"][:, 0].tolist() == [0, 1, 1, 2, 3, 3]
    assert np.isnan(img.data.parts["right"][4:, 1]).all()
    np.testing.assert_array_equal(from_image(img, atlas), values)


def test_surface_files_take_the_mesh_of_the_masker(tmp_path):
    labels = surface_labels()
    rng, parts, files = np.random.default_rng(0), {}, {}
    for side in ("left", "right"):
        parts[side] = rng.normal(size=(6, 4)).astype(np.float32)
        frames = [nib.gifti.GiftiDataArray(frame) for frame in parts[side].T]
        files[side] = tmp_path / f"{side}.func.gii"
        nib.save(nib.gifti.GiftiImage(darrays=frames), files[side])
    atlas = load_atlas(SurfaceLabelsMasker(labels, standardize=None))
    run = Run(files, pd.DataFrame(), 2.0, subject="1", task="x")
    series = extract_regions(run, atlas)
    np.testing.assert_allclose(series.sel(region="2"), parts["left"][3], rtol=1e-6)


def test_the_masker_given_is_left_alone_and_the_atlas_can_be_kept(tmp_path):
    masker = maskers()["labels"]
    before = vars(masker).copy()
    atlas = load_atlas(masker)
    extract_regions(bold(), atlas)
    assert vars(masker) == before
    dump(atlas, tmp_path / "atlas.joblib")
    again = load(tmp_path / "atlas.joblib")
    assert isinstance(again, MaskerAtlas)
    np.testing.assert_array_equal(extract_regions(bold(), again), extract_regions(bold(), atlas))


def test_equal_maskers_have_equal_hashes_and_others_do_not():
    first, second = (load_atlas(maskers()["labels"]) for _ in range(2))
    assert first.hash == second.hash
    others = [
        load_atlas(NiftiLabelsMasker(label_image(), standardize=None, strategy="median")),
        load_atlas(NiftiLabelsMasker(label_image(affine=FIVES), standardize=None)),
        load_atlas(NiftiLabelsMasker(label_image((2, 5, 8)), standardize=None)),
        *(load_atlas(maskers()[kind]) for kind in ("maps", "voxels", "spheres")),
        load_atlas(NiftiSpheresMasker([(-6, -4, 0), (3, 2, 0)], radius=4, standardize=None)),
    ]
    assert len({one.hash for one in [first, *others]}) == 1 + len(others)


def test_maskers_that_do_not_fit_say_so():
    spheres = load_atlas(maskers()["spheres"])
    with pytest.raises(ArgumentError, match="Give the NiftiSpheresMasker a mask_img, or an image"):
        to_image(np.ones(2), spheres)
    with pytest.raises(ArgumentError, match="atlas, a NiftiLabelsMasker, cannot be fitted: Image"):
        load_atlas(NiftiLabelsMasker(nib.Nifti1Image(np.zeros(SHAPE, "int32"), AFFINE)))
    with pytest.raises(DataError, match="SurfaceLabelsMasker cannot take it"):
        extract_regions(bold(), load_atlas(SurfaceLabelsMasker(surface_labels())))
    with pytest.raises(ArgumentError, match="t_r must be above 0 s"):
        extract_regions(surface_labels(), load_atlas(SurfaceLabelsMasker(surface_labels())))


@pytest.mark.parametrize("content", [None, b"no image", b"cut"])
def test_damaged_files_are_named_and_stop_no_other_run(tmp_path, content):
    atlas = load_atlas(maskers()["labels"])
    paths = [tmp_path / "whole.nii.gz", tmp_path / "broken.nii.gz"]
    nib.save(bold(), paths[0])
    if content:
        whole = paths[0].read_bytes()
        paths[1].write_bytes(whole[: len(whole) // 2] if content == b"cut" else content)
    runs = [Run(path, pd.DataFrame(), 2.0, subject="1", task=path.name[:5]) for path in paths]
    with pytest.warns(UserWarning, match=r"sub-1 task-broke.*broken\.nii\.gz.*The run is left out"):
        kept = extract_runs(runs, atlas, on_error="warn")
    assert [one is None for one in kept] == [False, True]
    with pytest.raises(DataError, match=r"broken\.nii\.gz"):
        from_image(paths[1], atlas)


def test_many_runs_in_processes_and_from_the_cache(tmp_path):
    atlas, runs = load_atlas(maskers()["labels"]), []
    for number in range(3):
        path = tmp_path / f"{number}.nii.gz"
        nib.save(bold(number), path)
        runs.append(Run(path, pd.DataFrame(), 2.0, subject=str(number), task="x"))
    plain = extract_runs(runs, atlas)
    for _ in range(2):
        kept = extract_runs(runs, atlas, n_jobs=2, cache=tmp_path / "cache")
        for one, other in zip(plain, kept, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(list((tmp_path / "cache").iterdir())) == 3
