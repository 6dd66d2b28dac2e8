"""Work that was killed goes on where it stopped, and ends as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
import torch

from neurosal.cli import main
from neurosal.loaders.simulate_tasks import TASKS, event_files
from neurosal.models import Training, callbacks
from neurosal.parcellation import series
from neurosal.reporting import outputs

SUBJECTS, RUNS, N_REGIONS = ("1", "2", "3"), ("LR", "RL"), 6
N_FITS = len(SUBJECTS) + 1
EPOCHS = Training().max_epochs

KILLERS = {
    # in the middle of writing the third series
    "parcellation": """
        real = os.replace
        def replace(source, target):
            if "series-" in str(target) and sum(1 for _ in folder.glob("series-*")) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)
        os.replace = replace
    """,
    # in the second fold, before an epoch is stored
    "training": """
        from neurosal.models.callbacks import TrainingCheckpoint
        real, calls = TrainingCheckpoint.on_epoch_end, []
        def end(self, net, **kwargs):
            calls.append(1)
            if len(calls) == epochs + 7:
                os.kill(os.getpid(), signal.SIGKILL)
            real(self, net, **kwargs)
        TrainingCheckpoint.on_epoch_end = end
    """,
    # when all is done but the report
    "report": """
        outputs.write_report = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    """,
    "nothing": "",
}
CHILD = """
import os, signal, sys
from pathlib import Path
from neurosal.reporting import outputs
outputs.write_report = lambda results, path: path
folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
{killer}
from neurosal.cli import main
main(sys.argv[3:])
"""


def write_run(folder, run, rng):
    """A run of a few slabs of voxels; two of them respond to one hand each."""
    n_frames = TASKS["MOTOR"].n_volumes
    (folder / "EVs").mkdir(parents=True)
    data = rng.normal(1000, 1, (N_REGIONS, 2, 2, n_frames)).astype(np.float32)
    times = 0.72 * np.arange(n_frames)
    for name, table in event_files("MOTOR", run).items():
        np.savetxt(folder / "EVs" / f"{name}.txt", table.to_numpy(), fmt="%g", delimiter="\t")
        for onset, duration, _ in table.to_numpy() if name in ("lh", "rh") else ():
            during = (times >= onset + 4) & (times < onset + duration + 4)
            data[1 if name == "lh" else 4][..., during] += 3.0
    image = nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1]))
    image.header.set_zooms((4, 4, 4, 0.72))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, folder / f"{folder.name}.nii.gz")


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    """Leave the page with its figures out; all numbers are written before it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "write_report", lambda results, path: path)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three subjects of MOTOR, two runs each, and an atlas."""
    root = tmp_path_factory.mktemp("resume")
    rng = np.random.default_rng(0)
    for subject in SUBJECTS:
        for run in RUNS:
            results = root / "study" / subject / "MNINonLinear" / "Results"
            write_run(results / f"tfMRI_MOTOR_{run}", run, rng)
    labels = np.arange(1, N_REGIONS + 1, dtype=np.int16)[:, None, None]
    labels = labels.repeat(2, axis=1).repeat(2, axis=2)
    nib.save(nib.Nifti1Image(labels, np.diag([4.0, 4, 4, 1])), root / "slabs_dseg.nii.gz")
    rows = "".join(f"{n}\tslab {n}\n" for n in range(1, N_REGIONS + 1))
    (root / "slabs_dseg.tsv").write_text(f"index\tname\n{rows}")
    return root


def typed_words(study, out, *more):
    """What the user types."""
    return [str(word) for word in (
        "run", "--hcp", study / "study", "--task", "MOTOR", "--conditions", "lh", "rh", "--window",
        "6", "--lag", "4", "--atlas", study / "slabs_dseg.nii.gz", "--trust", "none", "--out",
        out, *more,
    )]  # fmt: skip


def typed(*arguments):
    """Type it here; it must end well."""
    with pytest.raises(SystemExit) as stop:
        main(typed_words(*arguments))
    assert not stop.value.code


def start(killer, cache, *arguments):
    """Type it in a process of its own, with as many threads as here."""
    lines = [line[8:] for line in KILLERS[killer].splitlines()]
    code = CHILD.format(killer="\n".join(lines))
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", code, str(cache), str(EPOCHS), *typed_words(*arguments)]
    return subprocess.Popen(
        command, env=os.environ | threads, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def results(out):
    """All numbers that a user would compare."""
    maps = sorted(out.glob("*_saliency.nii.gz"))
    assert len(maps) == 2
    return (
        (out / "importance.tsv").read_text(),
        json.loads((out / "metrics.json").read_text()),
        [nib.load(path).get_fdata().tobytes() for path in maps],
    )


def changes(folder, pattern):
    """Name to time of change of files."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(pattern)}


