"""One answer to "is this map to be trusted?": what every check returns and the trust card shows."""

from dataclasses import dataclass, field

import xarray as xr

from neurosal.errors import ArgumentError

#: What a check can say; ``reported`` is for what informs but cannot decide.
VERDICTS = ("passed", "flagged", "reported", "not run")


@dataclass(frozen=True)
class Check:
    """The outcome of one check of a map.

    Parameters
    ----------
    name : str
        The check's name, such as ``"parameter randomisation"``.
    question : str
        What it asks, as a question a reader understands.
    verdict : {'passed', 'flagged', 'reported', 'not run'}
        ``reported`` informs and never decides; ``not run`` says why in ``finding``.
    finding : str
        One sentence with the numbers, what they are compared with, and their units.
    cannot_show : str
        What the check cannot show, in one sentence.
    values : dict of str to float
        The numbers, for ``metrics.json``.
    data : xarray.Dataset or None
        What the check's figure is drawn from, see :func:`neurosal.reporting.plot_check`.

    Raises
    ------
    ArgumentError
        If the verdict is not one of the four.

    Examples
    --------
    >>> Check("recovery", "Does it find the truth?", "passed", "AUPR .9, random .1.", "-").flagged
    False
    """

    name: str
    question: str
    verdict: str
    finding: str
    cannot_show: str
    values: dict[str, float] = field(default_factory=dict)
    data: xr.Dataset | None = None

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            allowed = ", ".join(repr(name) for name in VERDICTS)
            raise ArgumentError(f"verdict must be one of {allowed}. Got {self.verdict!r}.")

    @property
    def flagged(self) -> bool:
        """Whether the check found a reason not to trust the map."""
        return self.verdict == "flagged"
