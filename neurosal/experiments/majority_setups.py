"""What the majority experiment compares: cells, methods, training, and the thesis's numbers.

>>> [cell for cell in CELLS if cell.endswith("-SD")]
['Deep-SD', 'R-LSTM-SD', 'ConvR-LSTM-SD']
"""

from dataclasses import dataclass

from neurosal.experiments.image_sets import IMAGE_SETS
from neurosal.models.classifier import NetworkClassifier
from neurosal.models.training import Training

#: Test accuracy from which a network counts as having learned; by chance it is 0.1.
LEARNED = 0.8


@dataclass(frozen=True)
class Cell:
    """A network of the thesis.

    Parameters
    ----------
    network : str
        A key of :data:`neurosal.models.networks.NETWORKS`.
    stationary_dropout : bool
        Whether a sequence keeps its dropout mask over all steps.

    Examples
    --------
    >>> Cell("deep").classifier(seed=3).random_state
    3
    """

    network: str
    stationary_dropout: bool = False

    def classifier(
        self,
        *,
        seed: int,
        max_epochs: int | None = None,
        learning_rate: float | None = None,
        checkpoint: object = None,
    ) -> NetworkClassifier:
        """Make the classifier to train: Adam at 2e-4, batches of 50, 100 epochs.

        Parameters
        ----------
        seed : int
            Of its weights and its training.
        max_epochs : int, optional
            Fewer epochs.
        learning_rate : float, optional
            Another one.
        checkpoint : path-like, optional
            Folder to keep the state after every epoch in.

        Returns
        -------
        NetworkClassifier
            Not fitted.
        """
        training = Training(
            max_epochs=max_epochs or EPOCHS,
            batch_size=50,
            learning_rate=learning_rate or LEARNING_RATE,
            weight_decay=0.0,
            schedule="constant",
            clip_norm=None,
            input_noise=0.0,
            checkpoint=checkpoint,
        )
        options = {"stationary_dropout": self.stationary_dropout}
        return NetworkClassifier(
            self.network, network_options=options, training=training, random_state=seed
        )


EPOCHS = 100
LEARNING_RATE = 2e-4

#: The thesis's cells by the names that it gives them; SD is stationary dropout.
CELLS: dict[str, Cell] = {
    "Shallow": Cell("shallow"),
    "Deep": Cell("deep"),
    "DeepV2": Cell("deep-v2"),
    "ConvDeep": Cell("conv-deep"),
    "Deep-SD": Cell("deep", stationary_dropout=True),
    "R-LSTM": Cell("r-lstm"),
    "R-LSTM-SD": Cell("r-lstm", stationary_dropout=True),
    "ConvR-LSTM": Cell("conv-r-lstm"),
    "ConvR-LSTM-SD": Cell("conv-r-lstm", stationary_dropout=True),
}

_BOUNDS = {"low": -1.0, "high": 1.0}
#: The thesis's methods, and how :func:`~neurosal.saliency.explain.explain` is asked for them.
METHODS: dict[str, dict] = {
    "SA": {"method": "squared_gradient"},
    "GB": {"method": "guided_backprop", "squared": True},
    "DTD": {"method": "deep_taylor", **_BOUNDS},
    "LRP": {
        "method": "lrp",
        "rule": "alpha-beta",
        "alpha": 1.5,
        "beta": 0.5,
        "input_rule": "zB",
        "start": "relu-logit",
        **_BOUNDS,
    },
}

_COSINES = {
    "Shallow": ((0.727, 0.756, 0.478, 0.496), (0.711, 0.672, 0.472, 0.478)),
    "Deep": ((0.719, 0.756, 0.681, 0.728), (0.712, 0.689, 0.618, 0.669)),
    "DeepV2": ((0.733, 0.773, 0.742, 0.760), (0.716, 0.709, 0.694, 0.707)),
    "ConvDeep": ((0.753, 0.792, 0.769, 0.770), (0.725, 0.722, 0.714, 0.709)),
    "Deep-SD": ((0.694, 0.732, 0.661, 0.694), (0.696, 0.667, 0.604, 0.634)),
    "R-LSTM": ((0.856, 0.917, 0.917, 0.949), (0.851, 0.898, 0.893, 0.935)),
    "R-LSTM-SD": ((0.830, 0.939, 0.909, 0.972), (0.828, 0.924, 0.911, 0.953)),
    "ConvR-LSTM": ((0.825, 0.934, 0.921), (0.821, 0.893, 0.899)),
}
_ACCURACIES = {
    "Shallow": (0.981, 0.900),
    "Deep": (0.982, 0.898),
    "DeepV2": (0.983, 0.906),
    "ConvDeep": (0.992, 0.924),
    "R-LSTM-SD": (0.986, 0.915),
    "ConvR-LSTM-SD": (0.994, 0.936),
}


def published_scores(dataset: str, cell: str, method: str) -> dict[str, float]:
    """Give the thesis's numbers for a row of the table.

    Parameters
    ----------
    dataset : {'mnist', 'fashion_mnist'}
        Which images.
    cell, method : str
        Keys of :data:`CELLS` and :data:`METHODS`.

    Returns
    -------
    dict
        ``published_accuracy`` and ``published_cosine``, those that there are; cosines were read
        off plots, to about .01.

    Examples
    --------
    >>> published_scores("mnist", "R-LSTM", "LRP")
    {'published_cosine': 0.949}
    """
    place = list(IMAGE_SETS).index(dataset)
    scores = {}
    if cell in _ACCURACIES:
        scores["published_accuracy"] = _ACCURACIES[cell][place]
    cosines = dict(zip(METHODS, _COSINES.get(cell, ((), ()))[place], strict=False))
    if method in cosines:
        scores["published_cosine"] = cosines[method]
    return scores
