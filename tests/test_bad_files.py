"""Files that cannot be read or written, and files that mean harm: each is named."""

import json
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from bad_cases import (
    DEEP,
    EVIL,
    N_TIMES,
    bold_image,
    find_lr,
    locked,
    small_disk,
    write_atlas,
    write_bids,
    write_hcp,
)

import neurosal
from neurosal.errors import DataError
from neurosal.labelled import load_array, save_array
from neurosal.loaders.journal import read_journal
from neurosal.models import Training


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# -------------------------------------------------------------------------------------- permission


@pytest.fixture
def public():
    """A folder that every user may enter; pytest's own are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("ending", ["_bold.nii.gz", "_bold.json", "_events.tsv"])
def test_a_bids_file_that_may_not_be_read_is_named(public, rng, ending):
    root = write_bids(public / "bids", rng)
    assert len(neurosal.find_bids_runs(root, task="faces")) == 1
    (path,) = root.rglob(f"*{ending}")
    with locked(path), pytest.raises(DataError, match=rf"Cannot read .*{path.name}"):
        neurosal.find_bids_runs(root, task="faces")


@pytest.mark.parametrize("name", ["EVs/lh.txt", "Movement_Regressors.txt", "tfMRI_MOTOR_LR.nii.gz"])
def test_an_hcp_file_that_may_not_be_read_is_named(public, rng, name):
    root = write_hcp(public / "hcp", rng, {"lh": "5 12 1\n"})
    folder = next(root.glob("*/MNINonLinear/Results/*"))
    np.savetxt(folder / "Movement_Regressors.txt", np.zeros((N_TIMES, 12)))
    assert len(neurosal.find_hcp_runs(root, task="MOTOR", runs=["LR"])) == 1
    with locked(folder / name), pytest.raises(DataError, match=rf"{Path(name).name}"):
        neurosal.find_hcp_runs(root, task="MOTOR", runs=["LR"])


def test_images_and_arrays_that_may_not_be_read_are_named(public, rng):
    atlas = neurosal.load_atlas(write_atlas(public / "x_dseg.nii.gz"))
    nib.save(bold_image(rng), public / "bold.nii.gz")
    assert neurosal.extract_regions(public / "bold.nii.gz", atlas).shape == (N_TIMES, 3)
    with locked(public / "bold.nii.gz"), pytest.raises(DataError, match=r"bold\.nii\.gz"):
        neurosal.extract_regions(public / "bold.nii.gz", atlas)
    with locked(public / "x_dseg.nii.gz"), pytest.raises(DataError, match=r"x_dseg\.nii\.gz"):
        neurosal.load_atlas(public / "x_dseg.nii.gz")
    with locked(public / "x_dseg.tsv"), pytest.raises(DataError, match=r"x_dseg\.tsv"):
        neurosal.load_atlas(public / "x_dseg.nii.gz")
    path = save_array(xr.DataArray([1.0], dims="region"), public / "a.nc")
    with locked(path), pytest.raises(DataError, match=r"a\.nc.*[Pp]ermission"):
        load_array(path)


@pytest.mark.parametrize("layout", ["bids", "hcp", "hcp run"])
def test_a_subject_whose_folder_is_locked_is_told(public, rng, layout):
    if layout == "bids":
        root = write_bids(public / "study", rng, subjects=("01", "02"))
        folder, find = root / "sub-02" / "func", neurosal.find_bids_runs
        task = "faces"
    else:
        root = write_hcp(public / "study", rng, {"lh": "5 12 1\n"})
        shutil.copytree(root / "100307", root / "100408")
        folder, find, task = root / "100408" / "MNINonLinear" / "Results", find_lr, "MOTOR"
        folder = folder / "tfMRI_MOTOR_LR" if layout == "hcp run" else folder
    assert len(find(root, task=task)) == 2
    with locked(folder), pytest.warns(UserWarning, match=folder.relative_to(root).parts[0]):
        find(root, task=task)
    with locked(folder):
        problems = neurosal.inspect_study(root).problems
    told = problems[problems["problem"] == "locked folder"]
    assert [str(folder)] == [line.split(" may not")[0] for line in told["detail"]]
    assert told["subject"].item() in folder.relative_to(root).parts[0]


def test_a_study_of_which_every_subject_is_locked_is_told(public, rng):
    root = write_bids(public / "bids", rng)
    with locked(root / "sub-01"), pytest.raises(DataError, match=r"may not be read.*sub-01"):
        neurosal.find_bids_runs(root, task="faces")
    root = write_hcp(public / "hcp", rng, {"lh": "5 12 1\n"})
    with locked(root / "100307"), pytest.raises(DataError, match=r"may not be read.*100307"):
        find_lr(root, "MOTOR")


# ------------------------------------------------------------------------------------ a full disk


def test_an_array_for_which_there_is_no_room_is_named_and_not_half_there(tmp_path, rng):
    array = xr.DataArray(rng.normal(size=(200, 200)), dims=("time", "region"))
    with small_disk(tmp_path / "small", "64k") as disk:
        with pytest.raises(DataError, match=r"Cannot write .*small/a\.nc: No space left"):
            save_array(array, disk / "a.nc")
        assert list(disk.iterdir()) == []


@pytest.mark.filterwarnings("ignore:No voxel of the grid")
def test_a_simulation_for_which_there_is_no_room_is_named(tmp_path):
    atlas = neurosal.load_atlas("dosenbach160")
    options = {"labels": atlas.labels, "regions": atlas.regions, "voxel_size": 12.0}
    words = r"Cannot write .*tfMRI_MOTOR_LR\.nii\.gz: .*No space left"
    with small_disk(tmp_path / "small", "1m") as disk, pytest.raises(DataError, match=words):
        neurosal.simulate_hcp(disk / "study", n_subjects=1, runs=["LR"], **options)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A decoder of two runs, hardly trained."""
    folder, rng = tmp_path_factory.mktemp("tiny"), np.random.default_rng(1)
    root = write_bids(folder / "bids", rng, subjects=("01", "02"))
    training = Training(max_epochs=2)
    return neurosal.SaliencyDecoder(
        neurosal.load_atlas(write_atlas(folder / "x_dseg.nii.gz")),
        window=8.0,
        cv="subject",
        classifier=neurosal.InputCellClassifier(training=training, random_state=0),
    ).fit(neurosal.find_bids_runs(root, task="faces"))


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "size",
    [
        pytest.param("4k", id="json"),
        pytest.param("8k", id="tsv"),
        pytest.param("32k", id="netcdf"),
        pytest.param("64k", id="nifti"),
        pytest.param("112k", id="classifier"),
        pytest.param("224k", id="figures"),
        pytest.param("448k", id="page"),
    ],
)
def test_results_for_which_there_is_no_room_are_named(decoder, tmp_path, size):
    words = r"Cannot write .*small/out.*No space left"
    with small_disk(tmp_path / "small", size) as disk, pytest.raises(DataError, match=words):
        decoder.generate_report(disk / "out")


