"""BIDS data sets: real ones, and small ones with each of the things that go wrong."""

import json
import os
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nilearn._utils.data_gen import create_fake_bids_dataset

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.bids import find_bids_runs, is_bids
from neurosal.loaders.hcp import is_hcp
from neurosal.loaders.inspect import inspect_study

EVENTS = "onset\tduration\ttrial_type\n4\t2\thouse\n0\t2\tface\n"
N_VOLUMES = 12
needs_data = pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is not set"
)


def write_image(path, *, t_r=2.0, n=N_VOLUMES):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.ones((2, 2, 2, n), "float32"), np.eye(4))
    image.header.set_zooms((3, 3, 3, t_r))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


def write_raw(root, stem="sub-01_task-faces", *, t_r=2.0, sidecar=None, events=EVENTS):
    folder = root / stem.split("_")[0]
    folder = folder / stem.split("_")[1] if "_ses-" in stem else folder
    image = write_image(folder / "func" / f"{stem}_bold.nii.gz", t_r=t_r)
    if sidecar is not None:
        (image.parent / f"{stem}_bold.json").write_text(json.dumps(sidecar))
    if events is not None:
        (image.parent / f"{stem}_events.tsv").write_text(events)
    return image


def write_preprocessed(root, stem="sub-01_task-faces", *, space="_space-MNI"):
    folder = root / "derivatives" / "fmriprep" / stem.split("_")[0] / "func"
    return write_image(folder / f"{stem}{space}_desc-preproc_bold.nii.gz")


@needs_data
def test_haxby_has_twelve_raw_runs():
    root = Path(os.environ["NEUROSAL_TEST_DATA"]) / "haxby2001-slice"
    runs = find_bids_runs(root, task="objectviewing")
    assert [run.run for run in runs] == [f"{k:02d}" for k in range(1, 13)]
    for run in runs:
        assert (run.t_r, run.subject, run.space, run.notes) == (2.5, "1", "", ())
        assert run.confounds.shape == (121, 6)
        assert run.events.trial_type.nunique() == len(run.trial_types) == 8


@needs_data
def test_studyforrest_derivative_takes_events_from_the_raw_data():
    root = Path(os.environ["NEUROSAL_TEST_DATA"]) / "studyforrest-localizer"
    (run,) = find_bids_runs(
        root, task="oneback", derivatives="derivatives/mni", space="MNI152NLin6Asym"
    )
    assert (run.t_r, run.space, run.run, len(run.events)) == (2.0, "MNI152NLin6Asym", "1", 192)
    assert run.img == next(root.glob("derivatives/mni/sub-02/func/*.nii.gz"))
    assert run.confounds is None
    (raw,) = find_bids_runs(root, task="oneback")
    assert raw.space == ""
    assert raw.events.equals(run.events)


def test_what_lies_above_a_run_holds_for_it_and_what_is_nearer_wins(tmp_path):
    root = tmp_path / "with [brackets]"
    for stem in ("sub-01_ses-a_task-faces_run-1", "sub-01_ses-a_task-faces_run-2"):
        write_raw(root, stem, t_r=3.0, events=None)
    write_raw(root, "sub-01_ses-a_task-rest", t_r=3.0, events=None)
    (root / "task-faces_bold.json").write_text('{"RepetitionTime": 1.0}')
    (root / "sub-01" / "sub-01_run-2_bold.json").write_text('{"RepetitionTime": 1.5}')
    (root / "task-faces_events.tsv").write_text(EVENTS)
    runs = find_bids_runs(root, task="faces")
    assert [(run.session, run.run, run.t_r) for run in runs] == [("a", "1", 1.0), ("a", "2", 1.5)]
    assert runs[0].notes == ("repetition time 1 s by task-faces_bold.json, not 3 s as the header",)
    assert runs[0].events.trial_type.tolist() == ["face", "house"]
    assert is_bids(root)
    assert not is_hcp(root)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    image = write_raw(tmp_path, events="\ufeff" + EVENTS.replace("\n", "\r\n"))
    image.with_name("sub-01_task-faces_bold.json").write_text('\ufeff{"RepetitionTime": 2.0}')
    (run,) = find_bids_runs(tmp_path, task="faces")
    assert (run.t_r, run.events.trial_type.tolist()) == (2.0, ["face", "house"])


