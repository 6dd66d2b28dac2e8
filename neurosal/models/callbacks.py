"""What happens beside the training loop: stopping, progress, checkpoints."""

import hashlib
import json
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load, save
from skorch.callbacks import Callback

from neurosal.errors import DataError
from neurosal.labelled import writing

PLAIN_LINES = 10
_DAMAGE = (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, MemoryError)


class StopAtAccuracy(Callback):
    """End the training once the accuracy in training is high enough.

    Parameters
    ----------
    accuracy : float
        What to reach.

    Examples
    --------
    >>> StopAtAccuracy(1.0).initialize().reached_
    False
    """

    def __init__(self, accuracy: float):
        self.accuracy = accuracy

    def initialize(self) -> "StopAtAccuracy":
        """Prepare for a new training.

        Returns
        -------
        StopAtAccuracy
            Itself.
        """
        self.reached_ = False
        return self

    def on_epoch_end(self, net: object, **kwargs: object) -> None:
        """Compare the epoch's accuracy.

        Parameters
        ----------
        net : skorch.NeuralNet
            What is trained.
        **kwargs
            Unused.

        Raises
        ------
        KeyboardInterrupt
            To end the training.
        """
        self.reached_ = net.history[-1, "train_accuracy"] >= self.accuracy
        if self.reached_:
            raise KeyboardInterrupt


class TrainingProgress(Callback):
    """A progress bar on a terminal, about ten plain lines elsewhere.

    Parameters
    ----------
    n_epochs : int
        Epochs in all.
    label : str
        What is trained, for the line.
    console : rich.console.Console, optional
        Where to write; by default standard error.

    Examples
    --------
    >>> TrainingProgress(10, label="network 1 of 1").initialize().bar_ is None
    True
    """

    def __init__(self, n_epochs: int, *, label: str = "", console: Console | None = None):
        self.n_epochs, self.label, self.console = n_epochs, label, console

    def initialize(self) -> "TrainingProgress":
        """Prepare for a new training.

        Returns
        -------
        TrainingProgress
            Itself.
        """
        self.console_ = self.bar_ = None
        return self

    def on_train_begin(self, net: object, **kwargs: object) -> None:
        """Draw the bar.

        Parameters
        ----------
        net : skorch.NeuralNet
            What is trained.
        **kwargs
            Unused.
        """
        self.console_ = self.console or Console(stderr=True)
        if not self.console_.is_terminal:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self.bar_ = Progress(*columns, console=self.console_)
        self.bar_.start()
        self.bar_.add_task(self.label, total=self.n_epochs)

    def on_epoch_end(self, net: object, **kwargs: object) -> None:
        """Move the bar on or write a line.

        Parameters
        ----------
        net : skorch.NeuralNet
            What is trained.
        **kwargs
            Unused.
        """
        row = net.history[-1]
        text = f"{self.label} epoch {row['epoch']}/{self.n_epochs} loss {row['train_loss']:.3f}"
        if "valid_loss" in row:
            text += f" validation {row['valid_loss']:.3f}"
        if self.bar_ is not None:
            self.bar_.update(0, completed=row["epoch"], description=text)
        elif row["epoch"] % max(1, self.n_epochs // PLAIN_LINES) == 0:
            self.console_.print(text, highlight=False)

    def on_train_end(self, net: object, **kwargs: object) -> None:
        """Take the bar away; consoles cannot be pickled with the net.

        Parameters
        ----------
        net : skorch.NeuralNet
            What was trained.
        **kwargs
            Unused.
        """
        if self.bar_ is not None:
            self.bar_.stop()
        self.console_ = self.bar_ = None


class TrainingCheckpoint(Callback):
    """Keep everything that the next epoch depends on in one safetensors file.

    Weights, optimizer, learning-rate schedule, early stopping, history and random state; reading
    it back executes nothing.

    Parameters
    ----------
    path : path-like
        The file; replaced after every epoch in one move, so it is always whole.

    Examples
    --------
    >>> TrainingCheckpoint("nowhere.safetensors").epochs_done()
    0
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self.stored_ = None

    def epochs_done(self) -> int:
        """Read the file and tell how many epochs it holds; training goes on from these.

        Returns
        -------
        int
            0 if there is no file; also, with a warning, if it is damaged.

        Raises
        ------
        DataError
            If the file may not be read.
        """
        self.stored_ = _read(Path(self.path))
        return 0 if self.stored_ is None else len(self.stored_[0]["history"])

    def on_train_begin(self, net: object, **kwargs: object) -> None:
        """Go back to the state that is stored, if any.

        Parameters
        ----------
        net : skorch.NeuralNet
            What is trained.
        **kwargs
            Unused.
        """
        if self.stored_ is None:
            return
        (state, tensors), self.stored_ = self.stored_, None
        net.module_.load_state_dict(_with_prefix(tensors, "module."))
        net.history[:] = [dict(row, batches=[{}]) for row in state["history"]]
        callbacks = dict(net.callbacks_)
        if "schedule" in callbacks:
            callbacks["schedule"].lr_scheduler_.load_state_dict(state["schedule"])
        _restore_optimizer(net.optimizer_, state["groups"], _with_prefix(tensors, "optimizer."))
        if "early" in callbacks:
            vars(callbacks["early"]).update(state["early"])
            best = _with_prefix(tensors, "best.")
            callbacks["early"].best_model_weights_ = best or None
        _restore_random_state(_with_prefix(tensors, "random."))

    def on_epoch_end(self, net: object, **kwargs: object) -> None:
        """Store the state.

        Parameters
        ----------
        net : skorch.NeuralNet
            What is trained.
        **kwargs
            Unused.
        """
        callbacks = dict(net.callbacks_)
        optimizer = net.optimizer_.state_dict()
        state = {"history": [_plain_row(row) for row in net.history]}
        state["groups"] = optimizer["param_groups"]
        tensors = _add_prefix(net.module_.state_dict(), "module.")
        for number, values in optimizer["state"].items():
            tensors |= _add_prefix(values, f"optimizer.{number}.")
        if "schedule" in callbacks:
            state["schedule"] = callbacks["schedule"].lr_scheduler_.state_dict()
        if "early" in callbacks:
            early = callbacks["early"]
            names = ("misses_", "dynamic_threshold_", "best_epoch_")
            state["early"] = {name: float(getattr(early, name)) for name in names}
            tensors |= _add_prefix(early.best_model_weights_ or {}, "best.")
        tensors |= _add_prefix(_random_state(), "random.")
        _write(Path(self.path), tensors, state)


def _read(path: Path) -> tuple[dict, dict] | None:
    """Read state and tensors of one moment: another process may replace the file at any time."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}. Get the right to read it, or remove it."
        ) from error
    try:
        return _opened(content)
    except _DAMAGE as error:
        warnings.warn(
            f"{path} is damaged and its training begins anew: {error or 'it is empty'}.",
            stacklevel=2,
        )
        return None


