"""What the decoder takes: runs, images, arrays; atlases and maskers."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from decoder_cases import (
    AFFINE,
    as_images,
    as_volumes,
    labelled,
    labels_masker,
    labels_of,
    planted,
    quick_decoder,
)
from joblib import dump, load
from nilearn.maskers import NiftiLabelsMasker, NiftiSpheresMasker, SurfaceLabelsMasker
from nilearn.surface import InMemoryMesh, PolyMesh, SurfaceImage
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GroupKFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    ShuffleSplit,
    cross_val_score,
)

import neurosal
from neurosal.errors import ArgumentError, DataError

X, Y, GROUPS = planted()
HANDS = {"left": ["lh"], "right": ["rh"]}


def peak(values):
    """Where a (time, region) map is largest."""
    return np.unravel_index(np.nanargmax(np.abs(values)), values.shape)


@pytest.fixture(scope="module")
def on_arrays():
    return quick_decoder().fit(X, Y, GROUPS)


@pytest.fixture(scope="module")
def on_windows():
    """Fitted on images of several frames."""
    return quick_decoder(labels_masker()).fit(as_images(X), Y, GROUPS)


@pytest.fixture(scope="module")
def runs(study):
    return neurosal.find_hcp_runs(study, task="MOTOR")


def test_arrays_are_decoded_without_an_atlas(on_arrays):
    assert on_arrays.cv_scores_.mean() > 0.85
    assert peak(on_arrays.mean_saliency_.sel(condition="task").to_numpy()) == (3, 2)
    assert (on_arrays.n_features_in_, len(on_arrays.folds_), on_arrays.n_runs_) == (6, 4, 4)
    for train, test in on_arrays.folds_:
        assert not set(GROUPS[train]) & set(GROUPS[test])
    assert on_arrays.saliency_img_ == {}
    assert not hasattr(on_arrays, "feature_names_in_")
    fresh, labels, _ = planted(seed=1)
    assert on_arrays.score(fresh, labels) > 0.85
    probability = on_arrays.predict_proba(fresh)
    predicted = on_arrays.classes_[probability.argmax(axis=1)]
    np.testing.assert_array_equal(on_arrays.predict(fresh), predicted)


def test_labelled_arrays_give_the_same_and_keep_their_labels(on_arrays):
    decoder = quick_decoder().fit(labelled(X, Y, GROUPS))
    np.testing.assert_array_equal(decoder.saliency_, on_arrays.saliency_)
    np.testing.assert_array_equal(decoder.cv_predictions_, on_arrays.cv_predictions_)
    assert decoder.feature_names_in_.tolist() == [f"R{k}" for k in range(6)]
    assert decoder.mean_saliency_["time"].to_numpy().tolist() == [5, 7, 9, 11, 13]
    fresh = labelled(*planted(seed=1))
    turned = fresh[:, :, ::-1].transpose("region", "sample", "time")
    np.testing.assert_array_equal(decoder.predict(turned), decoder.predict(fresh))
    with pytest.raises(ArgumentError, match=r"lacks region\(s\) that were there when fitted: R4"):
        decoder.predict(fresh.drop_sel(region="R4"))


def test_runs_and_their_windows_give_the_same(runs):
    options = {"conditions": HANDS, "window": 12.0, "cv": "subject"}
    whole = quick_decoder(**options).fit(runs[:4])
    assert whole.atlas_.name == "dosenbach160"
    assert whole.n_runs_ == 4
    again = quick_decoder(whole.atlas_, **options).fit(whole.windows_)
    xr.testing.assert_identical(again.saliency_, whole.saliency_)
    data = [img.get_fdata() for img in (again.saliency_img_["left"], whole.saliency_img_["left"])]
    assert data[0].shape[:3] == whole.atlas_.labels.shape  # arrays know no grid but the atlas's
    assert set(np.unique(data[1])) <= set(np.unique(data[0]))
    one = quick_decoder(cv="block", conditions=HANDS, window=12.0, n_folds=2)
    assert one.windows(runs[0]).identical(one.windows(runs[:1]))
    maps = whole.explain(runs[4:6])
    assert maps.sizes["region"] == 160
    np.testing.assert_array_equal(maps, again.explain(whole.windows(runs[4:6])))
    np.testing.assert_array_equal(maps["target"], maps["condition"])


def test_a_masker_extracts_and_paints_as_the_atlas_of_its_labels_does(runs):
    atlas = neurosal.load_atlas("dosenbach160")
    labels = atlas.resample_to(nib.load(runs[0].img))
    names = dict(zip(atlas.regions["label_id"], atlas.regions["name"], strict=True))
    here = [label for label in np.unique(np.asarray(labels.dataobj)) if label]
    lut = pd.DataFrame({"index": [0, *here], "name": ["Background", *map(names.get, here)]})
    masker = NiftiLabelsMasker(labels, lut=lut, standardize=None)
    table = lut[1:].rename(columns={"index": "label_id"})
    options = {"conditions": HANDS, "window": 12.0, "cv": "subject"}
    ours, theirs = (
        quick_decoder(one, **options).fit(runs[:4])
        for one in (neurosal.Atlas(labels, table), masker)
    )
    np.testing.assert_allclose(theirs.windows_, ours.windows_, atol=1e-4)
    np.testing.assert_array_equal(theirs.cv_predictions_, ours.cv_predictions_)
    for name in ("left", "right"):
        images = [one.saliency_img_[name] for one in (theirs, ours)]
        np.testing.assert_allclose(*(one.get_fdata() for one in images), atol=1e-4)
        np.testing.assert_array_equal(images[0].affine, images[1].affine)
        assert images[0].header["pixdim"][4] == images[1].header["pixdim"][4]


def test_images_of_several_frames_are_windows(on_windows):
    level, spread = X.mean((0, 1)), X.std((0, 1))
    np.testing.assert_allclose(on_windows.windows_, (X - level) / spread, atol=1e-4)
    np.testing.assert_allclose(on_windows.scales_["mean"], 1000 + 20 * level, rtol=1e-6)
    np.testing.assert_allclose(on_windows.windows(as_images(X)), 1000 + 20 * X, rtol=1e-6)
    assert on_windows.windows_["time"].to_numpy().tolist() == [0, 2, 4, 6, 8]
    assert on_windows.cv_scores_.mean() > 0.85
    img = on_windows.saliency_img_["task"]
    assert img.shape == (6, 4, 3, 5)
    place = np.unravel_index(np.abs(img.get_fdata()).argmax(), img.shape)
    assert (place[0], place[3]) == (2, 3)
    fresh, labels, _ = planted(seed=1)
    images = as_images(fresh)
    assert on_windows.score(images, labels) > 0.85
    expected = on_windows.predict((fresh - level) / spread)
    np.testing.assert_array_equal(on_windows.predict(images), expected)
    assert on_windows.predict(images[5:6]) == expected[5]


def test_volumes_are_windows_of_one_frame_as_in_nilearn(tmp_path):
    rows, y, groups = planted(steps=1, place=(0, 2))
    volumes = as_volumes(rows[:, 0])
    decoder = quick_decoder(labels_masker()).fit(volumes, y, groups)
    assert decoder.windows_.shape == (48, 1, 6)
    img = decoder.saliency_img_["task"]
    assert img.shape == (6, 4, 3)
    assert np.unravel_index(np.abs(img.get_fdata()).argmax(), img.shape)[0] == 2
    joined = nib.concat_images(volumes)
    paths = [tmp_path / f"{number}.nii.gz" for number in range(len(volumes))]
    for path, one in zip(paths, volumes, strict=True):
        nib.save(one, path)
    own = neurosal.Atlas(labels_of(), pd.DataFrame({"index": range(1, 7), "name": list("abcdef")}))
    for given, atlas in ((joined, labels_masker()), (paths, labels_masker()), (paths, own)):
        again = quick_decoder(atlas).fit(given, y, groups)
        np.testing.assert_array_equal(again.cv_predictions_, decoder.cv_predictions_)
        np.testing.assert_array_equal(again.predict(joined), decoder.predict(volumes))
        np.testing.assert_array_equal(again.saliency_img_["task"].get_fdata(), img.get_fdata())
    assert decoder.predict(volumes[0]).shape == (1,)


def test_surfaces_are_decoded_through_a_masker():
    points = np.random.default_rng(1).normal(size=(12, 3))
    part = InMemoryMesh(points, np.array([[0, 1, 2]]))
    mesh = PolyMesh(left=part, right=part)
    where = np.repeat([1, 2, 3], 4)
    labels = SurfaceImage(mesh, {"left": where, "right": where + 3})
    images = []
    for window in X:
        by_vertex = window.T.astype(np.float32)
        images.append(
            SurfaceImage(mesh, {"left": by_vertex[where - 1], "right": by_vertex[where + 2]})
        )
    masker = SurfaceLabelsMasker(labels, standardize=None)
    decoder = quick_decoder(masker).fit(images, Y, GROUPS)
    np.testing.assert_allclose(decoder.windows(images), X, rtol=1e-5)
    img = decoder.saliency_img_["task"]
    values = np.abs(img.data.parts["left"])
    assert np.unravel_index(values.argmax(), values.shape) == (8, 3)
    assert values.max() > np.abs(img.data.parts["right"]).max()
    assert decoder.space_ == ""


def test_spheres_are_painted_on_the_grid_of_the_images():
    centres = [(-9 + 3 * k, -4, -3) for k in range(6)]
    masker = NiftiSpheresMasker(centres, radius=1, standardize=None)
    decoder = quick_decoder(masker).fit(as_images(X), Y, GROUPS)
    img = decoder.saliency_img_["task"]
    np.testing.assert_array_equal(img.affine, AFFINE)
    assert np.unravel_index(np.abs(img.get_fdata()).argmax(), img.shape) == (2, 1, 1, 3)


@pytest.mark.parametrize("kind", ["arrays", "images", "runs"])
def test_a_fitted_decoder_can_be_kept(kind, on_arrays, on_windows, runs, tmp_path):
    fresh = planted(seed=1)[0]
    decoder, new = {"arrays": (on_arrays, fresh), "images": (on_windows, as_images(fresh))}.get(
        kind, (None, runs[4:6])
    )
    if decoder is None:
        decoder = quick_decoder(conditions=HANDS, window=12.0, cv="subject").fit(runs[:4])
    dump(decoder, tmp_path / "decoder.joblib")
    again = load(tmp_path / "decoder.joblib")
    np.testing.assert_array_equal(again.predict(new), decoder.predict(new))
    xr.testing.assert_identical(again.explain(new), decoder.explain(new))
    xr.testing.assert_identical(again.saliency_, decoder.saliency_)
    for name, img in decoder.saliency_img_.items():
        np.testing.assert_array_equal(again.saliency_img_[name].get_fdata(), img.get_fdata())


@pytest.mark.parametrize("form", ["array", "labelled"])
def test_cross_validation_of_scikit_learn_keeps_groups_apart_inside_and_out(form):
    seen = []

    class Watched(type(quick_decoder())):
        def fit(self, X, y=None, groups=None):
            super().fit(X, y, groups)
            seen.append(self.windows_["run"].to_numpy())
            for train, test in self.folds_:
                assert not set(seen[-1][train]) & set(seen[-1][test])
            return self

    decoder = Watched(**quick_decoder().get_params(deep=False))
    given, params = (X, {"groups": GROUPS}) if form == "array" else (labelled(X, Y, GROUPS), None)
    scores = cross_val_score(decoder, given, Y, groups=GROUPS, cv=GroupKFold(2), params=params)
    assert scores.mean() > 0.75
    assert [sorted(set(one)) for one in seen] in (
        [["0", "2"], ["1", "3"]],
        [["1", "3"], ["0", "2"]],
    )


def test_any_splitter_that_holds_out_every_window_once_will_do(on_arrays):
    again = quick_decoder(cv=LeaveOneGroupOut()).fit(X, Y, GROUPS)
    np.testing.assert_array_equal(again.saliency_, on_arrays.saliency_)
    single = quick_decoder(cv=3).fit(X, Y)
    assert [len(test) for _, test in single.folds_] == [16, 16, 16]
    by_subject = quick_decoder(cv="subject").fit(X, Y, GROUPS)
    assert by_subject.windows_["subject"].to_numpy().tolist() == GROUPS.astype(str).tolist()


@pytest.mark.parametrize(
    ("cv", "words"),
    [
        (ShuffleSplit(4, random_state=0), "cv must hold out every window once"),
        (LeavePGroupsOut(5), "cannot split the windows: The groups parameter"),
        (40, "Fewer windows than the 40 folds"),
        ("block", "cv='block' needs the onset of every window"),
        ("week", "cv must be one of 'subject', 'run', 'block'"),
    ],
)
def test_other_splitters_say_why_not(cv, words):
    with pytest.raises(ArgumentError, match=words):
        quick_decoder(cv=cv).fit(X, Y, GROUPS)
    with pytest.raises(ArgumentError, match="n_folds=3 and cv=3 exclude each other"):
        quick_decoder(cv=3, n_folds=3).fit(X, Y)


def test_a_fit_that_fails_leaves_nothing_to_predict_with():
    decoder = quick_decoder(cv=2).fit(X, Y)
    with pytest.raises(ArgumentError, match="one class only"):
        decoder.fit(X, np.full(48, "rest"))
    with pytest.raises(NotFittedError):
        decoder.predict(X)


def test_regions_that_a_run_does_not_cover_may_be_missing_in_labelled_arrays():
    windows = labelled(X, Y, GROUPS)
    windows[GROUPS == 1, :, 5] = np.nan
    with pytest.warns(UserWarning, match="left out of decoding"):
        decoder = quick_decoder().fit(windows)
    assert np.isnan(decoder.saliency_[..., 5]).all()
    assert np.isfinite(decoder.saliency_[..., :5]).all()
    with pytest.raises(ArgumentError, match="A region may only be NaN throughout a sample"):
        quick_decoder().fit(windows.where(windows["time"] > 6))


@pytest.mark.parametrize(
    ("given", "atlas", "words"),
    [
        ((X, Y), None, "cv='run' needs groups: the run of each window"),
        ((X,), None, "requires y to be passed, but the target y is None"),
        ((X, Y[:-1], GROUPS), None, "inconsistent numbers of samples"),
        ((X, Y, GROUPS[:-1]), None, "inconsistent numbers of samples"),
        ((X, np.full(48, "rest"), GROUPS), None, "There is one class only, 'rest'"),
        ((X, np.linspace(0, 1, 48), GROUPS), None, "Unknown label type"),
        ((X[..., None], Y, GROUPS), None, "sample, region"),
        ((X, Y, GROUPS), "power264", "X has 6 regions, the atlas power264 264"),
        ((labelled(X, Y, GROUPS),), "power264", "unknown to power264: R0, R1"),
        ((as_images(X), Y), labels_masker(), "cv='run' needs groups"),
        ((as_images(X[:1]) + as_images(X[:1, :2]),), labels_masker(), "2, 5 frames: .* give runs"),
        ((nib.Nifti1Image(np.zeros((3, 3, 0)), AFFINE), Y), None, "is empty"),
        ((["nowhere.nii.gz"], Y[:1]), None, "There is no file"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_does_not_fit_says_why(given, atlas, words):
    with pytest.raises((ArgumentError, DataError), match=words):
        quick_decoder(atlas).fit(*given)


def test_new_data_must_be_like_the_old(on_arrays, on_windows, runs):
    with pytest.raises(ArgumentError, match="X has 5 features, but SaliencyDecoder is expecting 6"):
        on_arrays.predict(X[..., 1:])
    with pytest.raises(ArgumentError, match="have 4 frames, but 5 were there when fitted"):
        on_arrays.predict(X[:, 1:])
    with pytest.raises(ArgumentError, match="requires y to be passed"):
        on_arrays.score(X)
    with pytest.raises(ArgumentError, match="y and groups are for images and arrays"):
        quick_decoder().fit(runs[:2], y=[0, 1])
    part = InMemoryMesh(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    data = {side: np.zeros((3, 5)) for side in ("left", "right")}
    surface = SurfaceImage(PolyMesh(left=part, right=part), data)
    with pytest.raises(DataError, match="NiftiLabelsMasker cannot take it"):
        on_windows.predict([surface])
