"""Every subject's maps as files: their names, their sidecars, and what comes back out of them."""

import json
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from nilearn.datasets import load_fsaverage
from nilearn.maskers import NiftiLabelsMasker, SurfaceLabelsMasker
from nilearn.surface import SurfaceImage
from projection_cases import AFFINE, gray_atlas, gray_axis, make_maps, real_atlas

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import region_coordinates
from neurosal.parcellation.atlas import load_atlas
from neurosal.projection.averages import mean_by_condition, mean_maps
from neurosal.projection.export import save_maps
from neurosal.projection.gifti import save_surface_map
from neurosal.projection.images import from_image, save_map
from neurosal.projection.names import ENTITIES, bids_name
from neurosal.projection.surface import from_surface

STEM = "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1"
NAMES = {
    "subject": ["s_1", "s_1", "s_1", "02", "02"],
    "session": ["", "", "", "a", "b"],
    "condition": ["left hand", "left hand", "rest", "left hand", "rest"],
    "run": ["LR", "01", "01", "RL", "02"],
    "task": ["MOTOR"] * 5,
}


def windows_of(atlas, n_times=2, *, seed=0, **names):
    """Maps of five windows, positive on the right and negative on the left."""
    side = atlas.regions["hemisphere"].map({"L": -1.0, "R": 1.0}).fillna(1.0).to_numpy()
    values = np.random.default_rng(seed).random((5, n_times, len(atlas))) + 0.5
    coords = region_coordinates(atlas.regions) | {"time": 5 + 0.72 * np.arange(n_times)}
    coords |= {name: ("sample", list(one)) for name, one in (NAMES | names).items()}
    attrs = {"method": "integrated_gradients", "t_r": 0.72}
    return xr.DataArray(
        (values * side).astype(np.float32),
        dims=("sample", "time", "region"),
        coords=coords,
        attrs=attrs,
    )


def test_means_are_those_of_the_windows_they_name():
    maps = windows_of(gray_atlas())
    found = mean_maps(maps, ("subject", "condition"))
    assert list(found) == [
        ("02", "left hand"), ("02", "rest"), ("s_1", "left hand"), ("s_1", "rest"),
    ]  # fmt: skip
    for (subject, condition), mean in found.items():
        rows = [
            k
            for k in range(5)
            if (NAMES["subject"][k], NAMES["condition"][k]) == (subject, condition)
        ]
        expected = np.mean([maps.to_numpy()[row].astype(float) for row in rows], axis=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-6)
        assert mean.attrs == maps.attrs | {"n_windows": len(rows)}
        assert (mean["subject"].item(), mean["condition"].item()) == (subject, condition)
    joined = mean_by_condition(maps, ["rest", "left hand"])
    assert joined["condition"].to_numpy().tolist() == ["rest", "left hand"]
    np.testing.assert_allclose(joined[1], maps[[0, 1, 3]].mean("sample"), rtol=1e-6)
    assert joined.attrs == maps.attrs
    with pytest.raises(ArgumentError, match=r"conditions must be one of 'left hand', 'rest'\. Got"):
        mean_by_condition(maps, ["rest", "right hand"])
    with pytest.raises(ArgumentError, match=r"by must name coordinates on 'sample' .*subject, "):
        mean_maps(maps, "network")


@given(st.dictionaries(st.sampled_from(ENTITIES), st.text(max_size=6), max_size=8))
def test_names_are_entities_in_their_order(entities):
    name = bids_name(entities, suffix="map", ending=".nii")
    *parts, last = name.split("_")
    assert last == "map.nii"
    keys = [part.split("-")[0] for part in parts]
    assert keys == sorted(keys, key=ENTITIES.index)
    assert len(set(keys)) == len(keys)
    for part in parts:
        key, value = part.split("-")
        sources = [entities.get(key), entities.get("run") if key in ("acq", "dir") else None]
        allowed = ["".join(c for c in one if c.isascii() and c.isalnum()) for one in sources if one]
        assert value
        assert value in allowed