def test_header_is_the_last_resort(tmp_path):
    write_raw(tmp_path, "sub-01_task-faces_dir-LR_run-01", sidecar={"EchoTime": 0.03})
    (run,) = find_bids_runs(tmp_path, task="faces", subjects="sub-01")
    assert (run.t_r, run.notes, run.run) == (2.0, ("repetition time from the header",), "LR-01")


def test_volumes_that_slice_timing_moved_are_later_by_as_much(tmp_path):
    write_raw(tmp_path)
    sidecar = write_preprocessed(tmp_path).with_name(
        "sub-01_task-faces_space-MNI_desc-preproc_bold.json"
    )
    where = {"task": "faces", "derivatives": "derivatives/fmriprep"}
    for told, start in ((0.975, 0.975), (0, 0.0), ("n/a", 0.0)):
        sidecar.write_text(json.dumps({"RepetitionTime": 2.0, "StartTime": told}))
        (run,) = find_bids_runs(tmp_path, **where)
        assert (run.start_time, run.notes) == (start, ())
    sidecar.write_text(json.dumps({"RepetitionTime": 2.0, "StartTime": 975}))
    with pytest.raises(DataError, match=r"StartTime in .*bold\.json must be seconds.* Got 975"):
        find_bids_runs(tmp_path, **where)
    found = inspect_study(tmp_path, derivatives=where["derivatives"]).problems
    assert "Got 975" in found.query("problem == 'start time'")["detail"].item()


def test_volumes_that_a_derivative_lacks_are_noted(tmp_path):
    raw = write_raw(tmp_path, "sub-01_task-faces_run-1")
    write_raw(tmp_path, "sub-01_task-faces", events=None)
    image = write_preprocessed(tmp_path, "sub-01_task-faces_run-01")
    where = {"derivatives": "derivatives/fmriprep"}
    told = []
    for n in (N_VOLUMES, N_VOLUMES - 2):
        write_image(image, n=n)
        with pytest.warns(UserWarning, match="1 raw runs have no"):
            (run,) = find_bids_runs(tmp_path, task="faces", **where)
        told.append(" ".join(run.notes))
    assert "raw" not in told[0]
    assert "10 volumes, the raw image 12" in told[1]
    found = inspect_study(tmp_path, **where).problems
    assert "10 volumes, the raw image 12" in found.query("problem == 'length'")["detail"].item()
    raw.write_bytes(b"broken")
    with pytest.warns(UserWarning, match="1 raw runs have no"):
        (run,) = find_bids_runs(tmp_path, task="faces", **where)
    assert len(run.notes) == 1


@pytest.mark.parametrize(("t_r", "n_notes"), [(2.01, 0), (2.05, 1)])
def test_sidecar_and_header_may_differ_by_a_hundredth(tmp_path, t_r, n_notes):
    write_raw(tmp_path, t_r=t_r, sidecar={"RepetitionTime": 2.0})
    (run,) = find_bids_runs(tmp_path, task="faces")
    assert (run.t_r, len(run.notes)) == (2.0, n_notes)


@pytest.mark.parametrize(
    ("sidecar", "t_r", "message"),
    [
        ({"RepetitionTime": 2000}, 2.0, r"bold.json: RepetitionTime .* as 2000.*write 2\."),
        ({"RepetitionTime": 0}, 2.0, "bold.json: RepetitionTime gives .* as 0"),
        ({"RepetitionTime": "two"}, 2.0, "bold.json: RepetitionTime gives .* as 'two'"),
        ({}, 0, r"bold.nii.gz: The header gives .* as None"),
        ({}, 2000, r"bold.nii.gz: The header gives .* as 2000"),
        ({"VolumeTiming": [0, 2]}, 2.0, "VolumeTiming"),
        ([1], 2.0, "bold.json holds no JSON object"),
    ],
)
def test_repetition_time_that_cannot_be_is_refused(tmp_path, sidecar, t_r, message):
    write_raw(tmp_path, sidecar=sidecar, t_r=t_r)
    with pytest.raises(DataError, match=message):
        find_bids_runs(tmp_path, task="faces")


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ("duration\ttrial_type\n1\tx\n", "no column 'onset'. Columns found: 'duration', 'trial"),
        ("onset\tduration\tvalue\n1\t1\tx\n", "no column 'trial_type'.*tab-separated"),
        ("onset,duration,trial_type\n1,1,x\n", "Columns found: 'onset,duration,trial_type'"),
        ("onset\tduration\ttrial_type\nsoon\t1\tx\n", "column 'onset' holds 'soon'"),
        ("onset\tduration\ttrial_type\nn/a\t1\tx\n", "column 'onset' holds nan"),
        ("onset\tduration\ttrial_type\n1\t-1\tx\n", r"negative duration \(-1 s\)"),
        ("", "Cannot read .*events.tsv as a tab-separated table"),
        ("onset\tduration\ttrial_type\n1\t0\t2\tx\n2\t4\t2\ty\n", "events.tsv .*more cells than"),
        (None, "has no events: .*sub-01_task-faces_events.tsv is not there"),
    ],
)  # fmt: skip
def test_event_tables_that_cannot_be_used_are_named(tmp_path, events, message):
    write_raw(tmp_path, events=events)
    with pytest.raises(DataError, match=message):
        find_bids_runs(tmp_path, task="faces")


