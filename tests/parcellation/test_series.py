"""Many runs: the same numbers whoever does them, and nothing finished is lost or done twice."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.runs import Run
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.cache import CacheError, SeriesCache
from neurosal.parcellation.extract import extract_regions
from neurosal.parcellation.series import extract_runs, iterate_runs

EVENTS = pd.DataFrame({"onset": [], "duration": [], "trial_type": []})


def make_atlas():
    labels = np.zeros((6, 5, 4), "int16")
    labels[:2], labels[3:5], labels[5] = 1, 2, 7
    table = pd.DataFrame({"index": [1, 2, 7], "name": ["V1", "FFA", "outside é"]})
    return Atlas(nib.Nifti1Image(labels, np.eye(4)), table, name="tiny", space="MNI")


def make_runs(folder, n_runs=4):
    """Runs whose last region is zero throughout, so that each warns."""
    runs = []
    folder.mkdir(exist_ok=True)
    for number in range(n_runs):
        data = np.random.default_rng(number).normal(100, 9, (6, 5, 4, 8)).astype("float32")
        data[5] = 0
        path = folder / f"sub-{number} bölt.nii.gz"
        nib.save(nib.Nifti1Image(data, np.eye(4)), path)
        runs.append(Run(path, EVENTS, 2.0, subject=str(number), task="t", space="MNI"))
    return runs


@pytest.fixture
def atlas():
    return make_atlas()


@pytest.fixture
def runs(tmp_path):
    return make_runs(tmp_path / "runs with späces")


@pytest.fixture
def plain(runs, atlas):
    """The runs one by one, without any of the machinery."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [extract_regions(run, atlas) for run in runs]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        xr.testing.assert_identical(one, other)
        assert one.values.tobytes() == other.values.tobytes()


def files_of(cache):
    return {path.name: path.stat().st_mtime_ns for path in cache.folder.glob("series-*.nc")}


def extract_loudly(*arguments, **options):
    """Extract runs; also the texts of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = extract_runs(*arguments, **options)
    return found, [str(one.message) for one in caught if issubclass(one.category, UserWarning)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_same_numbers_and_one_warning_of_all_runs(tmp_path, runs, atlas, plain, n_jobs):
    cache = SeriesCache(tmp_path / "cache")
    for expected_files in (4, 4):
        found, (text,) = extract_loudly([*runs, runs[0]], atlas, n_jobs=n_jobs, cache=cache)
        assert_same(found, [*plain, plain[0]])
        assert text.startswith("5 of 5 runs lack regions of tiny, which are NaN there, for ")
        assert f"zeros: outside é. The first is {runs[0].img}." in text
        assert len(files_of(cache)) == expected_files


def test_missing_regions_are_counted_run_by_run(tmp_path, runs, atlas):
    data = np.asarray(nib.load(runs[1].img).dataobj).copy()
    data[:2] = 0
    nib.save(nib.Nifti1Image(data, np.eye(4)), runs[1].img)
    data[:] = 5
    nib.save(nib.Nifti1Image(data, np.eye(4)), runs[3].img)
    _, (text,) = extract_loudly(runs, atlas)
    assert text.startswith("3 of 4 runs lack regions of tiny, which are NaN there, for ")
    assert "zeros: outside é (in 3), V1 (in 1). The first is " in text
    _, texts = extract_loudly(runs[3:], atlas)
    assert texts == []
    _, (text,) = extract_loudly(runs[2:], atlas)
    assert text.startswith("1 regions of tiny are NaN, for they have no voxel in ")
    assert runs[2].img.name in text
    one_by_one = iterate_runs(runs[2:], atlas)
    with pytest.warns(UserWarning, match="1 regions of tiny"):
        next(one_by_one), next(one_by_one)  # a caller need not ask for more than there is


@pytest.mark.filterwarnings("ignore::neurosal.parcellation.signals.MissingRegions")
def test_only_what_is_missing_or_changed_is_extracted_again(tmp_path, runs, atlas, plain):
    cache = SeriesCache(tmp_path / "cache")
    assert_same(extract_runs(runs[:2], atlas, cache=cache), plain[:2])
    first = files_of(cache)
    assert_same(extract_runs(runs, atlas, cache=cache), plain)
    assert first.items() <= files_of(cache).items()
    before = files_of(cache)
    nib.save(nib.load(runs[1].img).slicer[..., :5], tmp_path / "short.nii.gz")
    (tmp_path / "short.nii.gz").replace(runs[1].img)
    found = extract_runs(runs, atlas, cache=cache)
    assert found[1].sizes["time"] == 5
    np.testing.assert_array_equal(found[1], plain[1][:5])
    assert_same([found[0], *found[2:]], [plain[0], *plain[2:]])
    assert len(files_of(cache)) == 5
    assert before.items() <= files_of(cache).items()


@pytest.mark.filterwarnings("ignore::neurosal.parcellation.signals.MissingRegions")
def test_a_damaged_cache_file_is_extracted_again_with_a_warning(tmp_path, runs, atlas, plain):
    cache = SeriesCache(tmp_path / "cache")
    extract_runs(runs, atlas, cache=cache)
    damaged = next(cache.folder.glob("series-*.nc"))
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.warns(UserWarning, match=f"{damaged.name} in the cache is damaged"):
        assert_same(extract_runs(runs, atlas, cache=cache), plain)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".* in the cache is damaged")
        assert_same(extract_runs(runs, atlas, cache=cache), plain)


_KILLED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
from pathlib import Path
from test_series import make_atlas, make_runs
from neurosal.parcellation import series

done, extract = [], series.extract_regions
def third_hangs(run, atlas):
    if len(done) == 2:
        print("hangs", flush=True)
        time.sleep(600)
    done.append(run)
    return extract(run, atlas)
series.extract_regions = third_hangs
series.extract_runs(make_runs(Path(sys.argv[1])), make_atlas(), cache=sys.argv[2])
"""


