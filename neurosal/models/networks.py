"""Every network by name, one argument apart, for the comparisons of both published works."""

import inspect
from collections.abc import Callable
from functools import partial

import numpy as np
from torch import nn

from neurosal.errors import ArgumentError, check_number, check_one_of
from neurosal.models import thesis
from neurosal.models.nonrecurrent import (
    FeedForwardNetwork,
    TemporalConvolutionNetwork,
    TransformerNetwork,
)
from neurosal.models.recurrent import RecurrentNetwork, SelfAttentionNetwork


def _recurrent_networks() -> dict[str, Callable[..., nn.Module]]:
    """List the recurrent networks, each plain and with input-cell attention."""
    plain = {
        "rnn": partial(RecurrentNetwork, cell="rnn"),
        "lstm": partial(RecurrentNetwork, cell="lstm"),
        "gru": partial(RecurrentNetwork, cell="gru"),
        "bi-rnn": partial(RecurrentNetwork, cell="rnn", bidirectional=True, read="both-ends"),
        "bi-lstm": partial(RecurrentNetwork, cell="lstm", bidirectional=True, read="both-ends"),
        "bi-gru": partial(RecurrentNetwork, cell="gru", bidirectional=True, read="both-ends"),
        "lstm-self-attention": partial(SelfAttentionNetwork, cell="lstm"),
        "lstm-max": partial(RecurrentNetwork, cell="lstm", read="max"),
        "lstm-mean": partial(RecurrentNetwork, cell="lstm", read="mean"),
    }
    attending = {
        f"input-cell-{name}": partial(build, input_cell=True) for name, build in plain.items()
    }
    return plain | attending


#: Name to builder; a builder takes ``n_features``, ``n_classes`` and the network's own options.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **_recurrent_networks(),
    "feed-forward": FeedForwardNetwork,
    "tcn": TemporalConvolutionNetwork,
    "transformer": TransformerNetwork,
    "shallow": thesis.Shallow,
    "deep": thesis.Deep,
    "deep-v2": thesis.DeepV2,
    "conv-deep": thesis.ConvDeep,
    "r-lstm": thesis.RLSTM,
    "conv-r-lstm": thesis.ConvRLSTM,
}


def build_network(
    name: str,
    *,
    n_features: int,
    n_classes: int,
    hidden_size: int = 32,
    n_steps: int | None = None,
    **options: object,
) -> nn.Module:
    """Build a network by its name.

    Parameters
    ----------
    name : str
        A key of :data:`NETWORKS`: ``'rnn'``, ``'lstm'``, ``'gru'``, ``'bi-lstm'``,
        ``'lstm-self-attention'``, ``'lstm-max'``, ``'lstm-mean'``, each also as
        ``'input-cell-...'``; ``'feed-forward'``, ``'tcn'``, ``'transformer'``; ``'shallow'``,
        ``'deep'``, ``'deep-v2'``, ``'conv-deep'``, ``'r-lstm'``, ``'conv-r-lstm'``.
    n_features : int
        Number of regions.
    n_classes : int
        Number of classes.
    hidden_size : int
        Hidden units. The last six names have their published widths instead.
    n_steps : int, optional
        Steps of a sample: needed by ``'feed-forward'``; makes the ``'tcn'`` deep enough; the
        steps that ``positional=True`` has weights for unless ``max_length`` says otherwise.
    **options
        The network's own arguments, such as ``read``, ``dropout`` and ``hops``.

    Returns
    -------
    torch.nn.Module
        Called with ``x`` (batch, time, features) and optional ``lengths`` (batch,); gives logits
        (batch, classes). Networks that read forwards only also take ``steps=True`` and then give
        (batch, time, classes).

    Raises
    ------
    ArgumentError
        If the name or an option is unknown, or an option is needed.

    Examples
    --------
    >>> network = build_network("gru", n_features=5, n_classes=2, read="mean")
    >>> network.output
    Linear(in_features=32, out_features=2, bias=True)
    """
    build = NETWORKS[check_one_of("network", name, NETWORKS)]
    allowed = _allowed_options(build)
    for option in options:
        check_one_of(f"option of network {name!r}", option, sorted(allowed - {"n_steps"}))
    if "hidden_size" in allowed:
        options["hidden_size"] = hidden_size
    if "n_steps" in allowed and n_steps is not None:
        options["n_steps"] = n_steps
    if name == "feed-forward" and n_steps is None:
        raise ArgumentError("network 'feed-forward' needs n_steps, the steps of a sample.")
    if options.get("positional") and n_steps is not None:
        options.setdefault("max_length", n_steps)
    return build(n_features, n_classes, **_checked(options))


#: Options that are a number of something.
SIZES = ("hidden_size", "n_steps", "num_layers", "n_heads", "hidden", "recurrent", "out")
SIZES += ("state_hops", "state_attention_size")


def _checked(options: dict) -> dict:
    """Refuse sizes below one and odd dropout; numpy's whole numbers become Python's for torch."""
    for name in options.keys() & {*SIZES}:
        check_number(name, options[name], low=1, whole=True)
    if "dropout" in options:
        check_number("dropout", options["dropout"], low=0, high=1)
    return {
        name: int(value) if isinstance(value, np.integer) else value
        for name, value in options.items()
    }


ATTENTION_OPTIONS = {"hops", "attention_size", "readout", "normalize", "positional", "max_length"}


def _allowed_options(build: Callable[..., nn.Module]) -> set[str]:
    """Name the keyword arguments of a builder, those of its parent class included."""
    kind, fixed = (build.func, build.keywords) if isinstance(build, partial) else (build, {})
    names = set()
    for ancestor in inspect.getmro(kind):
        if ancestor is nn.Module:
            break
        parameters = inspect.signature(ancestor.__init__).parameters.values()
        names |= {item.name for item in parameters if item.kind is item.KEYWORD_ONLY}
    names -= {"cell", "input_cell"}
    return names | ATTENTION_OPTIONS if fixed.get("input_cell") else names
