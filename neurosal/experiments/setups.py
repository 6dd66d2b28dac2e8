"""What the box experiments compare: networks, trainings, methods, and the published numbers.

>>> [setup.network for setup in SETUPS if setup.training == "localizing"][:2]
['input-cell-bi-rnn', 'input-cell-bi-gru']
"""

from dataclasses import dataclass, field, replace
from math import ceil

from neurosal.experiments.boxes import BOXES, DATASETS
from neurosal.models.classifier import NetworkClassifier
from neurosal.models.training import Training, resolve_training
from neurosal.saliency.methods import METHODS

#: Test accuracy from which a network counts as having learned.
LEARNED = 0.95
NOISE_METHODS = ("smoothgrad", "smoothgrad_squared", "vargrad")
#: SmoothGrad times input, averaged over this many neighbouring steps and features: the evidence
#: near each cell. It differs from sample to sample where SmoothGrad under heavy noise does not,
#: but only makes sense where neighbouring features belong together.
EVIDENCE = "smoothgrad_x_input_mean"
EVIDENCE_WINDOW = (9, 9)
#: Training steps at most. The paper names none for its training, which ends at 100 % training
#: accuracy: these are 100 epochs of 1000 samples. The localising training takes all of its steps.
UPDATES = {"published": 2000, "localizing": 480}
#: Samples a step, where the boxes differ from the preset: larger batches cost less a sample.
BATCH_SIZE = {"localizing": 64}
#: Samples a method is run on, where it takes too long to run it on all.
MOST_SAMPLES = {
    "integrated_gradients": 50,
    "smoothgrad": 50,
    EVIDENCE: 50,
    "smoothgrad_squared": 50,
    "vargrad": 50,
    "expected_gradients": 50,
    "feature_ablation": 50,
    "occlusion": 20,
    "temporal_rescaling": 8,
}


@dataclass(frozen=True)
class Setup:
    """A network, how it reads its inputs, and how it is trained.

    Parameters
    ----------
    network : str
        A key of :data:`neurosal.models.networks.NETWORKS`.
    training : str
        A key of :data:`neurosal.models.training.PRESETS`.
    readout : str
        Of input-cell attention: ``'mean'``, ``'flatten'`` or ``'flatten-normalized'``; else
        ``'-'``.
    hidden_size : int
        Hidden units.
    options : dict
        The network's further options.

    Examples
    --------
    >>> Setup("lstm", "published").classifier(seed=3).random_state
    3
    """

    network: str
    training: str
    readout: str = "-"
    hidden_size: int = 5
    options: dict = field(default_factory=dict, hash=False)

    def fitting(self, n_train: int, *, max_epochs: int | None = None) -> Training:
        """Give the settings of training on so many samples.

        Parameters
        ----------
        n_train : int
            Training samples; the more, the fewer epochs, for the steps are limited.
        max_epochs : int, optional
            Fewer epochs still.

        Returns
        -------
        Training
            The preset, its epochs (and batches) as :data:`UPDATES` and :data:`BATCH_SIZE` say.

        Examples
        --------
        >>> setup = Setup("lstm", "published")
        >>> setup.fitting(1000).max_epochs, setup.fitting(8000).max_epochs
        (100, 13)
        """
        training = resolve_training(self.training)
        training.batch_size = BATCH_SIZE.get(self.training, training.batch_size)
        epochs = ceil(UPDATES[self.training] / ceil(n_train / training.batch_size))
        training.max_epochs = min(epochs, max_epochs or epochs)
        return training

    def classifier(
        self, *, seed: int, n_train: int = 1000, max_epochs: int | None = None
    ) -> NetworkClassifier:
        """Make the classifier to train.

        Parameters
        ----------
        seed : int
            Of its weights and its training.
        n_train : int
            Training samples.
        max_epochs : int, optional
            Fewer epochs than the training has.

        Returns
        -------
        NetworkClassifier
            Not fitted.
        """
        return NetworkClassifier(
            self.network,
            hidden_size=self.hidden_size,
            network_options=dict(self.options),
            training=self.fitting(n_train, max_epochs=max_epochs),
            random_state=seed,
        )


def _published() -> tuple[Setup, ...]:
    """List the paper's networks and their successors, trained as published."""
    dropout = {"dropout": 0.1}
    plain = ("lstm", "bi-lstm", "lstm-self-attention", "lstm-max", "lstm-mean", "feed-forward")
    attention = dropout | {"hops": 20, "attention_size": 50}
    flat = attention | {"readout": "flatten"}
    cell = Setup("input-cell-lstm", "published", "mean", options=attention)
    return (
        *(Setup(name, "published", options=dropout) for name in plain),
        cell,
        replace(cell, readout="flatten", options=flat),
        replace(cell, readout="flatten-normalized", options=flat | {"normalize": True}),
        replace(cell, network="input-cell-gru"),
        Setup("tcn", "published", hidden_size=8, options=dropout),
        Setup("transformer", "published", hidden_size=8, options=dropout),
    )