def start(code, *arguments):
    """Run code in a process of its own that finds the package and this file."""
    import neurosal

    paths = [str(Path(neurosal.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.filterwarnings("ignore::neurosal.parcellation.signals.MissingRegions")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_loses_nothing_finished(tmp_path, atlas, blow):
    folder, cache = tmp_path / "runs", SeriesCache(tmp_path / "cache")
    worker = start(_KILLED, folder, cache.folder)
    assert worker.stdout.readline().strip() == "hangs"
    worker.send_signal(blow)
    worker.wait(timeout=60)
    kept = files_of(cache)
    assert len(kept) == 2
    runs = [
        Run(path, EVENTS, 2.0, subject=str(number), task="t", space="MNI")
        for number, path in enumerate(sorted(folder.iterdir()))
    ]
    assert_same(
        extract_runs(runs, atlas, cache=cache), [extract_regions(run, atlas) for run in runs]
    )
    assert kept.items() <= files_of(cache).items()
    assert len(files_of(cache)) == 4


_ONE_OF_TWO = """
import sys
from pathlib import Path
from test_series import EVENTS, make_atlas
from neurosal.loaders.runs import Run
from neurosal.parcellation.series import extract_runs
paths = sorted(Path(sys.argv[1]).iterdir())
runs = [Run(p, EVENTS, 2.0, subject=str(n), task="t", space="MNI") for n, p in enumerate(paths)]
print(sum(float(one.sum()) for one in extract_runs(runs, make_atlas(), cache=sys.argv[2])))
"""


@pytest.mark.filterwarnings("ignore::neurosal.parcellation.signals.MissingRegions")
def test_two_processes_at_once_on_one_cache(tmp_path, runs, atlas, plain):
    cache = SeriesCache(tmp_path / "cache")
    workers = [start(_ONE_OF_TWO, runs[0].img.parent, cache.folder) for _ in range(2)]
    printed = [float(worker.communicate()[0]) for worker in workers]
    assert printed == [sum(float(one.sum()) for one in plain)] * 2
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".* in the cache is damaged")
        assert_same(extract_runs(runs, atlas, cache=cache), plain)
    assert len(list(cache.folder.iterdir())) == 4


@pytest.mark.filterwarnings("ignore::neurosal.parcellation.signals.MissingRegions")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_names_the_run_and_keeps_what_was_done(tmp_path, runs, atlas, plain, n_jobs):
    cache = SeriesCache(tmp_path / "cache")
    runs[2].img.write_bytes(runs[2].img.read_bytes()[:300])
    with pytest.raises(DataError, match=r"^sub-2 task-t: .*sub-2 bölt"):
        extract_runs(runs, atlas, cache=cache, n_jobs=n_jobs)
    assert len(files_of(cache)) >= 2
    with pytest.warns(UserWarning, match="sub-2 task-t: .*The run is left out"):
        found = extract_runs(runs, atlas, cache=cache, n_jobs=n_jobs, on_error="warn")
    assert found.pop(2) is None
    assert_same(found, [*plain[:2], plain[3]])


class Deadly:
    """A run that ends the process it is sent to, as one does that needs too much memory."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_worker_that_is_killed_is_told_of_with_a_remedy(atlas):
    with pytest.raises(DataError, match=r"(?s)was killed.*smaller n_jobs than 2"):
        extract_runs([Deadly(), Deadly()], atlas, n_jobs=2)


@pytest.mark.filterwarnings("ignore::neurosal.parcellation.signals.MissingRegions")
def test_a_cache_that_cannot_be_written_is_not_taken_for_a_bad_run(tmp_path, runs, atlas):
    cache = SeriesCache(tmp_path / "cache")
    cache.folder.rmdir()
    with pytest.raises(CacheError, match=r"sub-0 task-t: Cannot write .*cache"):
        extract_runs(runs, atlas, cache=cache, on_error="warn")


def test_images_in_memory_are_extracted_and_not_kept(tmp_path, runs, atlas, plain):
    held = [Run(**{**vars(run), "img": nib.load(run.img)}) for run in runs]
    with (
        pytest.warns(UserWarning, match="of tiny"),
        pytest.warns(match="4 of 4 runs are images in memory"),
    ):
        assert_same(extract_runs(held, atlas, cache=tmp_path / "cache", n_jobs=2), plain)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.filterwarnings("ignore::neurosal.parcellation.signals.MissingRegions")
def test_iterating_stops_the_work_that_is_not_asked_for(tmp_path, runs, atlas, plain):
    cache = SeriesCache(tmp_path / "cache")
    one_by_one = iterate_runs(runs, atlas, cache=cache)
    assert_same([next(one_by_one)], plain[:1])
    one_by_one.close()
    assert len(files_of(cache)) == 1


def test_progress_goes_to_standard_error_only_if_asked_for(runs, atlas, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extract_runs(runs, atlas)
        assert capsys.readouterr() == ("", "")
        extract_runs(runs, atlas, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "4 of 4" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"n_jobs": 1.5}, "n_jobs must be"),
        ({"on_error": "ignore"}, "on_error must be one of 'raise', 'warn'"),
        ({"client": 8786}, "client must be a distributed.Client or an address"),
        ({"client": "tcp://h:1", "n_jobs": 2}, "exclude each other"),
    ],
)
def test_arguments_that_do_not_fit(runs, atlas, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        extract_runs(runs, atlas, **arguments)


def test_without_dask_it_is_said_what_to_install(runs, atlas, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ArgumentError, match=r'pip install "dask\[distributed\]"'):
        extract_runs(runs, atlas, client="tcp://127.0.0.1:8786")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_same_on_a_dask_cluster(tmp_path, runs, atlas, plain):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "processes": False, "dashboard_address": None}
    cache = SeriesCache(tmp_path / "cache")
    with (
        distributed.LocalCluster(threads_per_worker=2, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert_same(extract_runs(runs, atlas, client=client, cache=cache), plain)
        assert len(files_of(cache)) == 4
        runs[1].img.write_bytes(b"no image")
        with pytest.raises(DataError, match=r"^sub-1 task-t"):
            extract_runs(runs, atlas, client=client)
        cache.clear()
        found = extract_runs(runs, atlas, client=client, on_error="warn", cache=cache)
        assert found.pop(1) is None
        assert_same(found, [plain[0], *plain[2:]])


class LostWorkers:
    """A cluster whose workers are lost with the second run."""

    def __init__(self):
        self.cancelled = []

    def scatter(self, data, **options):
        return data

    def submit(self, function, run, *arguments, **options):
        future = concurrent.futures.Future()
        if run.subject == "1":
            future.set_exception(RuntimeError("worker lost"))
        else:
            future.set_result(function(run, *arguments))
        return future

    def cancel(self, futures):
        self.cancelled += futures


@pytest.mark.filterwarnings("ignore::neurosal.parcellation.signals.MissingRegions")
def test_a_cluster_that_loses_its_workers_is_told_of_with_the_run(tmp_path, runs, atlas):
    cluster, cache = LostWorkers(), SeriesCache(tmp_path / "cache")
    with pytest.raises(DataError, match=r"sub-1 task-t: the cluster did not .*worker lost"):
        extract_runs(runs, atlas, client=cluster, cache=cache)
    assert len(cluster.cancelled) == 3
    assert len(files_of(cache)) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_same_on_dask_workers_of_their_own_by_address(tmp_path, runs, atlas, plain):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(host="127.0.0.1", **options) as cluster:
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        assert_same(extract_runs(runs, atlas, client=address, cache=tmp_path / "cache"), plain)


@pytest.mark.slow
def test_an_address_where_nothing_answers(runs, atlas):
    pytest.importorskip("distributed")
    with pytest.raises(ArgumentError, match="no dask scheduler answers there"):
        extract_runs(runs, atlas, client="tcp://127.0.0.1:9")
