"""Networks trained on the simulated tasks, explained, and judged by removal and by the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from neurosal.experiments.hcp_like_data import Windows, make_hcp_like
from neurosal.experiments.resuming import stop_if_interrupted
from neurosal.experiments.tables import as_columns
from neurosal.models.classifier import NetworkClassifier
from neurosal.models.training import Training, resolve_training
from neurosal.saliency.explain import explain
from neurosal.validation.localization_metrics import average_precision

#: Percent of the cells that are removed, or counted.
PERCENTS = (10, 20, 30, 40, 50)
LOST = tuple(f"lost_{p}" for p in PERCENTS)
LOST_OTHER = tuple(f"lost_other_{p}" for p in PERCENTS)
ON = tuple(f"on_{p}" for p in PERCENTS)
AUPR = ("aupr_cell", "aupr_region", "aupr_time", "aupr_group")
#: The columns of ``hcp_like.csv``.
COLUMNS = (
    *("network", "training", "method", "seed", "accuracy", "chance"),
    *AUPR,
    *LOST,
    *LOST_OTHER,
    *ON,
    *("train_accuracy", "epochs", "n_samples"),
)
#: What tells one training's rows from another's.
KEYS = ("training", "method", "seed")

#: Name to network and options. The poster's two, and the cell that the localising training is for.
NETWORKS: dict[str, dict] = {
    "lstm": {},
    "input-cell-lstm": {"hops": 10},
    "input-cell-bi-rnn": {"hops": 4, "positional": True},
}
#: On whose map the second curve of removal of each network rests.
OTHER = {
    "lstm": "input-cell-lstm",
    "input-cell-lstm": "lstm",
    "input-cell-bi-rnn": "lstm",
}
HIDDEN_SIZE = 16
#: How the localising training differs from its preset, chosen on another seed. In the boxes
#: thousands of cells tell the classes apart, here about a hundred do: they bear less noise, and
#: hiding half of the window hides too many of them.
LOCALIZING = {"input_noise": 5.0, "time_mask": None, "max_epochs": 40}
TRAININGS = ("standard", "localizing")
METHODS = ("gradient", "smoothgrad", "integrated_gradients")
#: Points on the way from the baseline, and noisy copies: fewer than by default, for time's sake.
ARGUMENTS = {"smoothgrad": {"n_samples": 20}, "integrated_gradients": {"n_steps": 20}}


@dataclass(frozen=True)
class HcpRun:
    """All networks under one training, on the subjects of one seed.

    Parameters
    ----------
    training : str
        One of :data:`TRAININGS`, or ``'-'`` for the maps that need none.
    methods : tuple of str
        Methods of the saliency engine; for ``'-'``, ``'random'`` and ``'oracle'``.
    seed : int
        Of the subjects, the weights and the training.
    n_train, n_test : int
        Subjects.
    max_epochs : int, optional
        Fewer epochs than the training has.

    Examples
    --------
    >>> HcpRun("standard", ("gradient",), seed=2).row("gradient")
    {'training': 'standard', 'method': 'gradient', 'seed': 2}
    """

    training: str
    methods: tuple[str, ...]
    seed: int
    n_train: int = 12
    n_test: int = 4
    max_epochs: int | None = None
    networks: tuple[str, ...] = field(default=tuple(NETWORKS))

    def row(self, method: str) -> dict:
        """Begin a row of the table.

        Parameters
        ----------
        method : str
            How the networks are explained.

        Returns
        -------
        dict
            The columns that tell it from rows of other runs.
        """
        return {"training": self.training, "method": method, "seed": self.seed}


def run_hcp_like(run: HcpRun) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Train the networks, explain the windows of unseen subjects, and judge the maps.

    Parameters
    ----------
    run : HcpRun
        What to do.

    Returns
    -------
    table : pandas.DataFrame
        A row a network and method, columns :data:`COLUMNS`.
    maps : dict of str to numpy.ndarray
        ``'network_method'`` to the mean map of each task, (task, time, region) float32; and
        ``'truth'``, the share of windows in which a cell is true.

    Examples
    --------
    >>> run = HcpRun("standard", ("gradient",), 0, n_train=1, n_test=1, max_epochs=1)
    >>> table, maps = run_hcp_like(run)
    >>> table["network"].tolist(), maps["lstm_gradient"].shape
    (['lstm', 'input-cell-lstm', 'input-cell-bi-rnn'], (7, 58, 160))
    """
    train, test = make_hcp_like(seed=run.seed, n_train=run.n_train, n_test=run.n_test)
    training = training_of(run.training, max_epochs=run.max_epochs)
    fitted = {name: _fit(name, train, training, run.seed) for name in run.networks}
    rows, kept = [], {"truth": _task_means(test.truth, test)}
    for method in run.methods:
        maps = {
            name: importance(classifier, test, method, training=training, seed=run.seed)
            for name, classifier in fitted.items()
        }
        for name, classifier in fitted.items():
            other = maps.get(OTHER[name])
            scores = judge(classifier, test, maps[name], other=other)
            rows.append(run.row(method) | {"network": name} | _trained(classifier, train) | scores)
            kept[f"{name}_{method}"] = _task_means(maps[name], test)
    return as_columns(rows, COLUMNS), kept