@pytest.mark.parametrize("how", ["volume", "maps", "ptseries", "dscalar", "surface"])
def test_every_file_has_its_name_place_and_sidecar(tmp_path, how):
    atlas = {"volume": load_atlas("dosenbach160"), "maps": make_maps()}.get(how, gray_atlas())
    maps = windows_of(atlas, 1 if how == "dscalar" else 2)
    kind = how if how in ("ptseries", "dscalar") else None
    reference = nib.Nifti1Image(
        np.zeros((20, 24, 20)), nib.affines.from_matvec(np.diag([-9.0, 9, 9]), [90, -126, -72])
    )
    options = {"reference": reference} if how == "volume" else {}
    if how == "surface":
        atlas = load_atlas("dosenbach160")
        maps, kind = windows_of(atlas), "surface"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*have no (voxel|vertex) on the")
        written = save_maps(
            maps, atlas, tmp_path / "out", kind=kind, provenance={"seed": np.int64(3)}, **options
        )
    ending = {"ptseries": ".ptseries.nii", "dscalar": ".dscalar.nii"}.get(how, ".nii.gz")
    ending = ".func.gii" if how == "surface" else ending
    sides = ("_hemi-L", "_hemi-R") if how == "surface" else ("",)
    spaces = {"volume": "_space-MNI152NLin6Asym", "surface": "_space-fsaverage5"}
    expected = [
        f"sub-{subject}/func/sub-{subject}_task-MOTOR{side}{spaces.get(how, '')}_seg-{atlas.name}"
        f"_desc-{condition}_saliency{ending}"
        for subject in ("02", "s1")
        for condition in ("lefthand", "rest")
        for side in sides
    ]
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == expected
    for path in written:
        notes = json.loads(path.with_name(path.name.replace(ending, ".json")).read_text())
        assert notes["Atlas"]["SHA256"] == atlas.hash
        assert notes["Provenance"] == {"seed": 3}
        assert notes["Attributes"]["method"] == "integrated_gradients"
        assert notes["Attributes"]["n_windows"] == (
            2 if "s1_" in path.name and "left" in path.name else 1
        )
        assert notes["Selection"]["condition"] in ("left hand", "rest")
        assert notes["Selection"]["subject"] in ("s_1", "02")
        assert notes.get("RepetitionTime") == (None if how == "dscalar" else 0.72)
        assert notes.get("StartTime") == (None if how == "dscalar" else 5.0)
    described = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 2 * len(written) + 1


def test_sessions_runs_and_no_subject_have_their_places(tmp_path):
    atlas = gray_atlas()
    maps = windows_of(atlas, subject=["1"] * 5)
    by_run = save_maps(maps, atlas, tmp_path / "a", by=("subject", "session", "run", "condition"))
    names = [path.relative_to(tmp_path / "a").as_posix() for path in by_run]
    assert (
        names[0]
        == "sub-1/func/sub-1_task-MOTOR_run-01_seg-atlas_desc-lefthand_saliency.ptseries.nii"
    )
    assert any(name.startswith("sub-1/ses-a/func/sub-1_ses-a_task-MOTOR_dir-RL_") for name in names)
    alone = save_maps(maps, atlas, tmp_path / "b", by="condition")
    assert [path.parent for path in alone] == [tmp_path / "b"] * 2
    (mean,) = save_maps(maps.drop_vars("task"), atlas, tmp_path / "c", by="subject")
    assert mean.name == "sub-1_seg-atlas_desc-mean_saliency.ptseries.nii"
    with pytest.raises(ArgumentError, match=r"maps must be an xarray\.DataArray .* Got ndarray"):
        save_maps(maps.to_numpy(), atlas, tmp_path / "d")
    twice = windows_of(atlas, condition=["a b", "ab", "ab", "ab", "ab"])
    with pytest.raises(ArgumentError, match=r"'s_1', 'a b'.* would both be written to"):
        save_maps(twice, atlas, tmp_path / "d")
    assert not (tmp_path / "d").exists()
    with pytest.raises(ArgumentError, match=r"kind must be one of 'surface'\. Got 'dscalar'"):
        save_maps(windows_of(make_maps()), make_maps(), tmp_path / "e", kind="dscalar")
    (tmp_path / "f").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        save_maps(maps, atlas, tmp_path / "f")


