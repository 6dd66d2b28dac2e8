"""Are regions where they belong on the surfaces, and is none lost without a word?"""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis
from nilearn.datasets import load_fsaverage
from nilearn.maskers import NiftiLabelsMasker, NiftiSpheresMasker, SurfaceLabelsMasker
from nilearn.surface import SurfaceImage
from ray_cases import seen_vertex
from scipy.spatial import cKDTree

from neurosal.errors import ArgumentError
from neurosal.parcellation.atlas import Atlas, load_atlas
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.maps import MapsAtlas
from neurosal.parcellation.maskers import atlas_of_masker
from neurosal.reporting.brain_mesh import REACH, brain_mesh
from neurosal.reporting.surface_views import brain_views, paint

needs_data = pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA names no data folder"
)
SCHAEFER = "Schaefer2018_200Parcels_7Networks_order_Tian_Subcortex_S1"


def data_folder():
    return Path(os.environ["NEUROSAL_TEST_DATA"]) / "atlases"


def surface_atlas(size, n_regions=30, *, space="", seed=0):
    rng = np.random.default_rng(seed)
    axis = BrainModelAxis.from_surface(np.arange(size), size, "CORTEX_LEFT")
    axis += BrainModelAxis.from_surface(np.arange(size), size, "CORTEX_RIGHT")
    labels = rng.integers(0, n_regions + 1, 2 * size)
    labels[: n_regions + 1] = np.arange(n_regions + 1)
    names = [f"r{i}" for i in range(n_regions)]
    table = pd.DataFrame({"index": np.arange(1, n_regions + 1), "name": names})
    return GrayordinateAtlas(labels, axis, table, space=space), labels.reshape(2, size) - 1


def joined(brain):
    return np.concatenate([brain.sides[name].rows for name in ("left", "right")])


@pytest.mark.parametrize("name", ["dosenbach160", "seitzman300"])
def test_spheres_colour_only_what_is_near_them_and_on_their_side(name):
    atlas = load_atlas(name)
    brain, meshes = brain_mesh(atlas), load_fsaverage("fsaverage5")
    data = np.asarray(atlas.labels.dataobj)
    hemisphere = atlas.regions["hemisphere"].to_numpy()
    for side, letter in (("left", "L"), ("right", "R")):
        outer, inner = (meshes[kind].parts[side].coordinates for kind in ("pial", "white_matter"))
        rows = brain.sides[side].rows
        assert set(hemisphere[rows[rows >= 0]]) <= {letter, "M", ""}
        for row in np.unique(rows[rows >= 0])[::7]:
            places = np.argwhere(data == atlas.regions["label_id"].iloc[row])
            voxels = cKDTree(nib.affines.apply_affine(atlas.labels.affine, places))
            steps = np.linspace(0, 1, 11)[:, None, None]
            line = outer[rows == row] * (1 - steps) + inner[rows == row] * steps
            nearest = voxels.query(line)[0].min(axis=0)
            assert nearest.max() <= REACH + 1e-3


@pytest.mark.parametrize("name", ["dosenbach160", "power264", "seitzman300"])
def test_every_region_is_on_the_surface_or_a_ball_of_its_own_volume(name):
    atlas = load_atlas(name)
    brain = brain_mesh(atlas)
    painted, balls = set(joined(brain).tolist()) - {-1}, set(brain.balls["row"].tolist())
    assert not len(brain.lost)
    assert not painted & balls
    assert painted | balls == set(range(len(atlas)))
    assert len(painted) > len(atlas) * 0.75
    told = atlas.regions["name"] + atlas.regions["network"]
    deep = told.str.contains("cerebell|thalam|basal", case=False)
    assert set(np.flatnonzero(deep)) <= balls
    data = np.asarray(atlas.labels.dataobj)
    ball = brain.balls.iloc[0]
    places = np.argwhere(data == atlas.regions["label_id"].iloc[int(ball["row"])])
    xyz = nib.affines.apply_affine(atlas.labels.affine, places)
    np.testing.assert_allclose(ball[["x", "y", "z"]].astype(float), xyz.mean(axis=0), atol=1e-9)
    assert 4 / 3 * np.pi * ball["radius"] ** 3 == pytest.approx(8.0 * len(places))


