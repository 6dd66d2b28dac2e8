"""The tables of the boxes in the reproduction page."""

from typing import NamedTuple

import pandas as pd

from neurosal.experiments.box_reports import GROUPS, overview
from neurosal.experiments.box_runs import SHARES
from neurosal.experiments.setups import EVIDENCE, Setup, main_methods
from neurosal.experiments.tables import markdown_table, mean_and_spread


class Column(NamedTuple):
    """A network, its training, and the method that explains it."""

    title: str
    network: str
    readout: str
    training: str
    method: str

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Take its rows.

        Parameters
        ----------
        table : pandas.DataFrame
            Rows of an experiment on boxes.

        Returns
        -------
        pandas.DataFrame
            One row a data set and seed.
        """
        wanted = pd.Series(self._asdict()).drop("title")
        return table[(table[list(wanted.index)] == wanted).all(axis=1)]


PUBLISHED = (
    Column("LSTM", "lstm", "-", "published", "gradient"),
    Column("input-cell LSTM", "input-cell-lstm", "mean", "published", "gradient"),
)
LOCALISING = ("input-cell-bi-rnn", "mean", "localizing")
#: Networks that every method explains.
EXPLAINED = {
    "trained as published": ("input-cell-lstm", "mean", "published"),
    "localising": LOCALISING,
}
SCORES = {"AUPR": "aupr", "weighted Jaccard": "weighted_jaccard"}
COLUMNS = (
    *PUBLISHED,
    Column("localising, SmoothGrad", *LOCALISING, "smoothgrad"),
    Column("localising, SmoothGrad x input", *LOCALISING, EVIDENCE),
)


def scores(table: pd.DataFrame) -> str:
    """Lay out AUPR / weighted Jaccard of random maps and the main networks on every data set.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of an experiment on boxes.

    Returns
    -------
    str
        A Markdown table; accuracy and number of seeds in parentheses.
    """
    lines = []
    for dataset, part in table.groupby("dataset", sort=False):
        line = {"set": dataset, "random": _both(part[part["method"] == "random"])}
        for column in COLUMNS:
            rows = column.rows(part)
            extra = f" ({100 * rows['accuracy'].mean():.0f} %, {len(rows)})"
            line[column.title] = _both(rows) + extra if len(rows) else "-"
        lines.append(line)
    return markdown_table(lines)


def _both(rows: pd.DataFrame) -> str:
    """Write the means of both scores."""
    return f"{rows['aupr'].mean():.3f} / {rows['weighted_jaccard'].mean():.3f}"


def vanishing(table: pd.DataFrame) -> str:
    """Lay out how importance falls off backwards in time under the published training.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of an experiment on boxes.

    Returns
    -------
    str
        A Markdown table.
    """
    lines = []
    for dataset, part in table.groupby("dataset", sort=False):
        line = {"set": dataset}
        for column in PUBLISHED:
            rows = column.rows(part)
            means = " ".join(f"{100 * share:.0f}" for share in rows[list(SHARES)].mean())
            line[f"{column.title}: slope"] = mean_and_spread(rows["slope"])
            line[f"{column.title}: share by tenth of time (%)"] = means if len(rows) else "-"
        lines.append(line)
    return markdown_table(lines)


def networks(table: pd.DataFrame) -> str:
    """Lay out every network over all data sets, the worst in parentheses.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of an experiment on boxes.

    Returns
    -------
    str
        A Markdown table of the methods that explain every network.
    """
    rows = [
        row
        for row in overview(table)
        if row["method"] in main_methods(Setup(row["network"], row["training"]))
    ]
    return markdown_table(sorted(rows, key=lambda row: row["training"], reverse=True))


def methods(table: pd.DataFrame) -> str:
    """Lay out every method on the networks of :data:`EXPLAINED` over all data sets, first seed.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of an experiment on boxes.

    Returns
    -------
    str
        A Markdown table; the worst set in parentheses.
    """
    rows = overview(table[table["seed"] == 0])
    found = {tuple(row[name] for name in GROUPS): row for row in rows}
    random = table[(table["method"] == "random") & (table["seed"] == 0)]
    lines = [
        {"method": "random"}
        | {
            f"{who}: {title}": f"{random[column].mean():.3f}"
            for who in EXPLAINED
            for title, column in SCORES.items()
        }
    ]
    for method in dict.fromkeys(row["method"] for row in rows):
        by = {who: found.get((*own, method), {}) for who, own in EXPLAINED.items()}
        line = {
            f"{who}: {title}": row.get(title, "-") for who, row in by.items() for title in SCORES
        }
        lines.append({"method": method} | line)
    return markdown_table(lines)
