"""Simulated studies in the Human Connectome Project's layout, with the truth beside them.

Volumes are written one after the other into a compressed stream, so a full-size run at 2 mm needs
little memory, and each subject, task and run has random numbers of its own: subject 3 is the same
in a study of 4 and in one of 40.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import xarray as xr

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.labelled import REGION_COLUMNS, save_array
from neurosal.loaders.simulate_noise import (
    NoiseModel,
    draw_motion,
    movement_tables,
    simulate_volumes,
)
from neurosal.loaders.simulate_regions import MAX_DISTANCE, amplitude_matrix, match_peaks
from neurosal.loaders.simulate_response import expected_response, run_response, seed_for
from neurosal.loaders.simulate_scene import Scene, make_scene
from neurosal.loaders.simulate_tasks import RUNS, T_R, TASKS, event_files
from neurosal.loaders.simulate_truth import load_truth, truth_mask

try:
    from isal.igzip import IGzipFile as GzipFile
except ImportError:
    from gzip import GzipFile

__all__ = ["NoiseModel", "load_truth", "simulate_hcp", "truth_mask"]


class Plan(NamedTuple):
    """What is planted: the regions, the responses, and each task's amplitudes."""

    table: pd.DataFrame
    truth: xr.DataArray
    amplitudes: dict[str, pd.DataFrame]


