"""The rows of the trust card: how each check is called on the parts of a decoder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr

from neurosal.errors import DataError
from neurosal.progress import say
from neurosal.validation import chance, faithfulness, patterns, sanity
from neurosal.validation.check import Check
from neurosal.validation.contrast import QUESTION as CONTRAST_QUESTION
from neurosal.validation.contrast import contrast_comparison
from neurosal.validation.known_truth import QUESTION as TRUTH_QUESTION
from neurosal.validation.known_truth import known_truth
from neurosal.validation.parts import Parts
from neurosal.validation.region_contrasts import window_contrasts
from neurosal.validation.reliability import QUESTION as RELIABILITY_QUESTION
from neurosal.validation.reliability import reliability
from neurosal.validation.roar import QUESTION as ROAR_QUESTION
from neurosal.validation.roar import roar
from neurosal.validation.signal_size import QUESTION as SIGNAL_QUESTION
from neurosal.validation.signal_size import signal_size
from neurosal.validation.spatial_null import region_centroids
from neurosal.validation.temporal_bias import QUESTION as TIME_QUESTION
from neurosal.validation.temporal_bias import temporal_bias
from neurosal.validation.twins import balanced_sample, retrained_map

#: Windows that are explained by each network that is compared.
EXPLAINED = 60


class Row(NamedTuple):
    """A check of the card.

    Attributes
    ----------
    run : callable
        Maps a Work, and arguments of the check's function, to a Check.
    question : str
        What it asks.
    quick, full : dict
        Arguments of the check's function for each level.
    """

    run: Callable[..., Check]
    question: str
    quick: dict
    full: dict


@dataclass
class Work:
    """What the checks of one card work on.

    Parameters
    ----------
    parts : Parts
        The decoder.
    truth : xarray.DataArray or None
        (condition, time, region): the true cells.
    contrasts : xarray.DataArray or None
        (condition, region).
    seed : int
        Of everything that is drawn.
    progress : bool
        Tell how far the work is.

    Examples
    --------
    >>> Work(None, truth=None, contrasts=None, seed=3, progress=False).drawn
    {'seed': 3, 'progress': False}
    """

    parts: Parts
    truth: xr.DataArray | None
    contrasts: xr.DataArray | None
    seed: int
    progress: bool

    @property
    def drawn(self) -> dict:
        """What every check that draws takes."""
        return {"seed": self.seed, "progress": self.progress}

    @property
    def folds(self) -> dict:
        """What every check over folds takes."""
        parts = self.parts
        return {"y": parts.y, "folds": parts.folds, "fold_decoders": parts.fold_decoders}

    @property
    def fitted(self) -> dict:
        """What every check of the decoder of all windows takes."""
        return {"y": self.parts.y, "decoder": self.parts.decoder}

    @cached_property
    def retrained(self) -> np.ndarray:
        """Mean map (class, time, region) of the decoder trained again, for two of the checks."""
        say("training the decoder again with another seed", show=self.progress)
        rng, parts = np.random.default_rng(self.seed), self.parts
        chosen = balanced_sample(parts.y, most=EXPLAINED, rng=rng)
        options = {"chosen": chosen, "seed": self.seed + 1}
        return retrained_map(parts.decoder, parts.windows.to_numpy(), parts.y, **options)


def _accuracy(work: Work, **options: object) -> Check:
    """Accuracy above chance."""
    parts, options = work.parts, {"groups": work.parts.groups, "seed": work.seed} | options
    return chance.above_chance(parts.predictions, parts.y, **options)


def _known_truth(work: Work, **options: object) -> Check:
    """Recovery of the truth."""
    if work.truth is None:
        raise DataError("the truth is not known, as with all measured data")
    parts, options = work.parts, {"truth": work.truth, "seed": work.seed} | options
    return known_truth(parts.maps, parts.windows, y=parts.y, **options)


def _signal_size(work: Work, **options: object) -> Check:
    """Likeness to the signal's size."""
    return signal_size(work.parts.maps, work.parts.windows, **work.fitted | options)


def _parameters(work: Work, **options: object) -> Check:
    """Randomised parameters."""
    options = work.fitted | {"retrained": work.retrained} | work.drawn | options
    return sanity.parameter_randomisation(work.parts.maps, work.parts.windows, **options)


