"""What a report is written from: one record of everything an analysis found."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.parcellation.base import RegionAtlas
from neurosal.validation.check import Check

if TYPE_CHECKING:
    from neurosal.saliency.compare import Comparison

_DIMENSIONS = {
    "confusion": ("true", "predicted"),
    "importance": ("sample", "time", "region"),
    "mean_importance": ("condition", "time", "region"),
    "truth": ("condition", "time", "region"),
    "attention": ("sample", "hop", "time"),
}
#: Methods that share a score out among the cells, though not exactly.
_SHARES = ("lrp",)
_TESTED = ("mean", "t", "p", "significant")


@dataclass
class Results:
    """Everything that the report shows; what is empty or None is left out of it.

    Parameters
    ----------
    title : str
        The report's heading.
    data : dict
        ``n_subjects``, ``n_runs``, ``n_windows`` (int), ``windows_per_condition`` (dict of
        condition to count), ``dropped`` (list of dicts with ``condition``, ``onset`` in s,
        ``reason`` and, where known, ``subject`` and ``run``), ``warnings`` and
        ``missing_regions`` (lists of str), ``task``, ``atlas``, ``space`` (str), ``t_r``,
        ``window`` and ``lag`` in s. Absent keys are shown as not stated. ``source`` (str, such as
        ``"the Human Connectome Project's layout"``) goes into the methods text, and so does
        ``scaled`` (bool): regions were brought to one scale over all windows.
    metrics : dict
        ``accuracy`` and ``chance`` (0 to 1), ``accuracy_per_fold``, ``baseline_accuracy``,
        ``baseline_per_fold``, ``baseline`` (its name), ``n_windows``, ``n_folds``, ``cv`` (str),
        ``accuracy_p`` (of a permutation test), ``truth_aupr`` and ``truth_aupr_random`` (a
        number, or a dict of condition to number).
    confusion : xarray.DataArray or None
        Counts of windows, shape (true, predicted), from held-out folds.
    importance : xarray.DataArray or None
        Importance of every window, shape (sample, time, region), times in s from event onset.
    mean_importance : xarray.DataArray or None
        Mean importance, shape (condition, time, region); attribute ``units`` names its unit, which
        the attributes ``method`` and ``output`` tell otherwise.
    maps : dict of str to image
        Each condition's 4D volume, one frame for each time of ``mean_importance``; images of
        surfaces and grayordinates are drawn from ``mean_importance`` and ``atlas`` instead.
    truth : xarray.DataArray or None
        Which entries carry the simulated effect, boolean, shape (condition, time, region).
    provenance : dict
        ``versions``, ``parameters`` and ``network`` (dicts), ``seed``, ``command``, ``date``.
    atlas : RegionAtlas or None
        The regions of ``mean_importance``; the turning brain is drawn from it.
    statistics : dict of str to xarray.Dataset
        Condition or contrast to what :func:`neurosal.group_test` found: ``mean``, ``t``, ``p`` and
        ``significant`` of shape (time, region). What it returns for all conditions at once is
        taken apart.
    trust : list of Check
        The trust card: what each check of the maps found; figures are drawn of what they hold.
    comparison : Comparison or None
        What :func:`neurosal.compare_methods` found for some of the windows.
    attention : xarray.DataArray or None
        Attention of the network's last reading step, shape (sample, hop, time).
    files : dict of str to str
        Each file beside the page to what it holds.

    Raises
    ------
    ArgumentError
        If an array has other dimensions than these, or statistics or checks are of another kind.

    Examples
    --------
    >>> Results("Motor task", metrics={"accuracy": 0.75, "chance": 0.2}).has_truth
    False
    >>> Results("Motor task", confusion=xr.DataArray([[1]], dims=("a", "b")))
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: confusion must have the dimensions ('true', 'predicted')...
    """

    title: str
    data: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    confusion: xr.DataArray | None = None
    importance: xr.DataArray | None = None
    mean_importance: xr.DataArray | None = None
    maps: dict = field(default_factory=dict)
    truth: xr.DataArray | None = None
    provenance: dict = field(default_factory=dict)
    atlas: RegionAtlas | None = None
    statistics: dict[str, xr.Dataset] = field(default_factory=dict)
    trust: list[Check] = field(default_factory=list)
    comparison: "Comparison | None" = None
    attention: xr.DataArray | None = None
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, dimensions in _DIMENSIONS.items():
            array = getattr(self, name)
            if array is not None and tuple(array.dims) != dimensions:
                raise ArgumentError(
                    f"{name} must have the dimensions {dimensions}. Got {tuple(array.dims)}: "
                    "transpose or rename it."
                )
        self.statistics = _by_condition(self.statistics)
        for check in self.trust:
            if not isinstance(check, Check):
                raise ArgumentError(f"trust must be a list of Check. Got {type(check).__name__}.")

    @property
    def has_truth(self) -> bool:
        """Whether the simulated truth is there to compare the importance with."""
        return self.truth is not None and self.mean_importance is not None

    @property
    def units(self) -> str:
        """The unit of the importance, for axes and colour bars."""
        array = self.mean_importance if self.mean_importance is not None else self.importance
        attrs = {} if array is None else array.attrs
        if "units" in attrs:
            return str(attrs["units"])
        if self.kind_of_map in ("slope", "size"):
            return f"importance ({attrs['method'].replace('_', ' ')})"
        return f"attribution ({attrs.get('output', 'logit')})"

    @property
    def kind_of_map(self) -> str:
        """Whether importance is ``"evidence"``, the score's ``"slope"``, or a ``"size"``."""
        array = self.mean_importance if self.mean_importance is not None else self.importance
        name = None if array is None else array.attrs.get("method")
        if name is None or name in _SHARES:
            return "evidence"
        from neurosal.saliency.methods import METHODS

        method = METHODS.get(name)
        if method is None or method.additive:
            return "evidence"
        return "slope" if method.signed else "size"


def _by_condition(statistics: dict | xr.Dataset) -> dict[str, xr.Dataset]:
    """Take statistics of several conditions apart, and check what they hold."""
    given = statistics if isinstance(statistics, dict) else {"": statistics}
    found: dict[str, xr.Dataset] = {}
    for name, one in given.items():
        missing = set(_TESTED) - set(one) if isinstance(one, xr.Dataset) else set(_TESTED)
        if missing:
            raise ArgumentError(
                f"statistics must be what group_test returns, with {', '.join(_TESTED)}. "
                f"{name or 'It'} has no {', '.join(sorted(missing))}."
            )
        if "condition" in one["mean"].dims:
            found |= {str(c.item()): one.sel(condition=c) for c in one["condition"]}
        else:
            found[str(name or (one["condition"].item() if "condition" in one.coords else ""))] = one
    return found
