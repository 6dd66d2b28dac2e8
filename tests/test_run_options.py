"""Which runs ``neurosal run`` takes, and the file of options that it leaves with the results."""

import os
import tomllib
from types import SimpleNamespace

import pytest
from study_cases import neurosal_run, write_bids

import neurosal
from neurosal.cli_checks import check_held_out
from neurosal.cli_options import default_cv
from neurosal.decoder import SaliencyDecoder
from neurosal.errors import ArgumentError, DataError

STOP = "stop before any work is done"


@pytest.fixture
def asked(monkeypatch):
    """What the decoder is made with and fitted on; it stops there."""
    found = {}

    def fit(self, runs):
        found.update(runs=list(runs), decoder=self)
        raise DataError(STOP)

    monkeypatch.setattr(SaliencyDecoder, "fit", fit)
    return found


@pytest.fixture(scope="module")
def bids(tmp_path_factory):
    return write_bids(tmp_path_factory.mktemp("bids") / "study", spoiled=False)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ((), [("01", "a"), ("01", "b"), ("02", "a"), ("02", "b"), ("03", "a"), ("03", "b")]),
        (("--sessions", "b"), [("01", "b"), ("02", "b"), ("03", "b")]),
        (("--exclude", "02", "sub-03"), [("01", "a"), ("01", "b")]),
        (
            ("--subjects", "01", "02", "--exclude", "01", "--sessions", "a", "b"),
            [("02", "a"), ("02", "b")],
        ),
    ],
)  # fmt: skip
def test_subjects_and_sessions_of_bids(bids, tmp_path, asked, words, left):
    neurosal_run(
        "--bids", bids, "--derivatives", "derivatives/fmriprep", "--space", "T1w", "--task",
        "faces", "--event-column", "kind", *words, "--out", tmp_path, code=2,
    )  # fmt: skip
    assert [(run.subject, run.session) for run in asked["runs"]] == left
    assert {kind for run in asked["runs"] for kind in run.events["trial_type"]} == {
        "animate",
        "inanimate",
    }


@pytest.mark.parametrize(
    ("option", "told"),
    [("resolution", "no images with res-x"), ("desc", "There: fsaverage5"), ("runs", "with run-x")],
)
def test_resolution_description_and_runs_of_bids(bids, tmp_path, asked, capfd, option, told):
    neurosal_run(
        "--bids", bids, "--derivatives", "derivatives/fmriprep", "--space", "T1w", "--task",
        "faces", f"--{option}", "x", "--out", tmp_path, code=2,
    )  # fmt: skip
    assert told in capfd.readouterr().err
    assert not asked


def test_runs_and_subjects_of_the_hcp(study, tmp_path, asked, capfd):
    words = ("--hcp", study, "--task", "MOTOR", "--out", tmp_path)
    neurosal_run(*words, "--runs", "RL", "--exclude", "900002", "900004", code=2)
    assert [(run.subject, run.run) for run in asked["runs"]] == [("900001", "RL"), ("900003", "RL")]
    neurosal_run(*words, "--runs", "LR", "AP", code=2)
    assert "runs must be one of 'LR', 'RL'. Got 'AP'" in capfd.readouterr().err
    neurosal_run(*words, "--exclude", "7", code=2)
    assert "exclude must be among those in" in capfd.readouterr().err
    everyone = [f"90000{number}" for number in range(1, 5)]
    neurosal_run(*words, "--exclude", *everyone, code=2)
    assert "exclude must leave a subject" in capfd.readouterr().err


@pytest.mark.parametrize(
    "option", ["--space", "--derivatives", "--resolution", "--desc", "--sessions", "--event-column"]
)
def test_what_only_bids_has_is_refused_for_the_hcp(study, tmp_path, asked, capfd, option):
    neurosal_run("--hcp", study, "--task", "MOTOR", option, "x", "--out", tmp_path, code=2)
    assert f"error: {option}: only studies in BIDS" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--method", "lpr"), "--method must be one of 'gradient', "),
        (("--cv", "subjects"), "--cv must be one of 'subject', 'run', 'block'. Got 'subjects'"),
        (("--screening", "0"), "--screening must be above 0 and at most 100. Got 0."),
        (("--folds", "5"), "--cv subject in 5 folds needs as many subjects, and there are 4. Take"),
        (
            ("--cv", "run", "--folds", "9"),
            "--cv run in 9 folds needs as many runs, and there are 8. Take --folds 8 or fewer.",
        ),
        (("--cv", "subject", "--subjects", "900001"), "there is 1. Take --cv run, or more sub"),
        (
            ("--cv", "run", "--subjects", "900001", "--runs", "LR"),
            "--cv run in 2 folds needs as many runs, and there is 1. Take --cv block, or more runs",
        ),
        (("--seed", "-1"), "Invalid value for '--seed': "),
        (("--conditions", "lh"), "--conditions must name two at least. Got 'lh' alone"),
    ],
)
def test_what_cannot_work_is_refused_before_runs_are_read(
    study, tmp_path, asked, capfd, words, told
):
    out = tmp_path / "out"
    neurosal_run("--hcp", study, "--task", "MOTOR", *words, "--out", out, code=2)
    assert told in capfd.readouterr().err
    assert not asked
    assert not out.exists()


