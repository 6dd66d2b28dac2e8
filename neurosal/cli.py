"""The shell's door: ``neurosal demo``, ``simulate``, ``run`` and ``atlas``."""

import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from neurosal import __version__
from neurosal.errors import ArgumentError, NeurosalError
from neurosal.progress import say

app = typer.Typer(
    help="See which brain regions, and when, a recurrent network looks at in task fMRI.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

DEMO = {"task": "MOTOR", "n_subjects": 8, "voxel_size": 4.0, "window": 12.0, "lag": 5.0}
SEVERAL = ("--conditions", "--subjects")

Out = Annotated[Path, typer.Option(help="Folder for the results; made if it is not there.")]
Seed = Annotated[int, typer.Option(help="Seed: the same seed gives the same result.")]
Method = Annotated[str, typer.Option(help="How to explain: a method of neurosal.explain.")]


@app.command()
def demo(out: Out = Path("neurosal-demo"), seed: Seed = 0) -> None:
    """Simulate a small HCP motor study, decode it, explain it, and write the report."""
    from neurosal.reporting.outputs import prepare_folder

    root = prepare_folder(out) / "simulated-hcp"
    simulate(
        root,
        task=DEMO["task"],
        n_subjects=DEMO["n_subjects"],
        voxel_size=DEMO["voxel_size"],
        seed=seed,
    )
    run(
        hcp=root,
        task=DEMO["task"],
        window=DEMO["window"],
        lag=DEMO["lag"],
        cv="subject",
        seed=seed,
        out=out,
    )


@app.command()
def simulate(
    directory: Annotated[Path, typer.Argument(help="Folder for the study; new or empty.")],
    task: Annotated[str, typer.Option(help="HCP task: MOTOR, WM, EMOTION, ...")] = "MOTOR",
    n_subjects: Annotated[int, typer.Option("--subjects", help="How many subjects.")] = 8,
    voxel_size: Annotated[float, typer.Option(help="mm; 2 makes the true HCP grid.")] = 4.0,
    effect_size: Annotated[
        float | None, typer.Option(help="Peak response in percent signal change.")
    ] = None,
    atlas: Annotated[str, typer.Option(help="Atlas whose regions respond.")] = "dosenbach160",
    seed: Seed = 0,
) -> None:
    """Write subjects in the HCP folder layout whose truth is known."""
    from neurosal.loaders.simulate import simulate_hcp
    from neurosal.parcellation.atlas import load_atlas

    parcels = load_atlas(atlas)
    options = {} if effect_size is None else {"effect_size": effect_size}
    simulate_hcp(
        directory,
        labels=parcels.labels,
        regions=parcels.regions,
        atlas_name=parcels.name,
        atlas_hash=parcels.hash,
        task=task,
        n_subjects=n_subjects,
        voxel_size=voxel_size,
        seed=seed,
        progress=say,
        **options,
    )
    print(f"simulated study: {directory}")


@app.command("run")
def run(
    hcp: Annotated[Path | None, typer.Option(help="Root of a study in the HCP layout.")] = None,
    bids: Annotated[Path | None, typer.Option(help="Root of a BIDS study.")] = None,
    derivatives: Annotated[
        str | None, typer.Option(help="Folder of preprocessed BIDS runs, within --bids or not.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="BIDS space of the runs to take.")] = None,
    task: Annotated[str | None, typer.Option(help="Task name, as in the file names.")] = None,
    subjects: Annotated[
        list[str] | None, typer.Option(help="Only these subjects: --subjects 01 02.")
    ] = None,
    atlas: Annotated[str, typer.Option(help="Atlas name, or a label image.")] = "dosenbach160",
    table: Annotated[
        Path | None, typer.Option(help="Region table of the label image, if not beside it.")
    ] = None,
    conditions: Annotated[
        list[str] | None,
        typer.Option(help="Chosen, renamed or pooled: --conditions stimulus=face,house rest."),
    ] = None,
    window: Annotated[
        float | None, typer.Option(help="Window length in s; by default the shortest block.")
    ] = None,
    lag: Annotated[float, typer.Option(help="From event onset to window start, in s.")] = 5.0,
    merge: Annotated[
        float | None,
        typer.Option(help="Join events of one condition over gaps up to this many s."),
    ] = None,
    high_pass: Annotated[float | None, typer.Option(help="High-pass cut-off in Hz.")] = None,
    confounds: Annotated[
        str | None, typer.Option(help="Confounds to regress out: all, or names with commas.")
    ] = None,
    cv: Annotated[str | None, typer.Option(help="What is held out: subject, run or block.")] = None,
    folds: Annotated[int | None, typer.Option(help="How many folds.")] = None,
    method: Method = "integrated_gradients",
    seed: Seed = 0,
    out: Out = Path("neurosal-results"),
) -> None:
    """Decode the conditions of a task, explain the decoder, and write maps and a report."""
    from neurosal.decoder import SaliencyDecoder
    from neurosal.loaders.events import parse_conditions
    from neurosal.parcellation.atlas import load_atlas
    from neurosal.reporting.outputs import prepare_folder

    prepare_folder(out)
    runs = _find_runs(hcp, bids, derivatives, space=space, task=task, subjects=subjects)
    chosen = parse_conditions(conditions) if conditions else _default_conditions(hcp, task)
    decoder = SaliencyDecoder(
        load_atlas(atlas, **({"table": table} if table else {})),
        conditions=chosen,
        window=window,
        lag=lag,
        merge=merge,
        cv=cv or _default_cv(runs),
        n_folds=folds,
        method=method,
        high_pass=high_pass,
        confounds=confounds.split(",") if confounds and confounds != "all" else confounds,
        random_state=seed,
        verbose=True,
    ).fit(runs)
    say("writing maps, figures and the report")
    report = decoder.generate_report(out, truth=_truth(hcp, task, decoder))
    _print_summary(out, report)


@app.command("atlas")
def atlases() -> None:
    """List the atlases that can be named."""
    from neurosal.parcellation.atlas import list_atlases

    for name in list_atlases():
        print(name)


@app.command()
def version() -> None:
    """Print the version."""
    print(f"neurosal {__version__}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's error ends with one message and exit code 2.

    Parameters
    ----------
    arguments : list of str, optional
        What was typed after ``neurosal``; by default the process's own.

    Examples
    --------
    >>> main(["version"])
    Traceback (most recent call last):
        ...
    SystemExit: 0
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app(_repeat_flags(arguments), prog_name="neurosal")
    except NeurosalError as error:
        say(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say(f"interrupted: neurosal {shlex.join(arguments)}")
        sys.exit(130)


def _repeat_flags(arguments: list[str]) -> list[str]:
    """Let ``--conditions a b`` stand for ``--conditions a --conditions b``."""
    simulating = arguments[:1] == ["simulate"]
    out, flag = [], None
    for word in arguments:
        if word.startswith("-"):
            flag = word if word in SEVERAL and not simulating else None
            out.append(word)
        elif flag and out[-1] != flag:
            out += [flag, word]
        else:
            out.append(word)
    return out


def _find_runs(
    hcp: Path | None,
    bids: Path | None,
    derivatives: str | None,
    *,
    space: str | None,
    task: str | None,
    subjects: list[str] | None,
) -> list:
    """Find the runs of the one study that was named."""
    from neurosal.loaders.bids import find_bids_runs
    from neurosal.loaders.hcp import find_hcp_runs

    if (hcp is None) == (bids is None):
        raise ArgumentError("Give either --hcp ROOT or --bids ROOT, and only one of them.")
    if task is None:
        raise ArgumentError("Give --task NAME, as in the file names (MOTOR, objectviewing, ...).")
    if hcp is not None:
        return find_hcp_runs(hcp, task=task, subjects=subjects)
    return find_bids_runs(bids, task=task, space=space, derivatives=derivatives, subjects=subjects)


def _default_conditions(hcp: Path | None, task: str) -> dict | None:
    """For HCP the task's blocks, else every trial type."""
    from neurosal.loaders.hcp import HCP_BLOCKS

    if hcp is None:
        return None
    return {name: [name] for name in HCP_BLOCKS.get(task, ())} or None


def _default_cv(runs: list) -> str:
    """Hold out the largest unit of which there are several."""
    if len({run.subject for run in runs}) > 1:
        return "subject"
    return "run" if len(runs) > 1 else "block"


def _truth(hcp: Path | None, task: str, decoder: object) -> object:
    """Return the true cells of a simulated study, if it is one and the atlas is the same."""
    from neurosal.loaders.simulate import load_truth, truth_mask

    truth = load_truth(hcp, task=task) if hcp is not None else None
    if truth is None:
        return None
    if truth.attrs.get("atlas_hash") != decoder.atlas_.hash:
        say("The truth was simulated in another atlas: recovery is not scored.")
        return None
    times = decoder.windows_["time"].to_numpy()
    return truth_mask(truth, conditions=decoder.conditions, time_s=times)


def _print_summary(out: Path, report: Path) -> None:
    """Print what the user wants to know first."""
    import json

    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    print(f"windows            {metrics['n_windows']} in {metrics['n_folds']} folds")
    print(f"accuracy           {metrics['accuracy']:.3f}  (chance {metrics['chance']:.3f})")
    print(f"baseline accuracy  {metrics['baseline_accuracy']:.3f}  ({metrics['baseline']})")
    if "truth_aupr" in metrics:
        print(
            f"truth recovery     AUPR {metrics['truth_aupr']:.3f}  "
            f"(random map {metrics['truth_aupr_random']:.3f})"
        )
    print(f"report             {report}")
