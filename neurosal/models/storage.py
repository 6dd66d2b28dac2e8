"""Fitted classifiers on disk: weights as safetensors, all else as JSON."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from neurosal import __version__
from neurosal.errors import ArgumentError, DataError, NeurosalError
from neurosal.labelled import writing
from neurosal.models.checks import resolve_device
from neurosal.models.training import Training

DESCRIPTION = "classifier.json"
FORMAT = 1
_DAMAGE = (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError)
_DAMAGE += (SafetensorError,)


def save_classifier(classifier: object, folder: str | Path) -> Path:
    """Write a fitted classifier.

    Parameters
    ----------
    classifier : NetworkClassifier
        Fitted.
    folder : path-like
        Made if need be; gets ``classifier.json`` and one ``member-N.safetensors`` per network.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    DataError
        If it cannot be written.
    ArgumentError
        If the classes are of a type that JSON has not, such as dates.

    Examples
    --------
    >>> import tempfile
    >>> from neurosal.models.classifier import NetworkClassifier
    >>> X, y = np.random.default_rng(0).normal(size=(8, 3, 2)), [0, 1] * 4
    >>> fitted = NetworkClassifier("rnn", training=Training(max_epochs=1)).fit(X, y)
    >>> sorted(path.name for path in save_classifier(fitted, tempfile.mkdtemp()).iterdir())
    ['classifier.json', 'member-0.safetensors']
    """
    folder = Path(folder)
    parameters = classifier.get_params(deep=False)
    names = getattr(classifier, "feature_names_in_", None)
    description = {
        "format": FORMAT,
        "neurosal": __version__,
        "estimator": type(classifier).__name__,
        "parameters": {name: _encode(value) for name, value in parameters.items()},
        "classes": classifier.classes_.tolist(),
        "classes_dtype": str(classifier.classes_.dtype),
        "n_features": classifier.n_features_in_,
        "n_steps": classifier.n_steps_in_,
        "feature_names": None if names is None else names.tolist(),
        "n_members": len(classifier.modules_),
        "history": classifier.history_.to_dict("list"),
    }
    try:
        text = json.dumps(description, indent=1)
    except TypeError as error:
        raise ArgumentError(
            "To be saved, classes must be text, numbers or flags. Got classes of type "
            f"{classifier.classes_.dtype}. Fit on y.astype(str)."
        ) from error
    with writing(folder, SafetensorError):
        folder.mkdir(parents=True, exist_ok=True)
        for number, module in enumerate(classifier.modules_):
            (folder / f"member-{number}.safetensors").write_bytes(save(_weights(module)))
        (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    return folder


def _weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copy a network's weights."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def load_classifier(
    folder: str | Path,
    kind: type,
    *,
    network: nn.Module | None = None,
    device: str | None = None,
) -> object:
    """Read what :func:`save_classifier` wrote.

    Parameters
    ----------
    folder : path-like
        The folder.
    kind : type
        The class to read, or one that it is derived from.
    network : torch.nn.Module, optional
        A module like the one trained, if that was no named network.
    device : str, optional
        Where to load to, if not where the classifier's ``device`` says.

    Returns
    -------
    NetworkClassifier
        Of the class that was saved.

    Raises
    ------
    DataError
        If the folder was not written by :func:`save_classifier` or is damaged.
    ArgumentError
        If it holds another class, or needs a network.

    Examples
    --------
    >>> from neurosal.models.classifier import NetworkClassifier
    >>> load_classifier("nowhere", NetworkClassifier)
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: Cannot read nowhere...
    """
    folder = Path(folder)
    try:
        text = (folder / DESCRIPTION).read_text(encoding="utf-8")
        description = json.loads(text)
        classifier = _new_classifier(description, kind, network, device)
        _fill(classifier, description, folder)
    except NeurosalError:
        raise
    except _DAMAGE as error:
        raise DataError(
            f"Cannot read {folder} as a saved classifier: {error!r}. Give a folder written by "
            "NetworkClassifier.save."
        ) from error
    return classifier


def _new_classifier(
    description: dict, kind: type, network: nn.Module | None, device: str | None
) -> object:
    """Make the unfitted classifier that was saved."""
    known = {kind.__name__: kind} | {sub.__name__: sub for sub in kind.__subclasses__()}
    name = description["estimator"]
    if name not in known:
        raise ArgumentError(f"The folder holds a {name}. Use {name}.load.")
    parameters = {key: _decode(value) for key, value in description["parameters"].items()}
    if network is not None:
        parameters["network"] = network
    if isinstance(parameters.get("network"), dict):
        raise ArgumentError(
            f"The saved network is a module of class {parameters['network']['module']!r}, whose "
            "code is not saved. Give such a module as load(folder, network=...)."
        )
    if device is not None:
        parameters["device"] = device
    return known[name](**parameters)


def _fill(classifier: object, description: dict, folder: Path) -> None:
    """Set the fitted attributes."""
    dtype = description["classes_dtype"]
    classifier.classes_ = np.array(description["classes"], dtype=dtype)
    classifier.n_features_in_ = description["n_features"]
    classifier.n_steps_in_ = description["n_steps"]
    if description["feature_names"] is not None:
        classifier.feature_names_in_ = np.array(description["feature_names"])
    classifier.history_ = pd.DataFrame(description["history"])
    device = resolve_device(classifier.device)
    if description["n_members"] < 1:
        raise ValueError(f"n_members is {description['n_members']}")
    classifier.modules_ = []
    for number in range(description["n_members"]):
        path = folder / f"member-{number}.safetensors"
        classifier.modules_.append(_load_module(_build(classifier, folder), path, device))


def _build(classifier: object, folder: Path) -> nn.Module:
    """Build the untrained network from stored arguments."""
    try:
        return classifier.build_module()
    except ArgumentError as error:
        raise DataError(f"{folder / DESCRIPTION} describes no network: {error}") from error


def _load_module(module: nn.Module, path: Path, device: str) -> nn.Module:
    """Fill a network with stored weights."""
    state = load_file(path)
    kinds = [value.dtype for value in state.values() if value.is_floating_point()]
    try:
        module.to(kinds[0] if kinds else torch.float32).load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"The weights in {path} do not fit the network: {error}") from error
    return module.to(torch.device(device)).eval()


def _encode(value: object) -> object:
    """Make a parameter fit for JSON."""
    if isinstance(value, Training):
        settings = value.get_params(deep=False)
        return {"training": {name: _encode(setting) for name, setting in settings.items()}}
    if isinstance(value, nn.Module):
        return {"module": type(value).__name__}
    if isinstance(value, dict):
        return {"pairs": [[_encode(key), _encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def _decode(value: object) -> object:
    """Undo :func:`_encode`; a module stays described."""
    if not isinstance(value, dict) or "module" in value:
        return value
    if "training" in value:
        return Training(**{name: _decode(item) for name, item in value["training"].items()})
    if "pairs" in value:
        return {_decode(key): _decode(item) for key, item in value["pairs"]}
    return tuple(_decode(item) for item in value["tuple"])
