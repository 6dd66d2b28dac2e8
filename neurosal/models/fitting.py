"""The training of one network, through skorch."""

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.utils.class_weight import compute_class_weight
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler, PassthroughScoring
from skorch.helper import predefined_split
from torch import nn

from neurosal.models.callbacks import StopAtAccuracy, TrainingCheckpoint, TrainingProgress
from neurosal.models.samples import WindowDataset
from neurosal.models.scopes import flushed_denormals, seeded
from neurosal.models.training import Training
from neurosal.models.window_net import ClassLoss, WindowNet

HISTORY = ("epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "dur")


def train_network(
    module: nn.Module,
    data: WindowDataset,
    training: Training,
    *,
    valid: WindowDataset | None = None,
    n_classes: int,
    seed: int = 0,
    device: str = "cpu",
    label: str | None = None,
) -> WindowNet:
    """Train one network on one set of windows; global random states stay as they are.

    Parameters
    ----------
    module : torch.nn.Module
        The network; trained in place.
    data : WindowDataset
        What to train on.
    training : Training
        How.
    valid : WindowDataset, optional
        What to validate on.
    n_classes : int
        Number of classes.
    seed : int
        Of the order of samples, the noise and dropout.
    device : str
        Where.
    label : str, optional
        The name to show progress under; None shows none.

    Returns
    -------
    WindowNet
        The fitted skorch net; its ``module_`` is in eval mode.

    Examples
    --------
    >>> from neurosal.models.networks import build_network
    >>> module = build_network("rnn", n_features=2, n_classes=2)
    >>> data = WindowDataset(torch.randn(8, 3, 2), torch.tensor([0, 1] * 4))
    >>> net = train_network(module, data, Training(max_epochs=2), n_classes=2)
    >>> len(net.history)
    2
    """
    dtype = torch.float64 if training.precision == "float64" else torch.float32
    net = _make_net(module.to(dtype), data, training, valid, n_classes, device)
    _add_callbacks(net, training, len(data), valid is not None, label)
    done = 0
    if training.checkpoint is not None:
        name = _fingerprint(module, data, valid, training, seed, device)
        checkpoint = TrainingCheckpoint(Path(training.checkpoint) / f"{name}.safetensors")
        net.callbacks.append(("checkpoint", checkpoint))
        done = checkpoint.epochs_done()
    with seeded(seed), flushed_denormals():
        net.initialize()
        net.partial_fit(data, epochs=training.max_epochs - done)
    net.module_.eval()
    return net


def was_interrupted(net: WindowNet) -> bool:
    """Tell whether a person ended the training, rather than its own rules.

    Parameters
    ----------
    net : WindowNet
        A fitted net.

    Returns
    -------
    bool
        True after Ctrl-C.

    Examples
    --------
    >>> from neurosal.models.networks import build_network
    >>> module = build_network("rnn", n_features=2, n_classes=2)
    >>> data = WindowDataset(torch.randn(8, 3, 2), torch.tensor([0, 1] * 4))
    >>> was_interrupted(train_network(module, data, Training(max_epochs=1), n_classes=2))
    False
    """
    callbacks = dict(net.callbacks_)
    early, stop = callbacks.get("early"), callbacks.get("stop")
    by_rule = (early is not None and early.misses_ >= early.patience) or (
        stop is not None and stop.reached_
    )
    return not by_rule and len(history_table(net)) < net.max_epochs


def history_table(net: WindowNet, member: int = 0) -> pd.DataFrame:
    """Lay out what was noted after every epoch.

    Parameters
    ----------
    net : WindowNet
        A fitted net.
    member : int
        Its number in an ensemble.

    Returns
    -------
    pandas.DataFrame
        One row per whole epoch: ``member``, ``epoch``, ``train_loss``, ``train_accuracy``,
        ``seconds`` and, if validated, ``valid_loss`` and ``valid_accuracy``.

    Examples
    --------
    >>> from neurosal.models.networks import build_network
    >>> module = build_network("rnn", n_features=2, n_classes=2)
    >>> data = WindowDataset(torch.randn(8, 3, 2), torch.tensor([0, 1] * 4))
    >>> history_table(train_network(module, data, Training(max_epochs=2), n_classes=2)).columns
    Index(['member', 'epoch', 'train_loss', 'train_accuracy', 'seconds'], ...)
    """
    rows = [row for row in net.history if "train_loss" in row and "dur" in row]
    table = pd.DataFrame([{name: row[name] for name in HISTORY if name in row} for row in rows])
    table.insert(0, "member", member)
    return table.rename(columns={"dur": "seconds"})


def class_logits(
    module: nn.Module,
    x: torch.Tensor,
    lengths: torch.Tensor | None = None,
    *,
    batch_size: int = 256,
) -> np.ndarray:
    """Return a network's class logits, batch by batch, on the device that the network is on.

    Parameters
    ----------
    module : torch.nn.Module
        A network in eval mode.
    x : torch.Tensor
        (sample, time, region).
    lengths : torch.Tensor, optional
        (sample,) number of valid steps.
    batch_size : int
        Samples at a time.

    Returns
    -------
    numpy.ndarray
        (sample, class), float64.

    Examples
    --------
    >>> from neurosal.models.networks import build_network
    >>> module = build_network("rnn", n_features=2, n_classes=3)
    >>> class_logits(module, torch.zeros(5, 4, 2)).shape
    (5, 3)
    """
    like = next(module.parameters())
    logits = []
    with torch.no_grad():
        for start in range(0, len(x), batch_size):
            batch = {"x": x[start : start + batch_size].to(like)}
            if lengths is not None:
                batch["lengths"] = lengths[start : start + batch_size].to(like.device)
            logits.append(module(**batch).double().cpu().numpy())
    return np.concatenate(logits)


def _as_is(batch: object) -> object:
    """Hand on what the dataset already made a batch of."""
    return batch


def _make_net(
    module: nn.Module,
    data: WindowDataset,
    training: Training,
    valid: WindowDataset | None,
    n_classes: int,
    device: str,
) -> WindowNet:
    """Set up skorch for one network."""
    pseudo_class = getattr(module, "pseudo_class", False)
    weight = _class_weight(training.class_weight, data.y.numpy(), n_classes)
    weight = None if weight is None else torch.as_tensor(weight).to(data.x.dtype)
    return WindowNet(
        module,
        criterion=ClassLoss(weight, pseudo_class=pseudo_class),
        optimizer=torch.optim.AdamW,
        lr=training.learning_rate,
        optimizer__weight_decay=training.weight_decay,
        optimizer__fused=True,
        max_epochs=training.max_epochs,
        batch_size=training.batch_size,
        train_split=None if valid is None else predefined_split(valid),
        **_order(data),
        iterator_train__collate_fn=_as_is,
        iterator_valid__collate_fn=_as_is,
        callbacks=[],
        callbacks__print_log=None,
        callbacks__valid_acc=None,
        classes=np.arange(n_classes),
        device=device,
        verbose=0,
        input_noise=training.input_noise,
        time_mask=training.time_mask,
        mixed=training.precision == "bf16",
    )


def _order(data: WindowDataset) -> dict:
    """Shuffle the samples; those on disk in an order that reads each chunk once."""
    if hasattr(data.x, "sampler"):
        return {"iterator_train__sampler": data.x.sampler()}
    return {"iterator_train__shuffle": True}


def _add_callbacks(
    net: WindowNet, training: Training, n_samples: int, validates: bool, label: str | None
) -> None:
    """Add what happens beside the loop; what can end it comes after what only watches."""
    add = net.callbacks.append
    for part in ["train", *(["valid"] if validates else [])]:
        name = f"{part}_accuracy"
        scoring = PassthroughScoring(name, lower_is_better=False, on_train=part == "train")
        add((name, scoring))
    if training.schedule == "one-cycle":
        n_batches = -(-n_samples // training.batch_size)
        add(
            (
                "schedule",
                LRScheduler(
                    torch.optim.lr_scheduler.OneCycleLR,
                    step_every="batch",
                    max_lr=training.learning_rate,
                    total_steps=n_batches * training.max_epochs,
                ),
            )
        )
    if training.clip_norm is not None:
        add(("clip", GradientNormClipping(training.clip_norm)))
    if label is not None:
        add(("progress", TrainingProgress(training.max_epochs, label=label)))
    if training.patience is not None:
        add(("early", EarlyStopping(patience=training.patience, load_best=True)))
    if training.stop_accuracy is not None:
        add(("stop", StopAtAccuracy(training.stop_accuracy)))


def _class_weight(
    class_weight: str | dict | None, classes: np.ndarray, n_classes: int
) -> np.ndarray | None:
    """Weigh the classes; one that no training sample has weighs nothing."""
    if class_weight is None:
        return None
    present = np.unique(classes)
    weight = np.zeros(n_classes)
    weight[present] = compute_class_weight(class_weight, classes=present, y=classes)
    return weight


def _fingerprint(
    module: nn.Module,
    data: WindowDataset,
    valid: WindowDataset | None,
    training: Training,
    seed: int,
    device: str,
) -> str:
    """Name a training by all that decides its result."""
    settings = {k: v for k, v in training.get_params().items() if k != "checkpoint"}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(f"{module!r} {_attributes(module)} {seed} {device}".encode())
    tensors = list(module.state_dict().values())
    for part in filter(None, (data, valid)):
        tensors += [part.x, part.y, part.lengths]
    for tensor in tensors:
        if hasattr(tensor, "fingerprint"):
            digest.update(tensor.fingerprint())
        elif tensor is not None:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _attributes(module: nn.Module) -> str:
    """Tell what the layers keep beside their weights: of some, ``repr`` names not all."""
    apart = ("_parameters", "_buffers", "_modules", "training")
    parts = [
        {name: value for name, value in vars(part).items() if name not in apart}
        for part in module.modules()
    ]
    return json.dumps(parts, skipkeys=True, default=_plain)


def _plain(value: object) -> object:
    """Make an attribute fit for JSON; of what it cannot hold, the name of the kind."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return getattr(value, "__qualname__", type(value).__qualname__)


def warn_interrupted(net: WindowNet) -> None:
    """Say that a network was not trained to its end.

    Parameters
    ----------
    net : WindowNet
        An interrupted net.

    Examples
    --------
    >>> import types
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_interrupted(types.SimpleNamespace(history=[], max_epochs=60))
    >>> str(caught[0].message)
    'Training was interrupted after 0 of 60 epochs; the network is kept as it was then.'
    """
    n_epochs = sum("dur" in row for row in net.history)
    early = dict(getattr(net, "callbacks_", ())).get("early")
    best = getattr(early, "best_model_weights_", None) is not None
    kept = "is kept as it was after the best of them" if best else "is kept as it was then"
    warnings.warn(
        f"Training was interrupted after {n_epochs} of {net.max_epochs} epochs; the network "
        f"{kept}.",
        stacklevel=2,
    )
