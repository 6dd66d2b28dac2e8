"""The skorch net that every classifier trains, its loss, and how its inputs are disturbed."""

import math
from contextlib import nullcontext

import torch
from skorch import NeuralNetClassifier
from skorch.utils import to_tensor
from torch import nn

from neurosal.errors import ArgumentError


class ClassLoss(nn.CrossEntropyLoss):
    """Cross-entropy over the classes, if wanted with one more whose logit is always 0.

    With that class, adding a number to all logits changes the loss, so each logit has a meaning
    of its own.

    Parameters
    ----------
    weight : torch.Tensor, optional
        (classes,) weight of each class.
    pseudo_class : bool
        Whether to add the class.

    Examples
    --------
    >>> loss = ClassLoss(pseudo_class=True)
    >>> round(loss(torch.zeros(1, 3), torch.tensor([0])).exp().item(), 4)
    4.0
    """

    def __init__(self, weight: torch.Tensor | None = None, *, pseudo_class: bool = False):
        if pseudo_class and weight is not None:
            weight = torch.cat([weight, weight.new_ones(1)])
        super().__init__(weight)
        self.pseudo_class = pseudo_class

    def forward(self, logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Return the loss.

        Parameters
        ----------
        logits : torch.Tensor
            (batch, classes).
        classes : torch.Tensor
            (batch,) class numbers.

        Returns
        -------
        torch.Tensor
            A scalar.
        """
        if self.pseudo_class:
            logits = nn.functional.pad(logits, (0, 1))
        return super().forward(logits, classes)


class WindowNet(NeuralNetClassifier):
    """A skorch classifier of windows that disturbs its inputs in training.

    Parameters
    ----------
    *args, **kwargs
        Of :class:`skorch.NeuralNetClassifier`.
    input_noise : float
        Standard deviation of the noise added to the inputs.
    time_mask : tuple of float, optional
        (least, most) share of the steps set to zero.
    mixed : bool
        Whether to compute in bfloat16 where that is safe.

    Examples
    --------
    >>> net = WindowNet(nn.Linear(2, 2), criterion=ClassLoss, input_noise=1.0)
    >>> net.get_params()["input_noise"]
    1.0
    """

    def __init__(
        self,
        *args: object,
        input_noise: float = 0.0,
        time_mask: tuple[float, float] | None = None,
        mixed: bool = False,
        **kwargs: object,
    ):
        super().__init__(*args, **kwargs)
        self.input_noise, self.time_mask, self.mixed = input_noise, time_mask, mixed

    def infer(self, x: dict, **fit_params: object) -> torch.Tensor:
        """Return the logits of a batch.

        Parameters
        ----------
        x : dict
            ``x`` (batch, time, region) and, for padded windows, ``lengths`` (batch,).
        **fit_params
            Unused.

        Returns
        -------
        torch.Tensor
            (batch, classes).
        """
        batch = to_tensor(x, device=self.device)
        if self.module_.training:
            batch["x"] = disturb(
                batch["x"],
                batch.get("lengths"),
                noise=self.input_noise,
                time_mask=self.time_mask,
            )
        kind = batch["x"].device.type
        with torch.autocast(kind, torch.bfloat16) if self.mixed else nullcontext():
            return self.module_(**batch)

    def get_loss(
        self,
        y_pred: torch.Tensor,
        y_true: torch.Tensor,
        X: object = None,
        training: bool = False,
    ) -> torch.Tensor:
        """Return the loss of a batch, and note its accuracy; both have to make sense.

        Parameters
        ----------
        y_pred : torch.Tensor
            (batch, classes) logits.
        y_true : torch.Tensor
            (batch,) class numbers.
        X : object
            Unused.
        training : bool
            Whether this is a training step.

        Returns
        -------
        torch.Tensor
            A scalar.

        Raises
        ------
        ArgumentError
            If there are not as many logits as classes, or the loss in training is not finite.
        """
        if self.classes is not None and y_pred.shape[1:] != (len(self.classes),):
            raise ArgumentError(
                f"The network must give logits of shape (batch, {len(self.classes)}), one for each "
                f"class. Got {tuple(y_pred.shape)}."
            )
        right = y_pred.detach().argmax(dim=1).cpu() == y_true.cpu()
        name = "train_accuracy" if training else "valid_accuracy"
        self.history.record_batch(name, right.double().mean().item())
        wide = y_pred.float() if self.mixed else y_pred
        loss = super().get_loss(wide, y_true, X=X, training=training)
        if training and not math.isfinite(loss.item()):
            raise ArgumentError(
                f"The loss became {loss.item()} in epoch {len(self.history)}, so the training "
                "stopped. Use a lower learning_rate or input_noise, a clip_norm, no class_weight "
                "of 0, or scale X."
            )
        return loss


def disturb(
    x: torch.Tensor,
    lengths: torch.Tensor | None = None,
    *,
    noise: float = 0.0,
    time_mask: tuple[float, float] | None = None,
) -> torch.Tensor:
    """Add noise to windows and set a random block of each one's steps to zero.

    Parameters
    ----------
    x : torch.Tensor
        (batch, time, region).
    lengths : torch.Tensor, optional
        (batch,) number of valid steps, among which the block lies.
    noise : float
        Standard deviation of the noise.
    time_mask : tuple of float, optional
        (least, most) share of the steps to set to zero.

    Returns
    -------
    torch.Tensor
        The same shape.

    Examples
    --------
    >>> disturbed = disturb(torch.ones(1, 10, 1), time_mask=(0.3, 0.3))
    >>> int((disturbed == 0).sum())
    3
    """
    if noise:
        x = x + noise * torch.randn_like(x)
    if time_mask is None:
        return x
    ends = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
    ends = ends.to(x.device)
    least, most = time_mask
    shares = least + (most - least) * torch.rand(len(x), device=x.device)
    widths = (shares * ends).round().long()
    starts = (torch.rand(len(x), device=x.device) * (ends - widths + 1)).long()
    steps = torch.arange(x.shape[1], device=x.device)
    hidden = (steps >= starts[:, None]) & (steps < (starts + widths)[:, None])
    return x.masked_fill(hidden[:, :, None], 0.0)
