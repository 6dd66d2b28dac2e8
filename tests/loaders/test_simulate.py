import json
from itertools import pairwise

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nilearn.datasets import fetch_coords_dosenbach_2010
from nilearn.glm.first_level import make_first_level_design_matrix, run_glm
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from scipy.stats import gamma

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import load_array
from neurosal.loaders.hcp import find_hcp_runs
from neurosal.loaders.simulate import NoiseModel, load_truth, simulate_hcp, truth_mask
from neurosal.loaders.simulate_noise import (
    autoregressive,
    draw_motion,
    drift_courses,
    movement_tables,
    simulate_volumes,
    smooth_weights,
)
from neurosal.loaders.simulate_regions import match_peaks
from neurosal.loaders.simulate_scene import make_scene
from neurosal.loaders.simulate_tasks import RUNS, T_R, TASKS, block_events, task_conditions

SILENT = NoiseModel(**dict.fromkeys(NoiseModel.__dataclass_fields__, 0.0))
VOLUMES = {
    "EMOTION": 176,
    "GAMBLING": 253,
    "LANGUAGE": 316,
    "MOTOR": 284,
    "RELATIONAL": 232,
    "SOCIAL": 274,
    "WM": 405,
}


@pytest.fixture(scope="module")
def atlas():
    """160 spheres of 7 mm on a 4 mm grid, nearest centre first."""
    rois = fetch_coords_dosenbach_2010()
    centres = rois.rois[["x", "y", "z"]].to_numpy(float)
    affine = nib.affines.from_matvec(np.diag([-4.0, 4, 4]), [90, -126, -72])
    shape = (46, 55, 46)
    world = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    distance, nearest = cKDTree(centres).query(world)
    labels = np.where(distance <= 7, nearest + 1, 0).astype(np.int16)
    regions = pd.DataFrame(
        {
            "label_id": np.arange(1, len(centres) + 1),
            "name": [f"{name} ({k})" for k, name in enumerate(rois.labels)],
            "network": list(rois.networks),
            "hemisphere": np.where(centres[:, 0] < 0, "L", "R"),
            "x": centres[:, 0],
        }
    )
    return {"labels": nib.Nifti1Image(labels, affine), "regions": regions}


