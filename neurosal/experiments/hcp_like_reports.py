"""Tables and figures of the simulated tasks, in the style of the poster."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neurosal.experiments.hcp_like_data import BEFORE, N_STEPS
from neurosal.experiments.hcp_like_runs import AUPR, COLUMNS, LOST, LOST_OTHER, ON, PERCENTS
from neurosal.experiments.tables import markdown_table, mean_and_spread, read_rows
from neurosal.loaders.simulate_tasks import T_R, TASKS
from neurosal.reporting.style import colour_of, new_figure, styled

#: Read off the poster's plots, in percent, by network: accuracy lost when the network's own most
#: important cells are removed, when the other network's are, and the share of them on task steps.
PUBLISHED = {
    ("lstm", LOST): (1.9, 3.4, 4.9, 8.0, 11.2),
    ("input-cell-lstm", LOST): (8.9, 11.2, 12.9, 14.3, 16.3),
    ("lstm", LOST_OTHER): (5.4, 9.4, 12.8, 16.6, 20.5),
    ("lstm", ON): (33.6, 44.9, 54.1, 60.9, 66.2),
    ("input-cell-lstm", ON): (96.4, 95.0, 93.9, 92.5, 91.1),
}
REFERENCES = ("random", "oracle")
#: The method of the poster's maps.
POSTER = "gradient"
GROUPS = ["training", "network", "method"]
INTRODUCTION = """# Seven simulated tasks

Which of the seven HCP tasks is a window of 42 s of region series from? Test windows are of other
subjects than those trained on. Mean ± standard deviation over seeds, which draw the subjects, the
weights and the training. `random` are maps of uniform random numbers, `oracle` is the truth.

