"""The decoder keeps the conventions of scikit-learn's and nilearn's estimators."""

import inspect
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from decoder_cases import as_images, labels_masker, planted, quick_decoder
from nilearn.maskers import NiftiLabelsMasker
from sklearn.base import clone
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    estimator_checks_generator,
)

from neurosal import SaliencyDecoder
from neurosal.models import InputCellClassifier, Training

X, Y, GROUPS = planted()

#: Checks of scikit-learn that train nothing, or little; the others are slow.
FAST = {
    "check_complex_data",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_dont_overwrite_parameters",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_sparse_array",
    "check_estimator_tags_renamed",
    "check_estimators_empty_data_messages",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_estimators_unfitted",
    "check_fit1d",
    "check_fit2d_1sample",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_n_features_in_after_fitting",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_requires_y_none",
    "check_set_params",
    "check_supervised_y_no_nan",
    "check_valid_tag_types",
}


def by_folds(atlas=None):
    """A decoder for windows that are independent: the checks know no groups."""
    return quick_decoder(atlas, cv=2, screening_percentile=100)


def of_scikit_learn():
    """Every check of scikit-learn; none is left out."""
    for decoder, check in estimator_checks_generator(by_folds()):
        name = check.func.__name__
        yield pytest.param(decoder, check, id=name, marks=[] if name in FAST else pytest.mark.slow)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("decoder", "check"), of_scikit_learn())