@pytest.fixture(scope="module")
def study(atlas, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "new" / "hcp"
    return simulate_hcp(out, **atlas, n_subjects=2, voxel_size=8)


@pytest.fixture(scope="module")
def scene(atlas):
    return make_scene(**atlas, voxel_size=8)


def volume_path(root, subject, task, run):
    name = f"tfMRI_{task}_{run}"
    return root / subject / "MNINonLinear" / "Results" / name / f"{name}.nii.gz"


def region_means(path, atlas, scene):
    """The mean of each region's voxels, (time, region), plainly."""
    data = np.asanyarray(nib.load(path).dataobj)
    flat = data.reshape(-1, data.shape[3], order="F")[scene.inside].astype(float)
    rows = range(len(atlas["regions"]))
    return np.stack([flat[scene.region == row].mean(axis=0) for row in rows], axis=1)


def silent_volumes(scene, noise, motion=None, rng=0, n=284):
    motion = np.zeros((n, 6)) if motion is None else motion[:n]
    rng = np.random.default_rng(rng)
    parts = {"noise": noise, "rng": rng, "t_r": T_R}
    volumes = simulate_volumes(scene, np.zeros((n, 160)), motion=motion, **parts)
    return np.stack([v[scene.inside] for v in volumes]).astype(float)


def test_volumes_are_laid_out_as_the_hcp_does(study):
    assert sorted(p.name for p in study.iterdir()) == ["900001", "900002", "truth"]
    for run in RUNS:
        img = nib.load(volume_path(study, "900001", "MOTOR", run))
        assert img.shape == (23, 28, 23, 284)
        assert img.get_data_dtype() == np.float32
        np.testing.assert_allclose(img.header.get_zooms(), (8, 8, 8, 0.72))
        assert img.header.get_xyzt_units() == ("mm", "sec")
        np.testing.assert_allclose(img.affine[:3, 3], (90, -126, -72))
        np.testing.assert_allclose(np.diag(img.affine), (-8, 8, 8, 1))
        data = img.get_fdata()
        assert np.isfinite(data).all()
        outside = (data == 0).all(axis=3)
        assert outside[0, 0, 0]
        assert (data[~outside].min(axis=1) > 0).all()
        assert 0.2 < 1 - outside.mean() < 0.6


def test_full_resolution_is_the_hcp_grid(atlas):
    scene = make_scene(**atlas, voxel_size=2)
    assert scene.shape == (91, 109, 91)
    expected = [[-2, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]]
    np.testing.assert_array_equal(scene.affine, expected)
    assert make_scene(**atlas, voxel_size=4).shape == (46, 55, 46)


def test_event_and_movement_files(study):
    folder = volume_path(study, "900002", "MOTOR", "RL").parent
    names = sorted(p.stem for p in (folder / "EVs").glob("*.txt"))
    assert names == sorted(["Sync", "cue", "lf", "lh", "rf", "rh", "t"])
    cue = np.loadtxt(folder / "EVs" / "cue.txt")
    assert cue.shape == (10, 3)
    for name in ("lf", "lh", "rf", "rh", "t"):
        rows = np.loadtxt(folder / "EVs" / f"{name}.txt")
        assert rows.shape == (2, 3)
        np.testing.assert_array_equal(rows[:, 1:], [[12, 1], [12, 1]])
        assert np.isin(rows[:, 0] - 3, cue[:, 0]).all()
    moves = np.loadtxt(folder / "Movement_Regressors.txt")
    assert moves.shape == (284, 12)
    np.testing.assert_allclose(moves[1:, 6:], np.diff(moves[:, :6], axis=0), atol=3e-6)
    flat = np.loadtxt(folder / "Movement_Regressors_dt.txt")
    slopes = np.polyfit(np.arange(284), flat, 1)
    np.testing.assert_allclose(slopes, 0, atol=1e-5)
    rms = np.loadtxt(folder / "Movement_RelativeRMS.txt")
    assert rms.shape == (284,)
    assert rms[0] == 0
    assert 0.01 < rms.mean() < 0.5


def test_the_hcp_loader_finds_the_runs(study):
    runs = find_hcp_runs(study, task="MOTOR")
    assert [(r.subject, r.run) for r in runs] == [
        (s, r) for s in ("900001", "900002") for r in ("LR", "RL")
    ]
    assert runs[0].t_r == 0.72
    assert len(runs[0].confounds) == 284
    for run in runs[:2]:
        want = block_events("MOTOR", run.run)
        both = [f[["onset", "trial_type"]].sort_values("onset") for f in (run.events, want)]
        assert both[0].to_numpy().tolist() == both[1].to_numpy().tolist()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_blocks_fit_their_run_and_do_not_overlap(task):
    assert TASKS[task].n_volumes == VOLUMES[task]
    orders = []
    for run in RUNS:
        events = block_events(task, run)
        blocks = events[events["kind"] == "block"]
        ends = (blocks["onset"] + blocks["duration"]).to_numpy()
        assert (blocks["onset"].to_numpy()[1:] >= ends[:-1]).all()
        cut_short = 18 if task == "EMOTION" else 0
        assert ends[-1] <= VOLUMES[task] * T_R + cut_short
        assert set(blocks["trial_type"]) == set(task_conditions(task))
        orders.append(blocks["trial_type"].tolist())
        for trial in events[events["kind"] == "trial"].itertuples():
            inside = (blocks["onset"] <= trial.onset) & (trial.onset < ends)
            assert inside.sum() == 1
    assert orders[0] != orders[1]


def test_each_movement_follows_four_different_things():
    before = {name: [] for name in task_conditions("MOTOR")}
    for order in TASKS["MOTOR"].orders.values():
        names = ["-", *order.split()]
        for previous, name in pairwise(names):
            if name != "-":
                before[name].append(previous)
    assert [len(b) for b in before.values()] == [4] * 5
    assert all(len(set(b)) >= 3 for b in before.values())
    assert all(name not in b for name, b in before.items())


def test_glm_finds_the_planted_regions(study, atlas, scene):
    planted = pd.read_csv(study / "truth" / "regions.tsv", sep="\t")
    effects = []
    for run in find_hcp_runs(study, task="MOTOR"):
        series = region_means(run.img, atlas, scene)
        series = 100 * (series / series.mean(axis=0) - 1)
        times = np.arange(284) * T_R
        design = make_first_level_design_matrix(
            times,
            run.events,
            hrf_model="glover",
            drift_model="cosine",
            high_pass=0.01,
            add_regs=run.confounds.to_numpy(),
        )
        labels, results = run_glm(series, design.to_numpy(), noise_model="ar1")
        names = task_conditions("MOTOR")
        betas = np.zeros((len(names), 160))
        for label, result in results.items():
            rows = [design.columns.get_loc(name) for name in names]
            betas[:, labels == label] = result.theta[rows]
        effects.append(betas)
    effects = np.mean(effects, axis=0)
    difference = effects - effects.mean(axis=0)
    regions = atlas["regions"]
    for row, name in enumerate(task_conditions("MOTOR")):
        rows = planted[(planted["condition"] == name) & (planted["amplitude"] == 1)]
        best = set(regions["label_id"].iloc[np.argsort(-difference[row])[: len(rows)]])
        assert best == set(rows["label_id"]), name
    side = {
        name: regions["x"].iloc[difference[row].argmax()] > 0
        for row, name in enumerate(task_conditions("MOTOR"))
    }
    assert not side["rh"]
    assert not side["rf"]
    assert side["lh"]
    assert side["lf"]
    strongest = effects.max(axis=1)
    assert ((strongest > 0.5) & (strongest < 1.8)).all()


def test_volumes_without_noise_hold_the_truth(atlas, tmp_path, scene):
    parts = {"task": "EMOTION", "n_subjects": 1, "voxel_size": 8, "effect_size": 20.0}
    root = simulate_hcp(tmp_path, **atlas, **parts, runs="LR", noise=SILENT)
    truth = load_truth(root, task="EMOTION").sel(condition="neut")
    series = region_means(volume_path(root, "900001", "EMOTION", "LR"), atlas, scene)
    percent = 100 * (series / series[0] - 1)
    seconds = np.arange(176) * T_R - 11.0
    within = (seconds >= 0) & (seconds < 18)
    expected = truth.interp(time=seconds[within], method="cubic").values
    np.testing.assert_allclose(percent[within], expected, atol=0.25)
    assert np.ptp(percent[within], axis=0).max() > 15


def independent_response(times, onset, duration):
    """Glover's difference of two gamma densities, convolved by brute force at 10 ms."""
    fine = np.arange(0, 32, 0.01)
    kernel = gamma.pdf(fine, 6 / 0.9, scale=0.9) - 0.48 * gamma.pdf(fine, 12 / 0.9, scale=0.9)
    course = np.convolve(np.ones(round(duration / 0.01)), kernel)
    clock = onset + 0.01 * (np.arange(len(course)) + 0.5)
    return np.interp(times, clock, course / course.max(), left=0.0, right=0.0)


def test_truth_is_an_independent_convolution(study, atlas):
    truth = load_truth(study, task="MOTOR")
    assert truth.dims == ("condition", "time", "region")
    assert truth.sizes == {"condition": 5, "time": 63, "region": 160}
    np.testing.assert_allclose(truth["time"], np.arange(63) * 0.72)
    assert truth["region"].values.tolist() == atlas["regions"]["name"].tolist()
    planted = pd.read_csv(study / "truth" / "regions.tsv", sep="\t")
    expected = np.zeros(truth.shape)
    for row in planted.itertuples():
        column = truth["label_id"].values.tolist().index(row.label_id)
        onset, duration = (-3, 3) if row.condition == "cue" else (0, 12)
        course = row.amplitude * independent_response(truth["time"].values, onset, duration)
        which = (
            slice(None) if row.condition == "cue" else task_conditions("MOTOR").index(row.condition)
        )
        expected[which, :, column] += course
    np.testing.assert_allclose(truth.values, expected, atol=5e-3)
    assert truth.attrs["task"] == "MOTOR"
    assert truth.attrs["effect_size"] == 1.0
    assert json.loads((study / "truth" / "simulation.json").read_text())["seed"] == 0


def test_several_tasks_share_one_truth(atlas, tmp_path):
    parts = {"task": ["EMOTION", "SOCIAL"], "n_subjects": 1, "runs": ["RL"], "voxel_size": 12}
    lines = []
    root = simulate_hcp(tmp_path, **atlas, **parts, progress=lines.append, atlas_name="spheres")
    assert len(lines) == 2
    assert lines[1].startswith("900001 SOCIAL RL written (2 of 2)")
    both = load_truth(root)
    assert both["condition"].values.tolist() == ["neut", "fear", "mental", "rnd"]
    social = load_truth(root, task="SOCIAL")
    xr.testing.assert_equal(social, both.isel(condition=[2, 3]))
    assert social.attrs["atlas_name"] == "spheres"
    with pytest.raises(ArgumentError, match=r"'EMOTION', 'SOCIAL'\. Got 'MOTOR'"):
        load_truth(root, task="MOTOR")
    answers = volume_path(root, "900001", "SOCIAL", "RL").parent / "EVs" / "mental_resp.txt"
    assert np.loadtxt(answers).shape == (2, 3)


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.9])
def test_autoregressive_noise_is_what_was_asked(rho):
    x = autoregressive(np.random.default_rng(1), (600, 2000), rho=rho).astype(float)
    np.testing.assert_allclose(x.var(), 1, atol=0.03)
    np.testing.assert_allclose(x[0].var(), 1, atol=0.12)
    np.testing.assert_allclose((x[1:] * x[:-1]).mean() / x.var(), rho, atol=0.01)
    np.testing.assert_allclose((x[2:] * x[:-2]).mean() / x.var(), rho**2, atol=0.02)