def simulate_hcp(
    out_dir: str | Path,
    *,
    labels: nib.Nifti1Image,
    regions: pd.DataFrame,
    task: str | Sequence[str] = "MOTOR",
    n_subjects: int = 8,
    voxel_size: float = 4.0,
    effect_size: float = 1.0,
    runs: Sequence[str] = RUNS,
    seed: int = 0,
    noise: NoiseModel | None = None,
    atlas_name: str = "",
    atlas_hash: str = "",
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write simulated task fMRI as the Human Connectome Project lays it out.

    Parameters
    ----------
    out_dir : str or pathlib.Path
        A new or empty folder, or one where the same simulation was begun: runs already there
        are kept.
    labels : nibabel.Nifti1Image
        Integer labels of the atlas in MNI space; each region responds as a whole.
    regions : pandas.DataFrame
        Columns ``label_id``, ``name``, ``network``, ``hemisphere`` (``"L"``, ``"R"`` or other).
    task : str or sequence of str, default="MOTOR"
        One or more of the seven tasks.
    n_subjects : int, default=8
        Subjects, named ``900001`` onwards.
    voxel_size : float, default=4.0
        Edge of a voxel in mm, 2 to 12; 2 gives the project's own grid of 91 x 109 x 91.
    effect_size : float, default=1.0
        Highest response of the strongest regions to a block, in percent signal change of the
        average subject; other regions respond with 0.3 to 0.8 of it. At the default, a linear
        classifier of 12 s windows tells the five movements of unseen subjects apart about four
        times in five (8 subjects, 160 regions, 4 mm); 0 plants nothing.
    runs : sequence of {"LR", "RL"}, default=("LR", "RL")
        The runs of each task.
    seed : int, default=0
        Zero or more; the same seed gives the same bytes.
    noise : NoiseModel, optional
        Strength of each source of noise and of variation between subjects.
    atlas_name, atlas_hash : str
        Kept with the truth.
    progress : callable, optional
        Called with a line of text after each run.

    Returns
    -------
    pathlib.Path
        ``out_dir``. Beside the subjects, ``truth/regions.tsv`` lists the regions planted,
        ``truth/truth.nc`` holds the responses (:func:`load_truth`), ``truth/simulation.json``
        every parameter.

    Raises
    ------
    ArgumentError
        If an argument is out of range or a task or run is unknown.
    DataError
        If the folder cannot be written or holds something else, or the atlas does not fit.

    Notes
    -----
    Blocks, cues and responding regions: :mod:`neurosal.loaders.simulate_tasks`, after Barch et
    al. (2013), https://doi.org/10.1016/j.neuroimage.2013.05.033. Haemodynamics: Glover (1999),
    https://doi.org/10.1006/nimg.1998.0419. Noise, drift and motion:
    :mod:`neurosal.loaders.simulate_noise`. A region responds evenly in all its voxels; subjects
    differ in amplitude and delay, not in anatomy.

    Examples
    --------
    >>> import tempfile
    >>> grid = np.zeros((23, 28, 23), np.int16)
    >>> affine = nib.affines.from_matvec(np.diag([-8.0, 8, 8]), [90, -126, -72])
    >>> spots = np.array([[22, -6, -18], [-26, -60, 54]])
    >>> cells = np.rint(nib.affines.apply_affine(np.linalg.inv(affine), spots)).astype(int)
    >>> grid[tuple(cells.T)] = [1, 2]
    >>> table = pd.DataFrame({"label_id": [1, 2], "name": ["Amygdala", "Parietal"],
    ...                       "network": ["Limbic", "Dorsal"], "hemisphere": ["R", "L"]})
    >>> folder = simulate_hcp(tempfile.mkdtemp(), labels=nib.Nifti1Image(grid, affine),
    ...     regions=table, task="EMOTION", n_subjects=1, voxel_size=12.0, runs=["LR"])
    >>> sorted(p.name for p in folder.iterdir())
    ['900001', 'truth']
    """
    noise = noise or NoiseModel()
    tasks = [task] if isinstance(task, str) else list(task)
    runs = [runs] if isinstance(runs, str) else list(runs)
    _check_arguments(tasks, runs, n_subjects, voxel_size, effect_size, seed)
    digest = _check_atlas(labels, regions)
    parameters = {
        "task": tasks,
        "runs": runs,
        "voxel_size": float(voxel_size),
        "effect_size": float(effect_size),
        "seed": int(seed),
        "t_r": T_R,
        "hrf": "glover",
        "noise": asdict(noise),
        "atlas_name": atlas_name,
        "atlas_hash": atlas_hash,
        "labels_sha256": digest,
    }
    plan = _plan(parameters, labels, regions)
    out = _open_folder(Path(out_dir), {**parameters, "n_subjects": int(n_subjects)})
    _write_truth(out, plan)
    scene = make_scene(labels, regions, voxel_size=voxel_size)
    _warn_unseen(scene, plan, regions)
    jobs = [(seed, s, t, r) for s in range(n_subjects) for t in tasks for r in runs]
    for number, job in enumerate(jobs, start=1):
        written = _write_run(out, scene, plan.amplitudes[job[2]], noise, job)
        if progress is not None:
            state = "written" if written else "was there already"
            progress(f"{_subject_id(job[1])} {job[2]} {job[3]} {state} ({number} of {len(jobs)})")
    return out


def _subject_id(subject: int) -> str:
    """A six-digit name, as the Human Connectome Project's subjects have."""
    return f"{900001 + subject}"


def _check_arguments(tasks, runs, n_subjects, voxel_size, effect_size, seed) -> None:
    """Refuse what cannot be simulated."""
    for name, values, allowed in (("task", tasks, TASKS), ("runs", runs, RUNS)):
        for value in values:
            check_one_of(name, value, allowed)
        if not values or len(set(values)) < len(values):
            raise ArgumentError(f"{name} must name one or more, each once. Got {values!r}.")
    limits = (
        ("n_subjects", n_subjects, 1, 90000, True),
        ("voxel_size", voxel_size, 2, 12, False),
        ("effect_size", effect_size, 0, 100, False),
        ("seed", seed, 0, 2**63, True),
    )
    for name, value, low, high, whole in limits:
        number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise ArgumentError(f"{name} must be {kind} from {low} to {high}. Got {value!r}.")


def _check_atlas(labels: nib.Nifti1Image, regions: pd.DataFrame) -> str:
    """Refuse an atlas that does not hang together; else give its hash."""
    missing = {"label_id", "name", *REGION_COLUMNS} - set(regions.columns)
    if missing:
        raise DataError(f"regions lacks the column {sorted(missing)[0]!r}. Add it to the table.")
    data = np.asanyarray(labels.dataobj)
    if data.ndim != 3 or not np.array_equal(data, np.rint(data)):
        raise DataError(
            f"labels must be a 3D image of whole numbers. Got shape {data.shape}, {data.dtype}."
        )
    for column in ("label_id", "name"):
        twice = regions.loc[regions[column].duplicated(), column]
        if len(twice):
            raise DataError(f"regions names {column} {twice.iloc[0]!r} twice. Make it unique.")
    present = np.unique(data)
    absent = regions.loc[~regions["label_id"].isin(present), "name"]
    if len(absent) or (regions["label_id"] <= 0).any():
        raise DataError(
            f"Each region needs a label_id above 0 that occurs in labels. Not so: "
            f"{', '.join(absent.astype(str)) or 'a label_id of 0 or less'}."
        )
    digest = hashlib.sha256(np.ascontiguousarray(data.astype("<i4")))
    digest.update(np.asarray(labels.affine, dtype="<f8").tobytes())
    digest.update(regions[["label_id", "name", *REGION_COLUMNS]].to_csv().encode())
    return digest.hexdigest()


def _open_folder(out: Path, parameters: dict) -> Path:
    """Make the folder, or go on with the same simulation in it."""
    known = out / "truth" / "simulation.json"
    try:
        if known.exists():
            _check_same(known, parameters)
        elif out.exists() and any(out.iterdir()):
            raise DataError(f"{out} holds other files. Give a new or an empty folder.")
        known.parent.mkdir(parents=True, exist_ok=True)
        part = known.with_name("simulation.json.part")
        part.write_text(json.dumps(parameters, indent=2) + "\n")
        part.replace(known)
    except OSError as error:
        raise DataError(f"Cannot write to {out}: {error}. Give another folder.") from error
    return out


def _check_same(known: Path, parameters: dict) -> None:
    """Allow to go on only with the same simulation, or one of more subjects."""
    try:
        before = json.loads(known.read_text())
        if not isinstance(before, dict):
            raise ValueError("it holds no JSON object")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{known} is not readable: {error}. Give a new folder.") from error
    changed = {k for k in parameters if before.get(k) != parameters[k]}
    if before.get("n_subjects", 0) <= parameters["n_subjects"]:
        changed -= {"n_subjects"}
    if changed:
        name = sorted(changed)[0]
        raise DataError(
            f"{known.parent.parent} holds a simulation with {name} {before.get(name)!r}, not "
            f"{parameters[name]!r}. Give a new folder, or the same parameters to go on with it."
        )


def _write_run(
    out: Path, scene: Scene, amplitudes: pd.DataFrame, noise: NoiseModel, key: tuple
) -> bool:
    """Write one run unless it is there."""
    _, subject, task, run = key
    name = f"tfMRI_{task}_{run}"
    path = out / _subject_id(subject) / "MNINonLinear" / "Results" / name / f"{name}.nii.gz"
    if path.exists():
        return False
    try:
        _fill_run(path, scene, amplitudes, noise, key)
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error}. Free space, then run this again."
        ) from error
    return True