def test_scikit_learn(decoder, check):
    check(decoder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_columns_of_tables_are_remembered():
    check_dataframe_column_names_consistency("SaliencyDecoder", by_folds())


#: Checks of nilearn that do not apply, and why.
OTHERWISE = {
    "check_doc_attributes": "wants nilearn's wording of verbose; see test_all_is_documented",
    "check_tags": "wants the tags of scikit-learn below 1.6",
    "check_doc_link": "wants an address of nilearn's site",
    "check_img_estimator_dict_unchanged": "calls generate_report() without a folder to write to; "
    "see test_asking_changes_nothing",
    "check_img_estimator_fit_score_takes_y": "wants y to be required; runs have their labels",
    "check_img_estimator_n_elements": "wants n_elements_; here it is n_features_in_",
    "check_img_estimator_verbose": "wants progress on standard output; here it is on error",
    "check_verbosity_embedded_masker": "wants messages of three levels on standard output",
    "check_decoder_compatibility_mask_image": "sets the parameter mask; see "
    "test_new_data_must_be_like_the_old",
    "check_decoder_with_surface_data": "sets the parameter mask; see "
    "test_surfaces_are_decoded_through_a_masker",
    "check_decoder_with_arrays": "wants masker_, which is atlas_.masker; see "
    "test_images_of_several_frames_are_windows",
    "check_decoder_estimator_args": "sets the parameter estimator_args; here it is classifier",
}


def of_nilearn(config):
    """Give nilearn's checks of decoders by name; their labels are the voxels of its images."""
    for marker in (
        "ai_generated",
        "engines",
        "flaky",
        "mpl_image_compare",
        "single_process",
        "thread_unsafe",
    ):
        config.addinivalue_line("markers", f"{marker}: of nilearn's own tests")
    checks = pytest.importorskip("nilearn._utils.estimator_checks")
    cube = nib.Nifti1Image(np.arange(1, 126, dtype=np.int32).reshape(5, 5, 5), np.eye(4))
    decoder = by_folds(NiftiLabelsMasker(cube, standardize=None))
    return {check.__name__: (one, check) for one, check in checks.nilearn_check_generator(decoder)}


@pytest.mark.filterwarnings("ignore")
def test_nilearn(request):
    found = of_nilearn(request.config)
    assert set(OTHERWISE) < set(found)
    for name, (decoder, check) in found.items():
        if name not in OTHERWISE:
            check(decoder)
    assert len(found) - len(OTHERWISE) >= 15


def test_all_is_documented():
    text = SaliencyDecoder.__doc__
    sections = re.split(r"\n    (\w[\w ]+)\n    -+\n", text)
    listed = {
        section: re.findall(r"^    (\w+) : ", sections[sections.index(section) + 1], re.M)
        for section in ("Parameters", "Attributes")
    }
    parameters = list(inspect.signature(SaliencyDecoder).parameters)
    assert listed["Parameters"] == parameters
    assert len(parameters) <= 16
    decoder = quick_decoder().fit(X, Y, GROUPS)
    decoder.trust_card(["accuracy"])
    decoder.accuracy_test(n_permutations=20)
    kept = {name for name in vars(decoder) if name.endswith("_")}
    assert kept <= set(listed["Attributes"])
    assert set(listed["Attributes"]) - kept == {
        "comparison_",
        "feature_names_in_",
        "statistics_",
    }


def test_asking_changes_nothing(tmp_path):
    decoder = quick_decoder().fit(X, Y, GROUPS)
    before = dict(vars(decoder))
    given = X.copy()
    given.flags.writeable = False
    decoder.predict(given), decoder.predict_proba(given), decoder.score(given, Y)
    decoder.explain(given), decoder.windows(given), decoder.generate_report(tmp_path / "report")
    assert vars(decoder).keys() == before.keys()
    assert all(vars(decoder)[name] is value for name, value in before.items())


def test_it_clones_with_a_masker_and_forgets_what_it_found():
    decoder = quick_decoder(labels_masker(), cv="subject")
    decoder.set_params(atlas__strategy="median", classifier__hidden_size=4)
    twin = clone(decoder)
    assert twin.atlas is not decoder.atlas
    assert twin.get_params()["atlas__strategy"] == "median"
    assert twin.classifier.hidden_size == 4
    fitted = quick_decoder(cv="subject").fit(X, Y, GROUPS)
    fitted.accuracy_test(n_permutations=20)
    fitted.group_test(n_permutations=20, correction="none")
    with pytest.warns(UserWarning, match="nothing can be significant"):
        found = fitted.group_test(("task", "rest"), n_permutations=20)
    assert list(fitted.statistics_) == ["conditions", "task - rest"]
    assert found.sizes == {"time": 5, "region": 6}
    assert not hasattr(clone(fitted), "statistics_")
    again = fitted.fit(X, Y, GROUPS)
    assert not hasattr(again, "statistics_")
    assert not hasattr(again, "accuracy_test_")


@pytest.mark.filterwarnings("ignore")
def test_conditions_that_are_numbers_are_tested_by_their_name(tmp_path):
    numbers = (Y == "task").astype(int)
    decoder = quick_decoder(cv="subject").fit(X, numbers, GROUPS)
    for contrast in (0, (1, 0), None):
        decoder.group_test(contrast, n_permutations=20)
    assert list(decoder.statistics_) == ["0", "1 - 0", "conditions"]
    decoder.generate_report(tmp_path)
    assert (tmp_path / "statistics_0.tsv").exists()


def test_the_report_is_handed_every_answer(tmp_path):
    from neurosal.reporting.outputs import collect_results

    decoder = quick_decoder(cv="subject").fit(X, Y, GROUPS)
    card = decoder.trust_card(["accuracy", "signal size"])
    assert decoder.trust_ is card
    expected = decoder.group_test(n_permutations=20, correction="none")
    tested = decoder.accuracy_test(n_permutations=50)
    methods = decoder.compare_methods(methods=["gradient", "occlusion"], n_windows=4)
    results = collect_results(decoder, source="simulated arrays")
    assert results.comparison is methods
    assert results.attention is None  # of a network without
    assert results.data["source"] == "simulated arrays"
    assert [check.name for check in results.trust] == ["accuracy", "signal size"]
    assert results.metrics["accuracy_p"] == float(tested["p"]) < 0.05
    xr.testing.assert_identical(results.statistics["task"], expected.sel(condition="task"))
    report = decoder.generate_report(tmp_path)
    page = report.read_text(encoding="utf-8")
    assert all(check.finding.split(",")[0][:20] in page for check in card)
    assert not list(tmp_path.glob("*saliency*"))


def test_conditions_in_another_script_keep_their_tests(tmp_path):
    hands = np.where(
        Y == "task", "\u043b\u0435\u0432\u0430\u044f", "\u043f\u0440\u0430\u0432\u0430\u044f"
    )
    decoder = quick_decoder(cv="subject").fit(X, hands, GROUPS)
    with pytest.warns(UserWarning, match="With 4 subjects"):
        expected = decoder.group_test()
    page = decoder.generate_report(tmp_path).read_text(encoding="utf-8")
    for number, name in enumerate(decoder.classes_.tolist(), start=1):
        table = pd.read_csv(tmp_path / f"statistics_{number}.tsv", sep="\t")
        found = expected.sel(condition=name)["t"].values.ravel()
        np.testing.assert_allclose(table["t"], found, rtol=1e-6)
        assert f"test over subjects of {name}" in page


def test_arrays_are_told_as_they_came(tmp_path):
    from neurosal.reporting.methods_text import methods_section
    from neurosal.reporting.outputs import collect_results

    decoder = quick_decoder().fit(X, Y, GROUPS)
    page = decoder.generate_report(tmp_path).read_text(encoding="utf-8")
    assert "Time is counted in steps of the window." in page
    assert "Peak (step)" in page
    assert "Signals were averaged" not in page
    assert "atlas none" not in page
    results = collect_results(quick_decoder(labels_masker()).fit(as_images(X), Y, GROUPS))
    assert "standard deviation 1 over all windows." in methods_section(results).plain
    assert "(s)" not in page.split("<body>")[1]


def test_attention_and_methods_are_in_the_report(tmp_path):
    network = InputCellClassifier(8, hops=2, training=Training(max_epochs=2))
    decoder = quick_decoder(classifier=network, cv="subject").fit(X, Y, GROUPS)
    decoder.compare_methods(methods=["gradient", "occlusion"], n_windows=4)
    page = decoder.generate_report(tmp_path, source="simulated arrays").read_text(encoding="utf-8")
    assert "read from simulated arrays" in page
    assert page.index("Attention, and other methods") < page.index("mean over 48 windows")
    assert "the maps of 4 windows" in page
    listed = set(re.findall(r"<code>(\S+)</code></th>", page))
    assert listed == {path.name for path in tmp_path.iterdir()} - {"report.html"}
