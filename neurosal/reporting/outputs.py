"""The result folder: the report, and the same numbers as files."""

import json
import os
import platform
import re
import shlex
import sys
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.metrics import confusion_matrix

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import save_array, writing
from neurosal.notes import noting
from neurosal.parcellation.coverage import covered
from neurosal.reporting.html import write_report
from neurosal.reporting.map_files import own_names, write_maps, write_significant
from neurosal.reporting.results import Results
from neurosal.validation.localization import truth_recovery

PACKAGES = [
    "neurosal",
    "torch",
    "skorch",
    "scikit-learn",
    "nilearn",
    "nibabel",
    "xarray",
    "numpy",
]


#: What every folder of results holds.
_FILES = {
    "importance.tsv": "mean importance, a row for each condition, time and region",
    "importance.nc": "importance of every window (sample, time, region)",
    "windows.nc": "the labelled windows (sample, time, region)",
    "screening.nc": "the cells (time, region) that the classifier of all windows is given",
    "metrics.json": "accuracy, baseline, verdicts of the checks, and other numbers of this page",
    "provenance.json": "parameters, seed, versions, command",
    "figures": "the figures of this page as PNG",
}


def prepare_folder(path: str | Path) -> Path:
    """Make an output folder and make sure that it can be written to, before any work is done.

    Parameters
    ----------
    path : str or pathlib.Path
        The folder; made with its parents if it is not there.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    DataError
        If it cannot be made or written to.

    Examples
    --------
    >>> prepare_folder("/dev/null/results")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: Cannot write to the output folder /dev/null/results: ...
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(
            f"Cannot write to the output folder {path}: {error.strerror or error}. "
            "Choose a folder where you may write."
        ) from error
    return path


def collect_results(
    decoder: object,
    *,
    truth: xr.DataArray | None = None,
    title: str | None = None,
    source: str = "",
) -> Results:
    """Gather what a fitted decoder found into one record for figures, files and the report.

    Parameters
    ----------
    decoder : SaliencyDecoder
        Fitted.
    truth : xarray.DataArray of bool, optional
        (condition, time, region): the true cells, where they are known.
    title : str, optional
        The report's title.
    source : str
        Where the data come from; the text of methods says "read from ...".

    Returns
    -------
    Results
        The record.
    """
    windows = decoder.windows_
    classes = decoder.classes_.astype(str)
    y = windows["condition"].to_numpy()
    confusion = confusion_matrix(y, decoder.cv_predictions_, labels=decoder.classes_)
    metrics = _metrics(decoder, y)
    if truth is not None:
        truth = truth.sel(condition=classes, region=windows["region"].to_numpy())
        metrics |= truth_recovery(decoder.mean_saliency_, truth, seed=decoder.random_state)
    tested = getattr(decoder, "accuracy_test_", None)
    if tested is not None:
        metrics["accuracy_p"] = float(tested["p"])
    trust = getattr(decoder, "trust_", None)
    if trust is not None:
        metrics["trust"] = trust.metrics()
    task = ", ".join(np.unique(windows["task"].to_numpy()))
    return Results(
        title=title or f"What the decoder looks at: {task or ', '.join(classes)}",
        data=_data(decoder, y, task) | ({"source": source} if source else {}),
        metrics=metrics,
        confusion=xr.DataArray(
            confusion,
            dims=("true", "predicted"),
            coords={"true": classes, "predicted": classes},
        ),
        importance=decoder.saliency_,
        mean_importance=decoder.mean_saliency_,
        maps=decoder.saliency_img_,
        truth=truth,
        provenance=_provenance(decoder),
        atlas=decoder.atlas_,
        statistics=getattr(decoder, "statistics_", {}),
        trust=list(trust or ()),
        comparison=getattr(decoder, "comparison_", None),
        attention=_attention(decoder),
    )


def write_outputs(results: Results, out_dir: str | Path, *, decoder: object) -> Path:
    """Write the report and the same numbers as files.

    Parameters
    ----------
    results : Results
        What :func:`collect_results` gathered.
    out_dir : str or pathlib.Path
        The folder.
    decoder : SaliencyDecoder
        Its atlas, windows and classifier are saved too.

    Returns
    -------
    pathlib.Path
        ``report.html``.
    """
    out_dir = prepare_folder(out_dir)
    _write_json(out_dir / "metrics.json", results.metrics)
    _write_json(out_dir / "provenance.json", results.provenance)
    _write_table(out_dir / "importance.tsv", importance_table(results.mean_importance))
    save_array(results.importance, out_dir / "importance.nc")
    save_array(decoder.windows_, out_dir / "windows.nc")
    save_array(decoder.screening_.astype("int8"), out_dir / "screening.nc")
    files = dict(_FILES)
    with noting(told=results.data.get("warnings", ())):
        files |= write_maps(results, out_dir)
        tables = own_names([name or "contrast" for name in results.statistics], _table_name)
        for name, tested in results.statistics.items():
            told = name or "contrast"
            files |= _write_statistics(tested, out_dir / tables[told], told)
            files |= write_significant(results, name, out_dir)
    if hasattr(decoder.classifier_, "save"):
        decoder.classifier_.save(out_dir / "classifier")
        files["classifier"] = "the trained classifier"
    return write_report(replace(results, files=files), out_dir / "report.html")


def _table_name(name: str) -> str:
    """Name the table of a test."""
    return f"statistics_{re.sub(r'[^0-9A-Za-z]', '', name)}.tsv"


def _write_statistics(tested: xr.Dataset, path: Path, name: str) -> dict[str, str]:
    """Write what a test over subjects found, one row a cell."""
    kept = ("network", "mean", "t", "dz", "p_uncorrected", "p", "significant")
    table = tested.to_dataframe().reset_index()
    columns = ["region", "time", *(column for column in kept if column in table)]
    _write_table(path, table[columns].round({"time": 4}))
    return {path.name: f"test over subjects of {name}, a row a cell (time, region)"}


def importance_table(mean_importance: xr.DataArray) -> pd.DataFrame:
    """Lay mean importance out as a tidy table.

    Parameters
    ----------
    mean_importance : xarray.DataArray
        (condition, time, region).

    Returns
    -------
    pandas.DataFrame
        Columns ``condition``, ``region``, ``network``, ``time`` (s from event onset) and
        ``importance``; one row a cell.

    Examples
    --------
    >>> array = xr.DataArray([[[0.5]]], dims=("condition", "time", "region"), coords={
    ...     "condition": ["rh"], "time": [5.0], "region": ["M1"], "network": ("region", ["SMN"])})
    >>> importance_table(array).to_dict("records")
    [{'condition': 'rh', 'region': 'M1', 'network': 'SMN', 'time': 5.0, 'importance': 0.5}]
    """
    table = mean_importance.rename("importance").to_dataframe().reset_index()
    return table[["condition", "region", "network", "time", "importance"]].round({"time": 4})


def _attention(decoder: object) -> xr.DataArray | None:
    """Attention of the network of all windows, where it has input-cell attention."""
    from neurosal.saliency.hop_weights import hop_weights

    windows = covered(decoder.windows_)
    try:
        return hop_weights(decoder.classifier_, decoder.decoder_.screen(windows))
    except ArgumentError:
        return None


def _metrics(decoder: object, y: np.ndarray) -> dict:
    """The numbers of ``metrics.json``."""
    baseline = decoder.baseline_predictions_
    return {
        "accuracy": float(np.mean(decoder.cv_predictions_ == y)),
        "accuracy_per_fold": decoder.cv_scores_.tolist(),
        "chance": float(pd.Series(y).value_counts(normalize=True).max()),
        "baseline_accuracy": float(np.mean(baseline == y)),
        "baseline": "logistic regression on the flattened windows",
        "baseline_per_fold": decoder.baseline_scores_.tolist(),
        "n_windows": len(y),
        "n_folds": len(decoder.folds_),
        "n_classes": len(decoder.classes_),
        "cv": decoder.cv if isinstance(decoder.cv, str) else str(decoder.cv),
    }


def _data(decoder: object, y: np.ndarray, task: str) -> dict:
    """What the report says of the data."""
    windows = decoder.windows_
    missing = np.isnan(windows).any(("sample", "time")).to_numpy()
    return {
        "task": task,
        "n_subjects": len(np.unique(windows["subject"]))
        if (windows["subject"] != "").any()
        else None,
        "n_runs": decoder.n_runs_,
        "n_windows": len(y),
        "n_regions": windows.sizes["region"],
        "windows_per_condition": pd.Series(y).value_counts().sort_index().to_dict(),
        "dropped": windows.attrs.get("dropped", []),
        "warnings": decoder.notes_,
        "missing_regions": windows["region"].to_numpy()[missing].tolist(),
        **{key: windows.attrs[key] for key in ("t_r", "window", "lag") if key in windows.attrs},
        "atlas": getattr(decoder.atlas_, "name", ""),
        "scaled": decoder.scales_ is not None,
        "space": decoder.space_,
    }


def _provenance(decoder: object) -> dict:
    """What is needed to make the same results again."""
    parameters = {
        name: str(value) if hasattr(value, "get_params") else value
        for name, value in decoder.get_params(deep=False).items()
        if name != "atlas"
    }
    atlas = decoder.atlas_
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "seed": decoder.random_state,
        "parameters": parameters | {"classifier": str(decoder.classifier_)},
        "network": _network(decoder.classifier_),
        "atlas": {name: getattr(atlas, name, None) for name in ("name", "space", "hash")},
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _network(classifier: object) -> dict:
    """The parameters of the classifier that was fitted, with those of its training."""
    from neurosal.models.training import PresetTuning, resolve_training

    known = classifier.get_params(deep=True) if hasattr(classifier, "get_params") else {}
    if isinstance(classifier, PresetTuning) and isinstance(classifier.training, str):
        preset = resolve_training(classifier.training).get_params()
        known |= {f"training__{name}": value for name, value in preset.items()}
    plain = {k: str(v) if hasattr(v, "get_params") else v for k, v in known.items()}
    return {"class": type(classifier).__name__, **plain}


def _write_json(path: Path, content: dict) -> None:
    """Write a dictionary for people and programs to read."""
    with writing(path):
        text = json.dumps(_finite(content), indent=2, default=str)
        path.write_text(text + "\n", encoding="utf-8")


def _finite(content: object) -> object:
    """Put null where a number is NaN or infinite, which JSON does not know."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content


def _write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a tab-separated table."""
    with writing(path):
        table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.8g")
