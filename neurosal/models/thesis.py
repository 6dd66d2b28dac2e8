"""Recurrent networks designed to be explained: relu cells without and with gates [1]_.

All share: relu as the only signal nonlinearity; biases ``-softplus(raw_bias)``, so never positive
and no relevance can come from them; a zero initial state; weights drawn from a normal
distribution of sd ``1/sqrt(fan_in)`` cut at two sd; class logits that mean something in
themselves, because the loss sees one more class whose logit is always 0 (``pseudo_class``).

Every network is ``input_layers`` (each step by itself), ``cell`` (over time), ``output_layers``
and ``output``; a relevance rule can so be given layer by layer::

    x (batch, time, features) -> input_layers -> a -> cell -> h -> output_layers -> output

Dropout is where the code behind the thesis has it, which is more than its equations show: after
every dense input layer, on a cell's state, and in cells without gates once more on all that enters
them, ``[a, r]``. The explanations depend on it: with the equations' dropout alone those of
:class:`Deep` by guided backpropagation score .06 above the thesis's, with this one they agree.
Stationary dropout keeps each of these masks over time; what the output layers read goes through a
mask of its own.

References
----------
.. [1] Chormai (2018), Designing Recurrent Neural Networks for Explainability. Master's thesis,
   Technische Universität Berlin.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from neurosal.errors import ArgumentError, check_number
from neurosal.models.reading import read_states, zero_padding
from neurosal.models.relu_cells import (
    ConvolutionStack,
    NonPositiveLinear,
    ReluCell,
    ReluLSTMCell,
    SequenceDropout,
)


class ExplainableNetwork(nn.Module):
    """What the six networks share; they differ in their layers only.

    Parameters
    ----------
    input_layers : torch.nn.Sequential
        Applied to every step by itself.
    cell : torch.nn.Module
        Over time: ``cell(a, dropout)`` gives (batch, time, ``cell.output_size``).
    output_layers : torch.nn.Sequential
        Applied to the last state.
    n_classes : int
        Number of classes.
    dropout : float
        Share of values dropped in training.
    stationary_dropout : bool
        Whether one dropout mask per sequence is used at every step [1]_.

    Attributes
    ----------
    pseudo_class : bool
        True: the training loss adds a class whose logit is 0.
    output : NonPositiveLinear
        From the last layer to class logits.

    References
    ----------
    .. [1] Gal, Ghahramani (2016), A Theoretically Grounded Application of Dropout in Recurrent
       Neural Networks. NeurIPS. https://doi.org/10.48550/arXiv.1512.05287

    Examples
    --------
    >>> network = Deep(n_features=196, n_classes=10)
    >>> sum(parameter.numel() for parameter in network.parameters())
    153578
    """

    pseudo_class = True
    causal = True
    read = "last"

    def __init__(
        self,
        input_layers: nn.Sequential,
        cell: nn.Module,
        *,
        output_layers: nn.Sequential,
        n_classes: int,
        dropout: float,
        stationary_dropout: bool,
    ):
        super().__init__()
        self.dropout = SequenceDropout(dropout, stationary=stationary_dropout)
        self.input_layers = input_layers
        self.cell = cell
        self.output_layers = output_layers
        widths = [layer.out_features for layer in output_layers if hasattr(layer, "out_features")]
        self.output = NonPositiveLinear([cell.output_size, *widths][-1], n_classes)

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None, steps: bool = False
    ) -> torch.Tensor:
        """Return class logits.

        Parameters
        ----------
        x : torch.Tensor
            (batch, time, features).
        lengths : torch.Tensor, optional
            (batch,) number of valid steps; what follows them is ignored.
        steps : bool
            Whether to read the scores at every step, as if each sample ended there.

        Returns
        -------
        torch.Tensor
            (batch, classes), or (batch, time, classes) with ``steps``.
        """
        states = self.states(x, lengths)
        read = states if steps else read_states(states, self.read, lengths)
        return self.output(self.output_layers(read))

    def states(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return what the output layers see, at every step.

        Parameters
        ----------
        x : torch.Tensor
            (batch, time, features).
        lengths : torch.Tensor, optional
            (batch,) number of valid steps.

        Returns
        -------
        torch.Tensor
            (batch, time, hidden).
        """
        a = zero_padding(x, lengths)
        for layer in self.input_layers:
            a = layer(a)
            if isinstance(layer, nn.ReLU):
                a = self.dropout(a)
        return self.cell(a, self.dropout)


