"""The reproduction pages show the rows that lie beside them, and new rows reach them whole."""

import importlib
import re
from pathlib import Path

import pandas as pd
import pytest
from image_cases import write_set

from neurosal.experiments.majority import reproduce_majority
from neurosal.experiments.majority_runs import MajorityRun

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("reproduction*.md"))


@pytest.fixture
def tables(monkeypatch):
    """The script that fills the pages."""
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("reproduction_tables")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_hold_the_tables_of_their_rows(tables, page):
    text = page.read_text(encoding="utf-8")
    assert tables.fill(text) == text


def test_every_table_has_one_place(tables):
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert sorted(re.findall(r"<!-- table: ([\w-]+) -->", text)) == sorted(tables.TABLES)
    assert text.count("<!-- end of table -->") == len(tables.TABLES)


def test_results_are_taken_and_fill_their_place_only(tables, tmp_path):
    write_set(tmp_path / "images" / "mnist")
    folder, docs = tmp_path / "majority", tmp_path / "docs"
    run = MajorityRun("mnist", "Deep", ("SA",), 0, tmp_path / "images", 1, 60, 20)
    for path in (folder, docs / "results", docs / "images"):
        path.mkdir(parents=True)
    reproduce_majority(out=folder, plan=[run])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    tables.take(folder, docs)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    rows = pd.read_csv(docs / "results" / "majority.csv")
    assert "seconds" not in rows
    assert {path.name for path in (docs / "images").iterdir()} == {
        *("majority.png", "majority-maps.png")
    }
    place = "Before.\n<!-- table: majority-mnist -->\nold\n<!-- end of table -->\nAfter.\n"
    filled = tables.fill(place, docs / "results").splitlines()
    assert (filled[0], filled[-1]) == ("Before.", "After.")
    accuracy = 100 * rows.loc[rows["cell"] == "Deep", "accuracy"].iloc[0]
    assert filled[-4].startswith(f"| Deep | 0 of 1 | 1 | {accuracy:.1f} [98.2] | - [0.719] |")
    assert "old" not in filled
