"""The cache of region series: exact, whole or absent, and never more than data."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import save_array
from neurosal.loaders.runs import Run
from neurosal.parcellation.cache import SeriesCache, source_files


class FakeAtlas:
    name, space, hash = "fake", "MNI", "0f"


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "bold ünïcode.nii.gz"
    path.write_bytes(b"first content")
    return Run(path, pd.DataFrame(), 0.72, subject="01", task="MOTOR", run="LR", space="MNI")


@pytest.fixture
def series():
    values = np.random.default_rng(0).normal(size=(5, 3))
    values[:, 1] = np.nan
    values[0, 0] = -0.0
    return xr.DataArray(
        values,
        dims=("time", "region"),
        coords={
            "time": 0.72 * np.arange(5),
            "region": ["V1", "Brodmann é", "名"],
            "network": ("region", ["", "x", "y"]),
            "n_voxels": ("region", [1, 0, 3]),
        },
        name="signal",
        attrs={"t_r": 0.72, "atlas": "fake", "source": "ü.nii.gz"},
    )


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def locked_folder():
    """A folder that this process cannot write to, even if started by root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)


def test_a_series_comes_back_to_the_bit_with_its_warnings(tmp_path, run, series):
    cache = SeriesCache(tmp_path / "a folder with späces")
    assert cache.get(run, FakeAtlas) is None
    cache.put(run, FakeAtlas, series, notes=[("UserWarning", "1 region is NaN")])
    with pytest.warns(UserWarning, match="1 region is NaN"):
        back = SeriesCache(cache.folder).get(run, FakeAtlas)
    xr.testing.assert_identical(back, series)
    assert back.values.tobytes() == series.values.tobytes()
    assert back["region"].dtype == series["region"].dtype


def test_whatever_shapes_a_series_changes_its_key(tmp_path, run):
    cache = SeriesCache(tmp_path / "cache")
    other = type("Other", (FakeAtlas,), {"hash": "1f"})
    renamed = type("Renamed", (FakeAtlas,), {"name": "new"})
    keys = [cache.key(run, FakeAtlas), cache.key(run, other), cache.key(run, renamed)]
    keys.append(cache.key(run, FakeAtlas, t_r=2.0))
    copied = shutil.copy(run.img, tmp_path / "b.nii.gz")
    for change in ({"t_r": 2.0}, {"space": ""}, {"img": copied}, {"start_time": 0.5}):
        run = Run(**{**vars(run), **change})
        keys.append(cache.key(run, FakeAtlas))
    assert None not in keys
    assert len(set(keys)) == len(keys)
    same = Run(**{**vars(run), "subject": "another name for it"})
    assert cache.key(same, FakeAtlas) == keys[-1]


def test_the_hemisphere_a_file_was_given_as_counts(tmp_path):
    cache, one, two = SeriesCache(tmp_path / "cache"), tmp_path / "1.gii", tmp_path / "2.gii"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    single, pair = [{"left": one}, {"right": one}], {"left": one, "right": two}
    pairs = [*single, pair, {"right": one, "left": two}]
    assert len({cache.key(img, FakeAtlas) for img in pairs}) == 4
    assert cache.key({"right": two, "left": one}, FakeAtlas) == cache.key(pair, FakeAtlas)


@pytest.mark.parametrize("by", ["mtime", "hash"])
def test_a_changed_file_is_noticed(tmp_path, run, series, by):
    cache = SeriesCache(tmp_path / "cache", by=by)
    cache.put(run, FakeAtlas, series)
    run.img.write_bytes(b"other content")
    os.utime(run.img, ns=(1, 1))
    assert cache.get(run, FakeAtlas) is None


def test_by_content_a_copied_date_is_no_change_and_a_faked_date_no_cover(tmp_path, run, series):
    cache = SeriesCache(tmp_path / "cache", by="hash")
    cache.put(run, FakeAtlas, series)
    os.utime(run.img, ns=(5, 5))
    assert cache.get(run, FakeAtlas) is not None


def test_a_run_that_changes_while_it_is_read_is_not_kept(tmp_path, run, series):
    cache = SeriesCache(tmp_path / "cache")
    before = cache.key(run, FakeAtlas)
    run.img.write_bytes(b"still being copied")
    assert cache.put(run, FakeAtlas, series, key=before) is None
    assert list(cache.folder.iterdir()) == []


def _cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def _empty(path):
    path.write_bytes(b"")


def _noise(path):
    path.write_bytes(os.urandom(5000))


def _pickle(path):
    path.write_bytes(pickle.dumps(pytest.fail))


def _flip(path):
    """Change a value, not the structure of the file."""
    import h5py

    with h5py.File(path, "r+") as stored:
        stored["signal"][2, 0] += 1e-12


def _relabel(path):
    import h5py

    with h5py.File(path, "r+") as stored:
        stored["n_voxels"][0] = 7


def _bad_json(path):
    import h5py

    with h5py.File(path, "r+") as stored:
        stored["signal"].attrs["attributes_json"] = '{"series": [], "key": __import__("os")}'


def _huge(path):
    import h5py

    with h5py.File(path, "w") as stored:
        stored.create_dataset("signal", shape=(10**9, 10**6), chunks=(1000, 1000), dtype="f8")


