# %% [markdown]
# # Many cores, many machines
#
# A thousand subjects of the HCP are two thousand runs of each task, and a hundred thousand windows
# of all seven. Three things make that bearable: runs are averaged side by side, nothing is averaged
# twice, and the windows stay on disk while a network learns from them and is explained. Everything
# here works the same on a laptop and on a cluster.

# %%
import importlib.util
from pathlib import Path

import numpy as np

import neurosal
from neurosal.loaders import clean_series, concat_windows, make_windows
from neurosal.loaders.store import open_windows, save_windows, stored_runs
from neurosal.models import Training
from neurosal.models.streaming import StreamedWindows
from neurosal.parcellation.series import iterate_runs

out = Path("tutorial-06").resolve()

# %% [markdown]
# Workers are new Python processes that read this script again before they begin. What only the
# first process may do therefore stands under `if __name__ == "__main__"`, in `main` below.

# %%
movements = {name: [name] for name in ("lf", "rf", "lh", "rh", "t")}


# %% [markdown]
# ## Many cores
#
# `n_jobs` is a number of processes; -1 is one a core. Each finished run goes to the cache at once,
# from the process that did it. Kill the script at any point and start it again: it goes on with the
# runs that are missing. Workers whose parent was killed finish what they have in hand, hold nothing
# that a new start needs, and end by themselves within five minutes. A run that cannot be read is
# named; `on_error="warn"` goes on without it. In the shell, `neurosal run --exclude SUBJECT` leaves
# the subject out.


# %%
def many_cores(runs, atlas):
    """Average the first half of the runs in two processes."""
    half = runs[: len(runs) // 2]
    series = neurosal.extract_runs(half, atlas, n_jobs=2, cache=out / "cache", on_error="warn")
    print(len(series), "runs of", dict(series[0].sizes))


# %% [markdown]
# ## Many machines
#
# dask brings the work to other machines. Here its two workers are on this one:
#
# ```
# python -m pip install "dask[distributed]"
# ```
#
# The first half of the runs comes from the cache, the workers do the second half. They are best
# given one thread each.


# %%
def many_machines(runs, atlas):
    """Average all runs on the workers of a dask cluster."""
    if importlib.util.find_spec("distributed") is None:
        print("distributed is not installed: this section is skipped.")
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        print("scheduler:", cluster.scheduler_address.split(":")[0], "workers:", 2)
        series = neurosal.extract_runs(runs, atlas, client=client, cache=out / "cache")
    print(len(series), "runs;", len(list((out / "cache").iterdir())), "files in the cache")


# %% [markdown]
# On a cluster with the Slurm scheduler, `dask-jobqueue` starts the workers as jobs. Only the lines
# that make the cluster differ; study and cache must lie on a disk that all nodes see.
#
# ```python
# from dask.distributed import Client
# from dask_jobqueue import SLURMCluster
#
# cluster = SLURMCluster(
#     queue="compute", account="my-project", cores=1, memory="4GB", walltime="01:00:00"
# )
# cluster.scale(jobs=50)
# with Client(cluster) as client:
#     series = neurosal.extract_runs(runs, atlas, client=client, cache="/scratch/me/cache")
# ```
#
# From the shell, give the address that `dask scheduler` prints:
#
# ```
# neurosal run --hcp ROOT --task MOTOR --cluster dask://10.0.0.1:8786 --cache CACHE --out OUT
# ```


# %% [markdown]
# ## Windows on disk
#
# A generator makes the windows of one run at a time, and `save_windows` adds them to a Zarr folder.
# It too goes on where it was stopped: a run that is stored is skipped. `stored_runs` spares even
# the making.


# %%
def windows_of(runs, atlas):
    """Yield the windows of one run after the other."""
    for run, series in zip(runs, iterate_runs(runs, atlas, cache=out / "cache"), strict=True):
        clean = clean_series(series, run, t_r=run.t_r)
        yield make_windows(clean, run, window=12.0, conditions=movements)


def to_disk(runs, atlas):
    """Store the windows and open them without reading them."""
    if importlib.util.find_spec("zarr") is None:
        print("zarr is not installed: the windows are kept in memory.")
        return concat_windows(list(windows_of(runs, atlas)))
    store = out / "windows.zarr"
    done = set(stored_runs(store))
    todo = [run for run in runs if (run.subject, run.session, run.task, run.run) not in done]
    save_windows(windows_of(todo, atlas), store, chunk=16, dtype="float32")
    print(len(stored_runs(store)), "runs in", store.name)
    return open_windows(store)


# %% [markdown]
# ## Learn from the disk
#
# `StreamedWindows` reads a few chunks at a time and mixes their samples, so that memory does not
# grow with the study. Indexing it by subject reads nothing. `explain` too reads from the store, and
# with `out` it writes the maps to a file as they are made.


# %%
def learn(windows):
    """Train on three subjects from disk, test on the fourth, and explain all to a file."""
    streamed = StreamedWindows(windows, chunk=16, mixed=4)
    condition, subject = windows["condition"].values, windows["subject"].values
    unseen = subject == subject[-1]
    classifier = neurosal.InputCellClassifier(training=Training(max_epochs=40), random_state=0)
    classifier.fit(streamed[np.flatnonzero(~unseen)], condition[~unseen])
    predicted = classifier.predict(streamed[np.flatnonzero(unseen)])
    print(f"accuracy {np.mean(predicted == condition[unseen]):.2f}, chance 0.20")
    maps = neurosal.explain(
        classifier, windows, out=out / "maps.npy", batch_size=64, n_steps=10, progress=False
    )
    print("maps:", dict(maps.sizes), "in", (out / "maps.npy").name)


# %% [markdown]
# ## All of it
#
# A study of four subjects stands in for the thousand.


# %%
def main():
    """Run the sections one after the other."""
    atlas = neurosal.load_atlas("dosenbach160")
    root = neurosal.simulate_hcp(
        out / "study", labels=atlas.labels, regions=atlas.regions, n_subjects=4, voxel_size=6.0
    )
    runs = neurosal.find_hcp_runs(root, task="MOTOR")
    many_cores(runs, atlas)
    many_machines(runs, atlas)
    windows = to_disk(runs, atlas)
    print(dict(windows.sizes))
    learn(windows)


if __name__ == "__main__":
    main()
