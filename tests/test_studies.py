"""Whole studies as they lie on disk, from the files to the maps, as a user types it."""

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, SeriesAxis
from study_cases import importance, inspected, metrics, neurosal_run

import neurosal
from neurosal.labelled import load_array
from neurosal.loaders.simulate_tasks import TASKS, event_files
from neurosal.parcellation import extract_regions

T_R = 0.72
SUBJECTS = ("100307", "100408", "101107")
QUICK = ("--window", "6", "--lag", "4")


# ------------------------------------------------------------------ grayordinates of the HCP

PARCELS = [
    f"7Networks_{side}H_{name}"
    for side in "LR"
    for name in ("Vis_1", "SomMot_1", "SomMot_2", "Default_1")
]
PARCELS += ["HIP-lh", "HIP-rh"]  # fmt: skip
IDS = dict(zip(PARCELS, (1, 2, 3, 7, 11, 12, 13, 40, 101, 102), strict=True))
PLANTED = {  # which parcels respond to which block
    "lh": "7Networks_RH_SomMot_1",
    "rh": "7Networks_LH_SomMot_1",
    "t": "7Networks_LH_SomMot_2",
}


def gray_axis():
    """Two surfaces of 60 vertices without a medial wall, and two small blocks of voxels."""
    parts = [
        BrainModelAxis.from_surface(np.arange(5, 60), 60, f"CORTEX_{side}")
        for side in ("LEFT", "RIGHT")
    ]
    for start, side in ((0, "LEFT"), (5, "RIGHT")):
        voxels = start + np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])
        affine = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
        parts.append(
            BrainModelAxis(
                f"HIPPOCAMPUS_{side}", voxel=voxels, affine=affine, volume_shape=(91, 109, 91)
            )
        )
    return parts[0] + parts[1] + parts[2] + parts[3]


def gray_labels():
    """Each parcel's grayordinates lie scattered; every fifth vertex has no label."""
    labels = np.zeros(126, dtype=int)
    for hemisphere in (0, 1):
        ids = list(IDS.values())[4 * hemisphere : 4 * hemisphere + 4]
        labels[55 * hemisphere : 55 * hemisphere + 55] = np.resize([*ids, 0], 55)
    labels[110:118], labels[118:] = IDS["HIP-lh"], IDS["HIP-rh"]
    return labels


def block_response(task, run, name, n_frames):
    """One during the blocks of a condition, four seconds late; zero elsewhere."""
    out = np.zeros(n_frames)
    for onset, duration, _ in event_files(task, run)[name].to_numpy():
        frames = T_R * np.arange(n_frames)
        out[(frames >= onset + 4) & (frames < onset + duration + 4)] = 1.0
    return out


def parcel_series(task, run, rng):
    """What each parcel measures: noise, and the response where one is planted."""
    n_frames = TASKS[task].n_volumes
    series = pd.DataFrame(rng.normal(1000, 1.0, (n_frames, len(PARCELS))), columns=PARCELS)
    for name, parcel in PLANTED.items():
        series[parcel] += 3.0 * block_response(task, run, name, n_frames)
    return series


def scatter(series, labels, rng):
    """Grayordinates whose mean over each parcel is its series, with large noise around it."""
    data = rng.normal(500, 50, (len(series), len(labels)))
    for name, label in IDS.items():
        inside = labels == label
        noise = rng.normal(0, 20, (len(series), inside.sum()))
        noise -= noise.mean(axis=1, keepdims=True)
        data[:, inside] = series[name].to_numpy()[:, None] + noise
    return data.astype(np.float32)


def write_evs(folder, task, run):
    (folder / "EVs").mkdir(parents=True)
    for name, table in event_files(task, run).items():
        np.savetxt(folder / "EVs" / f"{name}.txt", table.to_numpy(), fmt="%g", delimiter="\t")
    (folder / "EVs" / "Sync.txt").write_text("8.0\n")
    np.savetxt(folder / "Movement_Regressors.txt", np.zeros((TASKS[task].n_volumes, 12)))


