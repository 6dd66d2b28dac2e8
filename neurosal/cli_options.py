"""What the command line makes of its options before the work begins."""

import json
import tomllib
from pathlib import Path

import typer

from neurosal.errors import ArgumentError, DataError
from neurosal.progress import say

SEVERAL = ("--conditions", "--subjects", "--task")


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
        options = tomllib.loads(path.read_text(encoding="utf-8"))
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
    """Write the options of a run, so that ``--config`` can repeat it.

    Parameters
    ----------
    path : pathlib.Path
        The TOML file.
    options : dict
        Name to value; None is left out.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "config.toml"
    >>> write_config(path, {"hcp": Path("study"), "task": ["MOTOR"], "lag": 5.0, "window": None})
    >>> print(path.read_text())
    hcp = "study"
    task = ["MOTOR"]
    lag = 5.0
    """
    lines = [
        f"{name} = {json.dumps(value, default=str, ensure_ascii=False)}\n"
        for name, value in options.items()
        if value is not None
    ]
    path.write_text("".join(lines), encoding="utf-8")


def find_runs(
    hcp: Path | None,
    bids: Path | None,
    derivatives: str | None,
    *,
    space: str | None,
    kind: str | None,
    task: list[str] | None,
    subjects: list[str] | None,
) -> list:
    """Find the runs of the one study that was named.

    Parameters
    ----------
    hcp, bids : pathlib.Path or None
        The study's root; one of them.
    derivatives, space : str or None
        See :func:`neurosal.find_bids_runs`.
    kind : {'volume', 'cifti', 'surface'} or None
        See :func:`neurosal.find_hcp_runs` and :func:`neurosal.find_bids_runs`; None takes volumes
        of HCP, and what there is of BIDS.
    task, subjects : list of str or None
        Which runs.

    Returns
    -------
    list of Run
        The runs.

    Raises
    ------
    ArgumentError
        If neither or both studies are named, or no task.
    """
    from neurosal.loaders.bids import find_bids_runs
    from neurosal.loaders.hcp import find_hcp_runs

    if (hcp is None) == (bids is None):
        raise ArgumentError("Give either --hcp ROOT or --bids ROOT, and only one of them.")
    if not task:
        raise ArgumentError("Give --task NAME, as in the file names (MOTOR, objectviewing, ...).")
    tasks = task[0] if len(task) == 1 else task
    if hcp is not None:
        return find_hcp_runs(hcp, task=tasks, subjects=subjects, kind=kind or "volume")
    return find_bids_runs(
        bids, task=tasks, space=space, derivatives=derivatives, subjects=subjects, kind=kind
    )


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
    return "run" if len(runs) > 1 else "block"


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

    if hcp is None or len(task) > 1:
        return None
    truth = load_truth(hcp, task=task[0])
    if truth is None:
        return None
    if truth.attrs.get("atlas_hash") != decoder.atlas_.hash:
        say("The truth was simulated in another atlas: recovery is not scored.")
        return None
    times = decoder.windows_["time"].to_numpy()
    return truth_mask(truth, conditions=decoder.conditions, time_s=times)
