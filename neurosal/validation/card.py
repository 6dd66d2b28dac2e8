"""The trust card: every check that applies to a fitted decoder's map, one row each.

``quick`` takes about a minute on a small study; ``full`` trains many more decoders. A check that
cannot be done says why, and one that informs without deciding is ``reported``. No check can show
that a map is true: a map is to be trusted as far as checks that could have failed did not.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import xarray as xr

from neurosal.errors import ArgumentError, NeurosalError, check_one_of
from neurosal.progress import say
from neurosal.validation.card_rows import ROWS, Work
from neurosal.validation.check import Check
from neurosal.validation.parts import take_apart

LEVELS = ("quick", "full")


@dataclass(frozen=True)
class TrustCard:
    """What every check found.

    Parameters
    ----------
    checks : tuple of Check
        In the order of the card.
    interrupted : bool
        Whether the work was interrupted; what was not done is ``not run``.

    Examples
    --------
    >>> card = TrustCard((Check("accuracy", "Is it above chance?", "flagged", "50 %.", "-"),))
    >>> [check.name for check in card.flagged], card["accuracy"].verdict, len(card)
    (['accuracy'], 'flagged', 1)
    """

    checks: tuple[Check, ...]
    interrupted: bool = False

    @property
    def flagged(self) -> list[Check]:
        """The checks that found a reason not to trust the map."""
        return [check for check in self.checks if check.flagged]

    def table(self) -> pd.DataFrame:
        """Lay the card out, one row a check.

        Returns
        -------
        pandas.DataFrame
            Columns ``check``, ``question``, ``verdict``, ``finding``, ``cannot_show``.

        Examples
        --------
        >>> card = TrustCard((Check("accuracy", "Is it above chance?", "passed", "90 %.", "-"),))
        >>> card.table()[["check", "verdict"]].values.tolist()
        [['accuracy', 'passed']]
        """
        names = ("question", "verdict", "finding", "cannot_show")
        rows = [{"check": c.name} | {n: getattr(c, n) for n in names} for c in self.checks]
        return pd.DataFrame(rows, columns=["check", *names])

    def metrics(self) -> dict[str, dict]:
        """Give verdicts and numbers, for ``metrics.json``.

        Returns
        -------
        dict of str to dict
            Check to its ``verdict`` and numbers.

        Examples
        --------
        >>> one = Check("accuracy", "?", "passed", "90 %.", "-", values={"accuracy": 0.9})
        >>> TrustCard((one,)).metrics()
        {'accuracy': {'verdict': 'passed', 'accuracy': 0.9}}
        """
        return {check.name: {"verdict": check.verdict} | check.values for check in self.checks}

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def __len__(self) -> int:
        return len(self.checks)

    def __getitem__(self, name: str) -> Check:
        known = {check.name: check for check in self.checks}
        return known[check_one_of("check", name, known)]


def trust_card(
    decoder: object,
    *,
    checks: str | Sequence[str] | Mapping[str, dict] = "quick",
    maps: object = None,
    truth: xr.DataArray | None = None,
    contrasts: xr.DataArray | None = None,
    seed: int = 0,
    progress: bool = False,
) -> TrustCard:
    """Check whether a decoder's map is to be trusted, in every way that applies.

    Parameters
    ----------
    decoder : SaliencyDecoder or Parts
        Fitted; recognised by its attributes.
    checks : {'quick', 'full'}, sequence of str or dict of str to dict
        All checks, with few or with many decoders trained for comparison; or some of them by the
        names in :data:`~neurosal.validation.card_rows.ROWS`, done in full; or such names, each
        with arguments of the check's function.
    maps : array of shape (sample, time, region) or (condition, time, region), optional
        Maps to be checked in place of the decoder's own.
    truth : xarray.DataArray of bool, shape (condition, time, region), optional
        The true cells, where they are known.
    contrasts : xarray.DataArray of shape (condition, region), optional
        From :func:`~neurosal.validation.region_contrasts.glm_contrasts`; by default those of the
        windows' means.
    seed : int
        Of everything that is drawn.
    progress : bool
        Tell on standard error how far the work is.

    Returns
    -------
    TrustCard
        One Check each. Ctrl-C ends the work and keeps what is done.

    Raises
    ------
    ArgumentError
        If there is no such check, or decoder and maps do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosal.validation.parts import Parts
    >>> from neurosal.saliency.window_decoder import WindowDecoder, cross_explain
    >>> rng = np.random.default_rng(0)
    >>> y, dims = np.tile(["rest", "task"], 20), ("sample", "time", "region")
    >>> X = xr.DataArray(rng.normal(size=(40, 6, 5)), dims=dims)
    >>> X[1::2, 3, 2] += 4
    >>> folds = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    >>> blank = WindowDecoder(screening_percentile=50)
    >>> predictions, maps, fitted = cross_explain(blank, X, y, folds)
    >>> parts = Parts(X, y, folds, fitted, blank.fit(X, y), predictions, maps)
    >>> card = trust_card(parts, checks=["accuracy", "signal size"])
    >>> card.table()["verdict"].tolist()
    ['passed', 'passed']
    """
    parts = take_apart(decoder, maps=maps)
    chosen = _chosen(checks)
    work = Work(parts, truth=truth, contrasts=contrasts, seed=seed, progress=progress)
    done: list[Check] = []
    interrupted = False
    for number, (name, options) in enumerate(chosen.items(), start=1):
        say(f"trust card: {name} ({number} of {len(chosen)})", show=progress)
        try:
            done.append(_run(name, work, options))
        except KeyboardInterrupt:
            interrupted = True
            break
    left = list(chosen)[len(done) :]
    done += [_not_run(name, "the work was interrupted") for name in left]
    return TrustCard(tuple(done), interrupted)


def _chosen(checks: str | Sequence[str] | Mapping[str, dict]) -> dict[str, dict]:
    """Name the checks to be done, with their arguments."""
    if isinstance(checks, str):
        check_one_of("checks", checks, LEVELS)
        return {name: dict(getattr(row, checks)) for name, row in ROWS.items()}
    for name in checks:
        check_one_of("checks", name, ROWS)
    if not checks:
        raise ArgumentError(f"checks must name one or more of {', '.join(ROWS)}. Got none.")
    if isinstance(checks, Mapping):
        return {name: dict(options) for name, options in checks.items()}
    return {name: dict(ROWS[name].full) for name in checks}


def _run(name: str, work: Work, options: dict) -> Check:
    """Do one check; what does not apply says why."""
    with warnings.catch_warnings():
        # Training and explaining end softly on Ctrl-C; half a check would be none.
        warnings.filterwarnings("error", message=".*was interrupted", category=UserWarning)
        # Said of the decoders trained for comparison, not of the maps that are checked.
        warnings.filterwarnings("ignore", message="integrated gradients of")
        try:
            return ROWS[name].run(work, **options)
        except (NeurosalError, ValueError) as error:
            return _not_run(name, str(error))
        except UserWarning as warning:
            raise KeyboardInterrupt from warning


def _not_run(name: str, why: str) -> Check:
    """Stand for a check that was not done."""
    return Check(
        name=name,
        question=ROWS[name].question,
        verdict="not run",
        finding=f"Not run: {why.rstrip('.')}.",
        cannot_show="Anything, as it was not run.",
    )