@pytest.fixture(scope="module")
def grays(tmp_path_factory):
    """Three subjects of MOTOR as dtseries with a dlabel, and what was planted in each run."""
    root = tmp_path_factory.mktemp("grays") / "Größe, 2 mm"
    root.mkdir()
    axis, labels = gray_axis(), gray_labels()
    names = {0: ("???", (1, 1, 1, 0))} | {n: (name, (1, 0, 0, 1)) for name, n in IDS.items()}
    nib.save(
        nib.Cifti2Image(labels[None].astype(np.float32), (LabelAxis(["parcels"], [names]), axis)),
        root / "Mini.dlabel.nii",
    )
    truth, rng = {}, np.random.default_rng(5)
    for subject in SUBJECTS:
        for run in ("LR", "RL"):
            name = f"tfMRI_MOTOR_{run}"
            folder = root / "study" / subject / "MNINonLinear" / "Results" / name
            write_evs(folder, "MOTOR", run)
            truth[subject, run] = parcel_series("MOTOR", run, rng)
            data = scatter(truth[subject, run], labels, rng)
            image = nib.Cifti2Image(data, (SeriesAxis(0, T_R, len(data)), axis))
            nib.save(image, folder / f"{name}_Atlas_MSMAll.dtseries.nii")
    return root, truth


@pytest.fixture(scope="module")
def gray_run(grays, tmp_path_factory):
    """The study run once by the command line; its options are in a file with the results."""
    root, _ = grays
    out = tmp_path_factory.mktemp("gray-run") / "results"
    neurosal_run(
        "--hcp", root / "study", "--task", "MOTOR", "--kind", "cifti", "--atlas",
        root / "Mini.dlabel.nii", "--conditions", *PLANTED, *QUICK, "--out", out,
    )  # fmt: skip
    return out


def test_grayordinates_give_back_what_was_planted_per_parcel(grays):
    root, truth = grays
    atlas = neurosal.load_atlas(root / "Mini.dlabel.nii")
    runs = neurosal.find_hcp_runs(root / "study", task="MOTOR", kind="cifti")
    assert [(run.subject, run.run) for run in runs] == list(truth)
    for run in runs:
        planted = truth[run.subject, run.run]
        found = extract_regions(run, atlas)
        assert set(found["region"].to_numpy()) == set(PARCELS)
        for name in PARCELS:
            np.testing.assert_allclose(found.sel(region=name), planted[name], rtol=1e-6)
            assert int(found["label_id"].sel(region=name)) == IDS[name]


def test_windows_hold_the_planted_values_of_their_block(grays, gray_run):
    _, truth = grays
    windows = load_array(gray_run / "windows.nc")
    assert windows.sizes["sample"] == len(SUBJECTS) * 2 * sum(
        len(event_files("MOTOR", "LR")[name]) for name in PLANTED
    )
    for window in windows:
        planted = truth[str(window["subject"].item()), str(window["run"].item())]
        frames = np.arange(len(planted))
        first = int(np.floor((float(window["onset"]) + 4.0) / T_R + 0.5 + 1e-9))
        for name in PARCELS:
            values = planted[name].to_numpy()
            values = values - np.polyval(np.polyfit(frames, values, 1), frames)
            values = (values - values.mean()) / values.std(ddof=1)
            np.testing.assert_allclose(
                window.sel(region=name), values[first : first + window.sizes["time"]], atol=1e-4
            )


def test_planted_parcels_come_out_on_top_of_their_condition(gray_run):
    assert (gray_run / "report.html").stat().st_size > 10_000
    assert metrics(gray_run)["accuracy"] > 0.9
    assert metrics(gray_run)["n_folds"] == len(SUBJECTS)
    found = importance(gray_run)
    assert set(found.columns) == set(PARCELS)
    for condition, parcel in PLANTED.items():
        assert found.loc[condition].idxmax() == parcel


