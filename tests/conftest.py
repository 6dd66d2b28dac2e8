"""Data that several stages test with."""

import pytest

import neurosal


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A simulated HCP motor study: four subjects, two runs each, 6 mm, truth known."""
    atlas = neurosal.load_atlas("dosenbach160")
    return neurosal.simulate_hcp(
        tmp_path_factory.mktemp("study") / "simulated",
        labels=atlas.labels,
        regions=atlas.regions,
        atlas_name=atlas.name,
        atlas_hash=atlas.hash,
        n_subjects=4,
        voxel_size=6.0,
        seed=3,
    )