def test_a_checkpoint_for_which_there_is_no_room_is_named(tmp_path, rng):
    x, y = rng.normal(size=(20, 5, 50)), np.repeat(["a", "b"], 10)
    with small_disk(tmp_path / "small", "64k") as disk:
        training = Training(max_epochs=2, checkpoint=disk / "training")
        with pytest.raises(DataError, match=r"Cannot write .*small/training"):
            neurosal.InputCellClassifier(training=training).fit(x, y)
        assert not [path for path in disk.rglob("*") if path.is_file()]


# ------------------------------------------------------------------------- a damaged checkpoint


def _change(content, where):
    return content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :]


def _other_state(content):
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"]["state"] = json.dumps({"history": [{"$eval": EVIL}], "groups": EVIL})
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut in the header": lambda content: content[:50],
    "a flipped bit in a weight": lambda content: _change(content, len(content) - 3),
    "a flipped bit in the header": lambda content: _change(content, 20),
    "a length of petabytes": lambda content: b"\xff" * 8 + content[8:],
    "a pickle": lambda content: b"cos\nsystem\n(S'touch pwned'\ntR.",
    "another state": _other_state,
    "deep": lambda content: len(DEEP).to_bytes(8, "little") + DEEP.encode(),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Data, a folder with a checkpoint, and the logits of an undisturbed training."""
    generator, folder = np.random.default_rng(0), tmp_path_factory.mktemp("training")
    x, y = generator.normal(size=(20, 5, 3)), np.repeat(["a", "b"], 10)
    training = Training(max_epochs=2, checkpoint=folder)
    classifier = neurosal.InputCellClassifier(training=training, random_state=0).fit(x, y)
    return x, y, folder, classifier.logits(x)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_by_name_and_trained_anew(
    trained, tmp_path, monkeypatch, damage
):
    x, y, folder, expected = trained
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, tmp_path / "training")
    (path,) = (tmp_path / "training").glob("*.safetensors")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    training = Training(max_epochs=2, checkpoint=tmp_path / "training")
    classifier = neurosal.InputCellClassifier(training=training, random_state=0)
    with pytest.warns(UserWarning, match=rf"{path.name} is damaged and its training begins anew"):
        classifier.fit(x, y)
    np.testing.assert_array_equal(classifier.logits(x), expected)
    assert len(classifier.history_) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier.fit(x, y)
    assert [one.name for one in tmp_path.iterdir()] == ["training"]
    assert len(list((tmp_path / "training").iterdir())) == 1


def test_a_checkpoint_that_may_not_be_read_is_named(trained, public):
    x, y, folder, _ = trained
    shutil.copytree(folder, public / "training")
    (path,) = (public / "training").glob("*.safetensors")
    training = Training(max_epochs=2, checkpoint=public / "training")
    with locked(path), pytest.raises(DataError, match=rf"Cannot read .*{path.name}"):
        neurosal.InputCellClassifier(training=training, random_state=0).fit(x, y)


# --------------------------------------------------------------------------- data is only ever data


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """An array on disk, in a folder in which nothing else may appear."""
    monkeypatch.chdir(tmp_path)
    array = xr.DataArray([1.0, 2.0], dims="region", coords={"region": ["a", "b"]})
    array.attrs = {"source": EVIL, "atlas": {"$eval": EVIL, "__reduce__": [EVIL]}}
    return save_array(array, tmp_path / "a.nc")


def test_what_an_array_says_of_itself_is_text(stored):
    array = load_array(stored)
    assert array.attrs["source"] == EVIL
    assert array.attrs["atlas"]["$eval"] == EVIL
    assert [path.name for path in stored.parent.iterdir()] == ["a.nc"]


@pytest.mark.parametrize(
    "text",
    [
        "{not json",
        "[1, 2]",
        7,
        DEEP,
    ],
    ids=["broken", "list", "number", "deep"],
)
def test_attributes_that_are_none_are_refused_by_name(stored, text):
    with h5py.File(stored, "r+") as file:
        file["values"].attrs["attributes_json"] = text
    with pytest.raises(DataError, match=r"a\.nc"):
        load_array(stored)


@pytest.mark.parametrize(
    "content", [b"cos\nsystem\n(S'touch pwned'\ntR.", b"\x89HDF\r\n\x1a\n", b""]
)
def test_files_that_are_no_netcdf_are_refused_by_name(stored, content):
    stored.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.nc"):
        load_array(stored)
    assert [path.name for path in stored.parent.iterdir()] == ["a.nc"]


@pytest.mark.filterwarnings("ignore:The 'phony_dims'")
def test_a_file_that_claims_petabytes_is_refused_by_name(stored):
    with h5py.File(stored, "r+") as file:
        del file["values"], file["region"]
        file.create_dataset("values", shape=(2**47,), dtype="f8", chunks=(1024,))
    assert stored.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"a\.nc"):
        load_array(stored)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"RepetitionTime": EVIL}),
        '{"RepetitionTime": {"$eval": 1}}',
        '{"RepetitionTime": NaN}',
        '{"RepetitionTime": 1e999}',
        '{"RepetitionTime": 1' + 5000 * "0" + "}",
        b'{"RepetitionTime": 2, "x": "\xe9"}',
        DEEP,
    ],
    ids=["code", "object", "nan", "infinite", "digits", "latin", "deep"],
)
def test_a_sidecar_that_means_harm_is_refused_by_name(tmp_path, monkeypatch, rng, text):
    root = write_bids(tmp_path / "bids", rng)
    monkeypatch.chdir(tmp_path)
    (sidecar,) = root.rglob("*_bold.json")
    sidecar.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"sub-01_task-faces_bold\.json"):
        neurosal.find_bids_runs(root, task="faces")
    assert [path.name for path in tmp_path.iterdir()] == ["bids"]


@pytest.mark.parametrize("text", ["{", "\x00", DEEP], ids=["cut", "zero", "deep"])
def test_an_atlas_s_sidecar_that_is_no_json_is_refused_by_name(tmp_path, text):
    path = write_atlas(tmp_path / "x_dseg.nii.gz")
    (tmp_path / "x_dseg.json").write_text(text)
    with pytest.raises(DataError, match=r"x_dseg\.json"):
        neurosal.load_atlas(path)


def test_names_in_tables_are_words_and_nothing_is_made_of_them(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    root = write_bids(tmp_path / "bids", rng)
    (events,) = root.rglob("*_events.tsv")
    events.write_text(f"onset\tduration\ttrial_type\n4\t8\t{EVIL}\n30\t8\t../../../x\n")
    names = f"index\tname\n3\t{EVIL}\n7\t../../x\n40\t=cmd()\n"
    atlas = neurosal.load_atlas(write_atlas(tmp_path / "x_dseg.nii.gz", table=names))
    before = sorted(path.name for path in tmp_path.iterdir())
    runs = neurosal.find_bids_runs(root, task="faces")
    windows = neurosal.extract_windows(runs, atlas, window=8.0)
    assert windows["condition"].values.tolist() == [EVIL, "../../../x"]
    assert windows["region"].values.tolist() == [EVIL, "../../x", "=cmd()"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("text", [DEEP, "[1]", "{", b"\xe9"], ids=["deep", "list", "cut", "latin"])
def test_a_saved_classifier_and_a_journal_that_mean_harm_are_refused_by_name(tmp_path, text):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "classifier.json").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        neurosal.InputCellClassifier.load(tmp_path)
    (tmp_path / "runs.jsonl").write_bytes(content + b"\n")
    with pytest.raises(DataError, match=r"runs\.jsonl"):
        read_journal(tmp_path)