def _opened(content: bytes) -> tuple[dict, dict]:
    """Take a file apart, after seeing that all is as it was written."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text, tensors = header["__metadata__"]["state"], load(content)
    if header["__metadata__"]["checksum"] != _checksum(text, tensors):
        raise ValueError("its checksum does not fit its content")
    return json.loads(text), tensors


def _checksum(text: str, tensors: dict) -> str:
    """Hash the state and the tensors."""
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        plain = value.contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(plain)
    return digest.hexdigest()


def _write(path: Path, tensors: dict, state: dict) -> None:
    """Write next to the file and move over it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    tensors = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    text = json.dumps(state, default=float)
    metadata = {"state": text, "checksum": _checksum(text, tensors)}
    with writing(path, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(save(tensors, metadata=metadata))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _plain_row(row: dict) -> dict:
    """Keep an epoch's numbers, without its batches."""
    kept = {name: value for name, value in row.items() if name != "batches"}
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in kept.items()
    }


def _add_prefix(tensors: dict, prefix: str) -> dict:
    """Rename tensors for the file."""
    return {prefix + name: value for name, value in tensors.items()}


def _with_prefix(tensors: dict, prefix: str) -> dict:
    """Take those tensors of the file whose name starts so."""
    length = len(prefix)
    return {name[length:]: value for name, value in tensors.items() if name.startswith(prefix)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, groups: list, tensors: dict) -> None:
    """Fill an optimizer with what was stored of it."""
    state: dict = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    groups = [group | {"betas": tuple(group["betas"])} for group in groups]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _random_state() -> dict[str, torch.Tensor]:
    """Copy the state of torch's random generators."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        for number, values in enumerate(torch.cuda.get_rng_state_all()):
            state[f"cuda{number}"] = values
    return state


def _restore_random_state(state: dict[str, torch.Tensor]) -> None:
    """Set torch's random generators."""
    torch.set_rng_state(state["cpu"])
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda{number}" in state:
            torch.cuda.set_rng_state(state[f"cuda{number}"], number)