def test_voxel_noise_in_volumes(scene):
    noise = NoiseModel(**(vars(SILENT) | {"voxel_sd": 3.0, "autocorrelation": 0.4}))
    data = silent_volumes(scene, noise)
    percent = 100 * (data - data.mean(axis=0)) / data.mean(axis=0)
    spread = percent.std(axis=0)
    grey, white = scene.grey > 0.95, scene.grey < 0.05
    np.testing.assert_allclose(spread[grey].mean(), 3.0, rtol=0.03)
    np.testing.assert_allclose(spread[white].mean(), 1.8, rtol=0.05)
    lag = (percent[1:] * percent[:-1]).sum(axis=0) / (percent**2).sum(axis=0)
    np.testing.assert_allclose(lag.mean(), 0.4, atol=0.02)


def test_shared_noise_survives_averaging(scene):
    data = silent_volumes(scene, NoiseModel(**(vars(SILENT) | {"network_sd": 2.0})))
    percent = 100 * (data / data.mean(axis=0) - 1)
    grey = scene.grey > 0.95
    first, second = (percent[:, grey & (scene.network == k)] for k in (0, 1))
    assert np.corrcoef(first.mean(axis=1), first[:, 0])[0, 1] > 0.95
    assert abs(np.corrcoef(first.mean(axis=1), second.mean(axis=1))[0, 1]) < 0.3
    assert first.mean(axis=1).std() > 1.5