AUPR against the cells where the response without noise tells the window's task from the others:
of each window's cells; of its regions (the map's mean over time); of its steps (its mean over
regions); and of each task's mean map.
"""


def hcp_like_markdown(table: pd.DataFrame) -> str:
    """Lay the experiment out as Markdown.

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`~neurosal.experiments.hcp_like_runs.run_hcp_like` gives it.

    Returns
    -------
    str
        Tables of recovery, of removal by the network's own and by the other network's map, and of
        steps; the poster's numbers in brackets, behind those of plain training.

    Examples
    --------
    >>> "## Recovery" in hcp_like_markdown(pd.DataFrame(columns=list(COLUMNS)))
    True
    """
    curves = {
        "Accuracy lost (points) when the network's own top cells are removed": LOST,
        "Accuracy lost (points) when another network's top cells are removed": LOST_OTHER,
        "Share of the top cells on steps of the task (%)": ON,
    }
    text = [INTRODUCTION, "\n## Recovery of the truth\n\n"]
    groups = list(table.groupby(GROUPS, sort=False))
    text.append(markdown_table(_recovery_rows(table)))
    for title, columns in curves.items():
        text.append(f"\n## {title}\n\n")
        if columns is LOST_OTHER:
            text.append(
                "The other of `lstm` is `input-cell-lstm`; the other of the rest is `lstm`.\n\n"
            )
        rows = [_names(names) | _curve(names, rows, columns) for names, rows in groups]
        text.append(markdown_table(rows))
    return "".join(text)


@styled
def plot_removal(table: pd.DataFrame) -> Figure:
    """Draw accuracy lost by removal, and the share of important cells on task steps.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of one training; networks' rows of the gradient, of random maps and of the oracle.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels: own map, the other network's map, task steps; beside plain training, the
        poster's numbers, dotted.

    Examples
    --------
    >>> rows = pd.DataFrame([dict.fromkeys(COLUMNS, 0.5) | {
    ...     "training": "standard", "network": "lstm", "method": "gradient", "seed": 0}])
    >>> len(plot_removal(rows).axes)
    3
    """
    titles = {"own top cells removed": LOST, "other's top cells removed": LOST_OTHER}
    titles["top cells on task steps"] = ON
    figure = new_figure(7.2, 2.9)
    panels = figure.subplots(1, 3)
    for panel, (title, columns) in zip(panels, titles.items(), strict=True):
        _draw_curves(panel, table, columns)
        panel.set(title=title, xlabel="cells (%)", xticks=PERCENTS)
        panel.set_ylim(min(0, panel.get_ylim()[0]), None)
    for panel in panels[:2]:
        panel.set_ylabel("accuracy lost (points)")
    panels[2].set_ylabel("share (%)")
    figure.suptitle(f"{table['training'].iloc[0]} training", x=0.01, ha="left", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


@styled
def plot_task_maps(maps: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Draw the mean map of each task, one row of panels a network, the truth first.

    Parameters
    ----------
    maps : mapping of str to numpy.ndarray
        Name to (task, time, region), tasks in alphabetical order. Each panel has colours of its
        own, from nothing to its largest value.
    title : str
        Over the panels.

    Returns
    -------
    matplotlib.figure.Figure
        Time from left to right, regions from bottom to top in the order of the atlas; the dotted
        line is the block's onset.

    Examples
    --------
    >>> figure = plot_task_maps({"truth": np.ones((7, 58, 160))})
    >>> figure.axes[0].get_title()
    'EMOTION'
    """
    figure = new_figure(7.2, 0.4 + 1.1 * len(maps))
    panels = figure.subplots(len(maps), len(TASKS), squeeze=False, sharex=True, sharey=True)
    end = N_STEPS * T_R - BEFORE
    for row, (name, values) in zip(panels, maps.items(), strict=True):
        for panel, task, own in zip(row, sorted(TASKS), values, strict=True):
            extent = (-BEFORE, end, 0, own.shape[1])
            panel.imshow(
                own.T, origin="lower", cmap="viridis", vmin=0, aspect="auto", extent=extent
            )
            panel.axvline(0, color="white", linewidth=0.6, linestyle=":")
            panel.set_xticks([0, 15, 30])
            if name == next(iter(maps)):
                panel.set_title(task, fontsize=7, loc="center")
        row[0].set_ylabel(name, fontsize=7)
    figure.supxlabel("seconds from the block's onset", fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


def write_hcp_like(out: Path) -> Path:
    """Write the Markdown table and the figures of what is finished.

    Parameters
    ----------
    out : pathlib.Path
        Folder with ``hcp_like.csv`` and ``maps``.

    Returns
    -------
    pathlib.Path
        ``hcp_like.md``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_hcp_like(Path(folder)).name
    'hcp_like.md'
    """
    table = read_rows(out / "hcp_like.csv", COLUMNS)
    path = out / "hcp_like.md"
    path.write_text(hcp_like_markdown(table), encoding="utf-8")
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    for training, rows in table.groupby("training", sort=False):
        if POSTER in set(rows["method"]):
            plot_removal(rows).savefig(folder / f"removal_{training}.png")
        for method in rows["method"].unique():
            maps = _kept_maps(out / "maps", rows[rows["method"] == method])
            if maps and method not in REFERENCES:
                figure = plot_task_maps(maps, title=f"{training} training, {method}")
                figure.savefig(folder / f"maps_{training}_{method}.png")
    return path


def _names(names: tuple) -> dict:
    """Begin a row of a Markdown table."""
    return dict(zip(GROUPS, names, strict=True))


def _recovery_rows(table: pd.DataFrame) -> list[dict]:
    """Write the maps that need no network first and once, then those of the networks."""
    rows = []
    for method in REFERENCES:
        own = table[table["method"] == method].drop_duplicates("seed")
        if len(own):
            rows.append(_names(("-", "-", method)) | _recovery(own) | {"accuracy %": "-"})
    explained = table[~table["method"].isin(REFERENCES)]
    for names, own in explained.groupby(GROUPS, sort=False):
        rows.append(_names(names) | _recovery(own))
    return rows


def _recovery(rows: pd.DataFrame) -> dict:
    """Sum accuracy and recovery up over seeds."""
    scores = {
        "seeds": str(len(rows)),
        "accuracy %": mean_and_spread(100 * rows["accuracy"], digits=1),
    }
    return scores | {f"AUPR {name[5:]}": mean_and_spread(rows[name]) for name in AUPR}


def _curve(names: tuple, rows: pd.DataFrame, columns: tuple[str, ...]) -> dict:
    """Sum a curve up over seeds, the poster's numbers behind."""
    training, network, method = names
    compared = training == "standard" and method == POSTER
    known = PUBLISHED.get((network, columns)) if compared else None
    cells = {}
    for place, (percent, column) in enumerate(zip(PERCENTS, columns, strict=True)):
        cells[f"{percent} %"] = mean_and_spread(100 * rows[column], digits=1)
        cells[f"{percent} %"] += f" [{known[place]}]" if known else ""
    return cells


def _draw_curves(panel: Axes, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Draw one curve a network, those of random maps and the truth in grey."""
    colours = colour_of(table["network"])
    for network, rows in table.groupby("network", sort=False):
        curve = 100 * rows.loc[rows["method"] == POSTER, list(columns)].mean()
        panel.plot(PERCENTS, curve, color=colours[network], label=network, marker="o", markersize=3)
        known = PUBLISHED.get((network, columns))
        if known and table["training"].iloc[0] == "standard":
            look = {"color": colours[network], "linestyle": ":", "label": f"{network}, poster"}
            panel.plot(PERCENTS, known, **look)
    for method, line in zip(REFERENCES, ("--", "-."), strict=True):
        rows = table[table["method"] == method]
        if len(rows) and columns is not LOST_OTHER:
            curve = 100 * rows[list(columns)].mean()
            panel.plot(PERCENTS, curve, color="0.5", linestyle=line, label=f"{method} map")


def _kept_maps(folder: Path, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Read the mean maps of a method, averaged over seeds, the truth first."""
    found: dict[str, list] = {}
    for row in rows.to_dict("records"):
        stem = f"{row['training']}_{row['seed']}"
        truth, own = (
            folder / f"{stem}_{n}.npy" for n in ("truth", f"{row['network']}_{row['method']}")
        )
        for name, path in (("truth", truth), (row["network"], own)):
            if path.exists():
                found.setdefault(name, []).append(np.load(path, allow_pickle=False))
    return {name: np.mean(maps, axis=0) for name, maps in found.items()}
