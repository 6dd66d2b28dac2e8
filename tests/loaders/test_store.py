"""Windows in Zarr: the same as in memory, run by run, whatever comes in between."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import load_array, save_array
from neurosal.loaders.events import concat_windows
from neurosal.loaders.store import open_windows, save_windows, stored_runs

zarr = pytest.importorskip("zarr")


def make_part(number, n_samples=5, *, t_r=2.0, n_steps=4, **attrs):
    """Windows of one run, as make_windows labels them."""
    generator = np.random.default_rng(number)
    values = generator.normal(size=(n_samples, n_steps, 3))
    values[:1, -1] = np.nan
    names = {
        "subject": f"10{number}" if number % 2 else f"long-nâme-{number}",
        "session": "",
        "task": "MOTOR",
        "run": "LR",
    }
    coords = {name: ("sample", np.full(n_samples, value)) for name, value in names.items()}
    coords["condition"] = ("sample", generator.choice(["rh", "tongue 名"], n_samples))
    coords["onset"] = ("sample", generator.uniform(0, 99, n_samples))
    coords |= {"time": 5 + t_r * np.arange(n_steps), "region": ["V1", "V2", "FFA é"]}
    coords["network"] = ("region", ["Vis", "", "Default"])
    coords["label_id"] = ("region", [1, 2, 9])
    coords["n_voxels"] = ("region", generator.integers(1, 99, 3))
    coords["coverage"] = ("region", generator.uniform(size=3))
    dropped = [{"run": f"sub-{number}", "condition": "rh", "onset": 1.5, "reason": "ends"}]
    own = {"t_r": t_r, "merge": None, "source": f"{number}.nii.gz", "dropped": dropped}
    return xr.DataArray(
        values,
        dims=("sample", "time", "region"),
        coords=coords,
        name="signal",
        attrs={**own, "short_blocks": number, **attrs},
    )


@pytest.fixture
def parts():
    return [make_part(number, 3 + number) for number in range(4)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a store with späces.zarr"


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_what_is_opened_is_what_concat_windows_gives(parts, path, chunk):
    assert save_windows(iter(parts), path, chunk=chunk) == path
    opened = open_windows(path)
    xr.testing.assert_identical(opened.load(), concat_windows(parts))
    assert opened["condition"].dtype.kind == "U"


def test_appending_later_is_the_same_as_at_once(parts, path):
    for stop in (1, 3, 4, 4):
        save_windows(parts[:stop], path, chunk=4)
        xr.testing.assert_identical(open_windows(path).load(), concat_windows(parts[:stop]))
    assert stored_runs(path)[1] == ("101", "", "MOTOR", "LR")


def test_a_run_that_is_stored_is_not_written_again(parts, path):
    save_windows(parts, path, chunk=4)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("c/*") if file.is_file()}
    save_windows([part + 1 for part in parts], path)
    assert before == {file: file.stat().st_mtime_ns for file in path.rglob("c/*") if file.is_file()}
    xr.testing.assert_identical(open_windows(path).load(), concat_windows(parts))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (make_part(1, 4, cleaned={"high_pass": None}), "cleaned {'high_pass': 0.01} .* not {'hi"),
        (make_part(1, 3, cleaned={"high_pass": 0.01}), "4 windows .* not 3"),
        (make_part(1, 4, t_r=1.0, cleaned={"high_pass": 0.01}), "t_r 2.0 .* not 1.0"),
    ],
)
def test_a_run_that_is_stored_in_another_way_is_not_taken_for_it(path, other, told):
    part = make_part(1, 4, cleaned={"high_pass": 0.01})
    save_windows([part, part.assign_attrs(source="moved/1.nii.gz")], path)
    with pytest.raises(DataError, match=f"101.*{told}.*Give another folder"):
        save_windows([other], path)
    with pytest.raises(DataError, match=r"101.*region labels differ"):
        save_windows([part.assign_coords(region=["V1", "V2", "FFA"])], path)


def test_opening_reads_values_only_when_asked(parts, path):
    save_windows(parts, path, chunk=4)
    opened = open_windows(path)
    for chunk in path.glob("data.zarr/values/c/[1-9]*"):
        shutil.rmtree(chunk) if chunk.is_dir() else chunk.unlink()
    picked = opened[1:4]
    xr.testing.assert_identical(picked.load(), concat_windows(parts)[1:4])


def test_the_opened_array_can_be_saved_and_made_a_dask_array(parts, path, tmp_path):
    pytest.importorskip("dask")
    save_windows(parts, path, chunk=4)
    whole = concat_windows(parts)
    xr.testing.assert_identical(
        load_array(save_array(open_windows(path)[2:9], tmp_path / "a.nc")), whole[2:9]
    )
    lazy = open_windows(path, chunks={})
    assert lazy.chunks[0] == (4, 4, 4, 4, 2)
    np.testing.assert_allclose(lazy.mean("sample").compute(), whole.mean("sample"))


def test_float32_halves_the_values(parts, path):
    save_windows(parts, path, dtype="float32")
    opened = open_windows(path)
    assert opened.dtype == np.float32
    np.testing.assert_array_equal(opened, concat_windows(parts).astype("float32"))


def test_a_run_without_windows_is_noted_but_holds_no_sample(parts, path):
    empty = make_part(9, 0)
    every = [empty, *parts, empty]
    for _ in range(2):
        save_windows(every, path)
    opened = open_windows(path)
    assert opened.sizes["sample"] == sum(part.sizes["sample"] for part in parts)
    assert [one["run"] for one in opened.attrs["dropped"]] == [
        "sub-9", "sub-0", "sub-1", "sub-2", "sub-3",
    ]  # fmt: skip
    assert len(stored_runs(path)) == 4


_KILLED = """
import os, signal, sys
import numpy as np
import zarr
from test_store import make_part
from neurosal.loaders import journal, store