def test_drift_is_slow_and_motion_explains_its_leak(scene):
    drift = silent_volumes(scene, NoiseModel(**(vars(SILENT) | {"drift_sd": 5.0})))
    drift = 100 * (drift / drift.mean(axis=0) - 1)
    cosines = drift_courses(284, t_r=T_R)
    assert cosines.shape[1] / (2 * 284 * T_R) <= 0.01
    left = drift - cosines @ np.linalg.lstsq(cosines, drift, rcond=None)[0]
    assert left.var() < 1e-3 * drift.var()
    np.testing.assert_allclose(drift.std(), 5.0, rtol=0.3)

    motion = draw_motion(np.random.default_rng(3), 284, t_r=T_R)
    moved = silent_volumes(scene, NoiseModel(**(vars(SILENT) | {"motion_leak": 1.0})), motion)
    moved -= moved[0]
    model = movement_tables(motion)["Movement_Regressors"][:, :6]
    left = moved - model @ np.linalg.lstsq(model, moved, rcond=None)[0]
    assert left.var() < 0.01 * moved.var()


@pytest.mark.parametrize(("column", "size"), [(1, 0.5), (2, -0.5), (3, 1.0), (5, -1.0)])
def test_motion_moves_the_image(atlas, column, size):
    scene = make_scene(**atlas, voxel_size=4)
    motion = np.zeros((284, 6))
    motion[1, column] = size
    data = silent_volumes(scene, NoiseModel(**(vars(SILENT) | {"motion_leak": 1.0})), motion, n=2)
    grid = np.zeros(np.prod(scene.shape))
    grid[scene.inside] = data[0]
    grid = grid.reshape(scene.shape, order="F")
    turn = Rotation.from_euler("xyz", motion[1, 3:], degrees=True).inv()
    origin = turn.apply(scene.coordinates - motion[1, :3])
    cells = nib.affines.apply_affine(np.linalg.inv(scene.affine), origin)
    moved = ndimage.map_coordinates(grid, cells.T, order=3)
    whole = ndimage.binary_erosion(grid > 0, iterations=3).ravel(order="F")[scene.inside]
    want, got = (moved - data[0])[whole], (data[1] - data[0])[whole]
    assert np.corrcoef(want, got)[0, 1] > 0.85
    assert 0.5 < want @ got / (want @ want) < 1.1