def test_maps_open_as_parcellated_cifti_with_the_table_s_numbers(grays, gray_run):
    labels, axis = gray_labels(), gray_axis()
    paths = sorted(gray_run.glob("*_saliency.ptseries.nii"))
    assert [path.name.split("desc-")[1].split("_")[0] for path in paths] == sorted(PLANTED)
    table = pd.read_csv(gray_run / "importance.tsv", sep="\t")
    for path, condition in zip(paths, sorted(PLANTED), strict=True):
        image = nib.load(path)
        series, parcels = image.header.get_axis(0), image.header.get_axis(1)
        assert isinstance(parcels, ParcelsAxis)
        assert isinstance(series, SeriesAxis)
        assert (series.step, series.start) == (pytest.approx(T_R), pytest.approx(4.0))
        own = table[table["condition"] == condition].pivot(
            index="time", columns="region", values="importance"
        )
        np.testing.assert_allclose(image.get_fdata(), own[list(parcels.name)], rtol=1e-5)
        for name, voxels, vertices in parcels:
            members = labels == IDS[name]
            on_surface = [v for found in vertices.values() for v in found]
            assert len(on_surface) + len(voxels) == members.sum()
            if on_surface:
                np.testing.assert_array_equal(np.sort(on_surface), axis.vertex[members])


def test_the_same_study_as_volumes_is_not_there_and_the_remedy_is_told(grays, tmp_path, capfd):
    root, _ = grays
    neurosal_run("--hcp", root / "study", "--task", "MOTOR", "--out", tmp_path, code=2)
    assert "cifti" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif("NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is not set")
def test_schaefer_and_tian_on_all_91282_grayordinates(tmp_path):
    name = "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1.dlabel.nii"
    path = Path(os.environ["NEUROSAL_TEST_DATA"]) / "atlases" / name
    image, rng = nib.load(path), np.random.default_rng(4)
    labels, axis = image.get_fdata().ravel().astype(int), image.header.get_axis(1)
    names = {number: name for number, (name, _) in image.header.get_axis(0).label[0].items()}
    sizes = np.bincount(labels)
    blocks = {"lh": (2, 32), "rh": (17, 47)}
    responds = {"lh": "7Networks_RH_SomMot_1", "rh": "7Networks_LH_SomMot_1"}
    times, planted = T_R * np.arange(100), {}
    for subject in SUBJECTS[:2]:
        values = rng.normal(900, 1, (100, len(sizes)))
        folder = tmp_path / "hcp" / subject / "MNINonLinear" / "Results" / "tfMRI_MOTOR_LR"
        (folder / "EVs").mkdir(parents=True)
        for hand, onsets in blocks.items():
            (folder / "EVs" / f"{hand}.txt").write_text("".join(f"{t}\t12\t1\n" for t in onsets))
            own = next(n for n, name in names.items() if name == responds[hand])
            for onset in onsets:
                values[(times >= onset + 4) & (times < onset + 16), own] += 3.0
        planted[subject] = values
        series = nib.Cifti2Image(
            values[:, labels].astype(np.float32), (SeriesAxis(0, T_R, 100), axis)
        )
        nib.save(series, folder / "tfMRI_MOTOR_LR_Atlas_MSMAll.dtseries.nii")
    atlas = neurosal.load_atlas(path)
    with pytest.warns(UserWarning, match="MOTOR RL of any subject"):
        runs = neurosal.find_hcp_runs(tmp_path / "hcp", task="MOTOR", kind="cifti")
    for run in runs:
        found = extract_regions(run, atlas)
        assert found.sizes["region"] == 116
        for region in found.T:
            number = int(region["label_id"])
            assert names[number] == str(region["region"].item())
            assert int(region["n_voxels"]) == sizes[number]
            np.testing.assert_allclose(region, planted[run.subject][:, number], rtol=1e-6)
    out = tmp_path / "out"
    neurosal_run(
        "--hcp", tmp_path / "hcp", "--task", "MOTOR", "--kind", "cifti", "--atlas", path,
        "--conditions", "lh", "rh", *QUICK, "--cv", "subject", "--out", out,
    )  # fmt: skip
    found = importance(out)
    assert {hand: found.loc[hand].idxmax() for hand in responds} == responds
    parcels = nib.load(next(out.glob("*_saliency.ptseries.nii"))).header.get_axis(1)
    assert set(parcels.name) == set(names.values()) - {names[0]}


