"""A study of 200 subjects by two runs, from region series to maps, in little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import neurosal
from neurosal.loaders.store import open_windows, stored_runs
from neurosal.saliency.explain import explain

CHILD = '''
import json, resource, sys, threading, time
from pathlib import Path
import numpy as np
import pandas as pd
import xarray as xr
from neurosal import InputCellClassifier
from neurosal.loaders import clean_series, make_windows
from neurosal.loaders.runs import Run
from neurosal.loaders.simulate_tasks import TASKS, block_events
from neurosal.loaders.store import open_windows, save_windows
from neurosal.models import Training
from neurosal.models.streaming import StreamedWindows
from neurosal.saliency.explain import explain

n_subjects, folder = int(sys.argv[1]), Path(sys.argv[2])
N_REGIONS, T_R, N_FRAMES = 400, 0.72, TASKS["WM"].n_volumes
CONDITIONS = {"0bk": [], "2bk": []}
for name in TASKS["WM"].durations:
    CONDITIONS[name[:3]].append(name)
REGIONS = [f"region {n}" for n in range(N_REGIONS)]


def series_of(run, rng):
    """Noise, and ten regions of each load that respond 5 s late."""
    values = rng.normal(1000, 10, (N_FRAMES, N_REGIONS))
    times = T_R * np.arange(N_FRAMES)
    for event in run.events.itertuples():
        during = (times >= event.onset + 5) & (times < event.onset + event.duration + 5)
        first = 0 if event.trial_type.startswith("0bk") else 10
        values[np.ix_(during, range(first, first + 10))] += 5
    return xr.DataArray(values, dims=("time", "region"), coords={"time": times, "region": REGIONS})


def windows():
    """The windows of one run after the other."""
    for subject in range(n_subjects):
        for name in ("LR", "RL"):
            events = block_events("WM", name).query("kind == 'block'")[
                ["onset", "duration", "trial_type"]]
            run = Run("none.nii.gz", events, T_R, subject=f"{subject:03d}", task="WM", run=name)
            rng = np.random.default_rng([subject, name == "LR"])
            clean = clean_series(series_of(run, rng), t_r=T_R)
            yield make_windows(clean, run, window=27.5, conditions=CONDITIONS)


def anonymous():
    """Memory of its own that this process holds now (MB): no pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


start, peaks, phase, done = anonymous(), {}, ["store"], threading.Event()


def watch():
    while not done.wait(0.02):
        peaks[phase[0]] = max(peaks.get(phase[0], 0), anonymous())


watcher = threading.Thread(target=watch)
watcher.start()
stored = open_windows(save_windows(windows(), folder / "windows.zarr", chunk=64, dtype="float32"))
phase[0] = "train"
streamed, y = StreamedWindows(stored, mixed=4), stored["condition"].values
unseen = np.isin(stored["subject"].values, np.unique(stored["subject"].values)[-5:])
training = Training(max_epochs=4, batch_size=64)
classifier = InputCellClassifier(training=training, random_state=0, device="cpu")
classifier.fit(streamed[np.flatnonzero(~unseen)], y[~unseen])
accuracy = float(np.mean(classifier.predict(streamed[np.flatnonzero(unseen)]) == y[unseen]))
phase[0] = "explain"
options = {"batch_size": 64, "progress": False, "n_steps": 4}
maps = explain(classifier, stored, out=folder / "maps.npy", **options)
done.set()
watcher.join()
classifier.save(folder / "classifier")
print(json.dumps({
    "accuracy": accuracy,
    "windows": len(stored),
    "shape": list(maps.shape),
    "megabytes_of_windows": stored.nbytes / 2**20,
    "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "anonymous_mb": {"start": start, **peaks},
}))
'''


def worked(n_subjects, folder):
    """Do all of it in a process of its own; what it measured."""
    folder.mkdir()
    command = [sys.executable, "-c", CHILD, str(n_subjects), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc of Linux")
def test_two_hundred_subjects_need_no_more_memory_than_fifty(tmp_path):
    pytest.importorskip("zarr")
    few, many = (worked(number, tmp_path / str(number)) for number in (50, 200))
    assert many["windows"] == 200 * 2 * 8
    assert many["megabytes_of_windows"] > 180
    assert many["accuracy"] > 0.9
    assert many["peak_rss_mb"] < 2048
    for phase, peak in many["anonymous_mb"].items():
        assert peak < few["anonymous_mb"][phase] + 40, phase

    store, maps = tmp_path / "200" / "windows.zarr", np.load(tmp_path / "200" / "maps.npy", "r")
    assert len(stored_runs(store)) == 400
    assert maps.shape == tuple(many["shape"]) == (3200, 38, 400)
    classifier = neurosal.InputCellClassifier.load(tmp_path / "200" / "classifier")
    some = open_windows(store)[1600:1664].load()
    held = explain(classifier, some, batch_size=64, progress=False, n_steps=4)
    np.testing.assert_allclose(maps[1600:1664], held, rtol=1e-4, atol=1e-6)
    strength = np.abs(maps[::8]).mean(axis=(0, 1))
    assert set(np.argsort(strength)[-20:]) == set(range(20))
