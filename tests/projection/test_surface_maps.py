"""Region values to nilearn's SurfaceImage and back."""

import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis
from nilearn.datasets import load_fsaverage
from nilearn.surface import InMemoryMesh, PolyMesh
from projection_cases import flat_mesh, gray_atlas, labelled, real_atlas

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.atlas import Atlas, load_atlas
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.maps import MapsAtlas
from neurosal.projection.surface import from_surface, to_surface

MESH = flat_mesh(12, 14)
IDS = (2, 5, 9, 300)


def halves(step=4.0, space="MNI152NLin6Asym"):
    """A volume atlas: left, right, and upper middle part of MNI space; x = 0 is the border."""
    shape = np.array([46, 56, 46])
    affine = nib.affines.from_matvec(np.diag([step] * 3), [-92.0, -128, -72])
    x, _, z = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    mm = x * step - 92, z * step - 72
    labels = np.where(mm[0] < 0, 1, np.where(mm[0] > 0, 2, 3)).astype(np.int32)
    labels[mm[1] > 40] += 3 * (mm[0] < 0)[mm[1] > 40]
    table = pd.DataFrame(
        {
            "index": [1, 2, 3, 4],
            "name": ["left", "right", "middle", "left top"],
            "hemisphere": ["L", "R", "M", "L"],
        }
    )
    return Atlas(nib.Nifti1Image(labels, affine), table, space=space)


def test_every_vertex_has_the_value_of_its_label():
    atlas = gray_atlas()
    values = np.array([[1.5, -2.0, 3.25, 1e-8], [0.5, 2.0, 4.0, np.nan]])
    with pytest.warns(UserWarning, match="1 regions of atlas have no vertex .*: HIP-lh"):
        img = to_surface(values, atlas, mesh=MESH)
    expected = {"left": np.zeros((12, 2)), "right": np.zeros((14, 2))}
    for place, label in enumerate(atlas.labels):
        side = "left" if atlas.axis.name[place].endswith("CORTEX_LEFT") else "right"
        if label and "CORTEX" in atlas.axis.name[place]:
            expected[side][atlas.axis.vertex[place]] = values[:, IDS.index(label)]
    for side, wanted in expected.items():
        assert img.data.parts[side].dtype == np.float32
        np.testing.assert_array_equal(img.data.parts[side], wanted.astype(np.float32))
    back = from_surface(img, atlas, t_r=0.72, start=5.0)
    np.testing.assert_array_equal(back[:, [0, 1, 3]], values[:, [0, 1, 3]].astype(np.float32))
    assert np.isnan(back[:, 2]).all()
    np.testing.assert_allclose(back["time"], [5.0, 5.72])


def test_a_part_of_the_regions_on_one_hemisphere():
    axis = BrainModelAxis.from_surface(np.arange(12), 12, "CORTEX_RIGHT")
    table = pd.DataFrame({"index": [1, 2], "name": ["V1", "V2"]})
    atlas = GrayordinateAtlas([1] * 5 + [2] * 7, axis, table)
    img = to_surface(labelled(np.array([3.0, 4.0]), atlas)[[1]], atlas, mesh=flat_mesh(9, 12))
    assert list(img.data.parts) == ["right"]
    assert img.data.parts["right"].tolist() == [0] * 5 + [4] * 7
    back = from_surface(img, atlas)
    assert (back.dims, back.values.tolist()) == (("region",), [0, 4])


def test_volume_atlas_is_sampled_without_mixing_and_on_its_side():
    atlas = halves()
    values = np.array([[10.0, 1000.0, 5.0, 77.5], [1.0, 2.0, 3.0, 4.0]])
    img = to_surface(values, atlas)
    left, right = (img.data.parts[side] for side in ("left", "right"))
    assert left.shape == right.shape == (10242, 2)
    assert set(left[:, 0]) <= {0, 10, 5, 77.5}
    assert set(right[:, 0]) <= {0, 1000, 5}
    points = load_fsaverage("fsaverage5")["pial"].parts["left"].coordinates
    sure = (points[:, 0] < -12) & (np.abs(points[:, 2] - 42) > 12)
    np.testing.assert_array_equal(left[sure, 0], np.where(points[sure, 2] > 42, 77.5, 10))
    np.testing.assert_array_equal(from_surface(img, atlas), values)