# ------------------------------------------------------------------ options in a file


def test_the_options_that_were_written_repeat_the_run(gray_run, tmp_path):
    neurosal_run("--config", gray_run / "config.toml", "--out", tmp_path / "again")
    for name in ("importance.tsv", "metrics.json", "config.toml"):
        assert (tmp_path / "again" / name).read_text() == (gray_run / name).read_text()


def test_what_is_typed_wins_over_the_file(gray_run, tmp_path):
    neurosal_run(
        "--config", gray_run / "config.toml", "--conditions", "lh", "rh", "--seed", "3",
        "--subjects", *SUBJECTS[:2], "--out", tmp_path / "typed",
    )  # fmt: skip
    assert set(importance(tmp_path / "typed").index) == {"lh", "rh"}
    assert json.loads((tmp_path / "typed" / "provenance.json").read_text())["seed"] == 3
    assert load_array(tmp_path / "typed" / "windows.nc").attrs["window"] == 6.0
    written = (tmp_path / "typed" / "config.toml").read_text()
    assert 'conditions = ["lh", "rh"]' in written
    assert "seed = 3" in written


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lagg = 4\n", "lagg"),
        ("lag = \n", "TOML"),
        ("lag = 'five'\n", "'--lag'"),
        ("[run]\nlag = 5\n", "run"),
        ("config = 'other.toml'\n", "config"),
    ],
)
def test_a_file_of_options_that_is_wrong_is_refused_by_name(tmp_path, capfd, text, told):
    path = tmp_path / "options.toml"
    path.write_text(text)
    neurosal_run("--config", path, "--out", tmp_path / "out", code=2)
    said = capfd.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    neurosal_run("--config", tmp_path / "none.toml", "--out", tmp_path / "out", code=2)
    assert "none.toml" in capfd.readouterr().err


# ------------------------------------------------------------------ several tasks of the HCP


@pytest.fixture(scope="module")
def two_tasks(tmp_path_factory):
    """Two simulated subjects of two tasks, as volumes of 8 mm."""
    atlas = neurosal.load_atlas("dosenbach160")
    with pytest.warns(UserWarning, match="No voxel of the grid"):
        return neurosal.simulate_hcp(
            tmp_path_factory.mktemp("two") / "study", labels=atlas.labels, regions=atlas.regions,
            atlas_name=atlas.name, atlas_hash=atlas.hash, task=("MOTOR", "EMOTION"),
            n_subjects=2, voxel_size=8.0, effect_size=3.0, seed=1,
        )  # fmt: skip


def test_a_single_word_in_the_file_stands_for_a_list_of_one(two_tasks, tmp_path, capfd):
    path = tmp_path / "options.toml"
    path.write_text(f'hcp = "{two_tasks}"\ntask = "MOTOR"\natlas = "nowhere.nii.gz"\n')
    neurosal_run("--config", path, "--out", tmp_path / "out", code=2)
    assert "nowhere.nii.gz" in capfd.readouterr().err
    assert 'task = ["MOTOR"]' in (tmp_path / "out" / "config.toml").read_text()


def test_two_tasks_are_told_apart(two_tasks, tmp_path):
    out = tmp_path / "out"
    neurosal_run("--hcp", two_tasks, "--task", "MOTOR", "EMOTION", "--window", "8", "--out", out)
    windows = load_array(out / "windows.nc")
    assert windows["condition"].to_numpy().tolist() == windows["task"].to_numpy().tolist()
    counts = windows["task"].to_series().value_counts().to_dict()
    assert counts == {"MOTOR": 2 * 2 * 10, "EMOTION": 2 * 2 * 5}  # the last block leaves
    assert set(windows["block"].to_numpy()) == {"lf", "rf", "lh", "rh", "t", "fear", "neut"}
    assert metrics(out)["n_classes"] == 2
    assert metrics(out)["accuracy"] > metrics(out)["chance"] + 0.15
    assert set(importance(out).index) == {"MOTOR", "EMOTION"}
    assert "truth_aupr" not in metrics(out)


