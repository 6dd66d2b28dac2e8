"""The methods by name, and what each needs and gives.

``signed`` maps tell evidence for the class from evidence against it. The cells of an ``additive``
map are changes of the score; for a network that is linear in its input, each is weight times
(input - baseline), once the parts that are taken away are single cells. ``random`` methods draw
noise.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from neurosal.errors import ArgumentError, check_number, check_one_of
from neurosal.saliency import (
    attention,
    gradients,
    guided,
    integrated,
    layerwise,
    noise,
    perturbation,
)


@dataclass(frozen=True)
class Method:
    """A method and what it needs.

    Parameters
    ----------
    function : callable
        Maps a Score and samples (B, T, N), with the method's own arguments, to an Attribution.
    signed : bool
        The map tells evidence for from evidence against.
    additive : bool
        The map is made of changes of the score, exactly so for a linear network.
    random : bool
        It draws noise, from ``seed``.
    needs : str
        What the network must be.
    variants : callable
        Maps its arguments and the steps and regions of a sample to how many variants of the sample
        are sent through the network.

    Examples
    --------
    >>> METHODS["smoothgrad"].arguments()["n_samples"]
    50
    """

    function: Callable
    signed: bool = True
    additive: bool = False
    random: bool = False
    needs: str = "any differentiable network"
    variants: Callable[[dict, tuple[int, int]], int] = lambda arguments, shape: 1

    def arguments(self) -> dict:
        """Give the method's own arguments and their defaults.

        Returns
        -------
        dict
            Name to default.

        Examples
        --------
        >>> METHODS["gradient"].arguments()
        {}
        """
        own = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in own if p.kind is p.KEYWORD_ONLY}


def _draws(arguments: dict, shape: tuple[int, int]) -> int:
    """Noisy copies of a sample."""
    return check_number("n_samples", arguments["n_samples"], low=1, whole=True)


def _points(arguments: dict, shape: tuple[int, int]) -> int:
    """Points on the way to a sample."""
    return check_number("n_steps", arguments["n_steps"], low=1, whole=True)


METHODS: dict[str, Method] = {
    "gradient": Method(gradients.gradient),
    "gradient_x_input": Method(gradients.gradient_x_input, additive=True),
    "squared_gradient": Method(gradients.squared_gradient, signed=False),
    "integrated_gradients": Method(
        integrated.integrated_gradients, additive=True, variants=_points
    ),
    "smoothgrad": Method(noise.smoothgrad, random=True, variants=_draws),
    "smoothgrad_squared": Method(
        noise.smoothgrad_squared, signed=False, random=True, variants=_draws
    ),
    "vargrad": Method(noise.vargrad, signed=False, random=True, variants=_draws),
    "expected_gradients": Method(
        noise.expected_gradients, additive=True, random=True, variants=_draws
    ),
    "occlusion": Method(
        perturbation.occlusion,
        additive=True,
        needs="any network",
        variants=perturbation.count_windows,
    ),
    "feature_ablation": Method(
        perturbation.feature_ablation,
        additive=True,
        needs="any network",
        variants=perturbation.count_blocks,
    ),
    "temporal_rescaling": Method(
        perturbation.temporal_rescaling,
        signed=False,
        random=True,
        needs="what its base needs",
        variants=perturbation.count_changes,
    ),
    "guided_backprop": Method(
        guided.guided_backprop, needs="relu, sigmoid or tanh units, neither compiled nor scripted"
    ),
    "lrp": Method(layerwise.lrp, needs="a network of this package, or one built of its parts"),
    "deep_taylor": Method(
        layerwise.deep_taylor,
        signed=False,
        needs="a network of this package, or one built of its parts",
    ),
    "attention": Method(attention.attention, signed=False, needs="input-cell attention"),
}

WATCHED = (
    "gradient",
    "gradient_x_input",
    "squared_gradient",
    "integrated_gradients",
    "smoothgrad",
    "smoothgrad_squared",
    "vargrad",
    "expected_gradients",
    "guided_backprop",
    "lrp",
    "deep_taylor",
)
"""Methods whose maps temporal rescaling can watch."""


def find_method(name: str, arguments: dict) -> tuple[Method, dict]:
    """Look a method up and complete its arguments.

    Parameters
    ----------
    name : str
        One of ``METHODS``.
    arguments : dict
        The method's own arguments, as given.

    Returns
    -------
    tuple of Method and dict
        The method and all its arguments.

    Raises
    ------
    ArgumentError
        If there is no such method, or it has no such argument.

    Examples
    --------
    >>> find_method("gradient", {"steps": 3})
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: method 'gradient' takes no argument 'steps'. It takes none...
    """
    method = METHODS[check_one_of("method", name, METHODS)]
    defaults = method.arguments()
    for argument in arguments:
        if argument not in defaults:
            allowed = ", ".join(map(repr, defaults)) or "none of its own"
            raise ArgumentError(
                f"method {name!r} takes no argument {argument!r}. It takes {allowed}."
            )
    return method, defaults | arguments