class Work:
    """Counts the runs that are read and the epochs that are trained."""

    def __init__(self, monkeypatch):
        self.runs, self.epochs = 0, 0
        read, end = series.extract_regions, callbacks.TrainingCheckpoint.on_epoch_end

        def count_run(*args, **kwargs):
            self.runs += 1
            return read(*args, **kwargs)

        def count_epoch(*args, **kwargs):
            self.epochs += 1
            return end(*args, **kwargs)

        monkeypatch.setattr(series, "extract_regions", count_run)
        monkeypatch.setattr(callbacks.TrainingCheckpoint, "on_epoch_end", count_epoch)


@pytest.fixture
def work(monkeypatch):
    return Work(monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(study, tmp_path_factory):
    """The results of a run that nothing disturbs, without a cache."""
    out = tmp_path_factory.mktemp("undisturbed")
    typed(study, out)
    return results(out)


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """A cache that holds everything, and the results that came with it."""
    folder = tmp_path_factory.mktemp("finished")
    typed(study, folder / "out", "--cache", folder / "cache")
    return folder


@pytest.mark.parametrize(
    ("killer", "runs_left", "epochs_left"),
    [
        ("parcellation", 4, N_FITS * EPOCHS),
        ("training", 0, N_FITS * EPOCHS - EPOCHS - 6),
        ("report", 0, 0),
    ],
)
def test_killed_work_goes_on_where_it_stopped(
    study, undisturbed, work, tmp_path, killer, runs_left, epochs_left
):
    cache = tmp_path / "cache"
    child = start(killer, cache, study, tmp_path / "out", "--cache", cache)
    _, said = child.communicate(timeout=300)
    assert child.returncode == -signal.SIGKILL, said.decode()
    before = changes(cache, "series-*.nc")
    assert len(before) == 6 - runs_left
    states = changes(cache / "training", "*.safetensors")

    typed(study, tmp_path / "out", "--cache", cache)
    assert results(tmp_path / "out") == undisturbed
    assert (work.runs, work.epochs) == (runs_left, epochs_left)
    after = changes(cache, "series-*.nc")
    assert len(after) == 6
    assert {name: after[name] for name in before} == before
    now = changes(cache / "training", "*.safetensors")
    assert len(now) == N_FITS
    changed = sum(now[name] != states[name] for name in states)
    assert changed == (1 if killer == "training" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("survivors", ["none", "workers"])
def test_killed_processes_side_by_side_lose_nothing_that_was_finished(
    study, undisturbed, work, tmp_path, survivors
):
    """Also where only the parent dies: its workers finish what they have, and hold nothing."""
    cache = tmp_path / "cache"
    more = ("--cache", cache, "--n-jobs", "2")
    child = start("nothing", cache, study, tmp_path / "out", *more)
    limit = time.monotonic() + 120
    while not changes(cache, "series-*.nc") and time.monotonic() < limit:
        time.sleep(0.001)
    if survivors == "none":
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait(timeout=60)
    before = changes(cache, "series-*.nc")
    assert before
    try:
        typed(study, tmp_path / "out", "--cache", cache, *(more[2:] if survivors != "none" else ()))
    finally:
        if survivors != "none":
            os.killpg(child.pid, signal.SIGKILL)
    assert results(tmp_path / "out") == undisturbed
    after = changes(cache, "series-*.nc")
    assert len(after) == 6
    if survivors == "none":
        assert work.runs == 6 - len(before)
        assert {name: after[name] for name in before} == before
    assert not [path for path in cache.rglob("*") if "part" in path.name]


@pytest.mark.slow
def test_two_processes_with_one_cache_do_each_other_no_harm(study, undisturbed, tmp_path):
    cache = tmp_path / "cache"
    children = [
        start("nothing", cache, study, tmp_path / name, "--cache", cache) for name in ("a", "b")
    ]
    for child, name in zip(children, ("a", "b"), strict=True):
        _, said = child.communicate(timeout=300)
        assert child.returncode == 0, said.decode()
        assert results(tmp_path / name) == undisturbed
    assert not list(cache.rglob("*.part*"))


def test_a_second_run_does_nothing_twice(finished, study, undisturbed, work, tmp_path):
    assert results(finished / "out") == undisturbed
    typed(study, tmp_path, "--cache", finished / "cache")
    assert results(tmp_path) == undisturbed
    assert (work.runs, work.epochs) == (0, 0)


def test_another_seed_reads_no_run_but_trains_anew(finished, study, undisturbed, work, tmp_path):
    shutil.copytree(finished / "cache", tmp_path / "cache")
    typed(study, tmp_path / "out", "--cache", tmp_path / "cache", "--seed", "1")
    assert (work.runs, work.epochs) == (0, N_FITS * EPOCHS)
    assert results(tmp_path / "out")[0] != undisturbed[0]


def test_an_image_that_changed_is_read_again(finished, study, undisturbed, work, tmp_path):
    shutil.copytree(study, tmp_path / "copy", copy_function=os.link)
    path = next((tmp_path / "copy" / "study" / "2").rglob("tfMRI_MOTOR_RL.nii.gz"))
    typed(tmp_path / "copy", tmp_path / "one", "--cache", tmp_path / "cache")
    assert results(tmp_path / "one") == undisturbed
    image = nib.load(path)
    data = np.asarray(image.dataobj)[::-1].copy()
    path.unlink()
    nib.save(nib.Nifti1Image(data, image.affine, image.header), path)
    work.runs = work.epochs = 0
    typed(tmp_path / "copy", tmp_path / "two", "--cache", tmp_path / "cache")
    assert work.runs == 1
    assert work.epochs >= (N_FITS - 1) * EPOCHS
    assert results(tmp_path / "two")[0] != undisturbed[0]


def test_a_broken_file_is_named_and_what_was_done_before_it_is_kept(
    study, undisturbed, work, tmp_path, capfd
):
    shutil.copytree(study, tmp_path / "copy", copy_function=os.link)
    path = next((tmp_path / "copy" / "study" / "3").rglob("tfMRI_MOTOR_LR.nii.gz"))
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:-2000])
    more = ("--cache", tmp_path / "cache")
    with pytest.raises(SystemExit) as stop:
        main(typed_words(tmp_path / "copy", tmp_path / "out", *more))
    assert stop.value.code == 2
    assert str(path) in capfd.readouterr().err.splitlines()[-1]
    kept = changes(tmp_path / "cache", "series-*.nc")
    assert (work.runs, len(kept)) == (5, 4)

    work.runs = 0
    typed(tmp_path / "copy", tmp_path / "out", *more, "--exclude", "3")
    assert work.runs == 0
    path.write_bytes(whole)
    typed(tmp_path / "copy", tmp_path / "out", *more)
    assert work.runs == 2
    assert results(tmp_path / "out") == undisturbed
    after = changes(tmp_path / "cache", "series-*.nc")
    assert {name: after[name] for name in kept} == kept


