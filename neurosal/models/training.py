"""How a network is trained: one set of numbers with a name, for every network and classifier."""

from sklearn.base import BaseEstimator, clone

from neurosal.errors import ArgumentError, check_one_of

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
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in ("weight_decay", "input_noise"):
            self._check(name, getattr(self, name) >= 0, "at least 0")
        self._check("learning_rate", self.learning_rate > 0, "above 0")
        self._check("validation", 0 <= self.validation < 1, "at least 0 and below 1")
        if self.patience is not None:
            self._check("patience", self.patience >= 1, "None or at least 1")
            needed = "above 0 where patience is set, to have what to stop by"
            self._check("validation", self.validation > 0, needed)
        if self.time_mask is not None:
            least, most = self.time_mask
            self._check("time_mask", 0 <= least <= most <= 1, "(least, most) within 0 and 1")
        return self

    def _check(self, name: str, fine: bool, allowed: str) -> None:
        """Refuse one setting."""
        if not fine:
            raise ArgumentError(f"{name} must be {allowed}. Got {getattr(self, name)!r}.")


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
