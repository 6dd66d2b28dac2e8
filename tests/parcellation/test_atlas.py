"""Atlases and their tables, from files of every kind."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.utils import Bunch

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.atlas import Atlas, list_atlases, load_atlas
from neurosal.parcellation.grids import resample_labels
from neurosal.parcellation.tables import parse_name, read_table

LABELS = np.array([[[0, 3, 3, 11], [7, 7, 0, 11]]], dtype=np.int16)
TABLE = pd.DataFrame({"index": [11, 3, 7], "name": ["7Networks_LH_Vis_1", "HIP-rh", "Other"]})


def image(labels=LABELS, affine=None):
    return nib.Nifti1Image(labels, np.eye(4) if affine is None else affine)


@pytest.fixture
def folder(tmp_path):
    nib.save(image(), tmp_path / "atlas-Mine_space-MNI152NLin2009cAsym_res-2_dseg.nii.gz")
    return tmp_path


def dseg(folder):
    return next(folder.glob("*_dseg.nii.gz"))


def test_rows_follow_the_ids_and_names_tell_network_and_side():
    regions = Atlas(image(), TABLE).regions
    assert regions["label_id"].tolist() == [3, 7, 11]
    assert regions["name"].tolist() == ["HIP-rh", "Other", "7Networks_LH_Vis_1"]
    assert regions["network"].tolist() == ["Subcortex", "unassigned", "Vis"]
    assert regions["hemisphere"].tolist() == ["R", "", "L"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("17Networks_RH_SomMotA_3", ("SomMotA", "R")),
        ("LH_Default_PFC_1", ("Default", "L")),
        ("aTHA-lh", ("Subcortex", "L")),
        ("HIP-head-m1-rh", ("Subcortex", "R")),
        ("Left-Thalamus-Proper", ("unassigned", "L")),
        ("Precentral_R", ("unassigned", "R")),
        ("Right Frontal Pole", ("unassigned", "R")),
        ("Brain-Stem", ("unassigned", "")),
        ("lat cerebellum 128", ("unassigned", "")),
    ],
)
def test_parse_name(name, expected):
    assert parse_name(name) == expected


def test_the_three_table_formats_agree(tmp_path):
    (tmp_path / "a.tsv").write_text("index\tname\n0\tbackground\n3\tx\n7\ty z\n11\tw\n")
    (tmp_path / "b.txt").write_text(
        "# LUT\n\n0 Unknown 0 0 0 0\n3 x 1 2 3 0\n7 y z 1 2 3 0\n11 w 1 2 3 0"
    )
    (tmp_path / "c.txt").write_text("x\n3 1 2 3 255\ny z\n7 1 2 3 255\nw\n11 1 2 3 255\n")
    tables = [read_table(tmp_path / name) for name in ("a.tsv", "b.txt", "c.txt")]
    assert tables[0]["name"].tolist() == ["x", "y z", "w"]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_columns_of_the_tsv_win_over_the_names_and_blanks_fall_back(tmp_path):
    (tmp_path / "a.tsv").write_text(
        "index\tname\tnetwork\themisphere\n1\tHIP-rh\tLimbic\tleft\n2\tAMY-rh\tn/a\t\n"
    )
    table = read_table(tmp_path / "a.tsv")
    assert table["network"].tolist() == ["Limbic", "Subcortex"]
    assert table["hemisphere"].tolist() == ["L", "R"]


@pytest.mark.parametrize(
    "table_name",
    ["atlas-Mine_space-MNI152NLin2009cAsym_res-2_dseg.tsv", "atlas-Mine_dseg.tsv"],
)
def test_table_beside_by_bids_names_with_sidecar_and_space(folder, table_name):
    TABLE.to_csv(folder / table_name, sep="\t", index=False)
    (folder / "atlas-Other_dseg.tsv").write_text("index\tname\n1\tno\n")
    notes = {"License": "CC0", "Citation": "Doe 2020", "Source": "here"}
    sidecar = folder / dseg(folder).name.replace(".nii.gz", ".json")
    sidecar.write_text(json.dumps(notes), encoding="utf-8-sig")  # as Windows' editors write it
    atlas = Atlas.from_files(dseg(folder))
    assert (atlas.name, atlas.space, len(atlas)) == ("Mine", "MNI152NLin2009cAsym", 3)
    assert (atlas.licence, atlas.citation, atlas.source) == ("CC0", "Doe 2020", "here")
    assert load_atlas(dseg(folder)).hash == atlas.hash
    assert load_atlas(str(dseg(folder)), space="native", name="n").space == "native"


def test_no_table_names_labels_by_id_and_says_so(folder):
    with pytest.warns(UserWarning, match="No region table beside .*named label_"):
        atlas = Atlas.from_files(dseg(folder))
    assert atlas.regions["name"].tolist() == ["label_3", "label_7", "label_11"]


@pytest.mark.parametrize("dseg", [None, LABELS])
def test_what_is_no_image_is_refused(dseg):
    with pytest.raises(ArgumentError, match="atlas must be a path or a nibabel image of voxels"):
        load_atlas(dseg)


def test_row_without_voxels_is_dropped_by_name():
    table = pd.concat([TABLE, pd.DataFrame({"index": [5], "name": ["Ghost"]})])
    with pytest.warns(UserWarning, match="1 regions of the table .* Ghost"):
        assert Atlas(image(), table).regions["label_id"].tolist() == [3, 7, 11]


@pytest.mark.parametrize(
    ("labels", "table", "words"),
    [
        (LABELS, TABLE[:2], "1 labels of atlas are not in its table: 7"),
        (LABELS, TABLE.assign(name="same"), "same name for several regions: 'same'.*Rename"),
        (LABELS, TABLE.assign(index=3), "same label_id"),
        (LABELS, TABLE.rename(columns={"name": "title"}), "needs 'index'"),
        (LABELS, TABLE.assign(index=["a", "3", "7"]), "whole numbers. Got 'a'"),
        (LABELS, TABLE.assign(name=["", "x", "y"]), r"no name for the labels \[11\]"),
        (LABELS, TABLE.assign(name=[None, "x", "y"]), r"no name for the labels \[11\]"),
        (LABELS + np.float32(0.25), TABLE, "not whole numbers.*nearest"),
        (LABELS - np.int16(1), TABLE, "not whole numbers from 0 up"),
        (np.where(LABELS == 0, np.nan, LABELS), TABLE, "not whole numbers"),
        (LABELS * np.int16(0), TABLE, "is empty"),
        (np.stack([LABELS] * 2, axis=3), TABLE, r"shape \(1, 2, 4, 2\); a label image is 3D"),
    ],
)
def test_what_does_not_fit_is_refused(labels, table, words):
    with pytest.raises(DataError, match=words):
        Atlas(image(labels), table)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64, ">i2"])
def test_whole_numbers_of_any_type_make_the_same_atlas(dtype):
    atlas = Atlas(image(LABELS.astype(dtype)), TABLE)
    assert atlas.hash == Atlas(image(), TABLE).hash
    assert np.asarray(atlas.labels.dataobj).dtype == np.int32


def test_hash_sees_labels_affine_and_table():
    other_labels, other_table = LABELS.copy(), TABLE.copy()
    other_labels[0, 0, 0] = 3
    other_table.loc[0, "name"] = "7Networks_LH_Vis_2"
    atlases = [
        Atlas(image(), TABLE),
        Atlas(image(other_labels), TABLE),
        Atlas(image(affine=np.diag([2.0, 1, 1, 1])), TABLE),
        Atlas(image(), other_table),
    ]
    assert len({atlas.hash for atlas in atlases}) == 4


def test_large_ids_survive_resampling():
    labels = np.zeros((4, 4, 4), dtype=np.int32)
    labels[1, 1, 1], labels[2, 2, 2] = 2_000_000_011, 16_777_217
    flipped = nib.Nifti1Image(np.zeros((4, 4, 4)), np.diag([-1.0, 1, 1, 1]))
    flipped.affine[0, 3] = 3
    out = np.asarray(resample_labels(image(labels), flipped).dataobj)
    np.testing.assert_array_equal(out, labels[::-1])


@pytest.mark.parametrize("content", [b"", b"no image", b"\x1f\x8b\x08\x00 cut"])
def test_damaged_label_image_is_named(tmp_path, content):
    path = tmp_path / "x_dseg.nii.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x_dseg\.nii\.gz"):
        load_atlas(path)


def test_missing_files_are_named(folder):
    with pytest.raises(DataError, match=r"no file nowhere\.nii"):
        load_atlas("nowhere.nii")
    with pytest.raises(DataError, match=r"Cannot read the region table .*nowhere\.tsv"):
        Atlas.from_files(dseg(folder), folder / "nowhere.tsv")
    (folder / "odd.txt").write_text("a\nb\nc\n")
    with pytest.raises(DataError, match=r"odd\.txt is no region table"):
        Atlas.from_files(dseg(folder), folder / "odd.txt")


def test_unknown_names_and_options_list_what_is_allowed():
    with pytest.raises(ArgumentError, match=r"'power264'.*'schaefer2018'.*Got 'power246'"):
        load_atlas("power246")
    with pytest.raises(ArgumentError, match=r"takes no options\. Got n_regions"):
        load_atlas("power264", n_regions=3)
    with pytest.raises(ArgumentError, match=r"'n_rois'.*Got 'parcels'"):
        load_atlas("schaefer2018", parcels=400)
    assert set(list_atlases().values()) == {"offline", "nilearn"}


def test_nilearn_atlases_come_with_their_table(monkeypatch):
    def fetch_atlas_schaefer_2018(n_rois=400, yeo_networks=7, resolution_mm=1, verbose=1):
        names = ["Background", "7Networks_LH_Vis_1", "twice", "twice"]
        lut = pd.DataFrame({"index": [0, 3, 7, 11], "name": names, "color": "#000000"})
        assert n_rois == 3
        return Bunch(maps=image(), lut=lut, template="MNI152NLin6Asym", atlas_type="deterministic")

    monkeypatch.setattr("nilearn.datasets.fetch_atlas_schaefer_2018", fetch_atlas_schaefer_2018)
    atlas = load_atlas("schaefer2018", n_regions=3)
    assert atlas.regions["name"].tolist() == ["7Networks_LH_Vis_1", "twice 7", "twice 11"]
    assert (atlas.name, atlas.space) == ("schaefer2018", "MNI152NLin6Asym")
    assert "bhx179" in atlas.citation
    assert load_atlas("schaefer2018", n_regions=3, space="other").space == "other"


def test_failed_download_tells_what_works_without_a_network(monkeypatch):
    def fetch_atlas_aal(verbose=1):
        raise ConnectionError("no route")

    monkeypatch.setattr("nilearn.datasets.fetch_atlas_aal", fetch_atlas_aal)
    with pytest.raises(DataError, match=r"Cannot download the atlas aal.*no route.*from_files"):
        load_atlas("aal")


@pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is unset: no Schaefer atlas"
)
def test_schaefer_with_tian_from_the_label_text():
    folder = Path(os.environ["NEUROSAL_TEST_DATA"]) / "atlases"
    stem = "Schaefer2018_200Parcels_7Networks_order_Tian_Subcortex_S1"
    atlas = load_atlas(
        folder / f"{stem}_MNI152NLin6Asym_2mm.nii.gz", table=folder / f"{stem}_label.txt"
    )
    regions = atlas.regions.set_index("name")
    assert (len(atlas), atlas.space) == (216, "MNI152NLin6Asym")
    assert regions["network"].value_counts()["Subcortex"] == 16
    assert regions["hemisphere"].value_counts().to_dict() == {"L": 108, "R": 108}
    assert regions.loc["7Networks_RH_Default_pCunPCC_1"].tolist() == [214, "Default", "R"]
    ids, affine = np.asarray(atlas.labels.dataobj), atlas.labels.affine
    for side, sign in (("L", -1), ("R", 1)):
        wanted = np.isin(ids, regions["label_id"][regions["hemisphere"] == side])
        x = nib.affines.apply_affine(affine, np.argwhere(wanted))[:, 0]
        assert (np.sign(x) != -sign).mean() > 0.99
