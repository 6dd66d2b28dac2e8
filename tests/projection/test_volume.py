"""Region values to volumes and back."""

import json
import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.maskers import NiftiLabelsMasker

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import region_coordinates
from neurosal.parcellation.atlas import Atlas, load_atlas
from neurosal.projection.images import from_image, save_map
from neurosal.projection.volume import from_nifti, to_nifti

AFFINE = nib.affines.from_matvec(np.diag([-2.0, 2, 2]), [10, -12, -8])


def make_atlas(seed=0, shape=(6, 5, 4), ids=(2, 5, 9, 300), **options):
    labels = np.random.default_rng(seed).choice([0, *ids], size=shape).astype(np.int32)
    labels.flat[: len(ids)] = ids
    table = pd.DataFrame({"index": ids, "name": [f"region {label}" for label in ids]})
    return Atlas(nib.Nifti1Image(labels, AFFINE), table, **options)


def labelled(values, atlas, **attrs):
    dims = ("time", "region")[-np.ndim(values) :]
    return xr.DataArray(values, dims=dims, coords=region_coordinates(atlas.regions), attrs=attrs)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    ids=st.sets(st.integers(1, 10**6), min_size=1, max_size=6),
    n_times=st.integers(0, 4),
    t_r=st.sampled_from([0.72, 2.0, 1.355]),
    start=st.sampled_from([0.0, 5.0, -1.5]),
    suffix=st.sampled_from([None, ".nii", ".nii.gz"]),
)
def test_round_trip_is_exact_in_float32(tmp_path_factory, seed, ids, n_times, t_r, start, suffix):
    atlas = make_atlas(seed, ids=tuple(sorted(ids)))
    shape = (n_times, len(ids)) if n_times else (len(ids),)
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    array = labelled(values, atlas, t_r=t_r)
    if n_times:
        array = array.assign_coords(time=start + np.arange(n_times) * t_r)
    img = to_nifti(array, atlas)
    if suffix:
        path = tmp_path_factory.mktemp("map") / f"map{suffix}"
        nib.save(img, path)
        img = path
    back = from_nifti(img, atlas)
    np.testing.assert_array_equal(back.values, values)
    assert back.dims == array.dims
    for name in ("region", "network", "hemisphere", "label_id"):
        np.testing.assert_array_equal(back[name], array[name])
    if n_times:
        np.testing.assert_allclose(back["time"], array["time"], atol=1e-6)


def test_every_voxel_has_the_value_of_its_label():
    atlas = make_atlas()
    values = np.array([[1.5, -2.0, 3.25, 1e-8], [0.5, 2.0, np.nan, 7.0]])
    img = to_nifti(values, atlas, t_r=0.72)
    data, labels = img.get_fdata(), np.asarray(atlas.labels.dataobj)
    assert img.get_data_dtype() == np.float32
    np.testing.assert_array_equal(img.affine, AFFINE)
    for place in np.ndindex(*labels.shape):
        column = {0: None, 2: 0, 5: 1, 9: 2, 300: 3}[labels[place]]
        expected = [0, 0] if column is None else values[:, column].astype(np.float32)
        np.testing.assert_array_equal(data[place], expected)


@pytest.mark.parametrize("how", ["argument", "attribute", "coordinate", "nothing"])
def test_repetition_time_is_in_the_header(how):
    atlas = make_atlas()
    array = labelled(np.ones((3, 4)), atlas)
    if how == "attribute":
        array.attrs["t_r"] = 0.72
    if how == "coordinate":
        array = array.assign_coords(time=5.0 + np.arange(3) * 0.72)
    img = to_nifti(array, atlas, t_r=0.72 if how == "argument" else None)
    assert float(img.header["pixdim"][4]) == pytest.approx(0 if how == "nothing" else 0.72)
    assert img.header.get_xyzt_units() == ("mm", "sec")
    back = from_nifti(img, atlas)
    step = 1.0 if how == "nothing" else 0.72
    np.testing.assert_allclose(np.diff(back["time"]), step)
    assert ("t_r" in back.attrs) == (how != "nothing")


