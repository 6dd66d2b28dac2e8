"""Are the images beside the report those of the numbers, thresholded and not?"""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from neurosal.inference import group_test
from neurosal.labelled import region_coordinates
from neurosal.parcellation.atlas import load_atlas
from neurosal.projection import from_nifti, to_nifti
from neurosal.reporting.map_files import map_names, write_maps, write_significant
from neurosal.reporting.results import Results

#: What all names begin with.
START = "task-MOTOR_space-MNI152NLin6Asym_seg-dosenbach160"


@pytest.fixture(scope="module")
def atlas():
    return load_atlas("dosenbach160")


@pytest.fixture(scope="module")
def study(atlas):
    """Eight subjects, two conditions, an effect in two cells of one, and a region that is lost."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(16, 3, 160))
    values[::2, 1, [3, 70]] += 9
    values[5, :, 100] = np.nan
    coords = region_coordinates(atlas.regions) | {
        "time": [5.0, 5.72, 6.44],
        "subject": ("sample", np.repeat(np.arange(8), 2)),
        "condition": ("sample", ["left hand", "rest"] * 8),
    }
    maps = xr.DataArray(values, dims=("sample", "time", "region"), coords=coords)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = {
            "conditions": group_test(maps, progress=False),
            "left hand - rest": group_test(maps, contrast=("left hand", "rest"), progress=False),
        }
    mean = maps.groupby("condition").mean().transpose("condition", "time", "region")
    images = {name: to_nifti(mean.sel(condition=name), atlas) for name in ("left hand", "rest")}
    return Results(
        "Motor",
        data={"task": "MOTOR", "space": "MNI152NLin6Asym"},
        mean_importance=mean,
        maps=images,
        atlas=atlas,
        statistics=tests,
        provenance={"seed": 3},
    )


def written(study, atlas, folder, name):
    files = write_significant(study, name, folder)
    (file,) = files
    sidecar = json.loads((folder / file.replace(".nii.gz", ".json")).read_text())
    return file, files[file], from_nifti(folder / file, atlas), sidecar


def test_thresholded_images_hold_what_is_significant_and_zero_elsewhere(study, atlas, tmp_path):
    file, told, back, sidecar = written(study, atlas, tmp_path, "left hand")
    assert file == f"{START}_desc-lefthandThresholded_saliency.nii.gz"
    tested = study.statistics["left hand"]
    flags = tested["significant"].values
    assert flags[1, [3, 70]].all()
    for i, j in np.ndindex(flags.shape):
        value = back.values[i, j]
        if tested["status"].values[i, j] == 1:
            assert np.isnan(value)
        else:
            expected = tested["mean"].values[i, j] if flags[i, j] else 0.0
            assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(back["time"], [5.0, 5.72, 6.44], atol=1e-5)
    assert f"({flags.sum()} cells)" in told
    told = sidecar["Provenance"]["statistics"]
    assert {"correction": "max-t", "alpha": 0.05, "n_subjects": 8}.items() <= told.items()
    assert told["n_significant_cells"] == flags.sum()
    assert sidecar["Provenance"]["seed"] == 3
    assert sidecar["Selection"]["condition"] == "left hand"


def test_contrasts_and_empty_results_are_written_too(study, atlas, tmp_path):
    file, _, back, sidecar = written(study, atlas, tmp_path, "left hand - rest")
    assert file == f"{START}_desc-lefthandrestThresholded_saliency.nii.gz"
    assert sidecar["Selection"]["condition"] == "left hand - rest"
    assert back.values[1, 3] > 5
    none = study.statistics["rest"].copy()
    none["significant"] = xr.zeros_like(none["significant"])
    empty = Results("", atlas=atlas, maps=study.maps, statistics={"rest": none})
    _, told, back, _ = written(empty, atlas, tmp_path, "rest")
    assert not np.nan_to_num(back.values).any()
    assert "(0 cells)" in told


def test_every_file_told_of_is_there(study, tmp_path):
    files = write_maps(study, tmp_path)
    for name in study.statistics:
        files |= write_significant(study, name, tmp_path)
    there = {path.name for path in tmp_path.iterdir() if path.suffix == ".gz"}
    assert set(files) == there
    assert len(there) == 2 + 3
    unthresholded = f"{START}_desc-rest_saliency.nii.gz"
    assert files[unthresholded] == "mean importance for rest over time"


def test_conditions_that_leave_the_same_letters_do_not_overwrite_each_other(study, tmp_path):
    names = ["\u5de6\u624b", "\u53f3\u624b", "n back", "n-back", "nback4", "N.Back"]
    tests = dict(zip(names, list(study.statistics.values()) * 2, strict=True))
    files = map_names({"seg": "dosenbach160"}, names)
    assert len({file.lower() for file in files.values()}) == len(names)
    assert files["\u5de6\u624b"] == "seg-dosenbach160_desc-1_saliency.nii.gz"
    assert files["n back"] == "seg-dosenbach160_desc-nback_saliency.nii.gz"
    results = replace(study, statistics=tests)
    written = {}
    for name in names:
        written |= write_significant(results, name, tmp_path)
    assert len(written) == len(names)
    assert all("seg-dosenbach160_desc-" in file for file in written)


def test_the_only_test_is_written_without_a_name(study, tmp_path):
    alone = study.statistics["rest"].drop_vars("condition")
    (file,) = write_significant(replace(study, statistics={"": alone}), "", tmp_path)
    assert file == f"{START}_desc-Thresholded_saliency.nii.gz"


def test_nothing_is_written_without_an_atlas(study, tmp_path):
    bare = Results("", mean_importance=study.mean_importance, statistics=study.statistics)
    assert write_maps(bare, tmp_path) == {}
    assert write_significant(bare, "rest", tmp_path) == {}
    assert not list(tmp_path.iterdir())