def test_two_jobs_give_the_bits_of_one(study, undisturbed, tmp_path):
    typed(study, tmp_path, "--n-jobs", "2")
    assert results(tmp_path) == undisturbed


def test_a_cluster_of_two_workers_gives_the_bits_of_one_process(study, undisturbed, tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(host="127.0.0.1", **options) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tcp://")
        typed(study, tmp_path / "tcp", "--cluster", address, "--cache", tmp_path / "cache")
        before = changes(tmp_path / "cache", "series-*.nc")
        address = address.replace("tcp://", "dask://")
        typed(study, tmp_path / "dask", "--cluster", address, "--cache", tmp_path / "other")
        typed(study, tmp_path / "kept", "--cluster", address, "--cache", tmp_path / "cache")
    assert len(before) == len(changes(tmp_path / "other", "series-*.nc")) == 6
    assert changes(tmp_path / "cache", "series-*.nc") == before
    for name in ("tcp", "dask", "kept"):
        assert results(tmp_path / name) == undisturbed
    assert f'cluster = "{address}"' in (tmp_path / "dask" / "config.toml").read_text()


def test_a_cluster_that_is_not_there_or_no_address_is_refused_in_words(study, tmp_path, capfd):
    pytest.importorskip("distributed")
    for words, told in (
        (("--cluster", "slurm"), "'slurm': no dask scheduler answers there"),
        (("--cluster", "dask://127.0.0.1:9", "--n-jobs", "2"), "exclude each other"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(typed_words(study, tmp_path, *words))
        assert stop.value.code == 2
        assert told in capfd.readouterr().err
