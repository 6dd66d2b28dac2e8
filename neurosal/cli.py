"""The shell's door: ``neurosal demo``, ``simulate``, ``inspect``, ``run`` and ``atlas``."""

import json
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from neurosal import __version__
from neurosal.cli_checks import check_conditions, check_held_out, check_settings
from neurosal.cli_options import (
    WHICH_RUNS,
    atlas_files,
    config_callback,
    default_conditions,
    default_cv,
    examine,
    find_runs,
    repeat_flags,
    source_of,
    truth_of,
    write_config,
)
from neurosal.errors import NeurosalError
from neurosal.progress import say

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

WHERE = {"offline": "shipped", "nilearn": "downloaded by nilearn"}
DEMO = {"task": "MOTOR", "n_subjects": 8, "voxel_size": 4.0, "window": 12.0, "lag": 5.0}

Out = Annotated[Path, typer.Option(help="Folder for the results; made if it is not there.")]
Seed = Annotated[int, typer.Option(help="Seed: the same seed gives the same result.", min=0)]
Method = Annotated[
    str,
    typer.Option(
        help="How to explain: integrated_gradients, lrp, gradient, smoothgrad, occlusion, ...; "
        "docs/guide.md says which when."
    ),
]
Derivatives = Annotated[
    str | None, typer.Option(help="Folder of preprocessed BIDS runs, within --bids or not.")
]
Space = Annotated[str | None, typer.Option(help="BIDS space of the runs to take.")]
EventColumn = Annotated[
    str | None, typer.Option(help="Column of BIDS event tables to take conditions from.")
]


def _print_version(asked: bool) -> None:
    """Print the version, if that was asked for, and stop."""
    if asked:
        print(f"neurosal {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version)
    ] = False,
) -> None:
    """See which brain regions, and when, a recurrent network looks at in task fMRI."""


@app.command()
def demo(out: Out = Path("neurosal-demo"), seed: Seed = 0) -> None:
    """Go all the way on a small simulated motor study.

    Simulates eight subjects in the HCP layout, decodes five movements, and writes the report.
    """
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
        task=[DEMO["task"]],
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
    effect_size: Annotated[float, typer.Option(help="Peak response, % signal change.")] = 1.0,
    atlas: Annotated[str, typer.Option(help="Atlas whose regions respond.")] = "dosenbach160",
    seed: Seed = 0,
) -> None:
    """Write subjects in the HCP folder layout whose truth is known."""
    from neurosal.loaders.simulate import simulate_hcp
    from neurosal.parcellation.atlas import load_atlas

    parcels = load_atlas(atlas)
    simulate_hcp(
        directory,
        labels=parcels.labels,
        regions=parcels.regions,
        atlas_name=parcels.name,
        atlas_hash=parcels.hash,
        task=task,
        n_subjects=n_subjects,
        voxel_size=voxel_size,
        effect_size=effect_size,
        seed=seed,
        progress=say,
    )
    print(f"simulated study: {directory}")


@app.command()
def inspect(
    root: Annotated[Path, typer.Argument(help="Root of a study, HCP or BIDS.")],
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    derivatives: Derivatives = None,
    space: Space = None,
    event_column: EventColumn = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List every problem, not a few of each kind.")
    ] = False,
) -> None:
    """Print what a study holds: subjects, runs, problems.

    Tasks and conditions too, and for each problem what to do about it.
    """
    from neurosal.loaders.inspect import inspect_study

    column = {"event_column": event_column} if event_column else {}
    study = inspect_study(root, task=task, derivatives=derivatives, space=space, **column)
    print(study.to_text(most=None) if everything else study)


