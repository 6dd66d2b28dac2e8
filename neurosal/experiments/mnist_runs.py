"""One network trained on digits read row by row or column by column, explained, and scored."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.experiments.box_runs import in_float64
from neurosal.experiments.image_sets import Images
from neurosal.experiments.mnist_setups import (
    BATCH,
    COLUMNS,
    HIDDEN,
    LEARNED,
    METHODS,
    N_SAMPLES,
    NETWORKS,
    SHOWN_AMONG,
    DigitRun,
)
from neurosal.experiments.mnist_strokes import (
    as_series,
    digits,
    first_of_each,
    score_strokes,
    strokes_of,
)
from neurosal.experiments.resuming import stop_if_interrupted
from neurosal.experiments.tables import INPUT, as_columns
from neurosal.models.classifier import NetworkClassifier
from neurosal.models.training import Training
from neurosal.saliency.explain import explain


def run_digits(
    run: DigitRun, *, checkpoint: Path | None = None
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Train a network on MNIST and score its maps of test digits against the strokes.

    The maps are made in float64, for those of an LSTM fall below the smallest float32.

    Parameters
    ----------
    run : DigitRun
        What to do.
    checkpoint : pathlib.Path, optional
        Folder to keep the training's state in, epoch by epoch; a stopped training goes on there.

    Returns
    -------
    table : pandas.DataFrame
        One row a method, columns :data:`COLUMNS`.
    maps : dict of str to numpy.ndarray
        Method to the absolute maps of one digit of each class, upright, (10, 28, 28) float32;
        under ``'input'`` these digits.

    Raises
    ------
    KeyboardInterrupt
        If the training was interrupted.

    References
    ----------
    Ismail et al. (2019), https://doi.org/10.48550/arXiv.1910.12370; settings of Ismail et al.
    (2020), https://doi.org/10.48550/arXiv.2010.13924.

    Examples
    --------
    >>> run_digits(DigitRun("rows", "lstm", "-", ("gradient",), seed=0, data="nowhere"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is no folder. ...
    """
    train, test = digits(run.data)
    train = Images(train.x[: run.n_train], train.y[: run.n_train])
    test = Images(test.x[: run.n_test], test.y[: run.n_test])
    classifier, history = train_phases(run, train, checkpoint=checkpoint)
    accuracy = float((classifier.predict(as_series(test.x, run.steps)) == test.y).mean())
    found = {"accuracy": accuracy, "learned": accuracy >= LEARNED, "n_train": len(train.y)}
    found |= {"train_accuracy": float(history["train_accuracy"].iloc[-1]), "epochs": len(history)}
    exact = in_float64(classifier)
    examples = first_of_each(test.y[:SHOWN_AMONG])
    rows, maps = [], {INPUT: test.x[examples]}
    for method in run.methods:
        scores, example_maps = explain_digits(exact, test, run.steps, method, seed=run.seed)
        rows.append(run.row(method) | found | scores)
        maps[method] = example_maps
    return as_columns(rows, COLUMNS, flags=("learned",)), maps


def train_phases(
    run: DigitRun, train: Images, *, checkpoint: Path | None = None
) -> tuple[NetworkClassifier, pd.DataFrame]:
    """Train a network with one learning rate after the other.

    Parameters
    ----------
    run : DigitRun
        The network and its phases.
    train : Images
        What to train on.
    checkpoint : pathlib.Path, optional
        As in :func:`run_digits`.

    Returns
    -------
    classifier : NetworkClassifier
        After the last phase.
    history : pandas.DataFrame
        One row an epoch.

    Examples
    --------
    >>> images = Images(np.zeros((4, 28, 28), dtype=np.uint8), np.arange(4) % 2)
    >>> run = DigitRun("rows", "lstm", "-", (), seed=0, phases=((1e-3, 1), (1e-4, 2)))
    >>> len(train_phases(run, images)[1])
    3
    """
    x, network, histories = as_series(train.x, run.steps), run.network, []
    for rate, epochs in run.phases:
        training = Training(
            max_epochs=epochs,
            batch_size=BATCH,
            learning_rate=rate,
            weight_decay=0.0,
            schedule="constant",
            clip_norm=None,
            input_noise=0.0,
            checkpoint=checkpoint,
        )
        named = isinstance(network, str)
        classifier = NetworkClassifier(
            network,
            hidden_size=HIDDEN,
            network_options=NETWORKS[run.network, run.readout] if named else None,
            training=training,
            random_state=run.seed,
        ).fit(x, train.y)
        stop_if_interrupted(classifier)
        network = classifier.modules_[0].train()
        histories.append(classifier.history_)
    network.eval()
    return classifier, pd.concat(histories, ignore_index=True)


def explain_digits(
    classifier: NetworkClassifier, test: Images, steps: str, method: str, *, seed: int = 0
) -> tuple[dict, np.ndarray]:
    """Explain test digits by one method and score the maps against the strokes.

    Parameters
    ----------
    classifier : NetworkClassifier
        Fitted.
    test : Images
        Test digits; the first :data:`N_SAMPLES` are explained.
    steps : {'rows', 'columns'}
        What is one step.
    method : str
        A key of :data:`METHODS`.
    seed : int
        For methods that draw noise.

    Returns
    -------
    scores : dict
        Mean scores over the digits.
    examples : numpy.ndarray
        Absolute maps of one digit of each class, upright, (10, 28, 28) float32.

    Examples
    --------
    >>> images = Images(np.eye(28, dtype=np.uint8)[None].repeat(4, 0) * 255, np.arange(4) % 2)
    >>> run = DigitRun("rows", "lstm", "-", (), seed=0, phases=((1e-3, 1),))
    >>> explain_digits(train_phases(run, images)[0], images, "rows", "gradient")[0]["n_samples"]
    4
    """
    few = slice(N_SAMPLES[method])
    shown = first_of_each(test.y[:SHOWN_AMONG])
    started = time.perf_counter()
    found = explain(
        classifier,
        as_series(test.x[few], steps),
        y=test.y[few],
        seed=seed,
        progress=False,
        **METHODS[method],
    )
    if found.attrs["interrupted"]:
        raise KeyboardInterrupt
    seconds = round(time.perf_counter() - started, 3)
    maps = np.abs(found.to_numpy())
    upright = maps[shown] if steps == "rows" else maps[shown].swapaxes(1, 2)
    truth = strokes_of(test.x[few], steps)
    return score_strokes(maps, truth) | {"seconds": seconds}, upright.astype(np.float32)
