"""Tables and figures of the box experiments, in the style of the paper."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neurosal.errors import ArgumentError
from neurosal.experiments.box_runs import COLUMNS, SHARES
from neurosal.experiments.boxes import DATASETS
from neurosal.experiments.setups import EVIDENCE, LEARNED
from neurosal.experiments.tables import markdown_table, mean_and_spread, read_rows
from neurosal.reporting.style import colour_of, line_of, new_figure, styled

#: What the comparing figure shows of each data set, in this order.
COMPARED = {
    ("lstm", "-", "published", "gradient"): "LSTM, as published:\ngradient",
    ("input-cell-lstm", "mean", "published", "gradient"): "input-cell, as published:\ngradient",
    ("input-cell-bi-rnn", "mean", "localizing", "smoothgrad"): "localising:\nSmoothGrad",
    (
        "input-cell-bi-rnn",
        "mean",
        "localizing",
        EVIDENCE,
    ): "localising:\nSmoothGrad x input",
}
GROUPS = ["network", "readout", "training", "method"]
INTRODUCTION = f"""# Box experiments

A map of importance against the box that it should find: one map a test sample, scores averaged
over samples, then mean ± standard deviation over seeds. `random` are maps of uniform random
numbers, `oracle` is the box itself: a map that scores no better than `random` found nothing.
Numbers in brackets are the published ones. A network with less than {LEARNED:.0%} test accuracy has
not learned: it is counted in `learned`, and left out of the means. `slope` is that of log
importance against the distance from the end, a step: below 0, importance vanishes backwards in
time. `share` is the percentage of importance in each tenth of time.
"""
OVERVIEW = """
## At a glance

Means over the data sets, of the networks that learned, with the worst data set's mean in
parentheses; what random maps score on the same sets and seeds stands beside. A slope well below 0
and most importance in the last tenth: importance that vanishes backwards in time. A map that does
not vanish has still found nothing unless it beats `random`.

"""


def box_markdown(table: pd.DataFrame) -> str:
    """Lay the box experiments out as Markdown, a table for each data set.

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`~neurosal.experiments.box_runs.run_boxes` and ``reference_rows`` give it.

    Returns
    -------
    str
        Markdown; random maps come first in every table, the oracle second.

    Examples
    --------
    >>> from neurosal.experiments.box_runs import reference_rows
    >>> text = box_markdown(reference_rows("earlier", seed=0, n_test=4))
    >>> "## earlier" in text, "random" in text
    (True, True)
    """
    text = [INTRODUCTION, OVERVIEW, markdown_table(overview(table))]
    for dataset in table["dataset"].unique():
        part = table[table["dataset"] == dataset]
        rows = [
            _summary(dict(zip(GROUPS, names, strict=True)), group)
            for names, group in part.groupby(GROUPS, sort=False)
        ]
        rows.sort(key=lambda row: {"random": 0, "oracle": 1}.get(row["method"], 2))
        text.append(f"\n## {dataset}\n\n{markdown_table(rows)}")
    notes = table.dropna(subset=["note"])[["network", "method", "note"]].drop_duplicates()
    if len(notes):
        text.append("\n## Methods that a network cannot take\n\n")
        text.append(markdown_table(notes.to_dict("records")))
    return "".join(text)


@styled
def plot_box_maps(
    maps: Mapping[str, np.ndarray], dataset: str, *, title: str | None = None
) -> Figure:
    """Draw the mean map of each network, the box outlined.

    Parameters
    ----------
    maps : mapping of str to numpy.ndarray
        Network to its (time, feature) map. Each has colours of its own, from nothing to its
        largest value.
    dataset : str
        A key of :data:`~neurosal.experiments.boxes.DATASETS`.
    title : str, optional
        Over the panels.

    Returns
    -------
    matplotlib.figure.Figure
        A panel a network.

    Raises
    ------
    ArgumentError
        If there is no map.

    Examples
    --------
    >>> figure = plot_box_maps({"lstm": np.ones((100, 100))}, "earlier")
    >>> figure.axes[0].get_title(loc="left")
    'lstm'
    """
    if not maps:
        raise ArgumentError("maps must hold at least one map. Got none.")
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    figure = new_figure(max(3.6, 1.8 * columns), 1.9 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for panel, (name, values) in zip(panels, maps.items(), strict=False):
        _draw_map(panel, values, dataset)
        panel.set_title(name)
    for panel in panels[len(maps) :]:
        panel.set_visible(False)
    figure.supxlabel("time step", fontsize=8)
    figure.supylabel("feature", fontsize=8)
    figure.suptitle(title or dataset, x=0.01, ha="left", fontsize=9)
    return figure


@styled
def plot_comparison(maps: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw the chosen networks' mean maps, a row of panels a data set, the boxes outlined.

    Parameters
    ----------
    maps : mapping of str to mapping of str to numpy.ndarray
        Data set to title to (time, feature) map; what a data set lacks stays empty. Each panel
        has colours of its own, from nothing to its largest value.

    Returns
    -------
    matplotlib.figure.Figure
        Time from left to right, features from bottom to top.

    Examples
    --------
    >>> figure = plot_comparison({"earlier": {"lstm": np.ones((100, 100))}})
    >>> figure.axes[0].get_ylabel()
    'earlier'
    """
    titles = list(dict.fromkeys(title for own in maps.values() for title in own))
    figure = new_figure(0.6 + 1.55 * len(titles), 0.5 + 1.4 * len(maps))
    panels = figure.subplots(len(maps), len(titles), squeeze=False, sharex=True, sharey=True)
    for row, (dataset, own) in zip(panels, maps.items(), strict=True):
        row[0].set_ylabel(dataset)
        for panel, title in zip(row, titles, strict=True):
            if title in own:
                _draw_map(panel, own[title], dataset)
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title, fontsize=8)
    figure.supxlabel("time step", fontsize=8)
    return figure


