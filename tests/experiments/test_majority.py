"""The majority experiment from plan to table: rows, references, resuming, the quick version."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_cases import write_set

from neurosal.errors import ArgumentError, DataError
from neurosal.experiments import majority, majority_runs, runner
from neurosal.experiments.majority import plan_majority, reproduce_majority
from neurosal.experiments.majority_data import FOLDS
from neurosal.experiments.majority_reports import as_picture, majority_markdown, plot_cosines
from neurosal.experiments.majority_runs import (
    COLUMNS,
    MajorityRun,
    reference_rows,
    run_majority,
    sequences_of_test,
)
from neurosal.experiments.majority_setups import CELLS, METHODS, published_scores
from neurosal.experiments.tables import as_columns
from neurosal.models.networks import build_network
from neurosal.saliency.explain import explain

SIZES = {"max_epochs": 1, "n_train": 60, "n_test": 20}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with small sets of both kinds."""
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(("mnist", "fashion_mnist")):
        write_set(folder / name, seed=seed)
    return folder


@pytest.fixture
def plan(data):
    return [
        MajorityRun("mnist", "Shallow", ("SA", "DTD"), 0, data, **SIZES),
        MajorityRun("fashion_mnist", "R-LSTM-SD", ("GB",), 8, data, **SIZES),
    ]


def do(plan, out, **options):
    out.mkdir(exist_ok=True)
    return reproduce_majority(out=out, plan=plan, **options)


def test_a_row_for_each_method_and_references_in_each_set(plan, tmp_path, capsys):
    page = do(plan, tmp_path).read_text()
    table = pd.read_csv(tmp_path / "majority.csv")
    assert tuple(table.columns) == COLUMNS
    keys = table[["dataset", "cell", "method", "seed", "folds", "fold"]].fillna(-1)
    assert {*keys[keys["cell"] != "-"].itertuples(index=False, name=None)} == {
        ("mnist", "Shallow", "SA", 0, "images", 0),
        ("mnist", "Shallow", "DTD", 0, "images", 0),
        ("fashion_mnist", "R-LSTM-SD", "GB", 8, "images", 1),
    }
    oracle, random = (table[table["method"] == name]["cosine"] for name in ("oracle", "random"))
    np.testing.assert_allclose(oracle, [1, 1])
    np.testing.assert_allclose(random, [np.sqrt(2 / 3)] * 2, atol=0.002)
    shares = table[["relevance_0", "relevance_1", "relevance_2"]].sum(axis=1)
    assert (np.isclose(shares, 1) | (table["no_relevance"] > 0)).all()
    titles = ("## MNIST, folds of images", "## FashionMNIST, folds of images")
    assert all(word in page for word in (*titles, "[98.1]", "[0.478]"))
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"cosine_mnist.png", "maps_fashion_mnist_fake-last.png"} <= figures
    assert json.loads((tmp_path / "provenance.json").read_text())["experiment"] == "majority"
    assert not (tmp_path / "checkpoints").exists()
    assert "take up to about" in capsys.readouterr().err


def test_folds_of_sequences_have_rows_and_figures_of_their_own(data, tmp_path):
    plan = [
        MajorityRun("mnist", "Shallow", ("SA",), 0, data, **SIZES, folds=folds) for folds in FOLDS
    ]
    page = do(plan, tmp_path).read_text()
    table = pd.read_csv(tmp_path / "majority.csv")
    assert table.groupby("folds")["method"].apply(list).to_dict() == {
        folds: ["random", "oracle", "SA"] for folds in FOLDS
    }
    assert "## MNIST, folds of sequences" in page
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"cosine_mnist.png", "cosine_mnist_sequences.png"} <= figures
    assert {"maps_mnist_fake-last.png", "maps_mnist_fake-last_sequences.png"} <= figures
    inputs = [np.load(tmp_path / "maps" / f"{run.input_name}.npy") for run in plan]
    assert not np.array_equal(*inputs)


