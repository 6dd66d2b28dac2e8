"""The pages say what there is: every public name is on the API page, every link leads somewhere."""

import importlib
import re
from pathlib import Path

import pytest

import neurosal

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent.name for path in (ROOT / "neurosal").glob("*/__init__.py"))


def listed():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    return re.findall(r"^ +(neurosal(?:\.\w+)+)$", text, flags=re.MULTILINE)


def resolve(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_what_the_api_page_lists_exists_and_is_listed_once():
    names = listed()
    found = [resolve(name) for name in names]
    assert len({id(one) for one in found}) == len(names) > 50
    undocumented = [n for n, one in zip(names, found, strict=True) if not (one.__doc__ or "")]
    assert not undocumented


@pytest.mark.parametrize("folder", ["", *FOLDERS])
def test_every_public_name_is_on_the_api_page(folder):
    package = importlib.import_module(f"neurosal.{folder}") if folder else neurosal
    known = {id(resolve(name)) for name in listed()}
    missing = [name for name in package.__all__ if id(getattr(package, name)) not in known]
    assert not missing, f"add to docs/api.md: {missing}"


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md", "docs/cells.md", "docs/api.md"])
def test_links_of_a_page_lead_to_files_and_headings(page):
    path = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text(encoding="utf-8")):
        file, _, heading = target.partition("#")
        there = path if not file else path.parent / file
        assert there.exists(), target
        if heading:
            assert heading in _anchors(there.read_text(encoding="utf-8")), target


def _anchors(text):
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
