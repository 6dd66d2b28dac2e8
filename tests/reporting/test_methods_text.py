"""Does the methods section say what was done, and cite what it names?"""

import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from neurosal import InputCellClassifier, explain
from neurosal.errors import ArgumentError
from neurosal.models.samples import DIMENSIONS
from neurosal.models.training import Training
from neurosal.reporting.methods_model import explanation_text
from neurosal.reporting.methods_text import methods_section
from neurosal.reporting.outputs import _network
from neurosal.reporting.parameters import parameter_groups
from neurosal.reporting.references import REFERENCES, as_read, cited
from neurosal.reporting.results import Results
from neurosal.reporting.significance_text import statistics_words
from neurosal.saliency.methods import METHODS


@pytest.fixture(scope="module")
def whole(results):
    """A study of which everything is known."""
    cleaned = {
        "high_pass": 0.01,
        "detrend": True,
        "standardize": "zscore_sample",
        "confounds": ["trans_x", "trans_y"],
        "scrubbed": 3,
    }
    explained = {
        "method": "integrated_gradients",
        "target": "true",
        "output": "logit",
        "baseline": "zero",
        "n_steps": 50,
    }
    network = InputCellClassifier(
        bidirectional=True, read="both-ends", training=Training(time_mask=(0.2, 0.5))
    )
    provenance = {
        "versions": {"neurosal": "0.1.0", "nilearn": "0.14.1", "torch": "2.13.0"},
        "parameters": {
            "screening_percentile": 20.0,
            "confounds": "compcor",
            "extraction": {"scrub_mm": 0.5},
        },
        "network": _network(network),
    }
    importance = results.importance.assign_attrs(cleaned=cleaned, **explained)
    data = results.data | {"space": "MNI152NLin6Asym", "n_regions": 24, "source": "a BIDS study"}
    metrics = results.metrics | {"cv": "subject", "accuracy_p": 0.001}
    return replace(
        results, importance=importance, provenance=provenance, data=data, metrics=metrics
    )


def test_text_names_what_was_used(whole):
    text = methods_section(whole).plain
    for words in (
        "task MOTOR of 4 subjects (8 runs, repetition time 0.72 s, read from a BIDS study)",
        "within the 24 regions of the atlas spheres (Dosenbach et al., 2010)",
        "1 region that some run does not cover was left out",
        "linearly detrended, high-pass filtered at 0.01 Hz, cleaned of the strategy 'compcor'",
        "(trans_x, trans_y) by regression (Ciric et al., 2017)",
        "moved by more than 0.5 mm were not used (Power et al., 2014)",
        "Windows of 4.32 s that begin 5 s after an event's onset",
        "3 windows were dropped (runs past the end: 3)",
        "the 20 % of the cells",
        "64 long short-term memory units (Hochreiter & Schmidhuber, 1997)",
        "in both directions of time, with input-cell attention (Ismail et al., 2019) of 10 hops",
        "for 40 epochs in batches of 32 windows",
        "a random stretch of 20 to 50 % of each window hidden",
        "rose to 0.01 and fell in one cycle (Smith & Topin, 2019)",
        "3 folds that hold out whole subjects together",
        "labels permuted within runs",
        "integrated gradients (Sundararajan et al., 2017) of the logit of the true condition, with "
        "the baseline zero, in 50 steps.",
        "of 9 subjects tested against zero, two-sided, by 256 flips, all there are,",
        "family-wise over all cells (time, region) of a condition by the largest absolute t",
        "the level is 0.05",
        "neurosal 0.1.0, which uses nilearn 0.14.1 (Abraham et al., 2014)",
    ):
        assert words in text
    assert "[@" not in text
    assert ".." not in text.split("References")[0]
    assert "  " not in text