write, where, after = zarr.Array.__setitem__, sys.argv[2], 2
def deadly(array, key, values):
    if where == "before values" and array.path == "values" and count[0] == after:
        os.kill(os.getpid(), signal.SIGKILL)
    write(array, key, values)
    if where == "after values" and array.path == "values" and count[0] == after:
        os.kill(os.getpid(), signal.SIGKILL)
count = [0]
zarr.Array.__setitem__ = deadly
resize = zarr.Array.resize
def halfway(array, shape):
    if where == "in resize" and array.path == "condition" and count[0] == after:
        os.kill(os.getpid(), signal.SIGKILL)
    resize(array, shape)
zarr.Array.resize = halfway
add_line = store.add_line
def noting(folder, *entry):
    if where == "in journal" and count[0] == after:
        with open(folder / journal.NAME, "ab") as stream:
            stream.write(b'{"run": ["10')
        os.kill(os.getpid(), signal.SIGKILL)
    add_line(folder, *entry)
    count[0] += 1
store.add_line = noting
store.save_windows((make_part(n, 3 + n) for n in range(4)), sys.argv[1], chunk=4)
"""


@pytest.mark.parametrize("where", ["before values", "after values", "in resize", "in journal"])
def test_killed_at_any_time_it_goes_on_with_the_next_run(parts, path, where):
    import neurosal

    paths = [str(Path(neurosal.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _KILLED, str(path), where]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(stored_runs(path)) == 2
    xr.testing.assert_identical(open_windows(path).load(), concat_windows(parts[:2]))
    asked = []
    save_windows((asked.append(n) or part for n, part in enumerate(parts)), path)
    xr.testing.assert_identical(open_windows(path).load(), concat_windows(parts))


def test_killed_before_the_first_run_it_starts_anew(parts, path):
    save_windows(parts[:1], path)
    (path / "runs.jsonl").unlink()
    save_windows(parts[1:], path)
    xr.testing.assert_identical(open_windows(path).load(), concat_windows(parts[1:]))


def test_other_data_in_the_folder_is_left_alone(parts, path):
    zarr.open_group(path / "data.zarr", mode="w").create_array("values", shape=3, dtype="i4")
    with pytest.raises(DataError, match="holds other data"):
        save_windows(parts, path)
    assert zarr.open_group(path / "data.zarr", mode="r")["values"].shape == (3,)


def test_an_error_on_the_way_keeps_the_runs_before(parts, path):
    def failing():
        yield parts[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_windows(failing(), path)
    xr.testing.assert_identical(open_windows(path).load(), concat_windows(parts[:1]))


def test_two_writers_at_once_are_refused(parts, path):
    def nested():
        with pytest.raises(DataError, match=r"Another process is writing to .*späces"):
            save_windows(parts[1:], path)
        yield parts[0]

    save_windows(nested(), path)
    assert len(stored_runs(path)) == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_part(5, t_r=1.0), "cannot join"),
        (make_part(5, n_steps=5), "cannot join"),
        (make_part(5).assign_coords(region=["V1", "V2", "FFA"]), "region labels differ"),
        (make_part(5).drop_vars("onset"), "have the coordinates"),
        (make_part(5).assign_coords(onset=("sample", list("abcde"))), "'onset' .* is <U1"),
    ],
)
def test_runs_that_do_not_fit_are_refused_and_named(parts, path, other, message):
    save_windows(parts, path)
    with pytest.raises(DataError, match=message) as caught:
        save_windows([other], path)
    assert "105" in str(caught.value)
    xr.testing.assert_identical(open_windows(path).load(), concat_windows(parts))


def test_arguments_that_do_not_fit(parts, path):
    with pytest.raises(ArgumentError, match="one array holds 4 runs"):
        save_windows([concat_windows(parts)], path)
    with pytest.raises(ArgumentError, match=r"lack the coordinate\(s\) subject"):
        save_windows([parts[0].drop_vars("subject")], path)
    with pytest.raises(ArgumentError, match="iterable of arrays"):
        save_windows([parts[0].to_numpy()], path)
    with pytest.raises(ArgumentError, match="chunk must be"):
        save_windows(parts, path, chunk=0)
    with pytest.raises(ArgumentError, match="dtype must be one of"):
        save_windows(parts, path, dtype="int8")


def test_without_zarr_it_is_said_what_to_install(parts, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    for call in (lambda: save_windows(parts, path), lambda: open_windows(path)):
        with pytest.raises(ArgumentError, match=r'needs zarr, .*pip install "zarr>=3'):
            call()


def _other_json(path):
    (path / "runs.jsonl").write_text('{"run": "__import__(\'os\')", "stop": 3, "attrs": {}}\n')


def _negative(path):
    (path / "runs.jsonl").write_text('{"run": null, "stop": -3, "attrs": {}}\n')


def _too_long(path):
    (path / "runs.jsonl").write_text('{"run": null, "stop": 999, "attrs": {}}\n')


def _no_values(path):
    shutil.rmtree(path / "data.zarr" / "values")


def _cut_chunk(path):
    chunk = next(file for file in (path / "data.zarr/condition/c").rglob("*") if file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:7])


def _bad_metadata(path):
    (path / "data.zarr" / "values" / "zarr.json").write_text("{")


@pytest.mark.parametrize(
    "damage", [_other_json, _negative, _too_long, _no_values, _cut_chunk, _bad_metadata]
)
def test_a_damaged_store_is_named(parts, path, damage):
    save_windows(parts, path)
    damage(path)
    with pytest.raises(DataError, match="späces"):
        open_windows(path)


def test_a_store_with_a_codec_that_executes_is_refused(parts, path):
    """Zarr's older format knows a codec that unpickles: it must never be reached."""
    save_windows(parts, path)
    data = path / "data.zarr"
    shutil.rmtree(data)
    marker = path.parent / "executed"
    evil = b"cos\nsystem\n(S'touch " + str(marker.name).encode() + b"'\ntR."
    for name in ("values", "subject"):
        (data / name).mkdir(parents=True)
        meta = {"zarr_format": 2, "shape": [18], "chunks": [18], "dtype": "|O", "order": "C"}
        meta |= {"compressor": None, "fill_value": 0, "filters": [{"id": "pickle", "protocol": 5}]}
        (data / name / ".zarray").write_text(json.dumps(meta))
        (data / name / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["sample"]}')
        (data / name / "0").write_bytes(evil)
    (data / ".zgroup").write_text('{"zarr_format": 2}')
    cwd = Path.cwd()
    os.chdir(path.parent)
    try:
        with pytest.raises(DataError):
            open_windows(path)
    finally:
        os.chdir(cwd)
    assert not marker.exists()


def test_a_full_disk_is_named_and_what_was_whole_stays(parts, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        save_windows(parts, folder / "store")
        with pytest.raises(DataError, match=r"Cannot write to .*small/store: .*No space left"):
            save_windows([make_part(5, 20000)], folder / "store")
        xr.testing.assert_identical(open_windows(folder / "store").load(), concat_windows(parts))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_folder_without_permission_is_named(parts):
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(DataError, match=f"Cannot write to {folder}/store: .*ermission"):
            save_windows(parts, folder / "store")
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)
