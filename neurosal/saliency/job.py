"""The work behind :func:`neurosal.saliency.explain.explain`: batch by batch, then the labels."""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import xarray as xr

import neurosal
from neurosal.errors import ArgumentError
from neurosal.saliency.baselines import batch_of
from neurosal.saliency.batching import Progress, rows_that_fit
from neurosal.saliency.methods import Method
from neurosal.saliency.network import Network
from neurosal.saliency.recorded import recorded
from neurosal.saliency.scores import Score
from neurosal.saliency.windows import DIMS, Windows, all_finite, as_numpy, chances_of

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

    def __post_init__(self) -> None:
        """Number the classes of all samples before the first is explained."""
        own = self.windows.labelled
        taken = [] if own is None else [name for name in ("target", "score") if name in own.coords]
        if taken:
            raise ArgumentError(
                f"x must have no coordinate {taken[0]!r}: the maps' own has that name. Take it "
                f"away with x.drop_vars({taken[0]!r})."
            )
        if not isinstance(self.labels, str):
            self.labels = _class_indices(self.labels, self.network)

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
        if not np.isfinite(scores[:1]).any():
            return  # Interrupted before the first was done.
        if abs(scores.flat[0] - self.alone) > UNLIKE * np.nanmax(np.abs(scores)):
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
        here, valid = slice(start, stop), None
        if lengths is not None:
            valid = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        random = self.method.random
        seeds, ranks = chances_of(x, lengths, seed=self.seed) if random else ((), None)
        score = Score(
            network,
            self._targets(x, lengths, here),
            batch_of(self.baseline, here, valid, x),
            lengths,
            output=self.output,
            at=self.at,
            rows=rows,
            seeds=seeds,
            ranks=ranks,
            count=self.count,
            highest=-1 if isinstance(self.labels, str) else int(self.labels.max()),
        )
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
            return torch.as_tensor(self.labels[these], device=x.device)
        with torch.no_grad():
            at = "end" if self.at == "all" else self.at
            return self.network.logits(x, lengths, at=at).argmax(1)

    def leave_out(self, done: int, maps: np.ndarray) -> None:
        """Put NaN for samples that are not done, and whatever was begun of them.

        Parameters
        ----------
        done : int
            The first of them.
        maps : numpy.ndarray
            The maps.
        """
        if done == len(self.windows):
            return
        nothing = torch.full(self.shape[:-2], torch.nan)
        for name, values in {"target": nothing.flatten()[:1], "score": nothing}.items():
            if name not in self.found:
                self._remember(name, slice(0, 0), values[:0])
        maps[done:] = np.nan
        for name, values in self.found.items():
            values[done:] = -1 if name == "target" else np.nan

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
        if (values >= 0).all():
            return named
        return np.where(values < 0, "" if named.dtype.kind in "US" else -1, named.astype(object))

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


def _class_indices(labels: np.ndarray, network: Network) -> np.ndarray:
    """Positions of labels among the network's classes."""
    if network.classes is None:
        if labels.dtype.kind not in "iu" or labels.min() < 0:
            raise ArgumentError(
                "target and y must be positions of logits (0, 1, ...) for a module without class "
                f"labels. Got {labels[:5].tolist()}; or name its logits by classes."
            )
        return labels.astype(np.int64)
    place = {label: index for index, label in enumerate(network.classes.tolist())}
    for label in labels.tolist():
        if label not in place:
            raise ArgumentError(f"target must be one of the classes {list(place)}. Got {label!r}.")
    return np.array([place[label] for label in labels.tolist()])