@app.command("run")
def run(
    hcp: Annotated[Path | None, typer.Option(help="Root of a study in the HCP layout.")] = None,
    bids: Annotated[Path | None, typer.Option(help="Root of a BIDS study.")] = None,
    derivatives: Derivatives = None,
    space: Space = None,
    resolution: Annotated[
        str | None, typer.Option(help="BIDS res- or den- of the runs to take.")
    ] = None,
    desc: Annotated[
        str | None, typer.Option(help="BIDS desc- of the preprocessed runs, if not preproc.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Images: volume, cifti, or surface (BIDS).")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="As in the file names; several, or HCP's all, to tell tasks apart."),
    ] = None,
    subjects: Annotated[
        list[str] | None, typer.Option(help="Only these subjects: --subjects 01 02.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="All subjects but these: --exclude 03 07.")
    ] = None,
    sessions: Annotated[list[str] | None, typer.Option(help="Only these BIDS sessions.")] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(help="Only these runs: LR or RL of the HCP; numbers in BIDS."),
    ] = None,
    event_column: EventColumn = None,
    atlas: Annotated[
        str, typer.Option(help="Atlas name or file; LEFT,RIGHT for a pair of surface files.")
    ] = "dosenbach160",
    table: Annotated[
        Path | None, typer.Option(help="Region table of the atlas file, if not beside it.")
    ] = None,
    atlas_space: Annotated[
        str | None, typer.Option(help="Space of the atlas file, if you know better than its name.")
    ] = None,
    conditions: Annotated[
        list[str] | None,
        typer.Option(help="Chosen, renamed or pooled: --conditions stimulus=face,house rest."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Tell apart: condition, or task (so if there are several tasks)."),
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
        str | None,
        typer.Option(help="Regress out: motion, all, simple, compcor, ..., or names with commas."),
    ] = None,
    scrub: Annotated[
        float | None, typer.Option(help="Do not use frames with head motion above this many mm.")
    ] = None,
    cv: Annotated[str | None, typer.Option(help="What is held out: subject, run or block.")] = None,
    folds: Annotated[int | None, typer.Option(help="How many folds.", min=2)] = None,
    method: Method = "integrated_gradients",
    screening: Annotated[
        float, typer.Option(help="Percent of the cells to decode from, chosen in training.")
    ] = 20.0,
    statistics: Annotated[
        str, typer.Option(help="Test maps over subjects: max-t, fdr, cluster or none.")
    ] = "max-t",
    trust: Annotated[
        str, typer.Option(help="Check whether the maps are to be trusted: quick, full or none.")
    ] = "quick",
    seed: Seed = 0,
    n_jobs: Annotated[int, typer.Option(help="Processes for parcellation; -1: all cores.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Parcellate on a dask cluster: dask://HOST:PORT.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Keep region series and training here, to go on from.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of these options; those typed win.",
            callback=config_callback,
            is_eager=True,
        ),
    ] = None,
    out: Out = Path("neurosal-results"),
) -> None:
    """Decode a task, explain it, write maps and a report."""
    options = {name: value for name, value in locals().items() if name not in ("config", "out")}
    which = {name: options[name] for name in WHICH_RUNS}
    check_settings(method=method, cv=cv, screening=screening, statistics=statistics, trust=trust)
    from neurosal.decoder import SaliencyDecoder
    from neurosal.parcellation.atlas import load_atlas
    from neurosal.reporting.outputs import prepare_folder

    found = find_runs(hcp, bids, **which)
    tasks = list(dict.fromkeys(run.task for run in found))
    label = label or ("task" if len(tasks) > 1 else "condition")
    chosen = default_conditions(hcp, tasks, conditions)
    check_conditions(chosen, label)
    cv = cv or default_cv(found)
    check_held_out(found, cv, folds)
    write_config(prepare_folder(out) / "config.toml", options)
    decoder = SaliencyDecoder(
        load_atlas(
            atlas_files(atlas),
            **({"table": table} if table else {}),
            **({"space": atlas_space} if atlas_space else {}),
        ),
        conditions=chosen,
        window=window,
        lag=lag,
        merge=merge,
        cv=cv,
        n_folds=folds,
        method=method,
        screening_percentile=screening,
        high_pass=high_pass,
        confounds=confounds.split(",") if confounds and "," in confounds else confounds,
        extraction={
            "scrub_mm": scrub,
            "label": label,
            "n_jobs": n_jobs,
            "cache": cache,
            "client": cluster,
        },
        random_state=seed,
        verbose=True,
    ).fit(found)
    truth = truth_of(hcp, tasks, decoder)
    examine(decoder, statistics=statistics, trust=trust, truth=truth)
    say("writing maps, figures and the report")
    report = decoder.generate_report(out, truth=truth, source=source_of(hcp))
    _print_summary(out, report)


@app.command()
def reproduce(
    experiment: Annotated[
        str, typer.Argument(help="boxes, moving-box, mnist, majority or hcp-like.")
    ],
    quick: Annotated[bool, typer.Option(help="A few minutes; says what it leaves out.")] = False,
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 5,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with mnist and fashion_mnist as idx files; else NEUROSAL_DATA."),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(help="majority: leave out images (the default), or sequences as published."),
    ] = None,
    out: Out = Path("neurosal-reproduce"),
) -> None:
    """Repeat a published experiment, its numbers beside ours."""
    from neurosal.experiments import reproduce as run_experiment

    table = run_experiment(experiment, out=out, quick=quick, seeds=seeds, data=data, folds=folds)
    print(table.read_text(encoding="utf-8"))
    print(f"table              {table}")


@app.command("atlas")
def atlases() -> None:
    """List the atlases that can be named."""
    from neurosal.parcellation.atlas import list_atlases

    for name, description in list_atlases().items():
        print(f"{name:18}{WHERE[description]}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's error ends with one message and exit code 2.

    Parameters
    ----------
    arguments : list of str, optional
        What was typed after ``neurosal``; by default the process's own.

    Examples
    --------
    >>> main(["--version"])
    Traceback (most recent call last):
        ...
    SystemExit: 0
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    warnings.showwarning = _warn_once()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app(repeat_flags(arguments), prog_name="neurosal")
    except NeurosalError as error:
        say(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say(f"interrupted: neurosal {shlex.join(arguments)}")
        sys.exit(130)


def _warn_once() -> Callable:
    """Return what says each warning of this process once, whatever raises it how often."""
    told = set()

    def show(message: Warning, *_: object, **__: object) -> None:
        if str(message) not in told:
            told.add(str(message))
            say(f"warning: {message}")

    return show


def _print_summary(out: Path, report: Path) -> None:
    """Print what the user wants to know first."""
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    print(f"windows            {metrics['n_windows']} in {metrics['n_folds']} folds")
    p = f", p = {metrics['accuracy_p']:.2g}" if "accuracy_p" in metrics else ""
    print(f"accuracy           {metrics['accuracy']:.3f}  (chance {metrics['chance']:.3f}{p})")
    print(f"baseline accuracy  {metrics['baseline_accuracy']:.3f}  ({metrics['baseline']})")
    if "truth_aupr" in metrics:
        print(
            f"truth recovery     AUPR {metrics['truth_aupr']:.3f}  "
            f"(random map {metrics['truth_aupr_random']:.3f})"
        )
    trust = [check["verdict"] for check in metrics.get("trust", {}).values()]
    if trust:
        flagged = [name for name, c in metrics["trust"].items() if c["verdict"] == "flagged"]
        what = f"flagged: {', '.join(flagged)}" if flagged else "nothing flagged"
        print(f"trust card         {trust.count('passed')} passed; {what}")
    print(f"report             {report}")