def test_a_link_without_its_file_is_told_as_such(tmp_path):
    image = write_raw(tmp_path)
    image.unlink()
    image.symlink_to("../../.git/annex/objects/nowhere")
    with pytest.raises(DataError, match=r"faces_bold.nii.gz is a link to .*not there.*datalad get"):
        find_bids_runs(tmp_path, task="faces")


def test_events_without_a_duration_raise_no_warning(tmp_path):
    write_raw(tmp_path, events="onset\tduration\ttrial_type\n0\tn/a\tx\t\n4\t2\tx\t\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (run,) = find_bids_runs(tmp_path, task="faces")
    assert run.events["duration"].tolist() == [0, 2]


def test_event_tables_are_sorted_and_their_gaps_noted(tmp_path):
    rows = "9\t1\t2\n-3\t1\t1\n4\tn/a\t1\n5\t1\tn/a\n"
    write_raw(
        tmp_path, events="onset\tduration\ttrial_type\n" + rows, sidecar={"RepetitionTime": 2}
    )
    (run,) = find_bids_runs(tmp_path, task="faces")
    assert run.events.to_dict("list") == {
        "onset": [-3, 4, 9], "duration": [1, 0, 1], "trial_type": ["1", "1", "2"],
    }  # fmt: skip
    said = " ".join(run.notes)
    assert "1 of 4 rows dropped" in said
    assert "1 events without a duration" in said
    assert "1 events begin before the run" in said


def test_types_of_all_runs_are_known_to_each(tmp_path):
    write_raw(tmp_path, "sub-01_task-faces")
    write_raw(tmp_path, "sub-02_task-faces", events="onset\tduration\ttrial_type\n1\t1\terror\n")
    for run in find_bids_runs(tmp_path, task="faces"):
        assert run.trial_types == ("error", "face", "house")


def test_space_is_asked_for_when_there_are_several(tmp_path):
    write_raw(tmp_path)
    for space in ("_space-MNI", "_space-T1w", ""):
        write_preprocessed(tmp_path, space=space)
    where = {"task": "faces", "derivatives": "derivatives/fmriprep"}
    with pytest.raises(DataError, match=r"several spaces: MNI, T1w, native. Choose one with space"):
        find_bids_runs(tmp_path, **where)
    with pytest.raises(DataError, match=r"No images are in the space 'fsaverage'. There: MNI"):
        find_bids_runs(tmp_path, **where, space="fsaverage")
    with pytest.raises(DataError, match="are raw: name a folder with derivatives"):
        find_bids_runs(tmp_path, task="faces", space="MNI")
    (native,) = find_bids_runs(tmp_path, **where, space="native")
    (mni,) = find_bids_runs(
        tmp_path, task="faces", space="MNI", derivatives=tmp_path / where["derivatives"]
    )
    assert (native.space, mni.space) == ("", "MNI")
    assert len(mni.events) == 2


def test_of_several_resolutions_one_is_taken_and_noted(tmp_path):
    write_raw(tmp_path)
    for res in "21":
        write_preprocessed(tmp_path, space=f"_space-MNI_res-{res}")
    where = {"task": "faces", "derivatives": "derivatives/fmriprep"}
    (run,) = find_bids_runs(tmp_path, **where)
    assert "res-1" in run.img.name
    assert run.notes[-1] == "resolution '1' taken of ['1', '2']"
    (run,) = find_bids_runs(tmp_path, **where, resolution="2")
    assert "res-2" in run.img.name
    with pytest.raises(DataError, match=r"no images with res-3. There: 1, 2"):
        find_bids_runs(tmp_path, **where, resolution="3")


def test_confounds_are_the_plain_table(tmp_path):
    write_raw(tmp_path)
    image = write_preprocessed(tmp_path)
    path = image.parent / "sub-01_task-faces_desc-confounds_timeseries.tsv"
    rows = ["n/a\t0.5", *["1.5\t2"] * (N_VOLUMES - 1)]
    path.write_text("\n".join(["trans_x_derivative1\tcsf", *rows]))
    where = {"task": "faces", "derivatives": "derivatives/fmriprep"}
    (run,) = find_bids_runs(tmp_path, **where)
    assert run.confounds.shape == (N_VOLUMES, 2)
    assert np.isnan(run.confounds.iloc[0, 0])
    path.write_text("\n".join(["trans_x_derivative1\tcsf", *rows[1:]]))
    with pytest.raises(DataError, match=r"timeseries.tsv has 11 rows but the image 12 volumes"):
        find_bids_runs(tmp_path, **where)


def test_of_several_tables_of_confounds_the_run_s_own_is_taken(tmp_path):
    for column, kind in (("csf", "desc-confounds_timeseries"), ("rot_x", "motion")):
        for run in ("", "_run-02"):
            image = write_raw(tmp_path / kind, f"sub-01_task-faces{run}")
            rows = "\n".join([column, *[f"{len(run)}"] * N_VOLUMES])
            (image.parent / f"sub-01_task-faces{run}_{kind}.tsv").write_text(rows)
        first, second = find_bids_runs(tmp_path / kind, task="faces")
        assert first.confounds[column].eq(0).all()
        assert second.confounds[column].eq(7).all()


def test_motion_table_of_another_length_is_not_used(tmp_path):
    image = write_raw(tmp_path)
    (image.parent / "sub-01_task-faces_motion.tsv").write_text("rot_x\n1\n2\n")
    (run,) = find_bids_runs(tmp_path, task="faces")
    assert run.confounds is None
    assert run.notes[-1] == "sub-01_task-faces_motion.tsv has 2 rows for 12 volumes: not used"


def test_raw_runs_without_derivative_are_told(tmp_path):
    write_raw(tmp_path)
    for echo in "12":
        write_raw(tmp_path, f"sub-02_task-faces_echo-{echo}")
    write_preprocessed(tmp_path)
    with pytest.warns(
        UserWarning, match="1 raw runs have no preprocessed image.*sub-02_task-faces"
    ):
        runs = find_bids_runs(tmp_path, task="faces", derivatives="derivatives/fmriprep")
    assert [run.subject for run in runs] == ["01"]


def test_two_images_of_one_run_are_refused(tmp_path):
    write_raw(tmp_path, "sub-01_task-faces_echo-1")
    write_raw(tmp_path, "sub-01_task-faces_echo-2")
    with pytest.raises(
        DataError, match=r"echo-1_bold.nii.gz and .*echo-2_bold.nii.gz are images of one run"
    ):
        find_bids_runs(tmp_path, task="faces")


def test_wrong_folders_tasks_and_subjects_are_named(tmp_path):
    with pytest.raises(DataError, match="is not BIDS"):
        find_bids_runs(tmp_path, task="faces")
    image = write_raw(tmp_path)
    write_preprocessed(tmp_path)
    with pytest.raises(DataError, match=r"no images with task-rest. There: faces"):
        find_bids_runs(tmp_path, task="rest")
    with pytest.raises(ArgumentError, match=r"subjects must be among .*: 01. Got .*'07'"):
        find_bids_runs(tmp_path, task="faces", subjects=["sub-07"])
    with pytest.raises(DataError, match="there: derivatives/fmriprep"):
        find_bids_runs(tmp_path, task="faces", derivatives="fmriprep")
    image.write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"Cannot read .*bold.nii.gz as a NIfTI file"):
        find_bids_runs(tmp_path, task="faces")