def test_planted_maps_of_a_real_volume_come_back_in_nilearn_and_nibabel(tmp_path):
    volume, text = real_atlas(f"{STEM}_MNI152NLin6Asym_2mm.nii.gz", f"{STEM}_label.txt")
    atlas = load_atlas(volume, table=text)
    maps = windows_of(atlas)
    lines = Path(text).read_text(encoding="utf-8").splitlines()
    name_of = {
        int(second.split()[0]): first for first, second in zip(lines[::2], lines[1::2], strict=True)
    }
    source = nib.load(volume)
    keys = np.asarray(source.dataobj).astype(int)
    masker = NiftiLabelsMasker(source, standardize=None).fit()
    written = save_maps(maps, atlas, tmp_path)
    assert len(written) == 4
    for path, mean in zip(written, mean_maps(maps, ("subject", "condition")).values(), strict=True):
        planted = mean.to_numpy().astype(np.float32)
        np.testing.assert_array_equal(from_image(path, atlas), planted)
        np.testing.assert_allclose(masker.transform(str(path)), planted, rtol=1e-6)
        img = nib.load(path)
        assert img.get_data_dtype() == np.float32
        assert float(img.header["pixdim"][4]) == pytest.approx(0.72)
        assert float(img.header["toffset"]) == 5.0
        data = img.get_fdata(dtype=np.float32)
        for key in (1, 5, 17, 66, 67, 116):  # subcortex and cortex, left and right
            expected = mean.sel(region=name_of[key]).to_numpy().astype(np.float32)
            np.testing.assert_array_equal(np.unique(data[keys == key], axis=0), expected[None])
        for sign in (-1, 1):  # medial regions reach a little over the midline
            x = nib.affines.apply_affine(img.affine, np.argwhere(sign * data[..., 0] > 0))[:, 0]
            assert np.mean(sign * x > 0) > 0.97
            assert (sign * x > -10).all()


@pytest.mark.filterwarnings("ignore:.*have no vertex on the surfaces")
def test_planted_maps_come_back_from_gifti_files(tmp_path):
    volume, text = real_atlas(f"{STEM}_MNI152NLin6Asym_2mm.nii.gz", f"{STEM}_label.txt")
    atlas = load_atlas(volume, table=text)
    maps = windows_of(atlas)
    written = save_maps(maps, atlas, tmp_path, kind="surface", by="condition")
    mesh = load_fsaverage("fsaverage5")["pial"]
    for left, right, mean in zip(
        written[::2], written[1::2], mean_maps(maps).values(), strict=True
    ):
        img = SurfaceImage(mesh, {"left": left, "right": right})
        assert img.shape == (20484, 2)
        back = from_surface(img, atlas, t_r=0.72, start=5.0)
        cortex = atlas.regions["label_id"].to_numpy() > 16
        planted = mean.to_numpy().astype(np.float32)
        np.testing.assert_array_equal(back[:, cortex], planted[:, cortex])
        np.testing.assert_allclose(back["time"], mean["time"])
        assert (img.data.parts["left"] <= 0).all()
        assert (img.data.parts["right"] >= 0).all()
        for path, side in ((left, "Left"), (right, "Right")):
            gifti = nib.load(path)
            assert gifti.meta["AnatomicalStructurePrimary"] == f"Cortex{side}"
            assert gifti.meta["TimeStep"] == "720"
            assert [one.meta["Name"] for one in gifti.darrays] == ["5 s", "5.72 s"]
            assert {one.intent for one in gifti.darrays} == {2001}