@pytest.mark.parametrize("damage", [_cut, _empty, _noise, _pickle, _flip, _relabel, _bad_json])
def test_a_damaged_file_is_noticed_and_replaced(tmp_path, run, series, damage):
    cache = SeriesCache(tmp_path / "cache")
    path = cache.put(run, FakeAtlas, series)
    damage(path)
    with pytest.warns(UserWarning, match="damaged") as caught:
        assert cache.get(run, FakeAtlas) is None
    assert str(path) in str(caught[0].message)
    cache.put(run, FakeAtlas, series)
    xr.testing.assert_identical(cache.get(run, FakeAtlas), series)


@pytest.mark.filterwarnings("ignore:The 'phony_dims'")
def test_a_file_that_claims_petabytes_is_damaged(tmp_path, run, series):
    cache = SeriesCache(tmp_path / "cache")
    _huge(cache.put(run, FakeAtlas, series))
    with pytest.warns(UserWarning, match=r"damaged and its run is read again"):
        assert cache.get(run, FakeAtlas) is None


def test_the_file_of_another_run_under_this_name_is_not_taken(tmp_path, run, series):
    cache = SeriesCache(tmp_path / "cache")
    path = cache.put(run, FakeAtlas, series)
    other = Run(**{**vars(run), "t_r": 2.0})
    path.rename(cache._path(cache.key(other, FakeAtlas)))
    with pytest.warns(UserWarning, match="another run"):
        assert cache.get(other, FakeAtlas) is None


def test_what_a_file_says_is_only_data(tmp_path, run, series):
    cache = SeriesCache(tmp_path / "cache")
    evil = "__import__('os').system('touch /tmp/pwned')"
    series = series.assign_attrs(source=evil, atlas={"$eval": evil})
    cache.put(run, FakeAtlas, series, notes=[("SystemExit", "no warning"), ("eval", evil)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        back = cache.get(run, FakeAtlas)
    assert back.attrs == json.loads(json.dumps(series.attrs))
    assert [note.category for note in caught] == [UserWarning, UserWarning]


def test_images_in_memory_and_missing_files_are_not_kept(tmp_path, run, series):
    cache = SeriesCache(tmp_path / "cache")
    for img in (object(), tmp_path / "nowhere.nii", {"left": run.img, "right": object()}):
        odd = Run(**{**vars(run), "img": img})
        assert cache.key(odd, FakeAtlas) is None
        assert cache.put(odd, FakeAtlas, series) is None
        assert not cache.has(odd, FakeAtlas)


def test_both_files_of_a_pair_count(tmp_path):
    for suffix in (".hdr", ".img"):
        (tmp_path / f"bold{suffix}").write_bytes(b"x")
    assert {path.suffix for path in source_files(tmp_path / "bold.hdr")} == {".hdr", ".img"}


def test_clear_removes_what_is_the_caches_and_nothing_else(tmp_path, run, series):
    cache = SeriesCache(tmp_path / "cache")
    cache.put(run, FakeAtlas, series)
    (cache.folder / ".series-abc.nc.x.partial").write_bytes(b"left by a killed process")
    save_array(series, cache.folder / "mine.nc")
    assert cache.clear() == 2
    assert [path.name for path in cache.folder.iterdir()] == ["mine.nc"]


_WRITER = """
import sys, numpy as np, pandas as pd, xarray as xr
from neurosal.loaders.runs import Run
from neurosal.parcellation.cache import SeriesCache
from test_cache import FakeAtlas
cache = SeriesCache(sys.argv[1])
run = Run(sys.argv[2], pd.DataFrame(), 2.0, subject="01", task="t")
series = xr.DataArray(np.ones((50, 40)), dims=("time", "region"), attrs={"t_r": 2.0})
print("ready", flush=True); sys.stdin.readline()
for _ in range(40):
    cache.put(run, FakeAtlas, series)
    assert cache.get(run, FakeAtlas) is not None
"""


def test_two_processes_write_and_read_one_file_at_once(tmp_path, run):
    import neurosal

    folder = tmp_path / "cache"
    paths = [str(Path(neurosal.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", _WRITER, str(folder), str(run.img)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    assert [worker.stdout.readline().strip() for worker in workers] == ["ready", "ready"]
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0, 0]
    assert len(list(folder.iterdir())) == 1


def test_a_full_disk_names_the_file_and_leaves_nothing_half(small_disk, run, series):
    cache = SeriesCache(small_disk / "cache")
    large = xr.DataArray(np.random.default_rng(0).normal(size=(200, 200)), dims=("time", "region"))
    with pytest.raises(DataError, match=r"Cannot write .*small/cache/series-.*free space"):
        cache.put(run, FakeAtlas, large)
    assert list(cache.folder.iterdir()) == []


def test_a_folder_without_permission_is_named_at_once(locked_folder):
    with pytest.raises(DataError, match=f"{locked_folder}/cache"):
        SeriesCache(locked_folder / "cache")
    with pytest.raises(DataError, match=f"Cannot write {locked_folder}: .*[Pp]ermission"):
        SeriesCache(locked_folder)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(DataError, match=r"Cannot write .*cache"):
        SeriesCache(tmp_path / "cache")


def test_by_is_one_of_two(tmp_path):
    with pytest.raises(ArgumentError, match="by must be one of 'mtime', 'hash'"):
        SeriesCache(tmp_path, by="name")