WHERE = {"task": "faces", "derivatives": "derivatives/fmriprep"}


def test_sessions_and_runs_may_be_chosen(tmp_path):
    for ses in "ab":
        for run in ("1", "02"):
            write_raw(tmp_path, f"sub-01_ses-{ses}_task-faces_run-{run}")
    runs = find_bids_runs(tmp_path, task="faces", sessions=["ses-b"], runs=["01", 2])
    assert [(run.session, run.run) for run in runs] == [("b", "02"), ("b", "1")]
    runs = find_bids_runs(tmp_path, task="faces", runs="run-2")
    assert [(run.session, run.run) for run in runs] == [("a", "02"), ("b", "02")]
    with pytest.raises(DataError, match=r"no images with ses-c. There: a, b"):
        find_bids_runs(tmp_path, task="faces", sessions="c")
    with pytest.raises(DataError, match=r"no images with run-3. There: 02, 1"):
        find_bids_runs(tmp_path, task="faces", runs=["1", "3"])
    with pytest.raises(ArgumentError, match="Name one ses or more"):
        find_bids_runs(tmp_path, task="faces", sessions=[])


def test_several_tasks_come_together(tmp_path):
    write_raw(tmp_path, "sub-01_task-faces")
    write_raw(tmp_path, "sub-01_task-words", events="onset\tduration\ttrial_type\n1\t1\tverb\n")
    runs = find_bids_runs(tmp_path, task=["words", "faces"])
    assert [run.task for run in runs] == ["faces", "words"]
    assert runs[0].trial_types == ("face", "house", "verb")