def test_volume_atlas_of_another_space_is_not_put_on_fsaverage():
    atlas, values = halves(space="T1w"), np.arange(4.0)
    for call in (lambda: to_surface(values, atlas), lambda: from_surface(None, atlas)):
        with pytest.raises(ArgumentError, match="atlas is in the space T1w, fsaverage5 in MNI152"):
            call()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert to_surface(values, atlas, mesh=MESH).mesh is not None


def test_volume_atlas_of_part_of_the_brain():
    labels = np.zeros((10, 10, 10), dtype=np.int32)
    labels[:5], labels[5:] = 1, 2
    img = nib.Nifti1Image(labels, nib.affines.from_matvec(np.diag([4.0] * 3), [-58, -40, 20]))
    table = pd.DataFrame({"index": [1, 2], "name": ["a", "b"], "hemisphere": ["L", "L"]})
    atlas = Atlas(img, table)
    out = to_surface(np.array([1.0, 2.0]), atlas)
    assert not out.data.parts["right"].any()
    assert from_surface(out, atlas).values.tolist() == [1, 2]
    away = Atlas(nib.Nifti1Image(labels, nib.affines.from_matvec(np.eye(3), [500.0] * 3)), table)
    with pytest.raises(DataError, match="No region of atlas meets the mesh"):
        to_surface(np.array([1.0, 2.0]), away, mesh=MESH)
    parts = {side: (1e6 * part.coordinates, part.faces) for side, part in MESH.parts.items()}
    microns = PolyMesh(**{side: InMemoryMesh(*part) for side, part in parts.items()})
    with pytest.raises(ArgumentError, match="coordinates in mm"):
        to_surface(np.array([1.0, 2.0]), atlas, mesh=microns)


@pytest.mark.parametrize(
    ("mesh", "words"),
    [
        ("fsaverage9", r"mesh must be 'fsaverage5', .* Got 'fsaverage9'"),
        (("lh.pial",), "mesh must be given as"),
        ("fsaverage5", "mesh has 10242 vertices in the left hemisphere, the atlas atlas 12"),
        (PolyMesh(right=MESH.parts["right"]), None),
    ],
)
def test_other_meshes(mesh, words):
    atlas = gray_atlas()
    if words:
        with pytest.raises(ArgumentError, match=words):
            to_surface(np.ones(4), atlas, mesh=mesh)
        return
    with pytest.warns(UserWarning, match="2 regions .* no vertex .*: Vis_L, HIP-lh"):
        assert list(to_surface(np.ones(4), atlas, mesh=mesh).data.parts) == ["right"]


def test_mesh_from_files(tmp_path):
    for side, part in MESH.parts.items():
        part.to_gifti(tmp_path / f"{side}.surf.gii")
    files = (tmp_path / "left.surf.gii", tmp_path / "right.surf.gii")
    with pytest.warns(UserWarning, match="HIP-lh"):
        img = to_surface(np.arange(4.0), gray_atlas(), mesh=files)
    assert img.shape == (26,)


