"""Tables and figures of the majority experiment, in the style of the thesis."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neurosal.experiments.image_sets import IMAGE_SETS, SIDE
from neurosal.experiments.majority_data import N_IMAGES, STEP_COLUMNS
from neurosal.experiments.majority_runs import COLUMNS, PLACES, MajorityRun
from neurosal.experiments.majority_setups import CELLS, LEARNED, METHODS
from neurosal.experiments.tables import markdown_table, mean_and_spread, read_rows
from neurosal.reporting.style import INK, colour_of, new_figure, robust_limit, styled

INTRODUCTION = f"""# The majority problem

Of three images side by side two are of one class, and the class is asked for. Cosine between the
importance of the three images and the mask of the two, averaged over test sequences; then mean ±
standard deviation over seeds, each with another fold left out of training. Folds of images: no
tested image is learned. Folds of sequences: as in the thesis, ready-made sequences are left out,
whose images are learned in others. SA: squared gradient;
GB: guided backpropagation; DTD: deep Taylor decomposition; LRP: alpha 1.5, beta 0.5. Numbers in
brackets are the thesis's, cosines read off its plots to about .01. `random` are maps of uniform
random numbers: **importance spread evenly scores .82**, so less than that says that a map favours
one image. `oracle` is the mask itself. A network with less than {LEARNED:.0%} test accuracy has not
learned: it is counted in `learned`, and left out of the cosines.
"""


def majority_markdown(table: pd.DataFrame) -> str:
    """Lay the experiment out as Markdown, two tables for each data set.

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`~neurosal.experiments.majority_runs.run_majority` and ``reference_rows`` give it.

    Returns
    -------
    str
        Accuracy and cosines of every cell; then where in the sequence relevance lies.

    Examples
    --------
    >>> row = {"dataset": "mnist", "folds": "images", "cell": "-", "method": "random"}
    >>> row |= {"cosine": 0.7, "seed": 0}
    >>> "0.700" in majority_markdown(pd.DataFrame([row]).reindex(columns=list(COLUMNS)))
    True
    """
    text = [INTRODUCTION]
    for dataset, folds in table[["dataset", "folds"]].drop_duplicates().itertuples(index=False):
        scores = majority_scores(table, dataset, folds=folds)
        text.append(f"\n## {_title(dataset, folds)}\n\n{scores}")
        places = majority_places(table, dataset, folds=folds)
        if places:
            text.append("\nMean share of relevance on the first, second and third image, in %:\n\n")
            text.append(places)
    return "".join(text)


def _title(dataset: str, folds: str) -> str:
    """Head a table or figure."""
    return f"{IMAGE_SETS[dataset].title}, folds of {folds}"


def majority_scores(table: pd.DataFrame, dataset: str, *, folds: str = "images") -> str:
    """Lay out accuracy and cosines of the cells on a data set, the thesis's in brackets.

    Parameters
    ----------
    table : pandas.DataFrame
        As for :func:`majority_markdown`.
    dataset : {'mnist', 'fashion_mnist'}
        Which images.
    folds : {'images', 'sequences'}
        What was left out.

    Returns
    -------
    str
        A Markdown table; random maps and the oracle come first.

    Examples
    --------
    >>> row = {"dataset": "mnist", "folds": "images", "cell": "-", "method": "random"}
    >>> row |= {"cosine": 0.7, "seed": 0}
    >>> table = pd.DataFrame([row]).reindex(columns=list(COLUMNS))
    >>> majority_scores(table, "mnist").splitlines()[-1]
    '| random | - | - | - | 0.700 | 0.700 | 0.700 | 0.700 |'
    """
    part = table[(table["dataset"] == dataset) & (table["folds"] == folds)]
    return markdown_table([_scores(part, cell) for cell in _cells(part)])


def majority_places(table: pd.DataFrame, dataset: str, *, folds: str = "images") -> str:
    """Lay out on which of the three images the cells' relevance lies.

    Parameters
    ----------
    table : pandas.DataFrame
        As for :func:`majority_markdown`.
    dataset : {'mnist', 'fashion_mnist'}
        Which images.
    folds : {'images', 'sequences'}
        What was left out.

    Returns
    -------
    str
        A Markdown table, percent; empty before a cell is done.

    Examples
    --------
    >>> majority_places(pd.DataFrame(columns=list(COLUMNS)), "mnist")
    ''
    """
    part = table[(table["dataset"] == dataset) & (table["folds"] == folds)]
    return markdown_table([_places(part, cell) for cell in _cells(part) if cell in CELLS])


def _cells(part: pd.DataFrame) -> list[str]:
    """List the references, then the cells in the thesis's order."""
    known = set(part["cell"]) | set(part.loc[part["cell"] == "-", "method"])
    return [name for name in ("random", "oracle", *CELLS) if name in known]