def test_times_in_the_units_of_any_header():
    atlas = make_atlas()
    masker = load_atlas(NiftiLabelsMasker(atlas.labels, standardize=None))
    img = to_nifti(np.ones((3, 4)), atlas)
    img.header.set_xyzt_units("mm", "msec")
    img.header["pixdim"][4], img.header["toffset"] = 720, 5000
    for one in (atlas, masker):
        np.testing.assert_allclose(from_image(img, one)["time"], [5.0, 5.72, 6.44])


def test_regions_are_matched_by_name_and_may_be_a_part():
    atlas = make_atlas()
    array = labelled(np.array([1.0, 2.0, 3.0, 4.0]), atlas)
    shuffled = to_nifti(array[[2, 0, 3, 1]], atlas).get_fdata()
    np.testing.assert_array_equal(shuffled, to_nifti(array, atlas).get_fdata())
    part = from_nifti(to_nifti(array[[3, 1]], atlas), atlas)
    assert part.values.tolist() == [0, 2, 0, 4]
    swapped = labelled(np.arange(8.0).reshape(2, 4), atlas).transpose("region", "time")
    assert to_nifti(swapped, atlas, t_r=1.0).shape == (6, 5, 4, 2)


def test_what_is_no_image_is_refused():
    atlas = make_atlas()
    masker = load_atlas(NiftiLabelsMasker(atlas.labels, standardize=None))
    with pytest.raises(ArgumentError, match="reference must be a path or a nibabel image"):
        to_nifti(np.ones(4), atlas, reference=np.ones((2, 2, 2)))
    for one in (atlas, masker):
        with pytest.raises(ArgumentError, match="img must be a path or a nibabel image"):
            from_image(np.ones((6, 5, 4)), one)


def test_series_and_frames_of_pandas_are_matched_by_name():
    atlas = make_atlas()
    array = labelled(np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 2.5]]), atlas)
    frame = pd.DataFrame(array.to_numpy(), columns=array["region"].to_numpy())
    expected = to_nifti(array, atlas).get_fdata()
    np.testing.assert_array_equal(to_nifti(frame.iloc[:, ::-1], atlas).get_fdata(), expected)
    series = frame.iloc[1].sort_values()
    np.testing.assert_array_equal(to_nifti(series, atlas).get_fdata(), expected[..., 1])
    plain = frame.iloc[1].reset_index(drop=True)
    np.testing.assert_array_equal(to_nifti(plain, atlas).get_fdata(), expected[..., 1])
    with pytest.raises(ArgumentError, match="unknown to it: 1, 2, 3, 4"):
        to_nifti(pd.Series(np.ones(4), index=[1, 2, 3, 4]), atlas)


def test_a_map_of_another_atlas_with_the_same_names_is_told_of():
    atlas, values = make_atlas(), np.array([1.0, 2.0, 3.0, 4.0])
    coarse = labelled(values, atlas)[[1, 3]]
    coarse = coarse.assign_coords(label_id=("region", [1, 2]))
    with pytest.warns(UserWarning, match="2 of the 4 regions .* label_id 1 in .* 5 in the atlas"):
        to_nifti(coarse, atlas)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_nifti(labelled(values, atlas)[[1, 3]], atlas)
        to_nifti(labelled(values, atlas).assign_coords(label_id=("region", range(4))), atlas)


def test_reference_grid_is_that_of_extraction():
    atlas = make_atlas()
    turned = nib.as_closest_canonical(nib.Nifti1Image(np.zeros((6, 5, 4, 3)), AFFINE))
    values = np.array([1.0, 2.0, 3.0, 4.0])
    img = to_nifti(values, atlas, reference=turned)
    np.testing.assert_array_equal(img.affine, turned.affine)
    np.testing.assert_array_equal(img.get_fdata(), to_nifti(values, atlas).get_fdata()[::-1])
    assert from_nifti(img, atlas).values.tolist() == values.tolist()