def training_of(name: str, *, max_epochs: int | None = None) -> Training:
    """Give the settings of a training for this data.

    Parameters
    ----------
    name : str
        A key of :data:`neurosal.models.training.PRESETS`.
    max_epochs : int, optional
        Fewer epochs than it has.

    Returns
    -------
    Training
        The localising one as :data:`LOCALIZING` says.

    Examples
    --------
    >>> training_of("localizing").input_noise, training_of("standard").input_noise
    (5.0, 2.0)
    """
    training = resolve_training(name)
    if name == "localizing":
        training.set_params(**LOCALIZING)
    training.max_epochs = min(training.max_epochs, max_epochs or training.max_epochs)
    return training


def importance(
    classifier: NetworkClassifier,
    windows: Windows,
    method: str,
    *,
    training: Training,
    seed: int = 0,
) -> np.ndarray:
    """Map how much each cell of each window counts, whatever its sign.

    Parameters
    ----------
    classifier : NetworkClassifier
        Fitted.
    windows : Windows
        What to explain: the score of each window's task.
    method : str
        A method of the saliency engine; ``'random'``, uniform random numbers; or ``'oracle'``,
        the truth, with random order among the true cells and among the others.
    training : Training
        How the network was trained: SmoothGrad draws the same noise.
    seed : int
        For what is drawn.

    Returns
    -------
    numpy.ndarray
        (sample, time, region), not negative.

    Examples
    --------
    >>> _, test = make_hcp_like(n_train=1, n_test=1)
    >>> maps = importance(None, test, "oracle", training=None)
    >>> bool(maps[test.truth].min() > maps[~test.truth].max())
    True
    """
    if method in ("random", "oracle"):
        drawn = np.random.default_rng([seed, 1]).random(windows.truth.shape)
        return drawn if method == "random" else windows.truth + 1e-6 * drawn
    arguments = dict(ARGUMENTS.get(method, {}))
    if method == "smoothgrad":
        arguments["sd"] = training.input_noise
    maps = explain(classifier, windows.x, method=method, seed=seed, progress=False, **arguments)
    return np.abs(maps.to_numpy().astype(np.float64))


def judge(
    classifier: NetworkClassifier,
    windows: Windows,
    maps: np.ndarray,
    *,
    other: np.ndarray | None = None,
) -> dict[str, float]:
    """Score the maps of a network: truth, removal, steps of the task.

    Parameters
    ----------
    classifier : NetworkClassifier
        Fitted.
    windows : Windows
        What was explained.
    maps : numpy.ndarray
        (sample, time, region) importance.
    other : numpy.ndarray, optional
        Another network's importance, to remove cells by.

    Returns
    -------
    dict
        ``accuracy``, ``chance``, ``aupr_...``, ``lost_...``, ``lost_other_...``, ``on_...``.

    Examples
    --------
    >>> train, test = make_hcp_like(n_train=1, n_test=1)
    >>> fitted = _fit("lstm", train, training_of("standard", max_epochs=1), 0)
    >>> judge(fitted, test, test.truth.astype(float))["aupr_cell"]
    1.0
    """
    x, y = windows.x.to_numpy(), windows.x["condition"].to_numpy()
    accuracy = float((classifier.predict(x) == y).mean())
    scores = {"accuracy": accuracy, "chance": 1 / len(classifier.classes_), "n_samples": len(x)}
    scores |= recovery(maps, windows)
    lost = accuracy - removal_curve(classifier, x, y, maps)
    scores |= dict(zip(LOST, lost, strict=True))
    if other is not None:
        lost = accuracy - removal_curve(classifier, x, y, other)
        scores |= dict(zip(LOST_OTHER, lost, strict=True))
    return scores | dict(zip(ON, shares_on(maps, windows.on), strict=True))


