"""How sphinx builds the pages: ``make docs``. Nothing here needs a network."""

import importlib
import os
import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from tutorial_pages import write_gallery_scripts  # noqa: E402

write_gallery_scripts(HERE.parent / "tutorials", HERE / "_build" / "scripts")

project = "neurosal"
author = "the neurosal developers"
copyright = author
release = version = version_of("neurosal")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
nitpicky = False
highlight_language = "none"

myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "_build/scripts",
    "gallery_dirs": "tutorials",
    "plot_gallery": "False",  # they take minutes each; the tests run them
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "doc_module": ("neurosal",),
    "backreferences_dir": "api/tutorials",
    "default_thumb_file": str(HERE / "images" / "demo.png"),
}

html_theme = "furo"
html_title = f"neurosal {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2a5d9f", "color-brand-content": "#2a5d9f"},
    "dark_css_variables": {"color-brand-primary": "#8ab4f8", "color-brand-content": "#8ab4f8"},
}

if os.environ.get("NEUROSAL_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        name: (address, None)
        for name, address in {
            "python": "https://docs.python.org/3",
            "numpy": "https://numpy.org/doc/stable",
            "nilearn": "https://nilearn.github.io/stable",
            "sklearn": "https://scikit-learn.org/stable",
            "torch": "https://docs.pytorch.org/docs/stable",
            "xarray": "https://docs.xarray.dev/en/stable",
        }.items()
    }


def documented_names() -> list[str]:
    """List the names on the API page."""
    text = (HERE / "api.md").read_text(encoding="utf-8")
    return re.findall(r"^ +(neurosal(?:\.\w+)+)$", text, flags=re.MULTILINE)


def resolve(name: str) -> object:
    """Find the object of a dotted name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def real_names() -> dict[str, str]:
    """Map the places an object can be named by to its name on the API page."""
    places = {}
    for name in documented_names():
        found = resolve(name)
        last = name.rpartition(".")[2]
        module = getattr(found, "__module__", None) or ""
        parts = module.split(".")
        for stop in range(1, len(parts) + 1):
            places.setdefault(".".join([*parts[:stop], last]), name)
    return places


def front_page(app: object, docname: str, source: list) -> None:
    """Link tutorials to their pages; put the README on the front page, its links as from here."""
    source[0] = re.sub(r"\]\(\.\./tutorials/(\w+)\.py\)", r"](tutorials/\1.rst)", source[0])
    if docname != "index":
        return
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    text = text.replace("](docs/", "](")
    text = re.sub(r"\]\(tutorials/(\w+)\.py\)", r"](tutorials/\1.rst)", text)
    text = re.sub(r"\[([^\]]+)\]\((?:CITATION\.cff|LICENSE)\)", r"`\1`", text)
    text = text.replace("](CHANGES.md)", "](changes.md)")
    found = [*HERE.glob("reproduction*.md"), *HERE.glob("results/*.md")]
    pages = sorted(path.relative_to(HERE).with_suffix("").as_posix() for path in found)
    source[0] = source[0].replace("% README", text).replace("% REPRODUCTION", "\n".join(pages))


def link_by_place(app: object, env: object, node: object, contnode: object) -> object:
    """Link what a docstring calls by the module it is defined in to its page."""
    target = node.get("reftarget", "")
    name = app.neurosal_places.get(target)
    if node.get("refdomain") != "py" or name in (None, target):
        return None
    domain, kind = env.get_domain("py"), node["reftype"]
    return domain.resolve_xref(env, node["refdoc"], app.builder, kind, name, node, contnode)


def skip_members(app: object, what: str, name: str, obj: object, skip: bool, options: object):
    """Leave out what scikit-learn adds to every estimator."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def plain_summary(app: object, what: str, name: str, obj: object, options: object, lines: list):
    """Take marks of references out of first sentences, for the tables; say what a table holds."""
    if what == "data" and isinstance(obj, dict):
        lines[:] = ["What can be asked for by name: " + ", ".join(map(repr, obj)) + "."]
    elif lines:
        lines[0] = re.sub(r" \[\d+\]_", "", lines[0])


def remove_stale_pages() -> None:
    """Remove the pages of names that are no longer on the API page."""
    names = documented_names()
    for path in (HERE / "api").glob("neurosal.*.rst"):
        if path.stem not in names:
            path.unlink()


def setup(app: object) -> None:
    """Connect the above."""
    remove_stale_pages()
    app.neurosal_places = real_names()
    app.connect("source-read", front_page)
    app.connect("missing-reference", link_by_place)
    app.connect("autodoc-process-docstring", plain_summary, priority=100)
    app.connect("autodoc-skip-member", skip_members)
