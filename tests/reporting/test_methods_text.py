"""Does the methods section say what was done, and cite what it names?"""

import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from neurosal import InputCellClassifier
from neurosal.errors import ArgumentError
from neurosal.models.training import Training
from neurosal.reporting.methods_model import explanation_text
from neurosal.reporting.methods_text import methods_section
from neurosal.reporting.outputs import _network
from neurosal.reporting.parameters import parameter_groups
from neurosal.reporting.references import REFERENCES, as_read, cited
from neurosal.reporting.results import Results
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
