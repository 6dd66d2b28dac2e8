"""Neighbours of regions against plain loops over voxels, edges and centres."""

import tracemalloc

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis

import neurosal
from neurosal.errors import ArgumentError
from neurosal.inference import region_adjacency
from neurosal.parcellation import Atlas, GrayordinateAtlas, MapsAtlas


def table(n):
    return pd.DataFrame({"index": range(1, n + 1), "name": [f"r{i}" for i in range(1, n + 1)]})


@pytest.fixture
def blocks():
    """Twelve regions scattered over a small volume, with background, and label ids with gaps."""
    labels = np.kron(np.random.default_rng(0).integers(0, 13, (4, 3, 3)), np.ones((2, 3, 2), int))
    ids = np.array([0, *(7 * np.arange(1, 13))])
    regions = pd.DataFrame({"index": ids[1:], "name": [f"r{i}" for i in range(1, 13)]})
    return Atlas(nib.Nifti1Image(ids[labels].astype("int32"), np.diag([2.0, 2, 3, 1])), regions)


def test_voxels_that_share_a_face_make_neighbours(blocks):
    labels = np.asarray(blocks.labels.dataobj)
    ids = blocks.regions["label_id"].tolist()
    expected = np.zeros((len(ids), len(ids)))
    for place in np.ndindex(labels.shape):
        for axis in range(3):
            other = list(place)
            other[axis] += 1
            if other[axis] == labels.shape[axis]:
                continue
            a, b = labels[place], labels[tuple(other)]
            if a and b and a != b:
                expected[ids.index(a), ids.index(b)] = expected[ids.index(b), ids.index(a)] = 1
    np.testing.assert_array_equal(region_adjacency(blocks).toarray(), expected)
    assert 0 < expected.sum() < expected.size / 2


def test_a_map_of_few_regions_in_another_order_keeps_its_neighbours(blocks):
    whole = region_adjacency(blocks).toarray()
    rows = [5, 0, 8, 2]
    names = blocks.regions["name"].to_numpy()[rows]
    some = region_adjacency(blocks, regions=names)
    np.testing.assert_array_equal(some.toarray(), whole[np.ix_(rows, rows)])
    with pytest.raises(ArgumentError, match=r"1 region\(s\) are not in the atlas atlas, .*'V9'"):
        region_adjacency(blocks, regions=["V9"])


def test_spheres_are_joined_by_the_distance_of_their_centres():
    atlas = neurosal.load_atlas("dosenbach160")
    labels = np.asarray(atlas.labels.dataobj)
    centres = []
    for label in atlas.regions["label_id"]:
        voxels = np.argwhere(labels == label)
        centres.append(nib.affines.apply_affine(atlas.labels.affine, voxels).mean(axis=0))
    centres = np.array(centres)
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    expected = (distance <= 18.0) & (distance > 0)
    with pytest.warns(UserWarning, match="of 160 regions of dosenbach160 have no neighbour"):
        found = region_adjacency(atlas, distance_mm=18.0)
    with pytest.warns(UserWarning, match="need distance_mm="):
        touching = region_adjacency(atlas)
    np.testing.assert_array_equal(found.toarray() > 0, expected | (touching.toarray() > 0))
    assert touching.nnz < 20
    assert (np.diff(found.indptr) == 0).sum() < 80


def test_weights_belong_to_the_heaviest_region():
    maps = np.zeros((6, 1, 1, 3), "float32")
    maps[:3, 0, 0, 0], maps[2:4, 0, 0, 1], maps[5, 0, 0, 2] = 1.0, 2.0, 1.0
    atlas = MapsAtlas(nib.Nifti1Image(maps, np.eye(4)), table(3))
    with pytest.warns(UserWarning, match="1 of 3 regions"):
        found = region_adjacency(atlas)
    assert found.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


@pytest.mark.filterwarnings("ignore:.*have no neighbour")
def test_maps_are_not_copied_all_at_once():
    rng = np.random.default_rng(0)
    maps = rng.random((12, 12, 12, 300), dtype="float32")
    atlas = MapsAtlas(nib.Nifti1Image(maps, np.eye(4)), table(300))
    tracemalloc.start()
    region_adjacency(atlas)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < maps.nbytes


@pytest.fixture
def strip():
    """A left surface of six vertices in a strip of triangles, and four voxels."""
    cortex = BrainModelAxis.from_surface(range(6), 6, "CORTEX_LEFT")
    voxels = np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0], [3, 1, 0]])
    inner = BrainModelAxis(
        "PUTAMEN_LEFT", voxel=voxels, affine=np.diag([2.0, 2, 2, 1]), volume_shape=(5, 4, 3)
    )
    labels = [1, 1, 2, 3, 0, 4, 5, 6, 7, 7]
    return GrayordinateAtlas(labels, cortex + inner, table(7))


def mesh_of_strip():
    from nilearn.surface import InMemoryMesh, PolyMesh

    places = np.array([[i, i % 2, 0.0] for i in range(6)])
    faces = np.array([[i, i + 1, i + 2] for i in range(4)])
    return PolyMesh(left=InMemoryMesh(coordinates=places, faces=faces))


def test_vertices_joined_by_an_edge_and_voxels_that_touch_make_neighbours(strip):
    with pytest.warns(UserWarning, match="1 of 7 regions"):
        found = region_adjacency(strip, mesh=mesh_of_strip()).toarray()
    pairs = {tuple(pair) for pair in (np.argwhere(np.triu(found)) + 1).tolist()}
    assert pairs == {(1, 2), (1, 3), (2, 3), (3, 4), (5, 6)}
    nearer = region_adjacency(strip, mesh=mesh_of_strip(), distance_mm=4.5).toarray()
    assert nearer[5, 6] == 1  # centres at x = 2 and 6 mm, y = 0 and 1 mm


def test_surfaces_need_the_mesh_they_are_drawn_on(strip):
    with pytest.raises(ArgumentError, match=r"mesh is needed .* \[6\] vertices.*as adjacency="):
        region_adjacency(strip)
    with pytest.raises(ArgumentError, match=r"mesh has 10242 vertices in the left .* 6 vertices"):
        region_adjacency(strip, mesh="fsaverage5")


def test_fsaverage5_is_known():
    axis = BrainModelAxis.from_surface(range(10242), 10242, "CORTEX_LEFT")
    labels = np.repeat([1, 2], 5121)
    found = region_adjacency(GrayordinateAtlas(labels, axis, table(2)))
    assert found.toarray().tolist() == [[0, 1], [1, 0]]


def test_what_is_no_distance_or_no_surface_atlas_is_refused(blocks):
    with pytest.raises(ArgumentError, match=r"distance_mm must be None or .* above 0\. Got -1"):
        region_adjacency(blocks, distance_mm=-1)
    with pytest.raises(ArgumentError, match="mesh is for atlases of grayordinates"):
        region_adjacency(blocks, mesh="fsaverage5")