@pytest.mark.slow
def test_three_tasks_are_told_apart_by_responses_of_the_default_size(tmp_path, capfd):
    atlas, tasks = neurosal.load_atlas("dosenbach160"), ("GAMBLING", "RELATIONAL", "SOCIAL")
    with pytest.warns(UserWarning, match="No voxel of the grid"):
        root = neurosal.simulate_hcp(
            tmp_path / "study", labels=atlas.labels, regions=atlas.regions, task=tasks,
            n_subjects=3, voxel_size=8.0, seed=1,
        )  # fmt: skip
    neurosal_run("--hcp", root, "--task", "all", "--window", "12", "--out", tmp_path / "out")
    found = metrics(tmp_path / "out")
    assert (found["n_classes"], found["n_folds"]) == (3, 3)
    assert found["chance"] == pytest.approx(0.4)
    assert found["accuracy"] > 0.7
    windows = load_array(tmp_path / "out" / "windows.nc")
    assert windows.attrs["measured_from"] == "rest"
    assert "too little rest" not in capfd.readouterr().err


def test_all_tasks_are_those_that_are_there(two_tasks, tmp_path, monkeypatch):
    classes = []

    def stop(self, *arguments):
        classes.extend(sorted(set(self.windows_["condition"].to_numpy())))
        raise neurosal.errors.DataError("enough")

    monkeypatch.setattr("neurosal.decoder.SaliencyDecoder._cross_validate", stop)
    neurosal_run("--hcp", two_tasks, "--task", "all", "--out", tmp_path, code=2)
    assert classes == ["EMOTION", "MOTOR"]


def test_small_letters_name_a_task_to_the_end(two_tasks, tmp_path):
    words = ("--hcp", two_tasks, "--conditions", "fear", "neut", "--window", "8", "--lag", "4")
    neurosal_run(*words, "--task", "emotion", "--out", tmp_path)
    assert metrics(tmp_path)["truth_aupr"] > 2 * metrics(tmp_path)["truth_aupr_random"]


# ------------------------------------------------------------------ neurosal inspect


def test_inspect_tells_what_each_study_holds(grays, two_tasks, tmp_path, capfd):
    told = inspected(capfd, grays[0] / "study")
    assert "(HCP): 3 subjects, 1 task, 6 runs" in told
    assert "cifti" in told
    lines = {line.split()[1]: line.split() for line in told.splitlines() if " MOTOR " in line}
    assert lines["lh"][2:6] == ["3", "6", "12", "12"]
    told = inspected(capfd, two_tasks, "--task", "EMOTION")
    assert "(HCP): 2 subjects, 1 task, 4 runs" in told
    shutil.copytree(two_tasks, tmp_path / "torn")
    next((tmp_path / "torn").rglob("tfMRI_MOTOR_LR.nii.gz")).unlink()
    for path in (tmp_path / "torn").rglob("tfMRI_EMOTION*.nii.gz"):
        path.unlink()
    told = inspected(capfd, tmp_path / "torn")
    assert "missing image (5)" in told
    assert "... and 2 more" in told
    told = inspected(capfd, tmp_path / "torn", "--all")
    assert told.count(" holds no tfMRI_") == 5
    assert "more" not in told


def test_inspect_of_a_folder_that_is_no_study(tmp_path, capfd):
    told = inspected(capfd, tmp_path, code=2)
    assert str(tmp_path) in told
    assert "Traceback" not in told
    assert "not a folder" in inspected(capfd, tmp_path / "nowhere", code=2)