def recovery(maps: np.ndarray, windows: Windows) -> dict[str, float]:
    """Score how well maps find the true cells, regions and steps, by average precision.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, time, region) importance, not negative.
    windows : Windows
        With the truth.

    Returns
    -------
    dict
        Means over windows: ``aupr_cell``; ``aupr_region``, of the map's mean over time against
        the regions that are true at any time; ``aupr_time``, of its mean over regions against the
        steps at which any region is true (windows in which all are do not count);
        ``aupr_group``, of the mean map of each task against the cells true in most of its windows.

    Examples
    --------
    >>> _, test = make_hcp_like(n_train=1, n_test=1)
    >>> recovery(test.truth.astype(float), test)["aupr_time"]
    1.0
    """
    truth = windows.truth
    steps = truth.any(axis=2, keepdims=True)
    some = ~steps.all(axis=1)[:, 0]
    regions = truth.any(axis=1, keepdims=True)
    groups, group_truth = _task_means(maps, windows), _task_means(truth, windows) > 0.5
    known = group_truth.any(axis=(1, 2))
    return {
        "aupr_cell": float(average_precision(maps, truth).mean()),
        "aupr_region": float(average_precision(maps.mean(axis=1, keepdims=True), regions).mean()),
        "aupr_time": float(
            average_precision(maps.mean(axis=2, keepdims=True)[some], steps[some]).mean()
        ),
        "aupr_group": float(average_precision(groups[known], group_truth[known]).mean()),
    }


def removal_curve(
    classifier: NetworkClassifier,
    x: np.ndarray,
    y: np.ndarray,
    maps: np.ndarray,
    *,
    percents: Sequence[int] = PERCENTS,
) -> np.ndarray:
    """Measure the accuracy after each window's most important cells were removed.

    Parameters
    ----------
    classifier : NetworkClassifier
        Fitted; anything with ``predict``.
    x : numpy.ndarray
        (sample, time, region), standardised: a removed cell becomes 0, the mean.
    y : numpy.ndarray
        (sample,) classes.
    maps : numpy.ndarray
        (sample, time, region) importance; of equal cells the earlier ones are removed first.
    percents : sequence of int
        How many of a window's cells are removed.

    Returns
    -------
    numpy.ndarray
        (percent,) accuracy.

    References
    ----------
    Samek et al. (2017), Evaluating the visualization of what a deep neural network has learned.
    IEEE Trans. Neural Netw. Learn. Syst. https://doi.org/10.1109/TNNLS.2016.2599820

    Examples
    --------
    >>> class Sign:
    ...     def predict(self, x):
    ...         return x.sum(axis=(1, 2)) > 0
    >>> x = np.array([[[3.0, -1.0]]])
    >>> removal_curve(Sign(), x, np.array([True]), np.abs(x), percents=[0, 50])
    array([1., 0.])
    """
    order = np.argsort(-maps.reshape(len(maps), -1), axis=1, kind="stable")
    found = []
    for percent in percents:
        cells = order[:, : round(order.shape[1] * percent / 100)]
        left = x.reshape(len(x), -1).copy()
        np.put_along_axis(left, cells, 0.0, axis=1)
        found.append((classifier.predict(left.reshape(x.shape)) == y).mean())
    return np.array(found)


def shares_on(
    maps: np.ndarray, on: np.ndarray, *, percents: Sequence[int] = PERCENTS
) -> np.ndarray:
    """Measure how many of the most important cells lie on steps of the task.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, time, region) importance.
    on : numpy.ndarray of bool
        (sample, time).
    percents : sequence of int
        How many of a window's cells are looked at.

    Returns
    -------
    numpy.ndarray
        (percent,) share, mean over windows.

    Examples
    --------
    >>> shares_on(np.array([[[3.0, 2.0], [1.0, 0.0]]]), np.array([[True, False]]), percents=[50])
    array([1.])
    """
    order = np.argsort(-maps.reshape(len(maps), -1), axis=1, kind="stable")
    acts = np.take_along_axis(np.repeat(on, maps.shape[2], axis=1), order, axis=1)
    counts = [round(order.shape[1] * percent / 100) for percent in percents]
    return np.array([acts[:, :count].mean() for count in counts])


def _fit(name: str, train: Windows, training: Training, seed: int) -> NetworkClassifier:
    """Train one network."""
    classifier = NetworkClassifier(
        name,
        hidden_size=HIDDEN_SIZE,
        network_options=dict(NETWORKS[name]),
        training=training,
        random_state=seed,
    )
    classifier.fit(train.x, train.x["condition"].to_numpy())
    stop_if_interrupted(classifier)
    return classifier


def _trained(classifier: NetworkClassifier, train: Windows) -> dict[str, float]:
    """Say how training ended."""
    right = classifier.predict(train.x) == train.x["condition"].to_numpy()
    return {"train_accuracy": float(right.mean()), "epochs": len(classifier.history_)}


def _task_means(values: np.ndarray, windows: Windows) -> np.ndarray:
    """Average over the windows of each task, (task, time, region) float32."""
    tasks = windows.x["condition"].to_numpy()
    means: Mapping[str, np.ndarray] = {t: values[tasks == t].mean(axis=0) for t in np.unique(tasks)}
    return np.stack(list(means.values())).astype(np.float32)