def test_numbers_of_runs_agree_with_and_without_zeros(tmp_path):
    for raw, derived in (("1", "01"), ("02", "2")):
        kind = f"onset\tduration\ttrial_type\n1\t1\trun{raw}\n"
        write_raw(tmp_path, f"sub-01_task-faces_run-{raw}", events=kind)
        write_preprocessed(tmp_path, f"sub-01_task-faces_run-{derived}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = find_bids_runs(tmp_path, **WHERE)
    assert [(run.run, run.events.trial_type[0]) for run in runs] == [("01", "run1"), ("2", "run02")]
    write_preprocessed(tmp_path, "sub-01_task-faces_run-02")
    with pytest.raises(DataError, match=r"run-02.* and .*run-2.* are images of one run"):
        find_bids_runs(tmp_path, **WHERE)


def test_events_may_be_named_by_any_column(tmp_path):
    rows = "4\t2\t7\tbig\t0.31\n0\t2\t8\tsmall\tn/a\n2\t2\tn/a\tsmall\t0.5\n"
    write_raw(tmp_path, events="onset\tduration\tcode\tsize\tresponse_time\n" + rows)
    (run,) = find_bids_runs(tmp_path, task="faces", event_column="size")
    assert run.events.to_dict("list") == {
        "onset": [0, 2, 4], "duration": [2, 2, 2], "trial_type": ["small", "small", "big"],
    }  # fmt: skip
    (run,) = find_bids_runs(tmp_path, task="faces", event_column="code", keep=["response_time"])
    assert run.trial_types == ("7", "8")
    assert run.events.response_time.isna().tolist() == [True, False]
    assert run.events.response_time[1] == 0.31
    with pytest.raises(
        DataError, match=r"no column 'trial_type'. Columns found: .*'size'.*event_c"
    ):
        find_bids_runs(tmp_path, task="faces")


def test_other_descriptions_may_be_asked_for(tmp_path):
    write_raw(tmp_path)
    image = write_preprocessed(tmp_path)
    other = image.with_name(image.name.replace("preproc", "smoothAROMAnonaggr"))
    write_image(other)
    assert find_bids_runs(tmp_path, **WHERE)[0].img == image
    assert find_bids_runs(tmp_path, **WHERE, desc="smoothAROMAnonaggr")[0].img == other
    with pytest.raises(DataError, match=r"holds no \*_desc-clean_bold.nii.gz"):
        find_bids_runs(tmp_path, **WHERE, desc="clean")


def test_nilearns_own_example_is_read(tmp_path):
    root = create_fake_bids_dataset(tmp_path, n_sub=2, n_ses=2, tasks=["main"], n_runs=[2])
    runs = find_bids_runs(
        root, task="main", derivatives="derivatives", space="T1w", sessions=["01"]
    )
    assert [(run.subject, run.session, run.run) for run in runs] == [
        ("01", "01", "01"), ("01", "01", "02"), ("02", "01", "01"), ("02", "01", "02"),
    ]  # fmt: skip
    for run in runs:
        assert (run.t_r, run.confounds.shape[0], run.trial_types) == (1.5, 30, ("c0", "c1", "c2"))
        assert "4 events begin after the run's end at 45 s" in " ".join(run.notes)
