"""The result folder: the report, and the same numbers as files."""

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.metrics import confusion_matrix

from neurosal.errors import DataError
from neurosal.labelled import save_array, writing
from neurosal.projection.images import map_extension, save_map
from neurosal.reporting.html import write_report
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
    decoder: object, *, truth: xr.DataArray | None = None, title: str | None = None
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
    task = ", ".join(np.unique(windows["task"].to_numpy()))
    return Results(
        title=title or f"What the decoder looks at: {task}",
        data=_data(decoder, y, task),
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
    ending = map_extension(decoder.atlas_)
    names = map_names(results.data["task"], decoder.atlas_.name, list(results.maps), ending=ending)
    for condition, name in names.items():
        path = out_dir / name
        values = results.mean_importance.sel(condition=condition)
        reference = results.maps[condition]
        save_map(values, decoder.atlas_, path, reference=reference, provenance=results.provenance)
    if hasattr(decoder.classifier_, "save"):
        decoder.classifier_.save(out_dir / "classifier")
    return write_report(results, out_dir / "report.html")


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


def map_names(
    task: str, atlas: str, conditions: Sequence[str], *, ending: str = ".nii.gz"
) -> dict[str, str]:
    """Name the maps' files as BIDS derivatives are named.

    Parameters
    ----------
    task, atlas : str
        What goes into the names; characters that BIDS does not allow are left out.
    conditions : sequence of str
        The conditions; where two would get one name, the later ones are numbered.
    ending : str
        Of the files' names.

    Returns
    -------
    dict of str to str
        Condition to file name.

    Examples
    --------
    >>> map_names("MOTOR", "dosenbach160", ["left hand"])
    {'left hand': 'task-MOTOR_seg-dosenbach160_desc-lefthand_saliency.nii.gz'}
    """
    task, atlas, *labels = (
        re.sub(r"[^0-9A-Za-z]", "", part) for part in (task, atlas, *conditions)
    )
    names: dict[str, str] = {}
    for number, (condition, label) in enumerate(zip(conditions, labels, strict=True), start=1):
        name = f"task-{task}_seg-{atlas}_desc-{label}_saliency{ending}"
        if name in names.values():
            name = name.replace("_saliency", f"{number}_saliency")
        names[condition] = name
    return names


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
        "cv": decoder.cv,
    }


def _data(decoder: object, y: np.ndarray, task: str) -> dict:
    """What the report says of the data."""
    windows = decoder.windows_
    missing = np.isnan(windows).any(("sample", "time")).to_numpy()
    return {
        "task": task,
        "n_subjects": len(np.unique(windows["subject"])),
        "n_runs": decoder.n_runs_,
        "n_windows": len(y),
        "n_regions": windows.sizes["region"],
        "windows_per_condition": pd.Series(y).value_counts().sort_index().to_dict(),
        "dropped": windows.attrs.get("dropped", []),
        "warnings": decoder.notes_,
        "missing_regions": windows["region"].to_numpy()[missing].tolist(),
        "t_r": windows.attrs["t_r"],
        "window": windows.attrs["window"],
        "lag": windows.attrs["lag"],
        "atlas": decoder.atlas_.name,
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
        "atlas": {"name": atlas.name, "space": atlas.space, "hash": atlas.hash},
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _write_json(path: Path, content: dict) -> None:
    """Write a dictionary for people and programs to read."""
    with writing(path):
        path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def _write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a tab-separated table."""
    with writing(path):
        table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.8g")
