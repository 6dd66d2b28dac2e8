"""Tables and figures of the experiment on digits, in the style of the paper."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neurosal.experiments.box_runs import SHARES
from neurosal.experiments.mnist_setups import COLUMNS, LEARNED, ON_STROKES
from neurosal.experiments.tables import INPUT, markdown_table, mean_and_spread, read_rows
from neurosal.reporting.style import colour_of, line_of, new_figure, robust_limit, styled

GROUPS = ["network", "readout", "method"]
INTRODUCTION = f"""# Digits as time series

Rows, or columns, of MNIST's digits are the steps. The truth is the digit's strokes (pixels of at
least half brightness). `strokes`: share of all importance that lies on strokes; `on strokes`: its
parts by tenth of time, in % of all importance; `anywhere`: all importance by tenth of time. A map
finds the digit where `on strokes` follows that of `oracle`, the strokes themselves; `random` are
maps of uniform random numbers. (Of 28 steps the last two tenths have two each, the others three.)
`slope` is that of log importance against the distance from the end, a step: below 0, importance
vanishes backwards in time. Means over test digits, then mean ± standard deviation over seeds;
networks below {LEARNED:.0%} test accuracy are counted in `learned` and left out.
"""


def mnist_markdown(table: pd.DataFrame) -> str:
    """Lay the experiment out as Markdown, a table for each way to read.

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`~neurosal.experiments.mnist_runs.run_digits` and ``reference_rows`` give it.

    Returns
    -------
    str
        Random maps come first in every table, the oracle second.

    Examples
    --------
    >>> row = {"steps": "rows", "network": "-", "readout": "-", "method": "random", "strokes": 0.1}
    >>> "## rows" in mnist_markdown(pd.DataFrame([row]).reindex(columns=list(COLUMNS)))
    True
    """
    text = [INTRODUCTION]
    for steps in table["steps"].unique():
        text.append(f"\n## {steps} as steps\n\n{digit_scores(table, steps)}")
    return "".join(text)


def digit_scores(table: pd.DataFrame, steps: str) -> str:
    """Lay out accuracy and importance on strokes for one way to read the digits.

    Parameters
    ----------
    table : pandas.DataFrame
        As for :func:`mnist_markdown`.
    steps : {'rows', 'columns'}
        What is one step.

    Returns
    -------
    str
        A Markdown table; random maps come first, the oracle second.

    Examples
    --------
    >>> row = {"steps": "rows", "network": "-", "readout": "-", "method": "random", "strokes": 0.1}
    >>> digit_scores(pd.DataFrame([row]).reindex(columns=list(COLUMNS)), "rows").splitlines()[-1]
    '| - | - | random | - | - | - | 10.0 | ...
    """
    part = table[table["steps"] == steps]
    rows = [
        _summary(dict(zip(GROUPS, names, strict=True)), group)
        for names, group in part.groupby(GROUPS, sort=False)
    ]
    rows.sort(key=lambda row: {"random": 0, "oracle": 1}.get(row["method"], 2))
    return markdown_table(rows)


def _counted(table: pd.DataFrame) -> pd.Series:
    """Mark rows that count: networks that learned, and maps that need no network."""
    learned = table["learned"].astype("boolean").fillna(False).astype(bool)
    return learned | (table["network"] == "-")


def _summary(names: dict, group: pd.DataFrame) -> dict:
    """Write one row of a table from the runs of all seeds."""
    kept = group[_counted(group)]
    learned = f"{len(kept)} of {len(group)}" if names["network"] != "-" else "-"
    epochs = sorted(group["epochs"].dropna().unique())
    return {
        **names,
        "learned": learned,
        "epochs": ", ".join(f"{n:.0f}" for n in epochs) or "-",
        "accuracy %": mean_and_spread(100 * group["accuracy"], digits=1),
        "strokes %": mean_and_spread(100 * kept["strokes"], digits=1),
        "on strokes": _percent(kept[list(ON_STROKES)], digits=1),
        "anywhere": _percent(kept[list(SHARES)]),
        "ROC AUC": mean_and_spread(kept["roc_auc"]),
        "AUPR": mean_and_spread(kept["aupr"]),
        "slope": mean_and_spread(kept["slope"]),
    }


def _percent(values: pd.DataFrame, *, digits: int = 0) -> str:
    """Write means in percent, one after the other."""
    means = 100 * values.mean()
    return " ".join(f"{mean:.{digits}f}" for mean in means) if len(values) else "-"


@styled
def plot_stroke_shares(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the share of importance on strokes, and anywhere, by tenth of time.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of one way to read and one method, and the references; means over seeds are drawn,
        networks that did not learn are left out.
    title : str
        Over the panels.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels, a line for each network and reference.

    Examples
    --------
    >>> row = {"steps": "rows", "network": "-", "readout": "-", "method": "random"}
    >>> row |= dict.fromkeys((*ON_STROKES, *SHARES), 0.1)
    >>> figure = plot_stroke_shares(pd.DataFrame([row]).reindex(columns=list(COLUMNS)))
    >>> [len(panel.lines) for panel in figure.axes]
    [1, 1]
    """
    known = table[_counted(table)]
    labels = known.apply(_label, axis=1) if len(known) else pd.Series(dtype=str)
    colours, lines = colour_of(labels), line_of(labels)
    figure = new_figure(6.8, 2.6)
    panels = figure.subplots(1, 2)
    for panel, columns, heading in zip(
        panels, (ON_STROKES, SHARES), ("on strokes (log)", "anywhere"), strict=True
    ):
        for label in labels.unique():
            means = 100 * known.loc[labels == label, list(columns)].mean()
            panel.plot(
                np.arange(5, 100, 10), means, lines[label], color=colours[label], label=label
            )
        panel.set_xlabel("time (% of the steps)")
        panel.set_title(heading)
    panels[0].set(yscale="log", ylim=(0.01, 100), ylabel="share of all importance (%)")
    panels[1].set_ylim(bottom=0)
    panels[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


@styled
def plot_digits(images: np.ndarray, maps: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Draw a digit of each class, and each network's map of it below.

    Parameters
    ----------
    images : numpy.ndarray
        (digit, row, column).
    maps : mapping of str to numpy.ndarray
        Network to its maps, of the same shape. Each map has colours of its own.
    title : str
        Over the panels.

    Returns
    -------
    matplotlib.figure.Figure
        A row a network.

    Examples
    --------
    >>> digits = np.ones((10, 28, 28))
    >>> len(plot_digits(digits, {"lstm": digits}).axes)
    2
    """
    rows = {"digit": images, **maps}
    figure = new_figure(0.62 * len(images) + 1.1, 0.68 * len(rows) + 0.3)
    panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for panel, (name, pictures) in zip(panels, rows.items(), strict=True):
        colours = mpl.colormaps["gray" if name == "digit" else "viridis"]
        panel.imshow(_side_by_side(pictures), cmap=colours.with_extremes(bad="white"), vmax=1)
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
        panel.set_ylabel(name, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


def _side_by_side(pictures: np.ndarray) -> np.ndarray:
    """Put pictures in a row, each scaled to reach 1, with a gap of NaN between them."""
    rows = np.full((pictures.shape[1], 2), np.nan)
    parts = [part for picture in pictures for part in (rows, picture / robust_limit(picture))]
    return np.concatenate(parts[1:], axis=1)


def write_mnist_page(out: Path) -> Path:
    """Write the Markdown table of what is finished.

    Parameters
    ----------
    out : pathlib.Path
        Folder with ``mnist.csv``.

    Returns
    -------
    pathlib.Path
        ``mnist.md``.

    Raises
    ------
    DataError
        If ``mnist.csv`` is there but no table of results.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_mnist_page(Path(folder)).exists()
    True
    """
    path = out / "mnist.md"
    page = mnist_markdown(read_rows(out / "mnist.csv", COLUMNS))
    path.write_text(page, encoding="utf-8")
    return path


def write_mnist_results(out: Path) -> Path:
    """Write the Markdown table and the figures of what is finished.

    Parameters
    ----------
    out : pathlib.Path
        Folder with ``mnist.csv`` and ``maps``.

    Returns
    -------
    pathlib.Path
        ``mnist.md``.

    Raises
    ------
    DataError
        If ``mnist.csv`` is there but no table of results.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_mnist_results(Path(folder)).name
    'mnist.md'
    """
    path, table = write_mnist_page(out), read_rows(out / "mnist.csv", COLUMNS)
    trained, folder = table[table["network"] != "-"], out / "figures"
    for (steps, method), rows in trained.groupby(["steps", "method"]):
        folder.mkdir(exist_ok=True)
        title = f"MNIST, {steps} as steps, {method}"
        known = table[(table["steps"] == steps) & (table["network"] == "-")]
        figure = plot_stroke_shares(pd.concat([known, rows]), title=title)
        figure.savefig(folder / f"shares_{steps}_{method}.png")
        images = np.load(out / "maps" / f"{INPUT}.npy", allow_pickle=False)
        figure = plot_digits(images, _example_maps(out / "maps", rows), title=title)
        figure.savefig(folder / f"maps_{steps}_{method}.png")
    return path


def _label(row: pd.Series) -> str:
    """Name a row's network for a legend."""
    if row["network"] == "-":
        return row["method"]
    return row["network"] + ("" if row["readout"] == "-" else f"\n{row['readout']}")


def _example_maps(folder: Path, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Read the maps made by the first seed of each network."""
    maps = {}
    for row in rows.sort_values("seed", kind="stable").to_dict("records"):
        label = _label(pd.Series(row))
        label += "" if str(row["learned"]) == "True" else "\n(not learned)"
        name = f"{row['steps']}_{row['network']}_{row['readout']}_{row['seed']}_{row['method']}.npy"
        if label not in maps:
            maps[label] = np.load(folder / name, allow_pickle=False)
    return maps