def _labels(work: Work, **options: object) -> Check:
    """Shuffled labels."""
    known = {"retrained": work.retrained, "groups": work.parts.groups}
    options = work.fitted | known | work.drawn | options
    return sanity.label_permutation(work.parts.maps, work.parts.windows, **options)


def _temporal_bias(
    work: Work,
    *,
    most_windows: int | None = None,
    most_positions: int | None = None,
    **options: object,
) -> Check:
    """A signal moved through time."""
    if work.parts.foreign:
        raise DataError("it checks the decoder, and the maps are not the decoder's own")
    n = len(work.parts.y)
    if most_positions is not None:
        options = {"n_positions": min(most_positions, work.parts.windows.sizes["time"])} | options
    options = {"n_windows": min(most_windows or n, n)} | work.drawn | options
    return temporal_bias(work.parts.decoder, work.parts.windows, y=work.parts.y, **options)


def _deletion(work: Work, **options: object) -> Check:
    """Deletion and insertion."""
    options = work.folds | work.drawn | options
    return faithfulness.deletion_insertion(work.parts.maps, work.parts.windows, **options)


def _retraining(work: Work, *, skip: bool = False, **options: object) -> Check:
    """Remove and retrain."""
    if skip:
        raise DataError("it trains several decoders a fold; checks='full' includes it")
    if work.parts.foreign:
        raise DataError("it ranks cells by the decoder's own maps of its training windows")
    options = work.folds | work.drawn | options
    return roar(work.parts.decoder, work.parts.windows, **options)


def _reliability(work: Work, **options: object) -> Check:
    """Agreement between parts of the data."""
    parts = work.parts
    if parts.averaged:
        raise DataError("the maps are means, and it needs a map of each window")
    known = {} if parts.foreign else {"decoder": parts.decoder, "windows": parts.windows}
    options = known | work.drawn | options
    return reliability(parts.maps, y=parts.y, folds=parts.folds, **options)


def _contrast(work: Work, **options: object) -> Check:
    """The contrasts of a linear model, or those of the windows' means."""
    parts, found = work.parts, work.contrasts
    if found is None:
        found = window_contrasts(parts.windows, y=parts.y)
        options = {"kind": "contrast of the windows' means"} | options
    options = {"centroids": _centroids(parts), "seed": work.seed} | options
    return contrast_comparison(parts.importance, found, **options)


def _pattern(work: Work, **options: object) -> Check:
    """The pattern of a linear model."""
    parts = work.parts
    return patterns.haufe_comparison(parts.importance, parts.windows, y=parts.y, **options)


def _centroids(parts: Parts) -> np.ndarray | None:
    """Where the regions lie, or None where that is not known."""
    if parts.atlas is None or "region" not in parts.windows.coords:
        return None
    try:
        places = region_centroids(parts.atlas)
    except DataError:
        return None
    names = [str(one) for one in parts.atlas.regions["name"]]
    return places[[names.index(str(one)) for one in parts.windows["region"].to_numpy()]]


#: The checks by name, in the order of the card.
ROWS: dict[str, Row] = {
    "accuracy": Row(_accuracy, chance.QUESTION, {}, {}),
    "known truth": Row(_known_truth, TRUTH_QUESTION, {}, {}),
    "signal size": Row(_signal_size, SIGNAL_QUESTION, {}, {}),
    "parameter randomisation": Row(
        _parameters, sanity.PARAMETERS_QUESTION, {"n_networks": 3}, {"n_networks": 10}
    ),
    "label permutation": Row(
        _labels, sanity.LABELS_QUESTION, {"n_permutations": 2}, {"n_permutations": 10}
    ),
    "temporal bias": Row(
        _temporal_bias,
        TIME_QUESTION,
        {"most_positions": 3, "most_windows": 80},
        {"most_positions": 7, "n_draws": 3},
    ),
    "deletion and insertion": Row(_deletion, faithfulness.QUESTION, {"most_windows": 80}, {}),
    "remove and retrain": Row(
        _retraining, ROAR_QUESTION, {"skip": True}, {"fractions": (0.3, 0.5, 0.7)}
    ),
    "reliability": Row(
        _reliability, RELIABILITY_QUESTION, {"n_halvings": 1}, {"n_halvings": 5, "n_seeds": 2}
    ),
    "GLM contrast": Row(_contrast, CONTRAST_QUESTION, {}, {}),
    "linear pattern": Row(_pattern, patterns.QUESTION, {}, {}),
}
