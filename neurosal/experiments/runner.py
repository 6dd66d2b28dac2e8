"""Run a published experiment: plan, say how long it takes, work through it, write it down."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from neurosal.errors import ArgumentError, check_one_of
from neurosal.experiments.box_reports import save_maps, write_box_page, write_box_results
from neurosal.experiments.box_runs import COLUMNS, KEYS, BoxRun, reference_rows, run_boxes
from neurosal.experiments.hcp_like import reproduce_hcp_like
from neurosal.experiments.majority import reproduce_majority
from neurosal.experiments.majority_data import FOLDS
from neurosal.experiments.mnist import reproduce_mnist
from neurosal.experiments.plans import (
    describe_cuts,
    estimate_seconds,
    plan_boxes,
    settings_digest,
)
from neurosal.experiments.resuming import note_settings, work_through
from neurosal.experiments.tables import append_rows, finished_keys, read_rows
from neurosal.progress import say
from neurosal.reporting.outputs import prepare_folder


def reproduce(
    experiment: str,
    *,
    out: str | Path,
    quick: bool = False,
    seeds: int = 5,
    data: str | Path | None = None,
    folds: str | None = None,
) -> Path:
    """Run a published experiment and print our numbers beside the published ones.

    What is finished is kept: called again with the same folder, the work goes on where it was
    stopped. Before the work, the time that is left is measured from first epochs and said.

    Parameters
    ----------
    experiment : str
        A key of :data:`EXPERIMENTS`.
    out : path-like
        Folder for the results; made if need be.
    quick : bool
        A cut version that ends within ten minutes; what is cut is said.
    seeds : int
        How many seeds; the quick version has one.
    data : path-like, optional
        Folder of MNIST and FashionMNIST, for ``'mnist'`` and ``'majority'``; see
        :func:`~neurosal.experiments.image_sets.load_images`.
    folds : {'images', 'sequences'}, optional
        What ``'majority'`` leaves out, ``'images'`` unless given; see
        :func:`~neurosal.experiments.majority.reproduce_majority`.

    Returns
    -------
    pathlib.Path
        The Markdown table. Beside it lie the tidy table (one row a run), figures and
        ``provenance.json``.

    Raises
    ------
    ArgumentError
        If there is no such experiment, ``seeds`` is below 1, or another than ``'majority'`` is
        given ``folds``.
    DataError
        If the folder holds the results of other settings.

    References
    ----------
    Ismail et al. (2019), Input-Cell Attention Reduces Vanishing Saliency of Recurrent Neural
    Networks. NeurIPS. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> reproduce("box", out="results")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: experiment must be one of 'boxes', ... Got 'box'.
    """
    run = EXPERIMENTS[check_one_of("experiment", experiment, EXPERIMENTS)]
    if seeds < 1:
        raise ArgumentError(f"seeds must be at least 1. Got {seeds!r}.")
    if folds is not None and experiment != "majority":
        raise ArgumentError(f"folds is for 'majority' only. Got {folds!r} for {experiment!r}.")
    options = {} if folds is None else {"folds": check_one_of("folds", folds, FOLDS)}
    return run(experiment, out=prepare_folder(out), quick=quick, seeds=seeds, data=data, **options)


def reproduce_boxes(
    experiment: str,
    *,
    out: Path,
    quick: bool = False,
    seeds: int = 5,
    data: object = None,
    plan: Sequence[BoxRun] | None = None,
) -> Path:
    """Run the experiments on boxes.

    Parameters
    ----------
    experiment : {'boxes', 'moving-box'}
        The six sets, or the box that moves.
    out : pathlib.Path
        Folder for the results.
    quick : bool
        Whether to cut.
    seeds : int
        How many seeds.
    data : object
        Unused: the boxes are drawn.
    plan : sequence of BoxRun, optional
        Other runs than those of :func:`plan_boxes`.

    Returns
    -------
    pathlib.Path
        ``boxes.md``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     reproduce_boxes("boxes", out=Path(folder), plan=[]).name
    'boxes.md'
    """
    runs = plan_boxes(experiment, quick=quick, seeds=seeds) if plan is None else list(plan)
    note_settings(out, experiment=experiment, quick=quick, settings=settings_digest(quick=quick))
    if quick:
        say(describe_cuts(experiment))
    path = out / "boxes.csv"

    def do(run: BoxRun) -> pd.DataFrame:
        """Do a run and keep its maps; the page shows what was done until then."""
        _add_references(path, run)
        write_box_page(out)
        table, maps = run_boxes(run)
        save_maps(out / "maps", run.name, maps)
        return table

    work_through(
        path, runs, columns=COLUMNS, keys=KEYS, estimate=estimate_seconds, do=do, describe=_line
    )
    return write_box_results(out)


def _add_references(path: Path, run: BoxRun) -> None:
    """Add the random and the oracle row of a run's data set and seed, if they are not there."""
    done = finished_keys(read_rows(path, COLUMNS), ["dataset", "seed", "network"])
    if (run.dataset, run.seed, "-") not in done:
        append_rows(path, reference_rows(run.dataset, seed=run.seed, n_test=run.n_test))


def _line(run: BoxRun, table: pd.DataFrame) -> str:
    """Sum a run up in a line."""
    own = run.setup
    first = table.iloc[0]
    text = f"{run.dataset}, {own.network}, {own.training}, seed {run.seed}: "
    text += f"accuracy {first['accuracy']:.1%}, {first['method']} AUPR {first['aupr']:.2f}"
    return text if first["learned"] else text + ", not learned"


#: Name to the function that runs it; each takes the arguments of :func:`reproduce`.
EXPERIMENTS: dict[str, Callable[..., Path]] = {
    "boxes": reproduce_boxes,
    "moving-box": reproduce_boxes,
    "mnist": reproduce_mnist,
    "majority": reproduce_majority,
    "hcp-like": reproduce_hcp_like,
}