def test_other_experiments_have_no_folds_to_choose(tmp_path):
    with pytest.raises(ArgumentError, match=r"folds is for 'majority' only\. Got 'images'"):
        runner.reproduce("boxes", out=tmp_path, folds="images")
    with pytest.raises(ArgumentError, match="folds must be one of 'images', 'sequences'"):
        runner.reproduce("majority", out=tmp_path, folds="image")


def test_a_stopped_run_goes_on_where_it_was(data, tmp_path, monkeypatch):
    plan = [MajorityRun("mnist", cell, ("SA",), 0, data, **SIZES) for cell in ("Shallow", "Deep")]
    monkeypatch.setattr(majority, "estimate_seconds", len)
    do(plan, tmp_path / "whole")
    calls = []

    def stop_at_second(run, **options):
        calls.append(run.cell)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_majority(run, **options)

    monkeypatch.setattr(majority, "run_majority", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        do(plan, tmp_path / "parts")
    do(plan, tmp_path / "parts")
    assert calls == ["Shallow", "Deep", "Deep"]
    parts, whole = (pd.read_csv(tmp_path / n / "majority.csv") for n in ("parts", "whole"))
    pd.testing.assert_frame_equal(parts.drop(columns="seconds"), whole.drop(columns="seconds"))
    with pytest.raises(DataError, match=r"\(quick differ\)"):
        do(plan, tmp_path / "parts", quick=True)


def test_an_interrupted_training_is_no_result_and_goes_on_from_its_epoch(
    data, tmp_path, monkeypatch
):
    run = MajorityRun("mnist", "Shallow", ("SA",), 0, data, max_epochs=3, n_train=60, n_test=20)
    whole, _ = run_majority(run)
    step, calls = torch_step(), []

    def interrupt(self, *args, **options):
        calls.append(1)
        if len(calls) == 4:  # Two batches an epoch: amid the second epoch.
            raise KeyboardInterrupt
        return step(self, *args, **options)

    monkeypatch.setattr("torch.optim.AdamW.step", interrupt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(KeyboardInterrupt):
            run_majority(run, checkpoint=tmp_path)
    monkeypatch.undo()
    calls.clear()
    monkeypatch.setattr("torch.optim.AdamW.step", lambda *a, **o: (calls.append(1), step(*a, **o)))
    resumed, _ = run_majority(run, checkpoint=tmp_path)
    assert len(calls) == 4
    pd.testing.assert_frame_equal(
        resumed.drop(columns="seconds"), whole.drop(columns="seconds"), atol=1e-6
    )


def torch_step():
    """Fetch AdamW's step before it is replaced."""
    import torch

    return torch.optim.AdamW.step


def test_the_methods_are_the_thesis_s(data, monkeypatch):
    asked = []

    def spy(model, x, **arguments):
        asked.append(arguments)
        return explain(model, x, **arguments)

    monkeypatch.setattr(majority_runs, "explain", spy)
    run = MajorityRun("mnist", "Deep", tuple(METHODS), 0, data, **SIZES)
    table, maps = run_majority(run)
    assert [each["method"] for each in asked] == [
        *("squared_gradient", "guided_backprop", "deep_taylor", "lrp")
    ]
    test = sequences_of_test("mnist", data, 20)
    np.testing.assert_array_equal(asked[0]["y"], test.y)
    assert (maps["GB"] >= 0).all()
    assert (maps["DTD"] >= 0).all()
    assert maps["input"].shape == maps["LRP"].shape == (3, 12, 196)
    assert table["no_relevance"].tolist()[0] == 0
    assert table["learned"].tolist() == [False] * 4


def test_published_numbers_are_in_their_places():
    assert published_scores("mnist", "Shallow", "DTD") == {
        "published_accuracy": 0.981,
        "published_cosine": 0.478,
    }
    assert published_scores("fashion_mnist", "R-LSTM-SD", "LRP")["published_cosine"] == 0.953
    assert published_scores("fashion_mnist", "ConvR-LSTM-SD", "SA") == {"published_accuracy": 0.936}
    assert published_scores("mnist", "ConvR-LSTM", "DTD") == {"published_cosine": 0.921}
    assert published_scores("mnist", "ConvR-LSTM", "LRP") == {}


def test_the_full_plan_is_the_thesis_s():
    plan = plan_majority(seeds=7)
    assert {run.fold for run in plan} == set(range(7))
    assert {(run.dataset, run.cell) for run in plan if run.seed == 0} == {
        (dataset, cell) for dataset in ("mnist", "fashion_mnist") for cell in CELLS
    }
    assert {run.methods for run in plan} == {("SA", "GB", "DTD", "LRP")}
    assert {(run.max_epochs, run.n_train, run.n_test) for run in plan} == {(None, None, None)}
    assert {run.folds for run in plan} == {"images"}
    assert {run.folds for run in plan_majority(seeds=1, folds="sequences")} == {"sequences"}
    for cell in CELLS.values():
        training = cell.classifier(seed=0).training
        assert (training.learning_rate, training.batch_size) == (2e-4, 50)
        assert (training.max_epochs, training.weight_decay, training.input_noise) == (100, 0, 0)
        options = cell.classifier(seed=0).network_options
        network = build_network(cell.network, n_features=196, n_classes=10, **options)
        assert network.dropout.stationary is cell.stationary_dropout
        assert network.dropout.p == pytest.approx(0.2)


def test_what_did_not_learn_is_counted(data):
    rows = [
        {"dataset": "mnist", "cell": "Deep", "method": method, "seed": seed, "learned": seed == 0}
        | {"cosine": 0.5 + 0.1 * seed, "accuracy": 0.9, "published_cosine": 0.681, "epochs": 40}
        | {"folds": "images"}
        for seed in (0, 1)
        for method in ("SA", "DTD")
    ]
    table = pd.concat(
        [
            reference_rows(MajorityRun("mnist", "Deep", (), 0, data)),
            as_columns(rows, COLUMNS, flags=["learned"]),
        ]
    )
    lines = [line for line in majority_markdown(table).splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines[:4]] == [
        *("| cell", "| random", "| oracle", "| Deep")
    ]
    assert lines[3].startswith("| Deep | 1 of 2 | 40 | 90.0 ± 0.0 | 0.500 [0.681] | - |")
    assert len(plot_cosines(table).axes[0].collections) == 2


def test_steps_are_put_back_side_by_side(data):
    test = sequences_of_test("mnist", data, 3)
    picture = as_picture(test.x[1])
    assert picture.shape == (28, 84)
    np.testing.assert_array_equal(picture[:, 21:28].ravel(), test.x[1, 3])


@pytest.mark.slow
@pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is unset: no real images"
)
def test_quick_majority_has_the_order_of_the_thesis(tmp_path):
    folder = Path(os.environ["NEUROSAL_TEST_DATA"])
    page = runner.reproduce("majority", out=tmp_path, quick=True, data=folder)
    table = pd.read_csv(tmp_path / "majority.csv").set_index(["cell", "method"])
    trained = table.drop(index="-", level="cell")
    assert set(trained.index) == {(cell, method) for cell in CELLS for method in METHODS}
    assert trained["learned"].all()
    assert trained["accuracy"].min() > 0.83
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"cosine_mnist.png", "maps_mnist_fake-last.png"} <= figures
    assert "| 1 of 1 |" in page.read_text()
    cosine = table["cosine"]
    taylor = [cosine[cell, "DTD"] for cell in ("Shallow", "Deep", "R-LSTM")]
    assert taylor[0] < taylor[1] - 0.1 < taylor[1] < taylor[2] - 0.1
    assert cosine["R-LSTM-SD", "LRP"] > cosine["-", "random"] + 0.05
    assert cosine["Shallow", "DTD"] < cosine["-", "random"] - 0.2
    known = trained["published_cosine"].dropna()
    assert np.corrcoef(known, cosine[known.index])[0, 1] > 0.9
