"""What the command line makes of its options before the work begins."""

import json
import os
import tomllib
from functools import partial
from pathlib import Path

import typer

from neurosal import __version__
from neurosal.cli_checks import run_groups
from neurosal.errors import ArgumentError, DataError, NeurosalError
from neurosal.progress import say

SEVERAL = ("--conditions", "--exclude", "--runs", "--sessions", "--subjects", "--task")
WHICH_RUNS = (
    *("derivatives", "space", "resolution", "desc", "kind", "task", "subjects", "exclude"),
    *("sessions", "runs", "event_column"),
)
LEAST_SUBJECTS = 6  # no sign flip of fewer can reach .05
ONLY_BIDS = ("derivatives", "space", "resolution", "desc", "sessions", "event_column")


def repeat_flags(arguments: list[str]) -> list[str]:
    """Let ``run --conditions a b`` stand for ``run --conditions a --conditions b``.

    Parameters
    ----------
    arguments : list of str
        What was typed.

    Returns
    -------
    list of str
        What the parser understands.

    Examples
    --------
    >>> repeat_flags(["run", "--conditions", "a", "b", "--lag", "5"])
    ['run', '--conditions', 'a', '--conditions', 'b', '--lag', '5']
    """
    if arguments[:1] != ["run"]:
        return arguments
    out, flag = [], None
    for word in arguments:
        if word.startswith("-"):
            flag = word if word in SEVERAL else None
        elif flag and out[-1] != flag:
            out.append(flag)
        out.append(word)
    return out


