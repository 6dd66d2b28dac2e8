import dataclasses

import numpy as np
import pytest
import xarray as xr
from sklearn.base import clone

import neurosal
from neurosal import SaliencyDecoder
from neurosal.errors import ArgumentError, DataError
from neurosal.models import InputCellClassifier, Training, screening_mask

HANDS = {"left": ["lh"], "right": ["rh"]}


@pytest.fixture(scope="module")
def runs(study):
    return neurosal.find_hcp_runs(study, task="MOTOR")


def quick():
    """A classifier that learns enough in no time."""
    return InputCellClassifier(16, hops=2, training=Training(max_epochs=15))


@pytest.fixture(scope="module")
def fitted(runs):
    decoder = SaliencyDecoder(conditions=HANDS, window=12.0, cv="subject", classifier=quick())
    return decoder.fit(runs[:6])


def test_maps_are_those_of_the_classifier_that_did_not_see_the_window(fitted):
    train, test = fitted.folds_[1]
    windows, y = fitted.windows_, fitted.windows_["condition"].to_numpy()
    assert not set(windows["subject"].to_numpy()[train]) & set(windows["subject"].to_numpy()[test])
    mask = screening_mask(windows[train], y[train], percentile=20)
    classifier = quick().fit(windows[train] * mask, y[train])
    held_out = windows[test] * mask
    np.testing.assert_array_equal(fitted.cv_predictions_[test], classifier.predict(held_out))
    expected = neurosal.explain(classifier, held_out, method="integrated_gradients")
    np.testing.assert_allclose(fitted.saliency_[test], expected, atol=1e-6)
    assert (fitted.saliency_[test].to_numpy()[:, ~mask] == 0).all()
    assert 0.19 < mask.mean() < 0.21


def test_means_and_images_hold_the_windows_maps(fitted):
    left = fitted.saliency_[fitted.saliency_["condition"].to_numpy() == "left"].mean("sample")
    np.testing.assert_allclose(fitted.mean_saliency_.sel(condition="left"), left, rtol=1e-6)
    image = fitted.saliency_img_["left"]
    assert image.shape == (31, 37, 31, 17)
    back = neurosal.from_nifti(image, fitted.atlas_)
    xr.testing.assert_equal(
        back.drop_vars(list(back.coords)), left.astype("float32").drop_vars(list(left.coords))
    )


def test_new_subjects_are_decoded(fitted, runs):
    assert fitted.score(runs[6:]) > 0.7
    assert set(fitted.predict(runs[6:])) <= {"left", "right"}


def test_it_clones_and_keeps_its_parameters(fitted):
    twin = clone(fitted)
    assert not hasattr(twin, "saliency_")
    assert twin.get_params()["window"] == 12.0
    assert twin.set_params(lag=4.0).lag == 4.0


def test_a_region_outside_the_field_of_view_stays_in_its_place_as_nan(runs, tmp_path):
    import nibabel as nib

    cut = []
    for number, run in enumerate(runs[:4]):
        image = nib.load(run.img)
        path = tmp_path / f"{number}.nii.gz"
        nib.save(image.slicer[:, :, 8:], path)
        cut.append(neurosal.Run(path, run.events, run.t_r, run.subject, run.task, run.run))
    decoder = SaliencyDecoder(conditions=HANDS, window=12.0, cv="subject", classifier=quick())
    with pytest.warns(UserWarning, match="left out of decoding"):
        decoder.fit(cut)
    lost = np.isnan(decoder.mean_saliency_).all(("condition", "time"))
    names = decoder.atlas_.regions["name"].to_numpy()
    np.testing.assert_array_equal(decoder.mean_saliency_["region"], names)
    assert 0 < int(lost.sum()) < 80
    assert all("cerebellum" in name for name in names[lost.to_numpy()][:3])
    assert any("left out" in note for note in decoder.notes_)
    with pytest.raises(DataError, match="outside the field of view"):
        SaliencyDecoder(conditions=HANDS, window=12.0, cv="subject", classifier=quick()).fit(
            runs[:4]
        ).predict(cut)


def test_what_cannot_be_decoded_says_why(runs):
    with pytest.raises(ArgumentError, match="runs is empty"):
        SaliencyDecoder().fit([])
    with pytest.raises(DataError, match="No window of 500 s fits"):
        SaliencyDecoder(window=500.0).fit(runs[:1])
    with pytest.raises(ArgumentError, match=r"window must be .* greater than 0\. Got 0"):
        SaliencyDecoder(window=0).fit(runs[:1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "lpr"}, "method must be one of"),
        ({"cv": "runs"}, "cv must be one of"),
        ({"cv": 3, "n_folds": 3}, "exclude each other"),
        ({"screening_percentile": 0}, "screening percentile must be above 0"),
    ],
)
def test_settings_are_refused_before_a_run_is_read(runs, settings, words):
    lacking = dataclasses.replace(runs[0], img="lacking.nii.gz")
    with pytest.raises(ArgumentError, match=words):
        SaliencyDecoder(conditions=HANDS, window=12.0, **settings).fit([lacking])