def test_grayordinates_of_any_mesh_are_written_on_their_own_vertices(tmp_path):
    atlas = gray_atlas(axis=gray_axis((32492, 32492)))
    maps = windows_of(atlas)
    with pytest.warns(UserWarning, match=r"1 regions of atlas have no vertex .*: HIP-lh"):
        written = save_maps(maps, atlas, tmp_path, by="condition", kind="surface")
    assert written[0].name.startswith("task-MOTOR_hemi-L_space-fsLR_seg-atlas_desc-lefthand_")
    mean = mean_maps(maps)[("left hand",)].to_numpy().astype(np.float32)
    for path, structure in zip(written[:2], ("LEFT", "RIGHT"), strict=True):
        expected = np.zeros((2, 32492), dtype=np.float32)
        here = (atlas.axis.name == f"CIFTI_STRUCTURE_CORTEX_{structure}") & (atlas.labels > 0)
        expected[:, atlas.axis.vertex[here]] = mean[:, atlas.rows_of(atlas.labels[here])]
        np.testing.assert_array_equal([one.data for one in nib.load(path).darrays], expected)
    with pytest.raises(ArgumentError, match="mesh has 10242 vertices in the left hemisphere"):
        save_surface_map(mean, atlas, tmp_path / "a.func.gii", mesh="fsaverage5", t_r=0.72)


@pytest.mark.parametrize("kind", ["ptseries", "dtseries"])
def test_planted_maps_of_real_grayordinates_come_back(tmp_path, kind):
    atlas = load_atlas(real_atlas(f"{STEM}.dlabel.nii")[0])
    maps = windows_of(atlas)
    written = save_maps(maps, atlas, tmp_path, kind=kind)
    for path, mean in zip(written, mean_maps(maps, ("subject", "condition")).values(), strict=True):
        back = from_image(path, atlas)
        np.testing.assert_array_equal(back, mean.to_numpy().astype(np.float32))
        np.testing.assert_allclose(back["time"], mean["time"])
        parcels = nib.load(path).header.get_axis(1)
        names = parcels.name.tolist() if kind[0] == "p" else None
        assert names in (None, atlas.regions["name"].tolist())


def test_a_masker_of_surfaces_writes_on_its_own_mesh(tmp_path):
    mesh = load_fsaverage("fsaverage5")["pial"]
    keys = np.repeat(np.arange(1, 5), 2561)[:10242]
    labels = SurfaceImage(mesh, {"left": keys, "right": keys + 4})
    atlas = load_atlas(SurfaceLabelsMasker(labels, standardize=None), name="quarters")
    maps = windows_of(atlas)
    written = save_maps(maps, atlas, tmp_path, by="condition")
    assert written[0].name == "task-MOTOR_hemi-L_seg-quarters_desc-lefthand_saliency.func.gii"
    img = SurfaceImage(mesh, {"left": written[0], "right": written[1]})
    planted = mean_maps(maps)[("left hand",)].to_numpy().astype(np.float32)
    np.testing.assert_allclose(from_image(img, atlas), planted, rtol=1e-6)
    with pytest.raises(ArgumentError, match="a masker of surfaces: its maps are a file for each"):
        save_map(maps[0], atlas, tmp_path / "map.func.gii")
    flat = save_surface_map(maps[0, 0], atlas, tmp_path / "map.shape.gii")
    assert sorted(one.name for one in flat.values()) == [
        "hemi-L_map.shape.gii",
        "hemi-R_map.shape.gii",
    ]
    with pytest.raises(ArgumentError, match=r"path must end in \.func\.gii\. Got"):
        save_surface_map(maps[0], atlas, tmp_path / "map.shape.gii")
    volumes = NiftiLabelsMasker(nib.Nifti1Image(np.ones((2, 2, 2), "int32"), AFFINE))
    with pytest.raises(ArgumentError, match="is one of volumes"):
        save_surface_map(np.ones(1), load_atlas(volumes), tmp_path / "map.shape.gii")