def config_callback(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a TOML file as defaults of the command.

    Parameters
    ----------
    context : typer.Context
        The command's.
    path : pathlib.Path or None
        The file.

    Returns
    -------
    pathlib.Path or None
        ``path``.

    Raises
    ------
    DataError
        If the file cannot be read.
    ArgumentError
        If it holds an option that the command does not have.
    """
    if path is None:
        return None
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {path} as TOML: {error}.") from error
    known = [parameter.name for parameter in context.command.params if parameter.name != "config"]
    options = {name.replace("-", "_"): value for name, value in options.items()}
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ArgumentError(
            f"{path} has the option(s) {', '.join(unknown)}. Allowed are {', '.join(known)}."
        )
    lists = {flag.removeprefix("--") for flag in SEVERAL}
    options |= {
        name: [options[name]]
        for name in lists & set(options)
        if not isinstance(options[name], list)
    }
    context.default_map = (context.default_map or {}) | options
    return path


def write_config(path: Path, options: dict) -> None:
    """Write the options of a run, so that ``--config`` can repeat it from any folder.

    Parameters
    ----------
    path : pathlib.Path
        The TOML file.
    options : dict
        Name to value; None is left out. Paths, and atlas files, are written from the root on.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "config.toml"
    >>> write_config(path, {"hcp": Path("/data"), "task": ["MOTOR"], "lag": 5.0, "window": None})
    >>> print(path.read_text())
    # neurosal ...: to repeat this run, type: neurosal run --config config.toml --out FOLDER
    hcp = "/data"
    task = ["MOTOR"]
    lag = 5.0
    """
    head = f"# neurosal {__version__}: to repeat this run, type: "
    lines = [f"{head}neurosal run --config {path.name} --out FOLDER\n"]
    for name, value in options.items():
        value = _absolute_atlas(value) if name == "atlas" else value
        value = os.path.abspath(value) if isinstance(value, Path) else value
        if value is not None:
            lines.append(f"{name} = {json.dumps(value, default=str, ensure_ascii=False)}\n")
    path.write_text("".join(lines), encoding="utf-8")


def _absolute_atlas(atlas: str) -> str:
    """Write the files of an atlas from the root on; a name stays as it is."""
    files = atlas_files(atlas)
    files = [files] if isinstance(files, str) else files
    if not all(Path(one).is_file() for one in files):
        return atlas
    return ",".join(os.path.abspath(one) for one in files)


def find_runs(hcp: Path | None, bids: Path | None, **which: object) -> list:
    """Find the runs of the one study that was named.

    Parameters
    ----------
    hcp, bids : pathlib.Path or None
        The study's root; one of them.
    **which
        Arguments of :func:`neurosal.find_hcp_runs` or :func:`neurosal.find_bids_runs`; None is
        left out.

    Returns
    -------
    list of Run
        The runs.

    Raises
    ------
    ArgumentError
        If neither or both studies are named, no task, or what only the other layout has.

    Examples
    --------
    >>> find_runs(None, None, task=["MOTOR"])
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: Give either --hcp ROOT or --bids ROOT, and only one of them.
    """
    from neurosal.loaders.bids import find_bids_runs
    from neurosal.loaders.hcp import find_hcp_runs

    if (hcp is None) == (bids is None):
        raise ArgumentError("Give either --hcp ROOT or --bids ROOT, and only one of them.")
    which = {name: value for name, value in which.items() if value not in (None, [])}
    if "task" not in which:
        raise ArgumentError("Give --task NAME, as in the file names (MOTOR, objectviewing, ...).")
    if len(which["task"]) == 1:
        which["task"] = which["task"][0]
    if bids is not None:
        return find_bids_runs(bids, **which)
    foreign = [f"--{name.replace('_', '-')}" for name in which if name in ONLY_BIDS]
    if foreign:
        raise ArgumentError(f"{', '.join(foreign)}: only studies in BIDS have these; leave it out.")
    return find_hcp_runs(hcp, **which)


def atlas_files(atlas: str) -> str | tuple[str, ...]:
    """Take the atlas that was typed apart, if it is a pair of surface files.

    Parameters
    ----------
    atlas : str
        A name, a file, or two files with a comma between them.

    Returns
    -------
    str or tuple of str
        For :func:`neurosal.load_atlas`.

    Examples
    --------
    >>> atlas_files("lh.mine.annot,rh.mine.annot")
    ('lh.mine.annot', 'rh.mine.annot')
    """
    return tuple(atlas.split(",")) if "," in atlas and not Path(atlas).exists() else atlas


def default_conditions(
    hcp: Path | None, task: list[str], conditions: list[str] | None
) -> dict | None:
    """Read the conditions; by default HCP's blocks, and every trial type elsewhere.

    Parameters
    ----------
    hcp : pathlib.Path or None
        Given if the study is in the HCP layout.
    task : list of str
        The tasks.
    conditions : list of str or None
        What was typed.

    Returns
    -------
    dict of str to list of str, or None
        For :func:`neurosal.extract_windows`.

    Examples
    --------
    >>> default_conditions(None, ["faces"], ["stimulus=face,house", "rest"])
    {'stimulus': ['face', 'house'], 'rest': []}
    """
    from neurosal.loaders.events import parse_conditions
    from neurosal.loaders.hcp import hcp_conditions

    if conditions:
        return parse_conditions(conditions)
    return None if hcp is None else hcp_conditions(task)


def default_cv(runs: list) -> str:
    """Hold out the largest unit of which there are several.

    Parameters
    ----------
    runs : list of Run
        The runs.

    Returns
    -------
    str
        ``'subject'``, ``'run'`` or ``'block'``.
    """
    if len({run.subject for run in runs}) > 1:
        return "subject"
    return "run" if len(run_groups(runs)) > 1 else "block"


def truth_of(hcp: Path | None, task: list[str], decoder: object) -> object:
    """Return the true cells of a simulated study, if it is one and the atlas is the same.

    Parameters
    ----------
    hcp : pathlib.Path or None
        The study.
    task : list of str
        The tasks.
    decoder : SaliencyDecoder
        Fitted.

    Returns
    -------
    xarray.DataArray of bool, or None
        (condition, time, region).
    """
    from neurosal.loaders.simulate import load_truth, truth_mask

    if hcp is None or len(task) > 1 or (decoder.extraction or {}).get("label") == "task":
        return None
    truth = load_truth(hcp, task=task[0])
    if truth is None:
        return None
    if truth.attrs.get("atlas_hash") != decoder.atlas_.hash:
        say("The truth was simulated in another atlas: recovery is not scored.")
        return None
    times = decoder.windows_["time"].to_numpy()
    return truth_mask(truth, conditions=decoder.conditions, time_s=times)


def source_of(hcp: Path | None) -> str:
    """Say where the runs come from, for the report.

    Parameters
    ----------
    hcp : pathlib.Path or None
        The study, if it is in the HCP layout.

    Returns
    -------
    str
        After "read from".

    Examples
    --------
    >>> source_of(None)
    'a BIDS dataset'
    """
    from neurosal.loaders.simulate import load_truth

    if hcp is None:
        return "a BIDS dataset"
    what = "a folder" if load_truth(hcp) is None else "a simulated study"
    return f"{what} in the Human Connectome Project's layout"


def examine(decoder: object, *, statistics: str, trust: str, truth: object = None) -> None:
    """Ask a fitted decoder what the report is to answer; what cannot be asked is said.

    Parameters
    ----------
    decoder : SaliencyDecoder
        Fitted.
    statistics : {'max-t', 'fdr', 'cluster', 'none'}
        How maps are tested over subjects.
    trust : {'quick', 'full', 'none'}
        Which checks of the maps are made; with any, methods are compared too.
    truth : xarray.DataArray of bool, optional
        The true cells, where they are known.

    Examples
    --------
    >>> examine(None, statistics="none", trust="none")
    """
    asked = {}
    if statistics != "none":
        asked["test of the accuracy"] = decoder.accuracy_test
        n_subjects = len(set(decoder.windows_["subject"].to_numpy().tolist()))
        if n_subjects >= LEAST_SUBJECTS:
            asked["statistics over subjects"] = partial(decoder.group_test, correction=statistics)
        else:
            say(f"statistics over subjects left out: {LEAST_SUBJECTS} are needed, not {n_subjects}")
    if trust != "none":
        asked["trust card"] = partial(decoder.trust_card, trust, truth=truth)
        asked["comparison of methods"] = decoder.compare_methods
    for name, ask in asked.items():
        say(name)
        try:
            ask()
        except NeurosalError as error:
            say(f"{name} left out: {error}")