def test_every_citation_has_its_reference_and_no_other(whole):
    section = methods_section(whole)
    body = " ".join(text for _, text in section.paragraphs)
    shorts = {
        part for mark in re.findall(r"\(([^()]*, \d{4}[^()]*)\)", body) for part in mark.split("; ")
    }
    assert shorts == {work.short for work in section.references}
    assert [w.full for w in section.references] == sorted(
        (w.full for w in section.references), key=str.casefold
    )


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"correction": "fdr", "tail": "greater"}, "one-sided"),
        (
            {"correction": "fdr"},
            "false discovery rate over all cells (time, region) of a condition",
        ),
        ({"correction": "cluster", "threshold": "tfce"}, "enhancement (Smith & Nichols, 2009)"),
        ({"correction": "cluster"}, "neighbours in atlas and time (Maris & Oostenveld, 2007)"),
        ({"correction": "max-t", "family": "all"}, "all cells (time, region) of all conditions"),
        ({"center": "map"}, "centred first"),
    ],
)
def test_statistics_follow_the_test_that_was_made(results, attrs, words):
    tests = {name: one.copy() for name, one in results.statistics.items()}
    for one in tests.values():
        one.attrs = attrs
    assert words in methods_section(Results("", statistics=tests)).plain


def with_tests(results, **others):
    """The results with tests of these attributes, one after the other."""
    one = next(iter(results.statistics.values()))
    tests = {name: one.assign_attrs(one.attrs | attrs) for name, attrs in others.items()}
    return replace(results, statistics=tests)


def test_false_discovery_rate_rests_on_t_and_not_on_flips(results):
    found = with_tests(results, rh={"correction": "fdr", "smallest_p": 0.0, "n_flips": 77})
    text = methods_section(found).plain
    assert "against zero, two-sided, by Student's t." in text
    assert "flips" not in text
    assert "n flips" not in dict(dict(parameter_groups(found))["Statistics over subjects"])


def test_tests_of_different_settings_are_told_apart(results):
    other = {"correction": "fdr", "tail": "greater", "alpha": 0.01}
    found = with_tests(results, **{"condition 0": {}, "condition 1": {}, "1 - 0": other})
    text = methods_section(found).plain
    assert "The maps of condition 0, condition 1 were averaged" in text
    assert "The maps of 1 - 0 were averaged" in text
    assert "1 - 0: first minus second, within subjects." in text
    assert "the level is 0.05" in text
    assert "the level is 0.01" in text
    groups = dict(parameter_groups(found))
    assert ("alpha", "0.05") in groups["Statistics over subjects: condition 0, condition 1"]
    assert ("alpha", "0.01") in groups["Statistics over subjects: 1 - 0"]
    said = " ".join(statistics_words(found))
    assert said.index("at 0.05: family-wise") < said.index("1 - 0:") < said.index("at 0.01: false")


def test_cleaning_is_told_where_runs_were_not_cleaned_quite_alike(whole):
    cleaned = {"high_pass": 0.01, "detrend": True, "standardize": "zscore_sample", "scrubbed": 7}
    changed = replace(whole, importance=whole.importance.assign_attrs(cleaned=cleaned))
    text = methods_section(changed).plain
    assert "of the strategy 'compcor' (regressors that differ between runs) by regression" in text
    assert (
        "the strategy"
        not in methods_section(
            replace(changed, provenance=whole.provenance | {"parameters": {"confounds": None}})
        ).plain
    )


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"label": "task", "measured_from": "rest"}, "rest, whose mean was subtracted."),
        ({"label": "task"}, "rest, whose mean was subtracted, if it has 10 s of them."),
    ],
)
def test_windows_labelled_by_task_are_measured_from_rest(whole, attrs, words):
    changed = replace(whole, importance=whole.importance.assign_attrs(attrs))
    assert (
        f"Each run was then measured from its frames at {words}" in methods_section(changed).plain
    )
    assert "frames at rest" not in methods_section(whole).plain


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ("published", "for up to 200 epochs in batches of 50 windows"),
        ("published", "a stop once 100 % of the training windows were named right"),
        (Training(class_weight="balanced"), "conditions weighted by one over their frequency"),
        (Training(class_weight={"rh": 2.0, "lh": 1.0}), "conditions weighted: rh 2, lh 1"),
        (Training(clip_norm=0.5), "gradients clipped to a norm of 0.5"),
    ],
)
def test_training_is_told_whether_it_is_a_preset_or_not(training, words):
    network = _network(InputCellClassifier(training=training))
    results = Results("", provenance={"network": network})
    assert words in methods_section(results).plain
    assert "training batch size" in dict(dict(parameter_groups(results))["Decoder"])


