"""Region values to CIFTI-2 and back."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis
from projection_cases import AFFINE, IDS, NAMES, gray_atlas, gray_axis, labelled, real_atlas

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.atlas import load_atlas
from neurosal.parcellation.extract import extract_regions
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.projection.grayordinates import from_cifti, to_cifti

VALUES = np.array([[1.5, -2.0, 3.25, 1e-8], [0.5, 2.0, np.nan, 7.0]])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_frames=st.integers(0, 4),
    kind=st.sampled_from(["pscalar", "ptseries", "dscalar", "dtseries"]),
    t_r=st.sampled_from([0.72, 2.0, 1.355]),
    start=st.sampled_from([0.0, 5.0, -1.5]),
)
def test_round_trip_through_a_file_is_exact(tmp_path_factory, seed, n_frames, kind, t_r, start):
    atlas = gray_atlas(seed)
    n_frames = max(n_frames, int("series" in kind))
    shape = (n_frames, 4) if n_frames else (4,)
    array = labelled(np.random.default_rng(seed).normal(size=shape).astype(np.float32), atlas)
    if "series" in kind:
        array = array.assign_coords(time=start + np.arange(n_frames) * t_r).assign_attrs(t_r=t_r)
    elif n_frames:
        names = [f"left hand {frame} \u00e9&<" for frame in range(n_frames)]
        array = array.rename(time="condition").assign_coords(condition=names)
    path = tmp_path_factory.mktemp("map") / f"map.{kind}.nii"
    nib.save(to_cifti(array, atlas, kind=kind), path)
    back = from_cifti(path, atlas)
    single = n_frames == 1 and "scalar" in kind
    np.testing.assert_array_equal(back.values, array.values[0] if single else array.values)
    for name in ("region", "network", "hemisphere", "label_id"):
        np.testing.assert_array_equal(back[name], array[name])
    if "series" in kind:
        np.testing.assert_allclose(back["time"], array["time"], atol=1e-6)
        assert back.attrs["t_r"] == t_r
    elif n_frames:
        np.testing.assert_array_equal(back["condition"], np.squeeze(array["condition"]))


@pytest.mark.parametrize(
    ("kind", "first", "second", "code"),
    [
        ("pscalar", ScalarAxis, ParcelsAxis, 3008),
        ("ptseries", SeriesAxis, ParcelsAxis, 3004),
        ("dscalar", ScalarAxis, BrainModelAxis, 3006),
        ("dtseries", SeriesAxis, BrainModelAxis, 3002),
    ],
)
def test_files_have_the_axes_of_their_kind(tmp_path, kind, first, second, code):
    atlas = gray_atlas()
    path = tmp_path / f"map.{kind}.nii"
    nib.save(to_cifti(VALUES, atlas, kind=kind, t_r=0.72), path)
    img = nib.load(path)
    axes = [img.header.get_axis(number) for number in (0, 1)]
    assert [type(axis) for axis in axes] == [first, second]
    assert img.nifti_header["intent_code"] == code
    assert img.get_data_dtype() == np.float32
    assert img.header.matrix.get_data_shape() == img.shape == (2, len(axes[1]))
    if first is SeriesAxis:
        assert (axes[0].start, axes[0].step, axes[0].unit) == (0.0, 0.72, "SECOND")
    assert axes[1].nvertices == atlas.axis.nvertices
    assert axes[1].volume_shape == (3, 4, 5)
    np.testing.assert_array_equal(axes[1].affine, AFFINE)
    if second is BrainModelAxis:
        assert axes[1] == atlas.axis


def test_parcels_hold_the_vertices_and_voxels_of_their_region():
    atlas = gray_atlas()
    axis = to_cifti(np.ones(4), atlas).header.get_axis(1)
    assert axis.name.tolist() == list(NAMES)
    for place, label in enumerate(IDS):
        expected = {"CIFTI_STRUCTURE_CORTEX_LEFT": set(), "CIFTI_STRUCTURE_CORTEX_RIGHT": set()}
        voxels = set()
        for at, own in enumerate(atlas.labels):
            if own == label and atlas.axis.name[at] in expected:
                expected[atlas.axis.name[at]].add(int(atlas.axis.vertex[at]))
            elif own == label:
                voxels.add(tuple(atlas.axis.voxel[at].tolist()))
        found = {side: set(one.tolist()) for side, one in axis.vertices[place].items()}
        assert found == {side: one for side, one in expected.items() if one}
        assert set(map(tuple, np.asarray(axis.voxels[place]).tolist())) == voxels


@pytest.mark.parametrize("kind", ["dscalar", "dtseries"])
def test_every_grayordinate_has_the_value_of_its_label(kind):
    atlas = gray_atlas()
    data = to_cifti(VALUES, atlas, kind=kind, t_r=1.0).get_fdata()
    for place, label in enumerate(atlas.labels):
        wanted = VALUES[:, IDS.index(label)].astype(np.float32) if label else [0, 0]
        np.testing.assert_array_equal(data[:, place], wanted)


@pytest.mark.parametrize("kind", ["pscalar", "ptseries", "dscalar", "dtseries"])
def test_surfaces_alone_and_voxels_alone(tmp_path, kind):
    for part in (gray_axis()[:11], gray_axis()[23:]):
        table = pd.DataFrame({"index": [1, 2], "name": ["a", "b"]})
        atlas = GrayordinateAtlas([1, 2] + [0] * (len(part) - 2), part, table)
        values = np.array([[1.0, 2.0], [np.nan, 4.0]])
        nib.save(to_cifti(values, atlas, kind=kind, t_r=2.0), tmp_path / f"map.{kind}.nii")
        np.testing.assert_array_equal(from_cifti(tmp_path / f"map.{kind}.nii", atlas), values)


def test_dense_files_are_matched_by_structure_and_index():
    atlas = gray_atlas()
    img = to_cifti(VALUES, atlas, kind="dtseries", t_r=0.72)
    order = np.concatenate([np.arange(11, 23)[::-1], np.arange(11)])  # right first; no voxels
    turned = nib.Cifti2Image(img.get_fdata()[:, order], (img.header.get_axis(0), atlas.axis[order]))
    expected = VALUES.astype(np.float32).astype(float)
    expected[:, 2] = np.nan
    np.testing.assert_array_equal(from_cifti(turned, atlas), expected)


def test_parcels_are_matched_by_name():
    atlas = gray_atlas()
    img = to_cifti(VALUES, atlas, t_r=0.72)
    times, parcels = (img.header.get_axis(number) for number in (0, 1))
    order = [3, 0, 1]  # another order, and one is missing
    turned = nib.Cifti2Image(img.get_fdata()[:, order], (times, parcels[order]))
    expected = VALUES.astype(np.float32)
    expected[:, 2] = np.nan
    np.testing.assert_array_equal(from_cifti(turned, atlas), expected)


@pytest.mark.parametrize("kind", ["ptseries", "dtseries"])
def test_regions_are_matched_by_name_and_may_be_a_part(kind):
    atlas = gray_atlas()
    array = labelled(VALUES, atlas, t_r=0.72)
    whole = to_cifti(array, atlas, kind=kind).get_fdata()
    np.testing.assert_array_equal(
        to_cifti(array[:, [2, 0, 3, 1]], atlas, kind=kind).get_fdata(), whole
    )
    part = from_cifti(to_cifti(array[:, [3, 1]], atlas, kind=kind), atlas)
    np.testing.assert_array_equal(part, np.float32([[0, -2, 0, 1e-8], [0, 2, 0, 7]]))


def test_a_map_keeps_the_name_of_its_condition():
    atlas = gray_atlas()
    means = xr.concat([labelled(VALUES[0], atlas)] * 2, pd.Index(["lf", "rh"], name="condition"))
    one = to_cifti(means.sel(condition="rh"), atlas)
    assert one.header.get_axis(0).name.tolist() == ["rh"]
    assert from_cifti(one, atlas)["condition"].item() == "rh"
    assert to_cifti(means, atlas).header.get_axis(0).name.tolist() == ["lf", "rh"]
    both = to_cifti(VALUES, atlas, kind="dscalar").header.get_axis(0).name.tolist()
    assert both == ["map 1", "map 2"]


def test_written_series_are_read_as_runs():
    atlas = gray_atlas(space="fsLR")
    values = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    for kind in ("ptseries", "dtseries"):
        series = extract_regions(to_cifti(values, atlas, kind=kind, t_r=0.72), atlas)
        np.testing.assert_array_equal(series, values)
        assert series.attrs["t_r"] == 0.72


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (np.ones(3), {}, r"4 regions of atlas\. Got \(3,\)"),
        (np.ones((2, 4)), {}, "repetition time of values is unknown. Give t_r="),
        (np.ones(4), {"kind": "dtseries"}, r"'dtseries' is for values of shape .* take 'dscalar'"),
        (np.ones(4), {"kind": "dlabel"}, "kind must be one of 'pscalar', .* Got 'dlabel'"),
        (np.ones((2, 4)), {"t_r": -1.0}, "t_r must be above 0 s"),
        (xr.DataArray([1.0], dims="region", coords={"region": ["V1"]}), {}, "unknown to it: V1"),
        (
            xr.DataArray(np.ones((2, 4)), dims=("time", "region")),
            {"kind": "pscalar"},
            r"dimensions \(region,\) or \(condition, region\)\. Got \('time', 'region'\)",
        ),
        (
            xr.DataArray(np.ones((3, 4)), dims=("time", "region"), coords={"time": [3, 2, 1]}),
            {},
            "evenly spaced and rising",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(values, options, words):
    with pytest.raises(ArgumentError, match=words):
        to_cifti(values, gray_atlas(), **options)


def test_files_of_other_atlases_are_refused(tmp_path):
    atlas, other = gray_atlas(0), gray_atlas(1)
    with pytest.raises(DataError, match=r"another atlas than atlas: .* have other vertices: Vis_L"):
        from_cifti(to_cifti(np.ones(4), other), atlas)
    renamed = GrayordinateAtlas(
        atlas.labels, atlas.axis, pd.DataFrame({"index": IDS, "name": list("abcd")})
    )
    with pytest.raises(DataError, match="have no name in common"):
        from_cifti(to_cifti(np.ones(4), renamed), atlas)
    finer = gray_atlas(axis=gray_axis((12, 15)))
    with pytest.raises(DataError, match="has 15 vertices in CORTEX_RIGHT, the atlas atlas 14"):
        from_cifti(to_cifti(np.ones(4), finer, kind="dscalar"), atlas)
    labels = LabelAxis(["a"], [{0: ("???", (0, 0, 0, 0))}])
    dlabel = nib.Cifti2Image(np.zeros((1, len(atlas.axis))), (labels, atlas.axis))
    with pytest.raises(DataError, match="holds no maps of regions: its axes are LabelAxis"):
        from_cifti(dlabel, atlas)
    with pytest.raises(DataError, match="There is no file"):
        from_cifti(tmp_path / "no.pscalar.nii", atlas)


def test_atlases_of_volumes_are_sent_to_nifti():
    atlas = load_atlas("dosenbach160")
    with pytest.raises(ArgumentError, match=r"dosenbach160 is one of volumes; .* to_nifti"):
        to_cifti(np.ones(160), atlas)
    with pytest.raises(ArgumentError, match="from_nifti"):
        from_cifti("map.pscalar.nii", atlas)
    with pytest.raises(ArgumentError, match="must be a CIFTI-2 image"):
        from_cifti(nib.Nifti1Image(np.ones((2, 2, 2)), np.eye(4)), gray_atlas())


@pytest.mark.parametrize("kind", ["pscalar", "ptseries", "dscalar", "dtseries"])
def test_planted_map_survives_a_real_atlas(tmp_path, kind):
    (path,) = real_atlas("Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1.dlabel.nii")
    atlas = load_atlas(path)
    side = atlas.regions["hemisphere"].map({"L": -1.0, "R": 1.0}).to_numpy()
    planted = (np.arange(len(atlas)) + 1 + np.array([[0.25], [0.5]])) * side
    nib.save(to_cifti(planted, atlas, kind=kind, t_r=0.72), tmp_path / f"map.{kind}.nii")
    back = from_cifti(tmp_path / f"map.{kind}.nii", atlas)
    np.testing.assert_array_equal(back, planted.astype(np.float32))
    assert back["region"].values.tolist() == atlas.regions["name"].tolist()
    img = nib.load(tmp_path / f"map.{kind}.nii")
    if kind.startswith("p"):
        return
    # read independently, from the label file itself
    source = nib.load(path)
    keys, own = source.get_fdata()[0], source.header.get_axis(0).label[0]
    axis = img.header.get_axis(1)
    assert axis == source.header.get_axis(1)
    data = img.get_fdata()[0]
    for end, sign in (("LEFT", -1), ("RIGHT", 1)):  # a few thalamic voxels cross the midline
        here = axis.name == f"CIFTI_STRUCTURE_CORTEX_{end}"
        assert set(np.sign(data[here])) == {0, sign}
    for key in np.unique(keys[keys > 0])[::17]:
        name = own[int(key)][0]
        expected = np.float32(planted[0, atlas.regions["name"].tolist().index(name)])
        assert set(data[keys == key]) == {expected}