def test_clusters_without_mne_are_refused_before_runs_are_read(monkeypatch, study, asked, capfd):
    monkeypatch.setattr("neurosal.cli_checks.find_spec", lambda name: None)
    neurosal_run("--hcp", study, "--task", "MOTOR", "--statistics", "cluster", code=2)
    assert "--statistics cluster needs mne, which is not installed" in capfd.readouterr().err
    assert not asked


def test_runs_of_two_tasks_under_one_name_are_one_to_hold_out():
    names = [("a", ""), ("b", "")]
    runs = [SimpleNamespace(subject="01", session="", run=r, task=t) for t, r in names]
    assert default_cv(runs) == "block"
    told = (
        r"as many runs, and there is 1, for runs of one name are held out together\. Take --cv bl"
    )
    with pytest.raises(ArgumentError, match=told):
        check_held_out(runs, "run", None)
    with pytest.raises(ArgumentError, match="Take --cv block, or more subjects"):
        check_held_out(runs, "subject", None)
    runs[1].run = "2"
    assert default_cv(runs) == "run"
    check_held_out(runs, "run", None)


def test_a_window_of_no_length_is_refused(study):
    runs = neurosal.find_hcp_runs(study, task="MOTOR")[:1]
    with pytest.raises(ArgumentError, match="window must be a number of seconds, greater than 0"):
        neurosal.extract_windows(runs, neurosal.load_atlas("dosenbach160"), window=0)


def test_the_space_of_an_atlas_may_be_said(study, bids, tmp_path, asked):
    words = ("--hcp", study, "--task", "MOTOR", "--atlas", bids.parent / "mini_dseg.nii.gz")
    for more, space in (((), ""), (("--atlas-space", "MNI152NLin6Asym"), "MNI152NLin6Asym")):
        neurosal_run(*words, *more, "--out", tmp_path, code=2)
        assert asked["decoder"].atlas.space == space


def test_what_is_told_apart_may_be_said(study, tmp_path, asked, capfd):
    words = ("--hcp", study, "--task", "MOTOR", "--out", tmp_path)
    for label, expected in (((), "condition"), (("--label", "task"), "task")):
        neurosal_run(*words, *label, code=2)
        assert asked["decoder"].extraction["label"] == expected
    runs = neurosal.find_hcp_runs(study, task="MOTOR")
    with pytest.raises(neurosal.errors.ArgumentError, match="label must be one of 'condition'"):
        neurosal.extract_windows(runs, "no atlas", label="subject")


# ------------------------------------------------------------------ the file of options


def test_options_are_written_so_that_they_hold_in_any_folder(bids, tmp_path, monkeypatch, asked):
    monkeypatch.chdir(bids.parent)
    (bids.parent / "notes.txt").write_text("")
    neurosal_run(
        "--bids", bids.name, "--derivatives", "derivatives/fmriprep", "--space", "T1w", "--task",
        "faces", "--atlas", "mini_dseg.nii.gz", "--table", "mini_dseg.tsv", "--cache", "kept/é 名",
        "--out", tmp_path / "out", code=2,
    )  # fmt: skip
    path = tmp_path / "out" / "config.toml"
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith(f"# neurosal {neurosal.__version__}: ")
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    assert written["bids"] == str(bids)
    assert written["atlas"] == str(bids.parent / "mini_dseg.nii.gz")
    assert written["table"] == str(bids.parent / "mini_dseg.tsv")
    assert written["cache"] == str(bids.parent / "kept" / "é 名")
    assert written["derivatives"] == "derivatives/fmriprep"  # within the study
    before = asked["runs"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    neurosal_run("--config", path, "--out", "again", code=2)
    assert [run.img for run in asked["runs"]] == [bids.parent / run.img for run in before]
    assert asked["decoder"].atlas.regions["name"].tolist() == ["FFA", "PPA", "V1", "M1"]
    assert (tmp_path / "elsewhere" / "again" / "config.toml").read_bytes() == path.read_bytes()


def test_a_file_of_options_from_an_editor_of_windows(study, tmp_path, asked):
    path = tmp_path / "config.toml"
    text = f"hcp = {str(study)!r}\r\ntask = 'MOTOR'\r\nlag = 4\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    neurosal_run("--config", path, "--out", tmp_path / "out", code=2)
    assert asked["decoder"].lag == 4.0


def test_an_atlas_s_name_stays_a_name_and_a_pair_of_files_a_pair(
    study, bids, tmp_path, monkeypatch, asked
):
    monkeypatch.chdir(bids.parent)
    pair = ",".join(f"hemi-{side}_mini.label.gii" for side in "LR")
    for atlas, expected in (
        ("dosenbach160", "dosenbach160"),
        (pair, ",".join(str(bids.parent / one) for one in pair.split(","))),
    ):
        neurosal_run(
            "--hcp", study, "--task", "MOTOR", "--atlas", atlas, "--out", tmp_path, code=2
        )  # fmt: skip
        written = tomllib.loads((tmp_path / "config.toml").read_text())
        assert written["atlas"] == expected
        assert written["hcp"] == os.path.abspath(study)