class Shallow(ExplainableNetwork):
    """One hidden layer, read directly: ``h = relu([x, r] W)``, ``r' = relu(dropout(h) W_r)``.

    Parameters
    ----------
    n_features, n_classes : int
        Inputs a step, and classes.
    hidden, recurrent : int
        Units of the hidden and of the recurrent layer.
    dropout : float
        Share of values dropped in training.
    stationary_dropout : bool
        Whether one dropout mask per sequence is used at every step.

    Examples
    --------
    >>> Shallow(n_features=196, n_classes=10)(torch.zeros(2, 12, 196)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        hidden: int = 256,
        recurrent: int = 256,
        dropout: float = 0.2,
        stationary_dropout: bool = False,
    ):
        super().__init__(
            nn.Sequential(),
            ReluCell(n_features, hidden, recurrent=recurrent, drops_all=False),
            output_layers=nn.Sequential(),
            n_classes=n_classes,
            dropout=dropout,
            stationary_dropout=stationary_dropout,
        )


class Deep(ExplainableNetwork):
    """An input layer before the cell and an output layer after it.

    ``a = dropout(relu(x W1))``, ``h = relu(dropout([a, r]) W_c)``, ``r' = relu(dropout(h) W_r)``,
    ``o = relu(dropout(h_T) W_o)``.

    Parameters
    ----------
    n_features, n_classes : int
        Inputs a step, and classes.
    inputs : tuple of int
        Units of the input layers.
    hidden, recurrent, out : int
        Units of the hidden, the recurrent and the output layer.
    dropout : float
        Share of values dropped in training.
    stationary_dropout : bool
        Whether one dropout mask per sequence is used at every step.

    Examples
    --------
    >>> Deep(n_features=196, n_classes=10)(torch.zeros(2, 12, 196)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        inputs: tuple[int, ...] = (256,),
        hidden: int = 128,
        recurrent: int = 256,
        out: int = 32,
        dropout: float = 0.2,
        stationary_dropout: bool = False,
    ):
        if np.ndim(inputs) != 1 or not len(inputs):
            raise ArgumentError(
                "inputs must be the units of one or more input layers, such as (256,). "
                f"Got {inputs!r}."
            )
        super().__init__(
            _layers(n_features, *inputs),
            ReluCell(inputs[-1], hidden, recurrent=recurrent),
            output_layers=_layers(hidden, out),
            n_classes=n_classes,
            dropout=dropout,
            stationary_dropout=stationary_dropout,
        )


class DeepV2(Deep):
    """:class:`Deep` with two input layers.

    Parameters
    ----------
    n_features, n_classes : int
        Inputs a step, and classes.
    inputs : tuple of int
        Units of the input layers.
    **options
        Of :class:`Deep`.

    Examples
    --------
    >>> DeepV2(n_features=196, n_classes=10)(torch.zeros(2, 12, 196)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        inputs: tuple[int, ...] = (128, 256),
        **options: object,
    ):
        super().__init__(n_features, n_classes, inputs=inputs, **options)


class ConvDeep(ExplainableNetwork):
    """:class:`Deep` on the output of convolutions over each step's image.

    Parameters
    ----------
    n_features, n_classes : int
        Inputs a step, and classes.
    image_shape : tuple of int
        Rows and columns of a step's image; the features are its rows one after the other.
    inputs, hidden, recurrent, out : int
        Units of the input layer after the convolutions, the hidden, the recurrent and the output
        layer.
    dropout : float
        Share of values dropped in training.
    stationary_dropout : bool
        Whether one dropout mask per sequence is used at every step.

    Raises
    ------
    ArgumentError
        If ``image_shape`` does not hold ``n_features`` values.

    Examples
    --------
    >>> ConvDeep(n_features=196, n_classes=10)(torch.zeros(2, 12, 196)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        image_shape: tuple[int, int] = (28, 7),
        inputs: int = 128,
        hidden: int = 128,
        recurrent: int = 256,
        out: int = 32,
        dropout: float = 0.2,
        stationary_dropout: bool = False,
    ):
        super().__init__(
            _convolutions(n_features, image_shape, inputs),
            ReluCell(inputs, hidden, recurrent=recurrent),
            output_layers=_layers(hidden, out),
            n_classes=n_classes,
            dropout=dropout,
            stationary_dropout=stationary_dropout,
        )


