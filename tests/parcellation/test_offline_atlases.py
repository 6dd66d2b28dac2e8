"""The atlases that ship: rebuilt from the coordinates they came from."""

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import neurosal
from neurosal.parcellation.atlas import OFFLINE, load_atlas

FOLDER = Path(neurosal.__file__).parents[1] / "atlases"
pytestmark = pytest.mark.skipif(
    not (FOLDER / "build.py").is_file(), reason="no checkout: atlases/build.py is not here"
)


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_atlases", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", OFFLINE)
def test_rebuilding_gives_the_files_that_ship(build, name, tmp_path):
    build.build(name, tmp_path)
    made, shipped = (sorted((folder / name).iterdir()) for folder in (tmp_path, FOLDER))
    assert [path.name for path in made] == [path.name for path in shipped]
    for new, old in zip(made, shipped, strict=True):
        assert old.stat().st_size < 150_000
        if new.name.endswith(".nii.gz"):
            images = [nib.load(path) for path in (new, old)]
            np.testing.assert_array_equal(*(np.asarray(img.dataobj) for img in images))
            np.testing.assert_array_equal(images[0].affine, images[1].affine)
        else:
            assert new.read_text() == old.read_text()


@pytest.mark.parametrize("name", OFFLINE)
def test_voxels_belong_to_the_nearest_centre_within_its_radius(name):
    atlas = load_atlas(name)
    table = pd.read_csv(next((FOLDER / name).glob("*.tsv")), sep="\t").set_index("index")
    ids = np.asarray(atlas.labels.dataobj)
    voxels = np.argwhere(ids)
    places = voxels * [-2, 2, 2] + [90, -126, -72]
    centres = table[["x", "y", "z"]].to_numpy()
    distances = np.stack([np.linalg.norm(places - centre, axis=1) for centre in centres], axis=1)
    own = table.index.get_indexer(ids[tuple(voxels.T)])
    nearest = distances[np.arange(len(voxels)), own]
    np.testing.assert_allclose(nearest, distances.min(axis=1))
    assert (nearest <= table["radius"].to_numpy()[own]).all()


@pytest.mark.parametrize(
    ("name", "n_regions", "n_networks"),
    [
        ("dosenbach160", 160, 6),
        ("power264", 264, 1),
        ("seitzman300", 300, 14),
    ],
)
def test_tables_are_complete_and_every_region_has_voxels(name, n_regions, n_networks):
    atlas = load_atlas(name)
    assert (len(atlas), atlas.regions["network"].nunique()) == (n_regions, n_networks)
    assert atlas.labels.shape == (91, 109, 91)
    assert atlas.labels.affine.tolist() == [
        [-2, 0, 0, 90],
        [0, 2, 0, -126],
        [0, 0, 2, -72],
        [0, 0, 0, 1],
    ]
    ids = np.asarray(atlas.labels.dataobj)
    assert np.bincount(ids.ravel())[atlas.regions["label_id"]].min() >= 20
    assert "doi:" in atlas.citation
    assert atlas.licence
    assert atlas.approximate
    for side, sign in (("L", -1), ("R", 1)):
        labels = atlas.regions["label_id"][atlas.regions["hemisphere"] == side]
        for label in labels[:20]:
            x = 90 - 2 * np.argwhere(ids == label)[:, 0].mean()
            assert np.sign(x) == sign