def _localizing() -> tuple[Setup, ...]:
    """List the networks under the training that makes maps find the truth, the chosen one first."""
    plain = ("feed-forward", "lstm", "gru", "bi-lstm", "lstm-self-attention", "tcn", "transformer")
    attention = {"hops": 1, "positional": True}
    cells = ("bi-rnn", "bi-gru", "bi-lstm", "lstm")
    return (
        *(Setup(f"input-cell-{c}", "localizing", "mean", 16, attention) for c in cells),
        *(Setup(name, "localizing", hidden_size=16) for name in plain),
    )


SETUPS: tuple[Setup, ...] = (*_published(), *_localizing())

_TABLE = {
    "lstm": (
        (0.000, 1.006, 0.534),
        (0.000, 1.003, 0.986),
        (0.019, 0.985, 1.000),
        (0.000, 1.003, 0.491),
        (0.000, 1.003, 0.522),
        (0.000, 1.004, 0.518),
    ),
    "bi-lstm": (
        (0.000, 1.004, 0.507),
        (0.000, 1.003, 0.532),
        (0.013, 0.990, 1.000),
        (0.000, 1.002, 0.515),
        (0.000, 1.003, 0.513),
        (0.000, 1.003, 0.513),
    ),
    "lstm-self-attention": (
        (0.048, 0.973, 1.000),
        (0.048, 0.963, 1.000),
        (0.045, 0.973, 1.000),
        (0.060, 0.953, 1.000),
        (0.025, 0.985, 1.000),
        (0.075, 0.939, 0.999),
    ),
    "input-cell-lstm": (
        (0.103, 0.914, 1.000),
        (0.124, 0.891, 1.000),
        (0.110, 0.903, 1.000),
        (0.104, 0.912, 0.776),
        (0.108, 0.903, 1.000),
        (0.106, 0.905, 1.000),
    ),
}
_MOVING = {
    "input-cell-lstm": (0.118, 0.110, 0.113, 0.128, 0.084),
    "lstm-self-attention": (0.065, 0.086, 0.059, 0.094, 0.040),
}


def _published_scores() -> dict[tuple[str, str], dict[str, float]]:
    """Give the published numbers by data set and network."""
    names = ("published_weighted_jaccard", "published_euclidean", "published_accuracy")
    scores = {
        (dataset, network): dict(zip(names, row, strict=True))
        for network, rows in _TABLE.items()
        for dataset, row in zip(BOXES, rows, strict=True)
    }
    moving = [name for name in DATASETS if name not in BOXES]
    for network, row in _MOVING.items():
        scores |= {
            (dataset, network): {names[0]: value}
            for dataset, value in zip(moving, row, strict=True)
        }
    return scores


#: The paper's numbers for gradient saliency, by (dataset, network).
PUBLISHED = _published_scores()


def main_methods(setup: Setup) -> tuple[str, ...]:
    """Name the methods that come first: those a training is judged by.

    Parameters
    ----------
    setup : Setup
        The network.

    Returns
    -------
    tuple of str
        The gradient, as published; after training under noise also the average over that noise.

    Examples
    --------
    >>> main_methods(Setup("lstm", "published"))
    ('gradient',)
    """
    return ("gradient",) if setup.training == "published" else ("gradient", "smoothgrad", EVIDENCE)


def methods_of(setup: Setup) -> tuple[str, ...]:
    """Name all methods that a network is explained by.

    Parameters
    ----------
    setup : Setup
        The network.

    Returns
    -------
    tuple of str
        Every method of the saliency engine, ``'attention'`` only where there is input-cell
        attention; and :data:`EVIDENCE`.

    Examples
    --------
    >>> "attention" in methods_of(Setup("lstm", "published"))
    False
    """
    attends = setup.network.startswith("input-cell")
    return (*(name for name in METHODS if attends or name != "attention"), EVIDENCE)


def explain_arguments(method: str, setup: Setup) -> dict:
    """Give the arguments of :func:`~neurosal.saliency.explain.explain` for a method.

    The plain gradient is that of the true class's probability, as published; other methods
    explain its logit. After training under noise, methods that average over noise draw it as
    strong as in training.

    Parameters
    ----------
    method : str
        Its name.
    setup : Setup
        The network.

    Returns
    -------
    dict
        Keyword arguments.

    Examples
    --------
    >>> explain_arguments("gradient", Setup("lstm", "published"))
    {'output': 'probability'}
    """
    if method == "gradient":
        return {"output": "probability"}
    noise = resolve_training(setup.training).input_noise
    if method in (*NOISE_METHODS, EVIDENCE) and noise:
        return {"sd": noise, "n_samples": 60}
    return {}