def test_smooth_weights_have_unit_rows_and_local_support():
    points = np.random.default_rng(0).uniform(-40, 40, size=(300, 3))
    weights = smooth_weights(points, spacing=12.0).toarray()
    np.testing.assert_allclose((weights**2).sum(axis=1), 1, rtol=1e-5)
    assert ((weights > 0).sum(axis=1) <= 8).all()
    overlap = weights @ weights.T
    apart = np.abs(points[:, None] - points[None]).max(axis=-1)
    assert (overlap[apart > 24] == 0).all()
    assert overlap[apart < 3].min() > 0.4


def test_the_same_seed_gives_the_same_bytes_whatever_else_is_simulated(atlas, tmp_path):
    parts = {"runs": ["RL"], "voxel_size": 12, "task": "EMOTION"}
    one = simulate_hcp(tmp_path / "a", **atlas, **parts, n_subjects=2)
    many = simulate_hcp(tmp_path / "b", **atlas, **(parts | {"runs": RUNS}), n_subjects=3)
    other = simulate_hcp(tmp_path / "c", **atlas, **parts, n_subjects=1, seed=1)
    read = {r: volume_path(r, "900001", "EMOTION", "RL").read_bytes() for r in (one, many, other)}
    assert read[one] == read[many]
    assert read[one] != read[other]
    second = [volume_path(r, "900002", "EMOTION", "RL").read_bytes() for r in (one, many)]
    assert second[0] == second[1]
    assert second[0] != read[one]
    assert volume_path(many, "900001", "EMOTION", "LR").read_bytes() != read[many]


def test_an_interrupted_simulation_goes_on(atlas, tmp_path):
    parts = {"task": "EMOTION", "voxel_size": 12, "runs": ["LR", "RL"]}
    root = simulate_hcp(tmp_path, **atlas, **parts, n_subjects=1)
    lost, kept = (volume_path(root, "900001", "EMOTION", r) for r in ("RL", "LR"))
    content, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.rename(lost.with_name(lost.name + ".part"))
    lines = []
    simulate_hcp(root, **atlas, **parts, n_subjects=2, progress=lines.append)
    assert [("there" in line) for line in lines] == [True, False, False, False]
    assert lost.read_bytes() == content
    assert kept.stat().st_mtime_ns == stamp
    assert not list(root.rglob("*.part"))
    with pytest.raises(DataError, match=r"effect_size 1\.0, not 2\.0"):
        simulate_hcp(root, **atlas, **parts, n_subjects=2, effect_size=2)
    with pytest.raises(DataError, match="n_subjects 2, not 1"):
        simulate_hcp(root, **atlas, **parts, n_subjects=1)