def _rows_of(part: pd.DataFrame, cell: str, method: str | None = None) -> pd.DataFrame:
    """Take the rows of a cell, or of a reference."""
    if cell not in CELLS:
        return part[(part["cell"] == "-") & (part["method"] == cell)]
    own = part[part["cell"] == cell]
    return own if method is None else own[own["method"] == method]


def _scores(part: pd.DataFrame, cell: str) -> dict:
    """Write a cell's accuracy and cosines."""
    own = _rows_of(part, cell).drop_duplicates("seed")
    learned = own["learned"].astype("boolean")
    row = {"cell": cell, "learned": f"{int(learned.sum())} of {len(own)}"}
    row["epochs"] = ", ".join(f"{n:.0f}" for n in sorted(own["epochs"].dropna().unique())) or "-"
    row["accuracy %"] = mean_and_spread(100 * own["accuracy"], digits=1)
    row["accuracy %"] += _published(100 * own["published_accuracy"], digits=1)
    if cell not in CELLS:
        row["learned"] = "-"
    for method in METHODS:
        rows = _rows_of(part, cell, method)
        row[method] = mean_and_spread(rows.loc[_counted(rows), "cosine"])
        row[method] += _published(rows["published_cosine"])
    return row


def _counted(rows: pd.DataFrame) -> pd.Series:
    """Mark rows that count: networks that learned, and maps that need no network."""
    learned = rows["learned"].astype("boolean").fillna(False).astype(bool)
    return learned | (rows["cell"] == "-")


def _published(values: pd.Series, *, digits: int = 3) -> str:
    """Write the thesis's number behind ours, if there is one."""
    known = values.dropna()
    return f" [{known.iloc[0]:.{digits}f}]" if len(known) else ""


def _places(part: pd.DataFrame, cell: str) -> dict:
    """Write where a cell's relevance lies."""
    row = {"cell": cell}
    for method in METHODS:
        rows = _rows_of(part, cell, method)
        means = 100 * rows.loc[_counted(rows), list(PLACES)].mean()
        row[method] = " ".join("-" if np.isnan(m) else f"{m:.0f}" for m in means)
    return row