class RLSTM(ExplainableNetwork):
    """An input layer before a gated cell without tanh.

    ``a = dropout(relu(x W1))``; gates ``i, f, o = sigmoid([a, h] W + b)``;
    ``g = relu([a, h] W_g + b_g)``; ``c = i g + f c_prev``; ``h = dropout(o c)``.

    Parameters
    ----------
    n_features, n_classes : int
        Inputs a step, and classes.
    inputs, recurrent : int
        Units of the input layer and of the cell.
    dropout : float
        Share of values dropped in training.
    stationary_dropout : bool
        Whether one dropout mask per sequence is used at every step.

    Examples
    --------
    >>> RLSTM(n_features=196, n_classes=10)(torch.zeros(2, 12, 196)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        inputs: int = 256,
        recurrent: int = 72,
        dropout: float = 0.2,
        stationary_dropout: bool = False,
    ):
        super().__init__(
            _layers(n_features, inputs),
            ReluLSTMCell(inputs, recurrent),
            output_layers=nn.Sequential(),
            n_classes=n_classes,
            dropout=dropout,
            stationary_dropout=stationary_dropout,
        )


class ConvRLSTM(ExplainableNetwork):
    """:class:`RLSTM` on the output of convolutions over each step's image.

    Parameters
    ----------
    n_features, n_classes : int
        Inputs a step, and classes.
    image_shape : tuple of int
        Rows and columns of a step's image; the features are its rows one after the other.
    inputs, recurrent : int
        Units of the input layer after the convolutions and of the cell.
    dropout : float
        Share of values dropped in training.
    stationary_dropout : bool
        Whether one dropout mask per sequence is used at every step.

    Raises
    ------
    ArgumentError
        If ``image_shape`` does not hold ``n_features`` values.

    Examples
    --------
    >>> ConvRLSTM(n_features=196, n_classes=10)(torch.zeros(2, 12, 196)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        image_shape: tuple[int, int] = (28, 7),
        inputs: int = 128,
        recurrent: int = 96,
        dropout: float = 0.2,
        stationary_dropout: bool = False,
    ):
        super().__init__(
            _convolutions(n_features, image_shape, inputs),
            ReluLSTMCell(inputs, recurrent),
            output_layers=nn.Sequential(),
            n_classes=n_classes,
            dropout=dropout,
            stationary_dropout=stationary_dropout,
        )


def _layers(*widths: int) -> nn.Sequential:
    """Stack linear layers with relu between the given widths."""
    layers = []
    for n_in, n_out in pairwise(widths):
        check_number("units of a layer", n_out, low=1, whole=True)
        layers += [NonPositiveLinear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def _convolutions(n_features: int, image_shape: tuple[int, int], inputs: int) -> nn.Sequential:
    """Put the convolutions before one linear layer."""
    fits = np.shape(image_shape) == (2,) and min(image_shape) > 0
    if not fits or math.prod(image_shape) != n_features:
        raise ArgumentError(
            f"image_shape must be (rows, columns) with {n_features} values, one for each feature "
            f"of a step. Got {image_shape!r}."
        )
    stack = ConvolutionStack(tuple(image_shape))
    return nn.Sequential(stack, *_layers(stack.out_features, inputs))
