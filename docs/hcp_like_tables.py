"""The tables of the simulated tasks in the reproduction page."""

from collections.abc import Sequence

import pandas as pd

from neurosal.experiments.hcp_like_reports import POSTER, PUBLISHED
from neurosal.experiments.hcp_like_runs import AUPR, LOST, LOST_OTHER, ON, PERCENTS
from neurosal.experiments.tables import markdown_table, mean_and_spread

TRAININGS = ("standard", "localizing")
NETWORKS = ("lstm", "input-cell-lstm", "input-cell-bi-rnn")
METHODS = ("gradient", "smoothgrad", "integrated_gradients")


def recovery(table: pd.DataFrame) -> str:
    """Lay out how well maps recover the truth, plain and localising training side by side.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of the experiment.

    Returns
    -------
    str
        A Markdown table; random maps come first.
    """
    random = table[table["method"] == "random"].drop_duplicates("seed")
    lines = [_recovery(("-", "-", "random"), random) | {"accuracy %": "-"}]
    for network in NETWORKS:
        for method in METHODS:
            for training in TRAININGS:
                names = (training, network, method)
                lines.append(_recovery(names, _rows(table, *names)))
    return markdown_table(lines)


def _rows(table: pd.DataFrame, training: str, network: str, method: str) -> pd.DataFrame:
    """Take the rows of a training, a network and a method."""
    own = (table["training"] == training) & (table["network"] == network)
    return table[own & (table["method"] == method)]


def _recovery(names: tuple[str, str, str], rows: pd.DataFrame) -> dict[str, str]:
    """Write accuracy and recovery."""
    line = dict(zip(("training", "network", "map"), names, strict=True))
    line["accuracy %"] = mean_and_spread(100 * rows["accuracy"], digits=1)
    return line | {f"AUPR {name[5:]}": mean_and_spread(rows[name]) for name in AUPR}


def removal_by_own(table: pd.DataFrame) -> str:
    """Lay out accuracy lost when networks' own most important cells are removed.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of the experiment.

    Returns
    -------
    str
        A Markdown table, the poster's numbers in brackets.
    """
    return _curves(table, LOST, NETWORKS, (POSTER, "random"))


def removal_by_other(table: pd.DataFrame) -> str:
    """Lay out accuracy lost when the other network's most important cells are removed.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of the experiment.

    Returns
    -------
    str
        A Markdown table, the poster's numbers in brackets.
    """
    return _curves(table, LOST_OTHER, NETWORKS[:2], (POSTER,))


def steps(table: pd.DataFrame) -> str:
    """Lay out the share of the most important cells on steps of the task.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of the experiment.

    Returns
    -------
    str
        A Markdown table, the poster's numbers in brackets.
    """
    return _curves(table, ON, NETWORKS, (POSTER,))


def _curves(
    table: pd.DataFrame, columns: tuple[str, ...], networks: Sequence[str], methods: Sequence[str]
) -> str:
    """Write one curve a line."""
    lines = []
    for training in TRAININGS:
        for network in networks:
            for method in methods:
                line = {"training": training, "network": network, "cells by": method}
                compared = training == "standard" and method == POSTER
                known = PUBLISHED.get((network, columns), ()) if compared else ()
                brackets = [f" [{value}]" for value in known] or [""] * len(PERCENTS)
                rows = _rows(table, training, network, method)
                for percent, column, more in zip(PERCENTS, columns, brackets, strict=True):
                    line[f"{percent} %"] = mean_and_spread(100 * rows[column], digits=1) + more
                if len(rows):
                    lines.append(line)
    return markdown_table(lines)
