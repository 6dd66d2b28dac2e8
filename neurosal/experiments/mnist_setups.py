"""What the experiment on digits compares: networks, their training, and the methods.

>>> [network for network, _ in NETWORKS]
['lstm', 'input-cell-lstm', 'input-cell-lstm']
"""

from dataclasses import dataclass
from pathlib import Path

from neurosal.experiments.box_runs import SHARES

ON_STROKES = tuple(f"strokes_{i}" for i in range(10))
#: The columns of ``mnist.csv``.
COLUMNS = (
    "steps",
    "network",
    "readout",
    "method",
    "accuracy",
    "strokes",
    *ON_STROKES,
    *SHARES,
    "weighted_jaccard",
    "roc_auc",
    "aupr",
    "slope",
    "seed",
    "learned",
    "train_accuracy",
    "epochs",
    "n_train",
    "n_samples",
    "seconds",
)
#: What tells rows apart.
KEYS = ("steps", "network", "readout", "method", "seed")
STEPS = ("rows", "columns")
#: Pixels at least this bright, of 255, are strokes.
STROKE = 128
#: Test accuracy from which a network counts as having learned; by chance it is 0.1.
LEARNED = 0.8

#: Methods, and how :func:`~neurosal.saliency.explain.explain` is asked for them. Those that
#: multiply by the input are left out: on the empty background they are zero whatever was learned.
METHODS: dict[str, dict] = {
    "gradient": {"method": "gradient", "output": "probability"},
    "smoothgrad": {"method": "smoothgrad"},
}
#: Test digits that a method is run on.
N_SAMPLES = {"gradient": 1000, "smoothgrad": 200}
#: Test digits among which one of each class is found to be shown.
SHOWN_AMONG = min(N_SAMPLES.values())

HIDDEN = 25
_ATTENTION = {"hops": 28, "attention_size": 30, "dropout": 0.05}
#: (network, readout) to the network's options: 25 hidden units, 28 hops, attention size 30.
NETWORKS: dict[tuple[str, str], dict] = {
    ("lstm", "-"): {"dropout": 0.05},
    ("input-cell-lstm", "mean"): _ATTENTION | {"readout": "mean"},
    ("input-cell-lstm", "flatten"): _ATTENTION | {"readout": "flatten"},
}
#: Learning rate and epochs, one after the other.
PHASES = ((2e-3, 10), (2e-4, 10))
BATCH = 64


@dataclass(frozen=True)
class DigitRun:
    """A network to be trained on the digits, and the methods to explain it by.

    Parameters
    ----------
    steps : {'rows', 'columns'}
        What of the image is one step.
    network, readout : str
        A key of :data:`NETWORKS`.
    methods : tuple of str
        Keys of :data:`METHODS`.
    seed : int
        Of the weights and the training.
    data : path-like, optional
        Folder of the images.
    n_train, n_test : int, optional
        Fewer images than MNIST has.
    phases : tuple
        (learning rate, epochs) of each part of the training.

    Examples
    --------
    >>> DigitRun("rows", "lstm", "-", ("gradient",), seed=0).name
    'rows_lstm_-_0'
    """

    steps: str
    network: str
    readout: str
    methods: tuple[str, ...]
    seed: int
    data: str | Path | None = None
    n_train: int | None = None
    n_test: int | None = None
    phases: tuple[tuple[float, int], ...] = PHASES

    @property
    def name(self) -> str:
        """The run's name, fit for a file."""
        return f"{self.steps}_{self.network}_{self.readout}_{self.seed}"

    def row(self, method: str) -> dict:
        """Begin a row of the table.

        Parameters
        ----------
        method : str
            How the network is explained.

        Returns
        -------
        dict
            The columns that tell it from other rows.
        """
        own = {"steps": self.steps, "network": self.network, "readout": self.readout}
        return own | {"method": method, "seed": self.seed}