@styled
def plot_cosines(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Draw the cells' cosines, a panel a method, beside the thesis's.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of one data set.
    title : str
        Over the panels.

    Returns
    -------
    matplotlib.figure.Figure
        A dot for each seed, a ring for the thesis, a line where random maps are.

    Examples
    --------
    >>> row = {"dataset": "mnist", "cell": "Deep", "method": "SA", "cosine": 0.7, "seed": 0}
    >>> table = pd.DataFrame([row]).reindex(columns=list(COLUMNS))
    >>> len(plot_cosines(table).axes)
    4
    """
    cells = [cell for cell in CELLS if cell in set(table["cell"])]
    figure = new_figure(7.0, 0.22 * len(cells) + 1.1)
    panels = figure.subplots(1, len(METHODS), sharey=True, sharex=True)
    colours = colour_of(list(METHODS))
    for panel, method in zip(panels, METHODS, strict=True):
        for place, cell in enumerate(cells):
            rows = _rows_of(table, cell, method)
            own = rows.loc[_counted(rows), "cosine"]
            panel.scatter(own, [place] * len(own), s=14, color=colours[method], alpha=0.7)
            known = rows["published_cosine"].dropna()[:1]
            panel.scatter(known, [place] * len(known), s=34, facecolors="none", edgecolors=INK)
        by_chance = _rows_of(table, "random")["cosine"]
        if len(by_chance):
            panel.axvline(by_chance.mean(), color="0.5", linewidth=0.8, linestyle="--")
        panel.set_title(method)
    panels[0].set_yticks(range(len(cells)), cells)
    panels[0].set_ylim(len(cells) - 0.5, -0.5)
    figure.supxlabel(
        "cosine with the majority mask (dots: here; rings: the thesis; dashed: random maps)",
        fontsize=8,
    )
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


@styled
def plot_examples(
    x: np.ndarray, maps: Mapping[tuple[str, str], np.ndarray], *, title: str = ""
) -> Figure:
    """Draw one sequence and its maps, a row a cell and a column a method.

    Parameters
    ----------
    x : numpy.ndarray
        (step, feature) the sequence.
    maps : mapping of tuple to numpy.ndarray
        (cell, method) to the map (step, feature). Each has colours of its own.
    title : str
        Over the panels.

    Returns
    -------
    matplotlib.figure.Figure
        The sequence stands on top of each column.

    Examples
    --------
    >>> x = np.zeros((12, 196))
    >>> len(plot_examples(x, {("Deep", "SA"): x, ("Deep", "GB"): x}).axes)
    4
    """
    cells = list(dict.fromkeys(cell for cell, _ in maps))
    methods = list(dict.fromkeys(method for _, method in maps))
    figure = new_figure(1.72 * len(methods) + 0.7, 0.62 * (len(cells) + 1) + 0.35)
    panels = figure.subplots(len(cells) + 1, len(methods), squeeze=False)
    for column, method in enumerate(methods):
        _draw(panels[0, column], x, colours="gray")
        panels[0, column].set_title(method)
        for row, cell in enumerate(cells, start=1):
            if (cell, method) in maps:
                _draw(panels[row, column], maps[cell, method])
            else:
                panels[row, column].set_visible(False)
            if column == 0:
                panels[row, 0].set_ylabel(cell, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


def as_picture(steps: np.ndarray) -> np.ndarray:
    """Put a sequence's steps back side by side.

    Parameters
    ----------
    steps : numpy.ndarray
        (step, feature) as :func:`~neurosal.experiments.majority_data.as_steps` makes them.

    Returns
    -------
    numpy.ndarray
        (28, 84).

    Examples
    --------
    >>> as_picture(np.zeros((12, 196))).shape
    (28, 84)
    """
    return steps.reshape(len(steps), SIDE, STEP_COLUMNS).transpose(1, 0, 2).reshape(SIDE, -1)


def _draw(panel: Axes, steps: np.ndarray, *, colours: str | None = None) -> None:
    """Draw a sequence or its map, with lines between the images."""
    picture = as_picture(steps)
    limit = robust_limit(picture)
    signed = colours is None and bool((picture < 0).any())
    low = -limit if signed or colours else 0.0
    name = colours or ("RdBu_r" if signed else "viridis")
    panel.imshow(picture, cmap=name, vmin=low, vmax=limit, interpolation="nearest")
    for place in range(1, N_IMAGES):
        panel.axvline(place * SIDE - 0.5, color="0.6" if signed else "white", linewidth=0.8)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)


def write_majority_page(out: Path) -> Path:
    """Write the Markdown table of what is finished.

    Parameters
    ----------
    out : pathlib.Path
        Folder with ``majority.csv``.

    Returns
    -------
    pathlib.Path
        ``majority.md``.

    Raises
    ------
    DataError
        If ``majority.csv`` is there but no table of results.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_majority_page(Path(folder)).exists()
    True
    """
    path = out / "majority.md"
    page = majority_markdown(read_rows(out / "majority.csv", COLUMNS))
    path.write_text(page, encoding="utf-8")
    return path


def write_majority_results(out: Path) -> Path:
    """Write the Markdown table and the figures of what is finished.

    Parameters
    ----------
    out : pathlib.Path
        Folder with ``majority.csv`` and ``maps``.

    Returns
    -------
    pathlib.Path
        ``majority.md``.

    Raises
    ------
    DataError
        If ``majority.csv`` is there but no table of results.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_majority_results(Path(folder)).name
    'majority.md'
    """
    path, table = write_majority_page(out), read_rows(out / "majority.csv", COLUMNS)
    folder = out / "figures"
    for (dataset, folds), part in table.groupby(["dataset", "folds"]):
        folder.mkdir(exist_ok=True)
        title, ending = _title(dataset, folds), "" if folds == "images" else f"_{folds}"
        plot_cosines(part, title=title).savefig(folder / f"cosine_{dataset}{ending}.png")
        trained = part[part["cell"] != "-"]
        first = trained[trained["seed"] == trained["seed"].min()]
        for number, fake in enumerate(("last", "middle", "first") if len(first) else ()):
            x, maps = _example_maps(out / "maps", first, number)
            heading = f"{title}, the fake is {fake}; every map has its own colours"
            figure = plot_examples(x, maps, title=heading)
            figure.savefig(folder / f"maps_{dataset}_fake-{fake}{ending}.png")
    return path


def _example_maps(
    folder: Path, part: pd.DataFrame, number: int
) -> tuple[np.ndarray, dict[tuple[str, str], np.ndarray]]:
    """Read one example and its maps, the cells in the thesis's order."""
    maps = {}
    order = part.sort_values("cell", key=lambda cells: cells.map(list(CELLS).index), kind="stable")
    for row in order.itertuples():
        run = MajorityRun(row.dataset, row.cell, (), row.seed, folds=row.folds)
        maps[row.cell, row.method] = _example(folder / f"{run.name}_{row.method}.npy", number)
    return _example(folder / f"{run.input_name}.npy", number), maps


def _example(path: Path, number: int) -> np.ndarray:
    """Read one of a file's examples."""
    return np.load(path, allow_pickle=False)[number]
