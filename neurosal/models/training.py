"""How a network is trained: one set of numbers with a name, for every network and classifier."""

import os

from sklearn.base import BaseEstimator, clone

from neurosal.errors import ArgumentError, check_number, check_one_of

SCHEDULES = ("one-cycle", "constant")
PRECISIONS = ("float32", "float64", "bf16")

#: Name to the arguments of :class:`Training` that differ from the defaults.
PRESETS: dict[str, dict] = {
    "standard": {},
    "early-stopping": {
        "schedule": "constant",
        "learning_rate": 3e-3,
        "max_epochs": 200,
        "validation": 0.2,
        "patience": 20,
    },
    "published": {
        "schedule": "constant",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "batch_size": 50,
        "max_epochs": 200,
        "input_noise": 0.0,
        "clip_norm": None,
        "stop_accuracy": 1.0,
    },
    # For maps that find where the evidence is, on data of mean 0 and standard deviation 1. Noise
    # this heavy leaves no single cell worth trusting, so the network weighs all that tell the
    # classes apart; hiding stretches of time spreads that over the steps; strong weight decay
    # takes back what the noise wrote into the weights of all other cells.
    "localizing": {
        "learning_rate": 1e-2,
        "weight_decay": 0.5,
        "max_epochs": 100,
        "input_noise": 20.0,
        "time_mask": (0.3, 0.6),
    },
}


class Training(BaseEstimator):
    """Settings of the training loop, tuned like any estimator's: ``training__learning_rate``.

    The optimizer is AdamW; the loss is cross-entropy.

    Parameters
    ----------
    max_epochs : int
        Times that every sample is seen.
    batch_size : int
        Samples a step.
    learning_rate : float
        Of the optimizer; the peak under ``'one-cycle'``.
    weight_decay : float
        Of the optimizer.
    schedule : {'one-cycle', 'constant'}
        Whether the learning rate rises and falls over the training or stays.
    patience : int, optional
        Stop after so many epochs without a better validation loss and take the best weights.
    validation : float
        Share of the samples (of the groups, where ``fit`` is given groups) kept for validation.
    class_weight : {None, 'balanced'} or dict
        Weight of each class in the loss.
    clip_norm : float, optional
        Largest norm of the gradient.
    input_noise : float
        Standard deviation of the normal noise added to the inputs at every training step. With
        heavy noise a network has to use all the evidence there is.
    time_mask : tuple of float, optional
        (least, most) share of the steps set to zero in each training sample: one random block.
    precision : {'float32', 'float64', 'bf16'}
        Of the numbers; ``'bf16'`` mixes bfloat16 into float32 in training (attention is pooled over
        time in float32).
    checkpoint : path-like, optional
        Folder to keep the state after every epoch in; an interrupted ``fit``, called again with
        the same data and settings, goes on from there to the very same result.
    stop_accuracy : float, optional
        Stop once an epoch's accuracy in training reaches this.

    Examples
    --------
    >>> Training(max_epochs=5).check().learning_rate
    0.01
    """

    def __init__(
        self,
        *,
        max_epochs: int = 40,
        batch_size: int = 32,
        learning_rate: float = 1e-2,
        weight_decay: float = 0.1,
        schedule: str = "one-cycle",
        patience: int | None = None,
        validation: float = 0.0,
        class_weight: str | dict | None = None,
        clip_norm: float | None = 1.0,
        input_noise: float = 2.0,
        time_mask: tuple[float, float] | None = None,
        precision: str = "float32",
        checkpoint: object = None,
        stop_accuracy: float | None = None,
    ):
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.patience = patience
        self.validation = validation
        self.class_weight = class_weight
        self.clip_norm = clip_norm
        self.input_noise = input_noise
        self.time_mask = time_mask
        self.precision = precision
        self.checkpoint = checkpoint
        self.stop_accuracy = stop_accuracy

    def check(self) -> "Training":
        """Refuse settings that cannot work, before any time is spent.

        Returns
        -------
        Training
            Itself.

        Raises
        ------
        ArgumentError
            If a setting is out of its range.
        """
        check_one_of("schedule", self.schedule, SCHEDULES)
        check_one_of("precision", self.precision, PRECISIONS)
        for name in ("max_epochs", "batch_size"):
            self._check(name, low=1, whole=True)
        for name in ("weight_decay", "input_noise"):
            self._check(name, low=0)
        self._check("learning_rate", above=0)
        self._check("validation", low=0, below=1)
        self._check("patience", low=1, whole=True, optional=True)
        self._check("clip_norm", above=0, optional=True)
        self._check("stop_accuracy", above=0, high=1, optional=True)
        self._check_others()
        _check_class_weight(self.class_weight)
        return self

    def _check_others(self) -> None:
        """Refuse settings that are no numbers, or do not fit each other."""
        if self.patience is not None and not self.validation:
            raise ArgumentError(
                "validation must be above 0 where patience is set, to have what to stop by. "
                f"Got {self.validation!r}."
            )
        if self.time_mask is not None and not _is_range(self.time_mask):
            raise ArgumentError(
                "time_mask must be None or (least, most) shares of the steps, 0 <= least <= most "
                f"<= 1. Got {self.time_mask!r}."
            )
        if not isinstance(self.checkpoint, str | os.PathLike | None):
            raise ArgumentError(f"checkpoint must be a folder's path. Got {self.checkpoint!r}.")

    def _check(self, name: str, **limits: object) -> None:
        """Refuse a number out of its limits."""
        check_number(name, getattr(self, name), **limits)


def _is_range(pair: object) -> bool:
    """Tell whether these are two shares, the smaller one first."""
    try:
        least, most = pair
        return bool(0 <= least <= most <= 1)
    except (TypeError, ValueError):
        return False


def _check_class_weight(class_weight: object) -> None:
    """Refuse weights that leave the loss without a value or a meaning."""
    if not isinstance(class_weight, dict):
        check_one_of("class_weight", class_weight, [None, "balanced"])
        return
    for name, weight in class_weight.items():
        check_number(f"class_weight of {name!r}", weight, low=0)
    if not any(class_weight.values()):
        raise ArgumentError(
            f"class_weight must be above 0 for a class at least. Got {class_weight}."
        )


def resolve_training(training: str | Training) -> Training:
    """Turn a preset's name into settings.

    Parameters
    ----------
    training : str or Training
        A key of :data:`PRESETS`, or the settings themselves.

    Returns
    -------
    Training
        A copy, checked.

    Raises
    ------
    ArgumentError
        If there is no such preset or a setting is out of its range.

    Examples
    --------
    >>> resolve_training("published").batch_size
    50
    """
    if isinstance(training, Training):
        return clone(training).check()
    return Training(**PRESETS[check_one_of("training", training, PRESETS)]).check()


class PresetTuning:
    """What lets an estimator's ``training__...`` arguments change a preset, too.

    Examples
    --------
    >>> from neurosal.models.classifier import NetworkClassifier
    >>> classifier = NetworkClassifier(training="published")
    >>> classifier.set_params(training__max_epochs=5).training.batch_size
    50
    """

    def set_params(self, **params: object) -> "PresetTuning":
        """Set arguments, as scikit-learn's searches do.

        Parameters
        ----------
        **params
            Argument to value. ``training__learning_rate`` and the like change a copy of the
            settings where ``training`` is a preset's name.

        Returns
        -------
        PresetTuning
            Itself.
        """
        training = params.get("training", self.training)
        if isinstance(training, str) and any(name.startswith("training__") for name in params):
            params["training"] = resolve_training(training)
        return super().set_params(**params)
