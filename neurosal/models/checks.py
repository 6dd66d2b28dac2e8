"""What a classifier checks before it trains: device, classes, weights, seeds."""

import numpy as np
import torch
import xarray as xr
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from neurosal.errors import ArgumentError


def resolve_device(device: str | torch.device) -> str:
    """Turn ``'auto'`` into a device and refuse one that is not there.

    Parameters
    ----------
    device : str or torch.device
        ``'auto'``, ``'cpu'``, ``'cuda'``, ``'cuda:1'``, ...

    Returns
    -------
    str
        The device.

    Raises
    ------
    ArgumentError
        If torch does not know the device or this machine does not have it.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        known = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device must be 'auto', 'cpu', 'cuda', ... Got {device!r}.") from error
    if known.type == "cuda" and (known.index or 0) >= torch.cuda.device_count():
        raise ArgumentError(
            f"device={device!r}, but torch sees {torch.cuda.device_count()} CUDA device(s) here. "
            "Use device='auto'."
        )
    try:
        torch.empty(0, device=known)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ArgumentError(
            f"device={device!r}, but torch cannot use it here: {error} Use device='auto'."
        ) from error
    return str(known)


def check_classes(y: object, n_samples: int, groups: object) -> tuple[np.ndarray, np.ndarray]:
    """Number the classes, after seeing that there is one for each sample.

    Parameters
    ----------
    y : array-like
        (sample,) classes.
    n_samples : int
        How many there should be.
    groups : array-like or None
        (sample,) groups.

    Returns
    -------
    classes, numbers : numpy.ndarray
        The classes, sorted, and (sample,) which of them each sample has.

    Raises
    ------
    ArgumentError
        If the numbers differ or there is one class only.

    Examples
    --------
    >>> check_classes(["b", "a", "b"], 3, None)
    (array(['a', 'b'], dtype='<U1'), array([1, 0, 1]))
    """
    y = column_or_1d(np.asarray(y))
    check_classification_targets(y)
    if groups is not None and np.ndim(groups) == 0:
        raise ArgumentError(f"groups must hold one group for each sample. Got {groups!r}.")
    for name, values in (("y", y), ("groups", y if groups is None else groups)):
        if len(values) != n_samples:
            raise ArgumentError(f"{name} has {len(values)} entries for {n_samples} samples in X.")
    classes, numbers = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ArgumentError(
            f"y holds one class only, {classes.tolist()[0]!r}. A classifier needs at least two."
        )
    return classes, numbers


def check_region_names(known: np.ndarray | None, x: object) -> None:
    """Refuse other regions than those that a classifier was fitted on.

    Parameters
    ----------
    known : numpy.ndarray of str or None
        (region,) names when fitted; None where there were none.
    x : object
        Samples; only a labelled array has names.

    Raises
    ------
    ArgumentError
        If a name differs.

    Examples
    --------
    >>> x = xr.DataArray(np.ones((1, 1, 2)), dims=("sample", "time", "region"))
    >>> check_region_names(np.array(["V1", "M1"]), x.assign_coords(region=["M1", "V1"]))
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: X's region 0 is 'M1', but 'V1' was there when fitted. ...
    """
    if known is None or not isinstance(x, xr.DataArray) or "region" not in x.coords:
        return
    names = x["region"].to_numpy().astype(str)
    if len(names) == len(known) and (names != known).any():
        first = np.flatnonzero(names != known)[0]
        raise ArgumentError(
            f"X's region {first} is '{names[first]}', but '{known[first]}' was there when "
            "fitted. Use the same regions in the same order."
        )


def check_options(options: object) -> dict:
    """Refuse options of a network that are no dict, or that the classifier gives itself.

    Parameters
    ----------
    options : dict or None
        What the user gave.

    Returns
    -------
    dict
        The options.

    Raises
    ------
    ArgumentError
        If they are something else or hold such an option.

    Examples
    --------
    >>> check_options(None)
    {}
    """
    options = {} if options is None else options
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise ArgumentError(
            f"network_options must be None or a dict of option to value. Got {options!r}."
        )
    given = {"name", "n_features", "n_classes", "n_steps", "hidden_size"} & {*options}
    if given:
        raise ArgumentError(
            f"network_options must not hold {', '.join(sorted(given))}: the data decides, or, of "
            "hidden_size, the classifier's argument of that name."
        )
    return options


def number_weights(class_weight: str | dict | None, classes: np.ndarray) -> str | dict | None:
    """Give weights to class numbers in place of classes.

    Parameters
    ----------
    class_weight : {None, 'balanced'} or dict
        Weight of each class; only a dict is changed.
    classes : numpy.ndarray
        The classes, sorted.

    Returns
    -------
    None, str or dict
        What the loss is weighted by.

    Raises
    ------
    ArgumentError
        If the dict names other classes than there are.

    Examples
    --------
    >>> number_weights({"b": 2.0, "a": 1.0}, np.array(["a", "b"]))
    {0: 1.0, 1: 2.0}
    """
    if not isinstance(class_weight, dict):
        return class_weight
    if set(class_weight) != set(classes.tolist()):
        raise ArgumentError(
            f"class_weight must name every class once: {classes.tolist()}. "
            f"Got {list(class_weight)}."
        )
    return {number: class_weight[name] for number, name in enumerate(classes.tolist())}


def draw_seeds(random_state: object, n_seeds: int) -> list[int]:
    """Draw the networks' seeds; the first ones do not depend on how many follow.

    Parameters
    ----------
    random_state : int, numpy.random.RandomState, numpy.random.Generator or None
        None draws new ones every time; numpy's global state is never used.
    n_seeds : int
        How many.

    Returns
    -------
    list of int
        The seeds.

    Raises
    ------
    ArgumentError
        If ``random_state`` is something else or out of range.

    Examples
    --------
    >>> draw_seeds(0, 1) == draw_seeds(0, 3)[:1]
    True
    """
    if random_state is None:
        random_state = np.random.default_rng().integers(2**31)
    if isinstance(random_state, np.random.Generator):
        random_state = np.random.RandomState(random_state.bit_generator)
    try:
        generator = check_random_state(random_state)
    except ValueError as error:
        raise ArgumentError(
            "random_state must be None, a whole number from 0 to 2**32 - 1, or a numpy RandomState "
            f"or Generator. Got {random_state!r}."
        ) from error
    return generator.randint(2**31 - 1, size=n_seeds).tolist()