def test_folders_that_cannot_be_used(atlas, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files"):
        simulate_hcp(tmp_path, **atlas, n_subjects=1)
    with pytest.raises(DataError, match="Cannot write to"):
        simulate_hcp(tmp_path / "thesis.txt" / "sub", **atlas, n_subjects=1)
    with pytest.raises(DataError, match=r"thesis\.txt"):
        simulate_hcp(tmp_path / "thesis.txt", **atlas, n_subjects=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"task": "motor"}, "task must be one of 'EMOTION', .*'WM'. Got 'motor'"),
        ({"task": []}, "task must name one or more"),
        ({"task": ["WM", "WM"]}, "task must name one or more, each once"),
        ({"runs": ["AP"]}, "runs must be one of 'LR', 'RL'. Got 'AP'"),
        ({"n_subjects": 0}, "n_subjects must be a whole number from 1"),
        ({"n_subjects": 1.5}, "n_subjects must be a whole number"),
        ({"voxel_size": 1.0}, "voxel_size must be a number from 2 to 12. Got 1.0"),
        ({"voxel_size": float("nan")}, "voxel_size must be a number from 2 to 12"),
        ({"effect_size": -1}, "effect_size must be a number from 0"),
        ({"seed": -1}, "seed must be a whole number from 0"),
    ],
)
def test_arguments_out_of_range(atlas, tmp_path, wrong, message):
    with pytest.raises(ArgumentError, match=message):
        simulate_hcp(tmp_path, **atlas, **wrong)
    assert not list(tmp_path.iterdir())


def test_atlases_that_do_not_hang_together(atlas, tmp_path):
    labels, regions = atlas["labels"], atlas["regions"]
    four_d = nib.Nifti1Image(np.ones((2, 2, 2, 2), np.int16), np.eye(4))
    cases = [
        (labels, regions.drop(columns="network"), "lacks the column 'network'"),
        (labels, regions.assign(name="A"), "name 'A' twice"),
        (labels, regions.assign(label_id=regions["label_id"] + 500), "occurs in labels"),
        (four_d, regions, "must be a 3D image of whole numbers"),
    ]
    for image, table, message in cases:
        with pytest.raises(DataError, match=message):
            simulate_hcp(tmp_path, labels=image, regions=table)
    with pytest.raises(ArgumentError, match=r"voxel_sd must be zero or more.* Got -1"):
        NoiseModel(voxel_sd=-1)
    with pytest.raises(ArgumentError, match=r"autocorrelation must be in \[0, 1\). Got 1.0"):
        NoiseModel(autocorrelation=1.0)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_peaks_go_to_near_regions_of_their_side(atlas, task):
    table, left_out = match_peaks(task, **atlas)
    regions = atlas["regions"].set_index("label_id")
    assert (table["distance"] <= 20).all()
    sides = regions.loc[table["label_id"], "hemisphere"].to_numpy()
    assert (sides == np.where(table["x"] < 0, "L", "R")).all()
    peaks = table[["x", "y", "z"]].apply(tuple, axis=1)
    assert peaks.groupby(table["label_id"]).nunique().max() == 1
    assert len(left_out) < len(table) / 3


def test_an_atlas_too_coarse_is_refused(atlas):
    halves = np.zeros((20, 20, 20), np.int16)
    halves[10:], halves[:10] = 1, 2
    affine = nib.affines.from_matvec(np.diag([-9.0, 9, 9]), [90, -126, -72])
    table = pd.DataFrame(
        {"label_id": [1, 2], "name": ["a", "b"], "network": "all", "hemisphere": "none"}
    )
    with pytest.raises(DataError, match=r"cannot tell|no region within"):
        match_peaks("MOTOR", labels=nib.Nifti1Image(halves, affine), regions=table)


def test_truth_mask_of_the_motor_task(study):
    truth = load_truth(study, task="MOTOR")
    planted = pd.read_csv(study / "truth" / "regions.tsv", sep="\t")
    window = 5 + 0.72 * np.arange(17)
    mask = truth_mask(truth, time_s=window)
    assert mask.dims == ("condition", "time", "region")
    assert mask.dtype == bool
    np.testing.assert_allclose(mask["time"], window)
    by_label = mask.swap_dims(region="label_id")
    counts = planted[planted["condition"] != "cue"].groupby("label_id").size()
    for row in planted.itertuples():
        if row.condition == "cue" or counts[row.label_id] == 5:
            assert not by_label.sel(label_id=row.label_id).any()
        elif row.amplitude == 1:
            assert by_label.sel(label_id=row.label_id, condition=row.condition).mean() > 0.7
    marked = set(by_label["label_id"].values[by_label.any(["condition", "time"]).values])
    assert marked == {label for label, n in counts.items() if n < 5} & marked
    merged = truth_mask(
        truth, time_s=window, conditions={"hand": ["lh", "rh"], "foot": ["lf", "rf"], "rest": []}
    )
    assert merged["condition"].values.tolist() == ["hand", "foot", "rest"]
    sma = planted.groupby("label_id").size().idxmax()
    assert merged.swap_dims(region="label_id").sel(label_id=sma, condition="rest").any()


