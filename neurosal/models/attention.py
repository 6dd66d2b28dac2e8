"""Input-cell attention as a layer of its own, before any recurrent layer.

See :mod:`neurosal.models.pooling` for the pooling that it rests on.
"""

import torch
from torch import Tensor, nn

from neurosal.errors import ArgumentError, check_one_of
from neurosal.models.pooling import (
    READOUTS,
    _check_matrix,
    _check_sizes,
    attention_weights,
    clear_padding,
    prefix_norm,
    prefix_pool,
    prefix_pool_projected,
)
from neurosal.models.scopes import autocast_type

__all__ = ["InputCellAttention", "attention_weights", "prefix_pool", "prefix_pool_projected"]


class InputCellAttention(nn.Module):
    r"""Let every step read a fixed-size embedding of all inputs so far.

    Each of ``hops`` rows of :math:`A_t = softmax(W_2 tanh(W_1 X_t^T))` weighs the inputs
    ``x_1 .. x_t``, and :math:`M_t = A_t X_t` is read out in one of three published ways:
    the mean over hops (the authors' released code, and their 2020 benchmark), flattened (the
    paper's text), or flattened and divided by its Euclidean norm (``normalize=True``, the
    earlier version of the code that the released checkpoint uses).

    Take ``"mean"`` unless a comparison asks for the text's cell: its output is as wide as the
    input, so the recurrent layer behind it has ``hops`` times fewer weights and the layer costs
    less than that recurrent layer. ``"flatten"`` lets the gates tell the hops apart and costs
    ``hops`` times the input projection; ``normalize`` adds a tenth to half of that (see
    :func:`~neurosal.models.pooling.prefix_norm`).

    Parameters
    ----------
    input_size : int
        Features (regions) of a step.
    hops : int, default=10
        Rows of the attention matrix.
    attention_size : int, default=50
        Units of the hidden layer behind the logits.
    readout : {"mean", "flatten"}, default="mean"
        How the matrix is read out.
    normalize : bool, default=False
        Divide the flattened matrix by its Euclidean norm; needs ``readout="flatten"``.
    positional : bool, default=False
        Add a learned logit per position and hop (not published; it helps to localise in time).
    max_length : int, optional
        Longest sequence; needed if ``positional``.
    device, dtype : optional
        As in :class:`torch.nn.Linear`.

    Raises
    ------
    ArgumentError
        If a size is below one or options contradict one another.

    References
    ----------
    Ismail, Gunady, Pessoa, Corrada Bravo, Feizi (2019). Input-Cell Attention Reduces Vanishing
    Saliency of Recurrent Neural Networks. NeurIPS 32. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> InputCellAttention(6, hops=4)(torch.randn(2, 9, 6)).shape
    torch.Size([2, 9, 6])
    >>> InputCellAttention(6, hops=4, readout="flatten")(torch.randn(2, 9, 6)).shape
    torch.Size([2, 9, 24])
    """

    def __init__(
        self,
        input_size: int,
        *,
        hops: int = 10,
        attention_size: int = 50,
        readout: str = "mean",
        normalize: bool = False,
        positional: bool = False,
        max_length: int | None = None,
        device: object = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_one_of("readout", readout, READOUTS)
        input_size, hops, attention_size = _check_sizes(
            input_size=input_size, hops=hops, attention_size=attention_size
        )
        if max_length is not None:
            (max_length,) = _check_sizes(max_length=max_length)
        if normalize and readout != "flatten":
            raise ArgumentError(f"normalize=True needs readout='flatten'. Got {readout!r}.")
        if positional and max_length is None:
            raise ArgumentError("positional=True needs max_length, the longest sequence's steps.")
        self.input_size, self.hops, self.attention_size = input_size, hops, attention_size
        self.readout, self.normalize = readout, normalize
        self.output_size = input_size * (hops if readout == "flatten" else 1)
        self.first = nn.Linear(input_size, attention_size, device=device, dtype=dtype)
        self.second = nn.Linear(attention_size, hops, device=device, dtype=dtype)
        self.positional = None
        if positional:
            empty = torch.empty(max_length, hops, device=device, dtype=dtype)
            self.positional = nn.Parameter(empty)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set matrices Xavier-uniform, vectors and positional logits zero, as released."""
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if self.positional is not None:
            nn.init.zeros_(self.positional)

    def logits(self, x: Tensor) -> Tensor:
        """Attention logits of each input, which do not depend on the reading step.

        Parameters
        ----------
        x : Tensor, shape (batch, time, features)
            The inputs.

        Returns
        -------
        Tensor, shape (batch, time, hops)
            ``W_2 tanh(W_1 x)``, plus the positional logits.

        Raises
        ------
        ArgumentError
            If the sequence is longer than ``max_length``, or the input of another width or type.

        Examples
        --------
        >>> InputCellAttention(3, hops=2).logits(torch.randn(1, 5, 3)).shape
        torch.Size([1, 5, 2])
        """
        _check_input(x, self.input_size, self.first.weight)
        return self._positioned(self._content_logits(x))

    def _content_logits(self, x: Tensor) -> Tensor:
        """What an input is worth wherever it stands."""
        return self.second(torch.tanh(self.first(x)))

    def _positioned(self, logits: Tensor) -> Tensor:
        """Add the positional logits, if there are any."""
        if self.positional is None:
            return logits
        steps = logits.shape[1]
        if steps > len(self.positional):
            raise ArgumentError(
                f"The sequence has {steps} steps, but positional logits were made for "
                f"max_length={len(self.positional)}. Shorten it or build with a larger max_length."
            )
        return logits + self.positional[:steps]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool the inputs up to each step.

        Parameters
        ----------
        x : Tensor, shape (batch, time, features)
            The inputs.
        lengths : Tensor of int, shape (batch,), optional
            Valid steps of each sample; the padding comes out as zero.

        Returns
        -------
        Tensor, shape (batch, time, features or hops * features)
            The readout at every step.

        Raises
        ------
        ArgumentError
            If the input's shape or type, or ``lengths``, do not fit.
        """
        _check_input(x, self.input_size, self.first.weight)
        x = clear_padding(x, lengths)
        logits = self.logits(x)
        out = prefix_pool(x, logits, readout=self.readout, lengths=lengths)
        if self.normalize:
            out = out / prefix_norm(x, logits, lengths=lengths)
        return out

    def project(
        self,
        x: Tensor,
        weight: Tensor,
        *,
        bias: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Compute ``self(x, lengths) @ weight.T + bias`` in the cheaper order.

        Parameters
        ----------
        x : Tensor, shape (batch, time, features)
            The inputs.
        weight : Tensor, shape (outputs, output_size)
            The linear map behind the readout, such as a recurrent layer's input weights.
        bias : Tensor, shape (outputs,), optional
            Added to the result.
        lengths : Tensor of int, shape (batch,), optional
            Valid steps of each sample; the padding comes out as zero.

        Returns
        -------
        Tensor, shape (batch, time, outputs)
            The projected readout.

        Raises
        ------
        ArgumentError
            If the shape or type of an argument does not fit.

        Examples
        --------
        >>> layer = InputCellAttention(3, hops=2, readout="flatten")
        >>> layer.project(torch.randn(1, 5, 3), torch.randn(4, 6)).shape
        torch.Size([1, 5, 4])
        """
        _check_input(x, self.input_size, self.first.weight)
        _check_matrix(weight, bias, "output_size", self.output_size)
        _check_type("weight", weight, self.first.weight.dtype)
        x = clear_padding(x, lengths)
        if self.readout == "flatten":
            options = {"bias": bias, "lengths": lengths, "normalize": self.normalize}
            return prefix_pool_projected(x, self.logits(x), weight, **options)
        if len(weight) <= x.shape[2]:  # weights of the mean sum to one: the bias may go first
            rows, shape = x.flatten(0, 1), x.shape[:2]  # once: gradients are added in place
            values = nn.functional.linear(rows, weight, bias).unflatten(0, shape)
            logits = self._positioned(self._content_logits(rows).unflatten(0, shape))
            return prefix_pool(values, logits, lengths=lengths)
        pooled = prefix_pool(x, self.logits(x), lengths=lengths)
        return clear_padding(nn.functional.linear(pooled, weight, bias), lengths)

    def weights(self, x: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Attention of the last valid step over all inputs.

        Parameters
        ----------
        x : Tensor, shape (batch, time, features)
            The inputs.
        lengths : Tensor of int, shape (batch,), optional
            Valid steps of each sample.

        Returns
        -------
        Tensor, shape (batch, hops, time)
            Non-negative, summing to one over the valid steps.

        Raises
        ------
        ArgumentError
            If the input's shape or type, or ``lengths``, do not fit.

        Examples
        --------
        >>> InputCellAttention(3, hops=2).weights(torch.zeros(1, 4, 3))[0, 0].tolist()
        [0.25, 0.25, 0.25, 0.25]
        """
        _check_input(x, self.input_size, self.first.weight)
        return attention_weights(self.logits(clear_padding(x, lengths)), lengths=lengths)

    def extra_repr(self) -> str:
        """Sizes and readout, for printing."""
        return f"{self.input_size}, hops={self.hops}, readout={self.readout!r}"


def _check_input(x: Tensor, width: int, weight: Tensor) -> None:
    """Refuse inputs of another shape than (batch, time, width), or of another type than weights."""
    if not isinstance(x, Tensor):
        raise ArgumentError(f"The input must be a tensor. Got {type(x).__name__}.")
    if x.ndim != 3 or x.shape[2] != width:
        raise ArgumentError(
            f"The input must be (batch, time, features), with input_size={width} features. "
            f"Got shape {tuple(x.shape)}."
        )
    _check_type("The input", x, weight.dtype)


def _check_type(name: str, x: Tensor, dtype: torch.dtype) -> None:
    """Refuse another type than the weights'; under autocast any real one, which it converts."""
    if x.dtype == dtype or (x.is_floating_point() and autocast_type(x.device.type) is not None):
        return
    raise ArgumentError(
        f"{name} must be of the weights' type, {dtype}. Got {x.dtype}; "
        f"convert it, or the layer with .to(dtype)."
    )