def test_atlases_and_images_that_do_not_fit_are_refused():
    maps = nib.Nifti1Image(np.ones((2, 2, 2, 2), "float32"), np.eye(4))
    weights = MapsAtlas(maps, pd.DataFrame({"index": [1, 2], "name": ["a", "b"]}), name="mine")
    with pytest.raises(ArgumentError, match=r"mine is one of weights; .*from_volume"):
        to_surface(np.ones(2), weights)
    voxels = gray_atlas().axis[-6:]
    below = GrayordinateAtlas([1] * 6, voxels, pd.DataFrame({"index": [1], "name": ["HIP"]}))
    with pytest.raises(ArgumentError, match="has no cortical surface"):
        to_surface(np.ones(1), below, mesh=MESH)
    img = to_surface(np.ones(4), halves())
    with pytest.raises(ArgumentError, match=r"mesh has 10242 vertices .* the atlas atlas 12"):
        from_surface(img, gray_atlas())
    with pytest.raises(ArgumentError, match="t_r must be above 0 s"):
        from_surface(img, halves(), t_r=0)


def test_planted_map_survives_real_annotations():
    folder = "fsaverage_schaefer200-yeo17"
    paths = real_atlas(
        f"{folder}/lh.schaefer200-yeo17.annot", f"{folder}/rh.schaefer200-yeo17.annot"
    )
    atlas = load_atlas(tuple(paths))
    planted = np.arange(len(atlas)) + 1.5
    img = to_surface(planted, atlas, mesh=flat_mesh(163842, 163842))
    np.testing.assert_array_equal(from_surface(img, atlas), planted)
    value = dict(zip(atlas.regions["name"], planted, strict=True))
    for side, path in zip(("left", "right"), paths, strict=True):  # independently, from the file
        keys, _, names = nib.freesurfer.read_annot(path)
        for key in (0, 1, 50, 100):
            expected = value.get(names[key].decode(), 0.0)
            assert set(img.data.parts[side][keys == key]) == {expected}
            assert f"_{side[0].upper()}H_" in names[key].decode() or key == 0


def test_planted_map_survives_a_real_dlabel():
    (path,) = real_atlas("Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1.dlabel.nii")
    atlas = load_atlas(path)
    planted = np.arange(len(atlas)) + 0.25
    with pytest.warns(UserWarning, match="16 regions .* no vertex"):
        img = to_surface(planted, atlas, mesh=flat_mesh(32492, 32492))
    back = from_surface(img, atlas)
    cortical = back["region"].str.startswith("7Networks").values
    assert cortical.sum() == 100
    np.testing.assert_array_equal(back[cortical], planted[cortical])
    for side, letter in (("left", "L"), ("right", "R")):
        found = np.setdiff1d(img.data.parts[side], [0]) - 0.25
        assert set(atlas.regions["hemisphere"].iloc[found.astype(int)]) == {letter}


@pytest.mark.filterwarnings("ignore:.*have no vertex on the surfaces")
def test_a_real_volume_lands_where_the_annotations_of_its_parcels_are():
    stem = "Schaefer2018_200Parcels_7Networks_order_Tian_Subcortex_S1"
    folder = "fsaverage_schaefer200-yeo17"  # the same 200 parcels, under other names
    volume, table, *annots = real_atlas(
        f"{stem}_MNI152NLin6Asym_2mm.nii.gz",
        f"{stem}_label.txt",
        *(f"{folder}/{side}h.schaefer200-yeo17.annot" for side in "lr"),
    )
    atlas = load_atlas(volume, table=table)
    planted = np.arange(len(atlas)) + 1.0
    img = to_surface(planted, atlas)
    back = from_surface(img, atlas).values
    assert np.array_equal(back[16:], planted[16:])
    for side, path in zip(("left", "right"), annots, strict=True):
        found = img.data.parts[side].astype(int)
        sides = atlas.regions["hemisphere"].to_numpy()[found[found > 0] - 1]
        assert set(sides) == {side[0].upper()}
        keys = nib.freesurfer.read_annot(path)[0][:10242]  # fsaverage5 is the first of fsaverage
        dice = []
        for key in np.unique(keys[keys > 0]):
            most = np.bincount(found[(keys == key) & (found > 0)]).argmax()
            shared = ((found == most) & (keys == key)).sum()
            dice.append(2 * shared / ((found == most).sum() + (keys == key).sum()))
        assert np.mean(dice) > 0.7