def test_a_region_of_both_sides_below_the_cortex_has_a_ball_on_each():
    data = np.zeros((91, 109, 91), dtype="int16")
    affine = nib.affines.from_matvec(np.diag([-2.0, 2, 2]), [90, -126, -72])
    inverse = np.linalg.inv(affine)
    for x in (-26, 26):
        i, j, k = np.rint(nib.affines.apply_affine(inverse, [x, 2, 0])).astype(int)
        data[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = 7
    table = pd.DataFrame({"index": [7], "name": ["putamen"]})
    atlas = Atlas(nib.Nifti1Image(data, affine), table, space="MNI152NLin6Asym")
    balls = brain_mesh(atlas).balls
    assert sorted(balls["x"].round().tolist()) == [-26, 26]
    assert balls["row"].tolist() == [0, 0]


@pytest.mark.parametrize(("size", "space"), [(10242, ""), (40962, ""), (163842, "fsaverage")])
def test_fsaverage_surfaces_share_their_first_vertices(size, space):
    atlas, rows = surface_atlas(size, space=space)
    brain = brain_mesh(atlas)
    np.testing.assert_array_equal(brain.sides["left"].rows, rows[0, :10242])
    np.testing.assert_array_equal(brain.sides["right"].rows, rows[1, :10242])


def test_a_coarser_fsaverage_goes_to_the_nearest_vertex_on_the_sphere():
    atlas, rows = surface_atlas(642)
    sphere = load_fsaverage("fsaverage5")["sphere"].parts["left"].coordinates.astype(float)
    got = brain_mesh(atlas).sides["left"].rows
    np.testing.assert_array_equal(got[:642], rows[0])
    for vertex in range(700, 10242, 311):
        distance = ((sphere[:642] - sphere[vertex]) ** 2).sum(axis=1)
        assert got[vertex] in rows[0, distance <= distance.min() + 1e-3]


@needs_data
def test_fslr_parcels_land_where_the_same_parcels_of_fsaverage_are():
    folder = data_folder() / "fsaverage_schaefer200-yeo17"
    pair = tuple(folder / f"{side}.schaefer200-yeo17.annot" for side in ("lh", "rh"))
    theirs = brain_mesh(Atlas.from_files(pair))
    ours = brain_mesh(Atlas.from_files(data_folder() / f"{SCHAEFER}.dlabel.nii"))
    overlaps = []
    for side in ("left", "right"):
        a, b = ours.sides[side].rows, theirs.sides[side].rows
        for row in np.unique(a[a >= 0]):
            best = np.bincount(b[(a == row) & (b >= 0)]).argmax()
            both = ((a == row) & (b == best)).sum()
            overlaps.append(2 * both / ((a == row).sum() + (b == best).sum()))
    assert len(overlaps) == 200
    assert np.mean(overlaps) > 0.85
    assert len(ours.balls) == 16


@needs_data
def test_volume_and_grayordinates_of_one_atlas_agree():
    volume = Atlas.from_files(
        data_folder() / f"{SCHAEFER}_MNI152NLin6Asym_2mm.nii.gz",
        data_folder() / f"{SCHAEFER}_label.txt",
    )
    gray = Atlas.from_files(data_folder() / f"{SCHAEFER}.dlabel.nii")
    assert volume.regions["name"].tolist() == gray.regions["name"].tolist()
    a, b = (brain_mesh(atlas) for atlas in (volume, gray))
    known = (joined(a) >= 0) & (joined(b) >= 0)
    assert (joined(a) == joined(b))[known].mean() > 0.7
    centres = [x.balls.set_index("row").sort_index()[["x", "y", "z"]].to_numpy() for x in (a, b)]
    np.testing.assert_allclose(*centres, atol=2.5)


def test_of_weighted_maps_the_strongest_takes_a_place():
    affine = nib.affines.from_matvec(np.diag([4.0, 4, 4]), [-90, -126, -72])
    x, y, z = nib.affines.apply_affine(affine, np.indices((46, 55, 46)).reshape(3, -1).T).T
    centres = [(-40, -20, 55), (40, -20, 55), (-40, -60, 40)]
    size = [np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 800) for a, b, c in centres]
    maps = np.stack(size, axis=1).reshape(46, 55, 46, 3) * (1, 5, 2)
    table = pd.DataFrame({"index": [1, 2, 3], "name": list("abc")})
    atlas = MapsAtlas(nib.Nifti1Image(maps.astype("float32"), affine), table, space="MNI152")
    brain = brain_mesh(atlas)
    pial = load_fsaverage("fsaverage5")["pial"]
    for side in ("left", "right"):
        rows, points = brain.sides[side].rows, pial.parts[side].coordinates
        for row in np.unique(rows[rows >= 0]):
            gaps = [np.linalg.norm(points[rows == row] - c, axis=1).mean() for c in centres]
            assert np.argmin(gaps) == row
    assert "25%" in brain.note
    assert set(joined(brain).tolist()) == {-1, 0, 1, 2}