def explained(method, **arguments):
    """What is said of the maps of a method, and the rows of its settings."""
    network = InputCellClassifier(2, hops=1, training=Training(max_epochs=1))
    x = xr.DataArray(np.random.default_rng(0).normal(size=(4, 3, 2)), dims=DIMENSIONS)
    maps = explain(network.fit(x, [0, 1, 0, 1]), x, y=[0, 1, 0, 1], method=method, **arguments)
    results = Results("", importance=maps)
    return explanation_text(results), dict(dict(parameter_groups(results))["Explanation"])


def test_explanation_names_what_the_method_has_and_no_more():
    text, rows = explained("lrp")
    assert "baseline" not in text
    assert "of the logit of the true condition" in text
    assert rows["rule"] == "epsilon"
    text, rows = explained("attention")
    assert "logit" not in text
    text, rows = explained("expected_gradients", n_samples=3)
    assert "with the baseline zero, in 3 random points." in text
    text, rows = explained("occlusion", window=(2, 1))
    assert "with the baseline zero." in text
    assert rows["window"] == "[2, 1]"
    text, rows = explained("smoothgrad", n_samples=3)
    assert "of the true condition, in 3 noisy samples." in text
    assert rows["noise level"] == "0.15"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_named_with_a_citation(method):
    told = explanation_text(Results("", provenance={"parameters": {"method": method}}))
    assert cited(told)
    assert "_" not in as_read(told)


def test_nothing_is_said_of_what_is_not_known():
    assert methods_section(Results("Empty")).paragraphs == []
    assert methods_section(Results("Empty")).plain == ""
    assert parameter_groups(Results("Empty")) == []
    few = Results("", metrics={"accuracy": 0.5})
    assert methods_section(few).paragraphs == []


def test_references_have_a_year_and_a_link():
    for work in REFERENCES.values():
        assert re.fullmatch(r".+, \d{4}", work.short)
        year = work.short[-4:]
        assert f"({year})" in work.full
        assert work.full.split(",")[0].split(" ")[0] == work.short.split(",")[0].split(" ")[0]
        assert work.full.endswith(".")
        assert re.fullmatch(r"10\.\d{4,9}/\S+", work.doi) or work.short in (
            "Chormai, 2018",
            "Pedregosa et al., 2011",
        )
    with pytest.raises(ArgumentError, match=r"unknown work\. Got 'nobody1900'"):
        cited("As is known [@nobody1900].")


def test_parameters_are_grouped_by_step_and_none_is_lost(whole):
    groups = dict(parameter_groups(whole))
    assert list(groups) == [
        "Data", "Regions", "Cleaning of the series", "Windows", "Decoder", "Cross-validation",
        "Explanation", "Statistics over subjects",
    ]  # fmt: skip
    assert ("high pass", "0.01") in groups["Cleaning of the series"]
    assert ("training learning rate", "0.01") in groups["Decoder"]
    assert ("hops", "10") in groups["Decoder"]
    assert ("frames scrubbed above (mm)", "0.5") in groups["Cleaning of the series"]
    assert ("n flips", "256") in groups["Statistics over subjects"]
    assert ("window length (s)", "4.32") in groups["Windows"]
    assert ("repetition time (s)", "0.72") in groups["Data"]


def test_statistics_of_all_conditions_at_once_are_taken_apart(results):
    joined = xr.concat(list(results.statistics.values()), "condition")
    names = list(results.statistics)
    again = Results("", statistics=joined.assign_coords(condition=names))
    assert list(again.statistics) == names
    for name in names:
        np.testing.assert_array_equal(again.statistics[name]["t"], results.statistics[name]["t"])