@given(
    values=arrays(float, (3, 4, 5), elements=st.floats(-4, 4, width=16)),
    threshold=st.floats(0, 0.95),
)
@settings(max_examples=40, deadline=None)
def test_truth_mask_against_loops(values, threshold):
    coords = {"condition": list("abc"), "time": np.arange(4.0), "region": list("vwxyz")}
    truth = xr.DataArray(values, dims=("condition", "time", "region"), coords=coords)
    at = np.array([0.0, 0.5, 2.25, 3.0])
    mask = truth_mask(truth, time_s=at, threshold=threshold)
    want = np.zeros((3, 4, 5))
    for k, t in enumerate(at):
        low = min(int(t), 2)
        want[:, k] = values[:, low] * (low + 1 - t) + values[:, low + 1] * (t - low)
    want = np.abs(want - want.mean(axis=0))
    sure = np.abs(want - threshold * want.max()) > 1e-6 * max(want.max(), 1e-3)
    np.testing.assert_array_equal(mask.values[sure], (want > threshold * want.max())[sure])
    shared = truth + xr.DataArray(np.arange(20.0).reshape(4, 5), dims=("time", "region"))
    again = truth_mask(shared, time_s=at, threshold=threshold)
    np.testing.assert_array_equal(mask.values[sure], again.values[sure])


def test_truth_mask_without_differences_is_empty():
    coords = {"condition": ["a", "b"], "time": [0.0, 1.0], "region": ["x"]}
    truth = xr.DataArray(np.full((2, 2, 1), 0.3), dims=list(coords), coords=coords)
    assert not truth_mask(truth, time_s=[0.5], threshold=0.0).any()


def test_truth_mask_refuses(study):
    truth = load_truth(study, task="MOTOR")
    with pytest.raises(ArgumentError, match=r"time_s must lie within 0 to 44\.64 s\. Got -1 to 3"):
        truth_mask(truth, time_s=[-1, 3])
    with pytest.raises(ArgumentError, match="time_s must hold one time"):
        truth_mask(truth, time_s=[])
    with pytest.raises(ArgumentError, match=r"conditions must be one of 'lf'.* Got 'hand'"):
        truth_mask(truth, time_s=[5], conditions={"h": ["hand"]})
    with pytest.raises(ArgumentError, match="conditions must name one class"):
        truth_mask(truth, time_s=[5], conditions={})
    with pytest.raises(ArgumentError, match=r"threshold must be in \[0, 1\)"):
        truth_mask(truth, time_s=[5], threshold=1)


def test_truth_of_measured_data_is_none(tmp_path, study):
    assert load_truth(tmp_path) is None
    damaged = tmp_path / "truth" / "truth.nc"
    damaged.parent.mkdir()
    damaged.write_bytes(b"no netcdf")
    with pytest.raises(DataError, match=r"truth\.nc"):
        load_truth(tmp_path)
    xr.testing.assert_identical(load_truth(study), load_array(study / "truth" / "truth.nc"))


def test_what_cannot_be_planted_is_named(atlas, tmp_path):
    parts = {"task": "MOTOR", "n_subjects": 1, "voxel_size": 12, "runs": "LR"}
    frontal = atlas["regions"][fetch_coords_dosenbach_2010().rois["y"].to_numpy() > 40]
    with pytest.raises(DataError, match="no region within 20 mm of any peak of condition 'lf'"):
        match_peaks("MOTOR", labels=atlas["labels"], regions=frontal)
    blind = atlas["regions"][atlas["regions"]["network"] != "occipital"]
    with pytest.warns(UserWarning, match="within 20 mm|No voxel") as caught:
        root = simulate_hcp(tmp_path, labels=atlas["labels"], regions=blind, **parts)
    left_out, unseen = (str(w.message) for w in caught)
    assert left_out.startswith("MOTOR: the atlas has no region of its own within 20 mm of cue at")
    assert unseen.startswith("No voxel of the grid lies in")
    assert "-32, -86, -6" in left_out
    assert len(load_truth(root).attrs["peaks_left_out"]["MOTOR"]) >= 2