def test_a_masker_is_drawn_as_the_atlas_that_it_was_made_of():
    atlas = load_atlas("dosenbach160")
    table = atlas.regions.rename(columns={"label_id": "index"})
    labels = NiftiLabelsMasker(atlas.labels, lut=table, standardize=None)
    ours = brain_mesh(Atlas(atlas.labels, atlas.regions, space=atlas.space))
    theirs = brain_mesh(atlas_of_masker(labels))
    np.testing.assert_array_equal(joined(theirs), joined(ours))
    spheres = NiftiSpheresMasker([(-40, -22, 54), (4, -60, -20)], radius=6, standardize=None)
    brain = brain_mesh(atlas_of_masker(spheres))
    assert set(joined(brain)) == {-1, 0}
    np.testing.assert_allclose(brain.balls[["x", "y", "z"]], [[4, -60, -20]], atol=1)
    rows = np.random.default_rng(0).integers(0, 5, (2, 10242))
    mesh = load_fsaverage("fsaverage5")["pial"]
    image = SurfaceImage(mesh, {"left": rows[0], "right": rows[1]})
    brain = brain_mesh(atlas_of_masker(SurfaceLabelsMasker(image, standardize=None).fit()))
    np.testing.assert_array_equal(joined(brain), np.concatenate(rows) - 1)


def test_what_cannot_be_drawn_is_refused_with_a_remedy():
    with pytest.raises(ArgumentError, match=r"have 1000 vertices.*Give mesh="):
        brain_mesh(surface_atlas(1000)[0])
    with pytest.raises(ArgumentError, match=r"163842 vertices \(space unknown\)"):
        brain_mesh(surface_atlas(163842)[0])
    slab = nib.Nifti1Image(np.ones((40, 20, 1), dtype="int16"), np.eye(4))
    table = pd.DataFrame({"index": [1], "name": ["a"]})
    with pytest.raises(ArgumentError, match="not in MNI space"):
        brain_mesh(Atlas(slab, table, name="voxels"))
    axis = BrainModelAxis("THALAMUS_LEFT", [[0, 0, 0]], affine=np.eye(4), volume_shape=(2, 2, 2))
    with pytest.raises(ArgumentError, match="no cortical surface"):
        brain_mesh(GrayordinateAtlas([1], axis, table))


def test_surfaces_of_ones_own_are_drawn_as_they_are():
    atlas, rows = surface_atlas(10242)
    brain = brain_mesh(atlas, mesh=load_fsaverage("fsaverage5")["white_matter"])
    np.testing.assert_array_equal(brain.sides["right"].rows, rows[1])
    white = load_fsaverage("fsaverage5")["white_matter"].parts["right"].coordinates
    np.testing.assert_array_equal(brain.sides["right"].points, white)


def test_views_show_what_a_line_of_sight_meets_first():
    brain = brain_mesh(load_atlas("dosenbach160"))
    left = brain.sides["left"]
    axes = np.array([[0, -1, 0], [0, 0, 1], [-1, 0, 0]])
    seen = left.inflated @ axes.T
    low, high = seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)
    view = brain_views(brain)[0]
    height, width = view.rows.shape
    scale = min(width / (high - low)[0], height / (high - low)[1]) * 0.97
    rng, checked = np.random.default_rng(0), 0
    for _ in range(60):
        column, row = rng.integers(0, width), rng.integers(0, height)
        at = (low + high) / 2 + np.array([column - width / 2, height / 2 - row]) / scale
        vertex, margin = seen_vertex(left.inflated.astype(float), left.faces, axes, at)
        if vertex < 0:
            assert view.rows[row, column] == -2
        elif margin > 1e-3:
            assert view.rows[row, column] == left.rows[vertex]
            checked += 1
    assert checked > 25


def test_paint_mixes_nothing_and_leaves_what_has_no_colour_bare():
    brain = brain_mesh(load_atlas("dosenbach160"))
    colours = np.full((160, 3), np.nan)
    bare = [paint(view, colours, np.zeros(160)) for view in brain_views(brain)[:4]]
    assert all((np.ptp(picture, axis=2) <= 1).all() for picture in bare)
    row = int(np.bincount(brain.sides["left"].rows[brain.sides["left"].rows >= 0]).argmax())
    colours[row] = (1.0, 0.0, 0.0)
    red = [paint(view, colours, np.zeros(160)) for view in brain_views(brain)[:4]]
    changed = [(a != b).any() for a, b in zip(bare, red, strict=True)]
    assert changed[2:] == [False, False]
    assert any(changed[:2])