@styled
def plot_time_shares(table: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Draw the share of importance by tenth of time, a line for each network.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of one data set and method; the mean over seeds is drawn, networks that did not
        learn are left out.
    title : str, optional
        Over the panel.

    Returns
    -------
    matplotlib.figure.Figure
        Random maps are the level line at a tenth.

    Examples
    --------
    >>> from neurosal.experiments.box_runs import reference_rows
    >>> figure = plot_time_shares(reference_rows("earlier", seed=0, n_test=4))
    >>> len(figure.axes[0].lines)
    2
    """
    figure = new_figure(4.8, 3.0)
    panel = figure.subplots()
    known = table[_counted(table)]
    labels = known.apply(_label, axis=1) if len(known) else pd.Series(dtype=str)
    colours, lines = colour_of(labels), line_of(labels)
    for label in labels.unique():
        shares = known.loc[labels == label, list(SHARES)].mean()
        panel.plot(np.arange(5, 100, 10), 100 * shares, lines[label], color=colours[label])
        panel.lines[-1].set_label(label)
    panel.set(xlabel="time (% of the steps)", ylabel="share of importance (%)")
    panel.set(xlim=(0, 100), ylim=(0, None))
    panel.set_title(title or "")
    panel.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def save_maps(folder: Path, name: str, maps: Mapping[str, np.ndarray]) -> None:
    """Keep the mean maps of a run, each in a file of its own.

    Parameters
    ----------
    folder : pathlib.Path
        Made if need be.
    name : str
        The run's.
    maps : mapping of str to numpy.ndarray
        Method to (time, feature).

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_maps(Path(folder), "run", {"gradient": np.ones((2, 2))})
    ...     [path.name for path in Path(folder).iterdir()]
    ['run_gradient.npy']
    """
    folder.mkdir(exist_ok=True)
    for method, values in maps.items():
        np.save(folder / f"{name}_{method}.npy", values)


def write_box_page(out: Path) -> Path:
    """Write the Markdown table of what is finished.

    Parameters
    ----------
    out : pathlib.Path
        Folder with ``boxes.csv``.

    Returns
    -------
    pathlib.Path
        ``boxes.md``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_box_page(Path(folder)).name
    'boxes.md'
    """
    path = out / "boxes.md"
    path.write_text(box_markdown(read_rows(out / "boxes.csv", COLUMNS)), encoding="utf-8")
    return path


def write_box_results(out: Path) -> Path:
    """Write the Markdown table and the figures of what is finished.

    Parameters
    ----------
    out : pathlib.Path
        Folder with ``boxes.csv`` and ``maps``.

    Returns
    -------
    pathlib.Path
        ``boxes.md``.

    Raises
    ------
    DataError
        If ``boxes.csv`` is there but no table of results.

    Examples
    --------
    >>> import tempfile
    >>> from neurosal.experiments.box_runs import reference_rows
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = reference_rows("earlier", seed=0, n_test=2)
    ...     rows.to_csv(Path(folder) / "boxes.csv", index=False)
    ...     write_box_results(Path(folder)).name
    'boxes.md'
    """
    path, table = write_box_page(out), read_rows(out / "boxes.csv", COLUMNS)
    trained = table[table["network"] != "-"]
    for (dataset, training, method), rows in trained.groupby(["dataset", "training", "method"]):
        name = f"{dataset}_{training}_{method}"
        maps = _mean_maps(out / "maps", rows)
        if not maps:
            continue
        title = f"{dataset}, {training} training, {method}"
        folder = out / "figures"
        folder.mkdir(exist_ok=True)
        plot_box_maps(maps, dataset, title=title).savefig(folder / f"maps_{name}.png")
        known = table[(table["dataset"] == dataset) & (table["network"] == "-")]
        plot_time_shares(pd.concat([known, rows]), title=title).savefig(
            folder / f"shares_{name}.png"
        )
    compared = _compared_maps(out / "maps", trained)
    if compared:
        plot_comparison(compared).savefig(out / "figures" / "comparison.png")
    return path


def _summary(names: dict, group: pd.DataFrame) -> dict:
    """Write one row of a table from the runs of all seeds."""
    kept = group[_counted(group)]
    is_network = names["network"] != "-"
    shares = kept[list(SHARES)].mean()
    row = {
        **names,
        "learned": f"{len(kept)} of {len(group)}" if is_network else "-",
        "accuracy %": mean_and_spread(100 * group["accuracy"], digits=1),
        "weighted Jaccard": mean_and_spread(kept["weighted_jaccard"])
        + _published(group["published_weighted_jaccard"]),
        "Euclidean": mean_and_spread(kept["euclidean"]) + _published(group["published_euclidean"]),
        "top Jaccard": mean_and_spread(kept["jaccard_top"]),
        "ROC AUC": mean_and_spread(kept["roc_auc"]),
        "AUPR": mean_and_spread(kept["aupr"]),
        "slope": mean_and_spread(kept["slope"]),
        "share %": " ".join(f"{100 * s:.0f}" for s in shares) if len(kept) else "-",
    }
    row["accuracy %"] += _published(100 * group["published_accuracy"], digits=1)
    return row


def overview(table: pd.DataFrame) -> list[dict]:
    """Sum each network, training and method up over all data sets.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of ``boxes.csv``.

    Returns
    -------
    list of dict
        Means over the sets' means, the worst set in parentheses; networks that did not learn are
        counted and left out.

    Examples
    --------
    >>> columns = ["dataset", "seed", "learned", "slope", "share_9", "aupr", "weighted_jaccard"]
    >>> overview(pd.DataFrame(columns=[*GROUPS, *columns]))
    []
    """
    random = table[table["method"] == "random"].set_index(["dataset", "seed"])
    rows = []
    for names, group in table[table["network"] != "-"].groupby(GROUPS, sort=False):
        kept = group[_counted(group)]
        row = dict(zip(GROUPS, names, strict=True))
        row["learned"] = f"{len(kept)} of {len(group)}"
        beside = random.reindex(pd.MultiIndex.from_frame(kept[["dataset", "seed"]]))
        for title, column in (("AUPR", "aupr"), ("weighted Jaccard", "weighted_jaccard")):
            sets = kept.groupby("dataset")[column].mean()
            row[title] = f"{sets.mean():.3f} ({sets.min():.3f})" if len(kept) else "-"
            row[f"random {title}"] = f"{beside[column].mean():.3f}" if len(kept) else "-"
        row["slope"] = f"{kept['slope'].mean():.3f}" if len(kept) else "-"
        row["last tenth %"] = f"{100 * kept['share_9'].mean():.0f}" if len(kept) else "-"
        rows.append(row)
    return rows


def _counted(table: pd.DataFrame) -> pd.Series:
    """Mark rows that count: networks that learned, and maps that need no network."""
    learned = table["learned"].astype("boolean").fillna(False).astype(bool)
    return learned | (table["network"] == "-")


def _published(values: pd.Series, *, digits: int = 3) -> str:
    """Write the published number behind ours, if there is one."""
    known = values.dropna()
    return f" [{known.iloc[0]:.{digits}f}]" if len(known) else ""


def _label(row: pd.Series) -> str:
    """Name a row's network for a legend."""
    if row["network"] == "-":
        return row["method"]
    return row["network"] + ("" if row["readout"] == "-" else f", {row['readout']}")


def _draw_map(panel: Axes, values: np.ndarray, dataset: str) -> None:
    """Draw one map, time from left to right, and the outlines of its boxes."""
    panel.imshow(values.T, origin="lower", cmap="viridis", vmin=0, aspect="auto")
    for mask in DATASETS[dataset].masks():
        panel.contour(mask.T, levels=[0.5], colors="white", linewidths=0.7)


def _mean_maps(folder: Path, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Average each network's kept maps over seeds, those that did not learn named so."""
    found: dict[str, list] = {}
    for row in rows.to_dict("records"):
        name = f"{row['dataset']}_{row['network']}_{row['readout']}_{row['training']}_{row['seed']}"
        path = folder / f"{name}_{row['method']}.npy"
        if path.exists():
            label = row["network"] + ("" if row["readout"] == "-" else f"\n{row['readout']}")
            label += "" if str(row["learned"]) == "True" else "\n(not learned)"
            found.setdefault(label, []).append(np.load(path, allow_pickle=False))
    return {label: np.mean(maps, axis=0) for label, maps in found.items()}


def _compared_maps(folder: Path, rows: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Average the kept maps of the compared networks over seeds, by data set and title."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for (dataset, *names), group in rows.groupby(["dataset", *GROUPS], sort=False):
        own = list(_mean_maps(folder, group).values())
        if tuple(names) in COMPARED and own:
            found.setdefault(dataset, {})[COMPARED[tuple(names)]] = own[0]
    return found
