"""The tables and figures of the reproduction pages, from results of ``neurosal reproduce``.

A table stands in a page between ``<!-- table: its name -->`` and ``<!-- end of table -->``::

    python docs/reproduction_tables.py                    # fill the tables from docs/results
    python docs/reproduction_tables.py results/majority   # first take results, finished or not
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import box_tables
import hcp_like_tables
import pandas as pd

from neurosal.experiments.majority_reports import (
    majority_places,
    majority_scores,
    write_majority_results,
)
from neurosal.experiments.mnist_reports import digit_scores, write_mnist_results

HERE = Path(__file__).parent
#: Experiment to its table in the folder of results.
FILES = {
    "boxes": "boxes.csv",
    "moving-box": "boxes.csv",
    "mnist": "mnist.csv",
    "majority": "majority.csv",
    "hcp-like": "hcp_like.csv",
}
#: Experiment to what draws its figures, and where these are in the pages.
FIGURES: dict[str, tuple[Callable[[Path], Path], dict[str, str]]] = {
    "mnist": (
        write_mnist_results,
        {"maps_rows_gradient.png": "mnist-maps.png", "shares_rows_gradient.png": "mnist.png"},
    ),
    "majority": (
        write_majority_results,
        {"cosine_mnist.png": "majority.png", "maps_mnist_fake-last.png": "majority-maps.png"},
    ),
}
#: Name of a table to the rows that it is made from, and what lays it out.
TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], str]]] = {
    "boxes": ("boxes", box_tables.scores),
    "boxes-vanishing": ("boxes", box_tables.vanishing),
    "boxes-networks": ("boxes", box_tables.networks),
    "boxes-methods": ("boxes", box_tables.methods),
    "moving-box": ("moving-box", box_tables.scores),
    "moving-box-networks": ("moving-box", box_tables.networks),
    "moving-box-methods": ("moving-box", box_tables.methods),
    "hcp-like-recovery": ("hcp-like", hcp_like_tables.recovery),
    "hcp-like-own": ("hcp-like", hcp_like_tables.removal_by_own),
    "hcp-like-other": ("hcp-like", hcp_like_tables.removal_by_other),
    "hcp-like-steps": ("hcp-like", hcp_like_tables.steps),
    "mnist-rows": ("mnist", partial(digit_scores, steps="rows")),
    "mnist-columns": ("mnist", partial(digit_scores, steps="columns")),
    "majority-mnist": ("majority", partial(majority_scores, dataset="mnist")),
    "majority-sequences": (
        "majority",
        partial(majority_scores, dataset="mnist", folds="sequences"),
    ),
    "majority-quick": ("majority-quick", partial(majority_scores, dataset="mnist")),
    "majority-fashion": ("majority", partial(majority_scores, dataset="fashion_mnist")),
    "majority-places": ("majority", partial(majority_places, dataset="mnist")),
}
_PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", flags=re.DOTALL)


def fill(page: str, results: Path = HERE / "results") -> str:
    """Lay the tables of a page out anew.

    Parameters
    ----------
    page : str
        Markdown with places for tables.
    results : pathlib.Path
        Folder with one table of rows an experiment.

    Returns
    -------
    str
        The page; what is outside of the places stays.

    Examples
    --------
    >>> fill("Nothing to fill.")
    'Nothing to fill.'
    """

    def table(place: re.Match) -> str:
        """Fill one place."""
        name, lay_out = TABLES[place[2]]
        found = lay_out(pd.read_csv(results / f"{name}.csv")) or "*Not run yet.*\n"
        return f"{place[1]}\n{found}\n{place[3]}"

    return _PLACE.sub(table, page)


def take(folder: Path, docs: Path = HERE) -> None:
    """Take the rows of an experiment, and draw its figures.

    Parameters
    ----------
    folder : pathlib.Path
        As ``neurosal reproduce`` leaves it, finished or not; nothing is written to it.
    docs : pathlib.Path
        Where ``results`` and ``images`` are.
    """
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    experiment = provenance["experiment"]
    name = experiment + ("-quick" if provenance["quick"] else "")
    rows = pd.read_csv(folder / FILES[experiment]).drop(columns="seconds", errors="ignore")
    rows.to_csv(docs / "results" / f"{name}.csv", index=False, float_format="%.6g")
    draw, figures = FIGURES.get(name, (None, {}))
    with tempfile.TemporaryDirectory() as copy:
        if draw:
            shutil.copytree(folder, copy, ignore=_no_states, dirs_exist_ok=True)
            draw(Path(copy))
        for figure, place in figures.items():
            drawn = Path(copy) / "figures" / figure
            if drawn.exists():
                shutil.copyfile(drawn, docs / "images" / place)


def _no_states(_: str, names: list[str]) -> list[str]:
    """Leave the states of trainings under way behind."""
    return [name for name in names if name == "checkpoints"]


def main() -> None:
    """Take results from the folders named on the command line, then fill the pages."""
    for folder in sys.argv[1:]:
        take(Path(folder))
    for path in sorted(HERE.glob("reproduction*.md")):
        path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