def test_region_without_a_voxel_on_the_reference_is_named():
    atlas = make_atlas()
    corner = nib.Nifti1Image(np.zeros((1, 1, 2)), AFFINE)
    with pytest.warns(UserWarning, match=r"2 regions .* no voxel.*region 9, region 300\."):
        img = to_nifti(np.arange(4.0), atlas, reference=corner)
    back = from_nifti(img, atlas).values
    np.testing.assert_array_equal(back, [0, 1, np.nan, np.nan])


def test_offline_atlas_in_four_dimensions():
    atlas = load_atlas("seitzman300")
    values = np.random.default_rng(0).normal(size=(3, 300))
    img = to_nifti(values, atlas, t_r=0.72)
    assert img.shape == (91, 109, 91, 3)
    assert (img.header["sform_code"], img.header["qform_code"]) == (4, 4)
    np.testing.assert_array_equal(from_nifti(img, atlas), values.astype(np.float32))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones(3), r"4 regions of atlas\. Got \(3,\)"),
        (np.ones((2, 2, 4)), r"Got \(2, 2, 4\)"),
        (xr.DataArray(np.ones((1, 4)), dims=("sample", "region")), r"average the others first"),
        (xr.DataArray([1.0], dims="region", coords={"region": ["V1"]}), r"unknown to it: V1"),
        (xr.DataArray([1.0, 2], dims="region"), r"missing or not unique"),
        (xr.DataArray([1.0, 2], dims="region", coords={"region": ["region 2"] * 2}), r"not unique"),
        (
            xr.DataArray(np.ones((3, 4)), dims=("time", "region"), coords={"time": [0, 1, 3]}),
            r"evenly spaced and rising; the steps go from 1 to 2 s",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(values, words):
    with pytest.raises(ArgumentError, match=words):
        to_nifti(values, make_atlas())


@pytest.mark.parametrize("t_r", [0, -1.0, np.nan])
def test_impossible_repetition_time_is_refused(t_r):
    with pytest.raises(ArgumentError, match="t_r must be above 0 s"):
        to_nifti(np.ones((2, 4)), make_atlas(), t_r=t_r)


def test_away_from_the_atlas_is_refused():
    away = nib.Nifti1Image(np.zeros((2, 2, 2)), nib.affines.from_matvec(np.eye(3), [500, 0, 0]))
    with pytest.raises(DataError, match="No region of atlas lies inside the reference"):
        to_nifti(np.ones(4), make_atlas(), reference=away)
    with pytest.raises(DataError, match="No region of atlas lies inside the image"):
        from_nifti(away, make_atlas())


@pytest.mark.parametrize("name", ["map.nii.gz", "map.nii"])
def test_saved_map_says_what_it_is(tmp_path, name):
    atlas = make_atlas(name="mine", space="MNI152NLin6Asym", citation="Doe 2020")
    array = labelled(np.arange(8.0).reshape(2, 4), atlas, t_r=0.72, method="lrp")
    provenance = {"seed": np.int64(3), "sources": [tmp_path]}
    path = save_map(array, atlas, tmp_path / "new" / name, provenance=provenance)
    notes = json.loads((tmp_path / "new" / "map.json").read_text())
    assert notes["Atlas"]["Name"] == "mine"
    assert notes["Atlas"]["SHA256"] == atlas.hash
    assert notes["SpatialReference"] == "MNI152NLin6Asym"
    assert notes["RepetitionTime"] == 0.72
    assert notes["Attributes"] == {"t_r": 0.72, "method": "lrp"}
    assert notes["Provenance"] == {"seed": 3, "sources": [str(tmp_path)]}
    np.testing.assert_array_equal(from_nifti(path, atlas), array)


def test_places_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot write .*map\.nii\.gz.*Choose a folder"):
        save_map(np.ones(4), make_atlas(), tmp_path / "file" / "map.nii.gz")
    with pytest.raises(ArgumentError, match=r"must end in \.nii\.gz or \.nii"):
        save_map(np.ones(4), make_atlas(), tmp_path / "map.mgz")
