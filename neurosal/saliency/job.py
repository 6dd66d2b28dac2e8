"""The work behind :func:`neurosal.saliency.explain.explain`: batch by batch, then the labels."""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
import torch
import xarray as xr

import neurosal
from neurosal.errors import ArgumentError
from neurosal.saliency.batching import Progress, rows_that_fit
from neurosal.saliency.methods import Method
from neurosal.saliency.network import Network
from neurosal.saliency.scores import Score
from neurosal.saliency.windows import DIMS, Windows, all_finite, as_numpy, seeds_of

PASSES = 8
"""Passes through the network from one batch of finished maps to the next, where there are more."""
UNLIKE = 0.02
"""Difference of two scores of one sample, in the largest score, that rounding does not make."""


@dataclass(eq=False)
class Job:
    """One call of :func:`~neurosal.saliency.explain.explain`: what is asked, and what is found.

    Parameters
    ----------
    windows : Windows
        The samples.
    network : Network
        What is explained.
    method : Method
        By which method.
    arguments : dict
        All of the method's own arguments.
    labels : numpy.ndarray or "predicted"
        The class of each sample (n,).
    baseline : numpy.ndarray
        (1 or n, T, N).
    output, at, seed
        As in ``explain``.
    found : dict
        Numbers found out for each sample.
    count : collections.Counter
        Samples sent through the network.
    alone : float
        Score of the first sample by itself; NaN before :meth:`rows` is asked for.
    shown : Progress
        Where the progress is shown.

    Examples
    --------
    >>> from neurosal.saliency.methods import METHODS
    >>> network = Network((torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2)),))
    >>> windows = Windows(np.ones((4, 2, 3)))
    >>> job = Job(windows, network, METHODS["gradient"], {}, np.ones(4, int),
    ...           np.zeros((1, 2, 3)), "logit", "end", 0)
    >>> maps = np.zeros(job.shape)
    >>> job.filler(maps)(0, 4, 4)
    >>> job.labelled(maps, {"method": "gradient"}).attrs["output"]
    'logit'
    """

    windows: Windows
    network: Network
    method: Method
    arguments: dict
    labels: object
    baseline: np.ndarray
    output: str
    at: str | int
    seed: int
    found: dict = field(default_factory=dict)
    count: Counter = field(default_factory=Counter)
    alone: float = np.nan
    shown: Progress = field(default_factory=lambda: Progress(0, "maps", enabled=False))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the maps."""
        n, steps, regions = self.windows.shape
        return (n, steps, steps, regions) if self.at == "all" else (n, steps, regions)

    def rows(self) -> int:
        """How many samples a pass can take; notes the first one's score by itself."""
        x, score = self.question(0, 1, rows=1)
        if self.at == "all":
            score = replace(score, at=0)

        def noted(x: torch.Tensor) -> torch.Tensor:
            """Score the sample."""
            scores = score(x)
            self.alone = scores.item()
            return scores

        rows = rows_that_fit(noted, x, device=self.network.device)
        self.count.clear()
        return rows

    def check_score(self) -> None:
        """Warn if the first sample's score is another among the other samples."""
        scores = self.found.get("score", np.empty(0))
        if scores.size and abs(scores.flat[0] - self.alone) > UNLIKE * np.nanmax(np.abs(scores)):
            warnings.warn(
                f"The first sample's score is {self.alone:.4g} by itself and {scores.flat[0]:.4g} "
                "among the others: it depends on chance or on the samples beside it, and so do the "
                "maps. Explain a network that takes each sample for itself.",
                stacklevel=3,
            )

    def samples_of(self, rows: int) -> int:
        """How many samples to begin together: some passes' worth, so that work is often saved.

        Parameters
        ----------
        rows : int
            The most variants of samples in a pass.

        Returns
        -------
        int
            At least 1.
        """
        variants = self.method.variants(self.arguments, self.windows.shape[1:])
        return max(1, rows // max(1, variants // PASSES))

    def question(self, start: int, stop: int, *, rows: int) -> tuple[torch.Tensor, Score]:
        """Read a batch and make its score.

        Parameters
        ----------
        start, stop : int
            Which samples.
        rows : int
            The most samples in a pass.

        Returns
        -------
        tuple of torch.Tensor and Score
            Samples (B, T, N) and their score.
        """
        network = self.network
        x, lengths = self.windows.take(start, stop, device=network.device, dtype=network.dtype)
        baseline = self.baseline if len(self.baseline) == 1 else self.baseline[start:stop]
        score = Score(
            network,
            self._targets(x, lengths, slice(start, stop)),
            torch.as_tensor(baseline).to(x),
            lengths,
            output=self.output,
            at=self.at,
            rows=rows,
            seeds=seeds_of(x, lengths, seed=self.seed) if self.method.random else (),
            count=self.count,
        )
        if lengths is not None:
            score = replace(score, baseline=score.baseline * score.valid(x)[:, :, None])
        return x, score

    def filler(self, maps: np.ndarray) -> Callable[[int, int, int], None]:
        """Make the function that explains samples ``start`` to ``stop``.

        Parameters
        ----------
        maps : numpy.ndarray
            Where the maps go.

        Returns
        -------
        callable
            Takes start, stop and the most samples in a pass.
        """

        def fill(start: int, stop: int, rows: int) -> None:
            """Explain a batch and note the maps and what else was found."""
            x, score = self.question(start, stop, rows=rows)
            score = replace(score, tick=self._ticker(start, stop))
            here = slice(start, stop)
            if self.at == "all":
                for step in range(x.shape[1]):
                    at_step = replace(score, at=step)
                    self._note(maps, (here, step), self._explain_reached(x, at_step))
            else:
                self._check_reached(score, x, start)
                self._note(maps, here, self._explain(x, score))
            self._remember("target", here, score.target)

        return fill

    def _ticker(self, start: int, stop: int) -> Callable[[], None]:
        """Make the function that shows how far a batch is, by what went through the network."""
        before = self.count["forward"]
        variants = max(1, self.method.variants(self.arguments, self.windows.shape[1:]))
        whole = variants * (self.windows.shape[1] if self.at == "all" else 1)

        def tick() -> None:
            """Show the samples done, as if each took the passes foreseen."""
            done = (self.count["forward"] - before) / whole
            self.shown.update(min(start + done, stop))

        return tick

    def _explain(self, x: torch.Tensor, score: Score) -> dict:
        """Explain the score of a batch; maps (B, T, N) and numbers (B,) by their names."""
        found = self.method.function(score, x, **self.arguments)
        extras = found.extras
        if "score" not in extras:
            with torch.no_grad():
                extras = {"score": replace(score, count=Counter())(x), **extras}
        maps = found.maps.detach()
        if score.lengths is not None:
            maps = maps * score.valid(x)[:, :, None]
        if not all_finite(maps):
            _check_finite(maps)
        return {"maps": maps, **extras}

    def _explain_reached(self, x: torch.Tensor, score: Score) -> dict:
        """Explain the score after a step; NaN for samples that end before it."""
        reached = score.valid(x)[:, score.at]
        if not reached.any():
            return {"maps": torch.full_like(x, torch.nan)}
        rows = reached.nonzero().squeeze(1)
        found = self._explain(x[rows], score.take(rows))
        return {name: _spread_out(values, rows, len(x)) for name, values in found.items()}

    def _check_reached(self, score: Score, x: torch.Tensor, start: int) -> None:
        """Refuse a step that a sample does not have."""
        if score.at == "end" or score.valid(x)[:, score.at].all():
            return
        sample = start + int((~score.valid(x)[:, score.at]).nonzero()[0])
        raise ArgumentError(
            f"at must be a step that every sample has. Got {score.at}, but sample {sample} has "
            f"{int(score.lengths[sample - start])} steps. Use at='end' or at='all'."
        )

    def _note(self, maps: np.ndarray, here: object, found: dict) -> None:
        """Put a batch's maps and numbers in their places."""
        maps[here] = as_numpy(found.pop("maps"))
        for name, values in found.items():
            self._remember(name, here, values)

    def _remember(self, name: str, here: object, values: torch.Tensor) -> None:
        """Put a batch's numbers in their place, in an array made at its first use."""
        if name not in self.found:
            shape = self.shape[:1] if name == "target" else self.shape[:-2]
            missing = -1 if name == "target" else np.nan
            self.found[name] = np.full(shape, missing)
        self.found[name][here] = as_numpy(values)

    def _targets(self, x: torch.Tensor, lengths: torch.Tensor | None, these: slice) -> torch.Tensor:
        """Class index of each sample of a batch."""
        if not isinstance(self.labels, str):
            return _class_indices(self.labels[these], self.network).to(x.device)
        with torch.no_grad():
            at = "end" if self.at == "all" else self.at
            return self.network.logits(x, lengths, at=at).argmax(1)

    def labelled(self, maps: np.ndarray, asked: dict) -> xr.DataArray:
        """Give the maps their names, coordinates and attributes.

        Parameters
        ----------
        maps : numpy.ndarray
            The maps.
        asked : dict
            Attributes to begin with.

        Returns
        -------
        xarray.DataArray
            The labelled maps.
        """
        dims, coordinates = DIMS, self.windows.coordinates()
        if self.at == "all":
            dims = ("sample", "output_time", "time", "region")
            coordinates["output_time"] = np.asarray(coordinates["time"])
        for name, values in self.found.items():
            coordinates[name] = (dims[: values.ndim], self._named(name, values))
        out = xr.DataArray(maps, dims=dims, coords=coordinates, name="importance")
        own = {name: recorded(value) for name, value in self.arguments.items()}
        source = {} if self.windows.labelled is None else self.windows.labelled.attrs
        versions = {"neurosal_version": neurosal.__version__, "torch_version": torch.__version__}
        asked |= {"output": self.output, "at": recorded(self.at), "seed": self.seed}
        out.attrs = {**source, **asked, **own, **versions, **self._largest(), **self._passes()}
        return out

    def _named(self, name: str, values: np.ndarray) -> np.ndarray:
        """Class labels instead of class indices; other numbers as they are."""
        if name != "target" or self.network.classes is None:
            return values
        named = self.network.classes[values.astype(int)]
        return np.where(values < 0, "" if named.dtype.kind in "US" else -1, named)

    def _passes(self) -> dict:
        """Samples sent through the network, and back, for each map."""
        done = max(1, int(np.isfinite(self.found.get("score", np.zeros(1))).sum()))
        return {f"{way}_passes": self.count[way] / done for way in ("forward", "backward")}

    def _largest(self) -> dict:
        """Largest error of completeness and largest leak, over the samples."""
        names = [name for name in ("completeness_error", "leak") if name in self.found]
        return {name: float(np.nanmax(np.abs(self.found[name]))) for name in names}


def _check_finite(maps: torch.Tensor) -> None:
    """Refuse maps with NaN or infinity."""
    bad = ~torch.isfinite(maps).flatten(1).all(1)
    if bad.any():
        raise ArgumentError(
            f"the maps must be finite numbers. Got NaN or infinity for {int(bad.sum())} of "
            f"{len(bad)} samples: the network's gradient overflows. Try it in float64 "
            "(model.double()), or output='logit'."
        )


def _spread_out(values: torch.Tensor, rows: torch.Tensor, n: int) -> torch.Tensor:
    """Put the values of some samples among all, NaN elsewhere."""
    values = values if values.is_floating_point() else values.double()
    out = torch.full((n, *values.shape[1:]), torch.nan, dtype=values.dtype, device=values.device)
    out[rows] = values
    return out


def _class_indices(labels: np.ndarray, network: Network) -> torch.Tensor:
    """Positions of labels among the network's classes."""
    if network.classes is None:
        if labels.dtype.kind not in "iu" or labels.min() < 0:
            raise ArgumentError(
                "target and y must be positions of logits (0, 1, ...) for a module without class "
                f"labels. Got {labels[:5].tolist()}; or name its logits by classes."
            )
        return torch.as_tensor(labels.astype(np.int64))
    place = {label: index for index, label in enumerate(network.classes.tolist())}
    for label in labels.tolist():
        if label not in place:
            raise ArgumentError(f"target must be one of the classes {list(place)}. Got {label!r}.")
    return torch.tensor([place[label] for label in labels.tolist()])


def recorded(value: object, default: object = None) -> object:
    """What the attributes record of an argument: numbers and words, of arrays shape and digest.

    Parameters
    ----------
    value : object
        The argument.
    default : object
        What is recorded for None.

    Returns
    -------
    object
        Fit for JSON.

    Examples
    --------
    >>> recorded(np.zeros((2, 3)))
    'given, shape (2, 3), blake2b 8b00a97e'
    """
    if value is None:
        return default
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {name: recorded(part) for name, part in value.items()}
    if isinstance(value, str | bool | int | float | tuple):
        return value
    value = as_numpy(value) if isinstance(value, torch.Tensor) else value
    return f"given, shape {tuple(np.shape(value))}, blake2b {_digest(value)}"


def _digest(value: object) -> str:
    """Eight digits that tell arrays apart, read a part at a time."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    digest, values = blake2b(digest_size=4), np.asarray(value)
    for part in values if values.ndim else [values]:
        digest.update(np.asarray(part).astype(str if values.dtype == object else values.dtype))
    return digest.hexdigest()