def _fill_run(path: Path, scene: Scene, amplitudes: pd.DataFrame, noise: NoiseModel, key: tuple):
    """Write a run's files; the volume last, as the sign of a finished run."""
    (seed, subject, task, run), folder = key, path.parent
    (folder / "EVs").mkdir(parents=True, exist_ok=True)
    for event, table in event_files(task, run).items():
        np.savetxt(folder / "EVs" / f"{event}.txt", table.to_numpy(), fmt="%g", delimiter="\t")
    (folder / "EVs" / "Sync.txt").write_text(f"{TASKS[task].lead_in:g}\n")
    response = run_response(
        task, run, amplitudes=amplitudes, noise=noise, subject=subject, seed=seed
    )
    rng = np.random.default_rng(seed_for(seed, subject, task, run))
    motion = draw_motion(rng, TASKS[task].n_volumes, t_r=T_R)
    for event, table in movement_tables(motion).items():
        np.savetxt(folder / f"{event}.txt", table, fmt="%.6f")
    volumes = simulate_volumes(scene, response, motion=motion, noise=noise, rng=rng, t_r=T_R)
    _write_volumes(path, scene, volumes, len(response))


def _write_volumes(path: Path, scene: Scene, volumes: Iterator[np.ndarray], count: int) -> None:
    """Stream volumes into a NIfTI file that appears under its name only when it is whole."""
    part = path.with_name(path.name + ".part")
    with (
        part.open("wb") as raw,
        GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as stream,
    ):
        _header(scene, count).write_to(stream)
        for volume in volumes:
            stream.write(volume.astype("<f4", copy=False).tobytes())
    part.replace(path)


def _header(scene: Scene, count: int) -> nib.Nifti1Header:
    """The header of a run: float32, MNI, mm and s."""
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype("<f4")
    header.set_data_shape((*scene.shape, count))
    header.set_qform(scene.affine, code="mni")
    header.set_sform(scene.affine, code="mni")
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][4] = T_R
    header["vox_offset"] = 352
    return header


def _plan(parameters: dict, labels: nib.Nifti1Image, regions: pd.DataFrame) -> Plan:
    """Match the atlas to each task and work out the expected responses."""
    tables, truths, amplitudes, left_out = [], [], {}, {}
    for task in parameters["task"]:
        table, left_out[task] = match_peaks(task, labels=labels, regions=regions)
        table["amplitude"] *= parameters["effect_size"]
        amplitudes[task] = amplitude_matrix(task, table, regions=regions)
        truths.append(expected_response(task, amplitudes[task], regions=regions))
        tables.append(table)
        _warn_left_out(task, left_out[task])
    truth = xr.concat(truths, dim="condition")
    truth.attrs = {**parameters, "units": "percent signal change", "peaks_left_out": left_out}
    return Plan(pd.concat(tables, ignore_index=True), truth, amplitudes)


def _warn_left_out(task: str, left_out: list[dict]) -> None:
    """Name the peaks that the atlas has no region for."""
    if left_out:
        names = "; ".join(f"{p['condition']} at {p['x']}, {p['y']}, {p['z']}" for p in left_out)
        warnings.warn(
            f"{task}: the atlas has no region of its own within {MAX_DISTANCE:g} mm of {names} mm. "
            "Nothing is planted there.",
            stacklevel=4,
        )


def _warn_unseen(scene: Scene, plan: Plan, regions: pd.DataFrame) -> None:
    """Name the planted regions that are too small for the grid."""
    seen = regions["label_id"].to_numpy()[np.unique(scene.region[scene.region < len(regions)])]
    unseen = plan.table.loc[~plan.table["label_id"].isin(seen), "region"].unique()
    if len(unseen):
        warnings.warn(
            f"No voxel of the grid lies in {', '.join(unseen)}: the volumes lack what the truth "
            "holds there. Choose a smaller voxel_size.",
            stacklevel=3,
        )


def _write_truth(out: Path, plan: Plan) -> None:
    """Write the regions planted and the responses expected."""
    plan.table.to_csv(out / "truth" / "regions.tsv", sep="\t", index=False)
    save_array(plan.truth, out / "truth" / "truth.nc")
