"""The tutorials as sphinx-gallery wants them: a docstring first, and reStructuredText as text.

The tutorials are percent scripts whose text is Markdown, which editors and Jupyter show as it is.
"""

import re
from pathlib import Path

HEADER = """\
Tutorials
=========

Scripts to read from top to bottom, or to run, on data that they simulate themselves. These pages
show them without their output, as they take up to minutes each; the tests run them all.

"""
_RULES = {1: "=", 2: "-", 3: "~"}
_CELL = re.compile(r"^# %%(.*)$", flags=re.MULTILINE)


def write_gallery_scripts(tutorials: Path, folder: Path) -> None:
    """Write every tutorial to a folder in sphinx-gallery's form.

    Parameters
    ----------
    tutorials : pathlib.Path
        Holds percent scripts, ``01_*.py`` and so on.
    folder : pathlib.Path
        What is no longer a tutorial is removed from it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        path.name: gallery_script(path.read_text(encoding="utf-8"))
        for path in sorted(tutorials.glob("[0-9]*.py"))
    }
    texts["GALLERY_HEADER.rst"] = HEADER
    for path in folder.iterdir():
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def gallery_script(source: str) -> str:
    r"""Turn a percent script with Markdown into one for sphinx-gallery.

    Parameters
    ----------
    source : str
        The script; its first cell is text.

    Returns
    -------
    str
        The same script: the first text as docstring, the others as comments.

    Examples
    --------
    >>> gallery_script("# %% [markdown]\n# # One\n\n# %%\nx = 1").splitlines()[1:3]
    ['One', '===']
    """
    _, *pieces = _CELL.split(source)
    blocks = []
    for kind, body in zip(pieces[::2], pieces[1::2], strict=True):
        if "markdown" not in kind:
            blocks.append(f"# %%\n\n{body.strip()}\n")
            continue
        text = rst("\n".join(line[2:] for line in body.strip().splitlines()))
        if blocks:
            commented = "\n".join(f"# {line}".rstrip() for line in text.splitlines())
            blocks.append(f"# %%\n{commented}\n")
        else:
            blocks.append(f'r"""\n{text}\n"""\n')
    return "\n".join(blocks)


def rst(markdown: str) -> str:
    r"""Turn the Markdown of the tutorials into reStructuredText.

    Parameters
    ----------
    markdown : str
        Headings, paragraphs, lists, fenced code, links and inline code.

    Returns
    -------
    str
        reStructuredText.

    Examples
    --------
    >>> rst("## Two `x`\n```python\nx = 1\n```").splitlines()
    ['Two ``x``', '---------', '', '.. code-block:: python', '', '    x = 1']
    """
    lines, fenced = [], False
    for line in markdown.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            language = line.strip().strip("`") or "text"
            lines += ["", f".. code-block:: {language}", ""] if fenced else [""]
        elif fenced:
            lines.append(f"    {line}".rstrip())
        else:
            lines += _line(line, lines[-1] if lines else "")
    return "\n".join(lines)


def _line(line: str, before: str) -> list[str]:
    """Turn one line outside of code, given the one before."""
    heading = re.fullmatch(r"(#+) (.*)", line)
    if heading:
        title = _inline(heading[2])
        return [title, _RULES[len(heading[1])] * len(title)]
    item = re.match(r"[-*] |\d+\. ", line)
    begins = item and before.strip() and not re.match(r"[-*] |\d+\. |  ", before)
    return ([""] if begins else []) + [_inline(line)]


def _inline(line: str) -> str:
    """Turn inline code and links."""
    parts = re.split(r"(`[^`]+`)", line)
    parts[1::2] = [f"`{part}`" for part in parts[1::2]]
    parts[::2] = [re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r"`\1 <\2>`__", one) for one in parts[::2]]
    return "".join(parts)
