"""What a group test is asked, checked before any work is done."""

from dataclasses import asdict, dataclass

from neurosal.errors import ArgumentError, check_number, check_one_of
from neurosal.inference.clusters import FORMING_P
from neurosal.inference.signflip import TAILS

CORRECTIONS = ("max-t", "cluster", "fdr", "none")
CENTERS = (None, "map", "time")
FAMILIES = ("condition", "all")


@dataclass(frozen=True)
class Settings:
    """The choices of a group test.

    Parameters
    ----------
    correction, tail, center, family : str or None
        As in :func:`~neurosal.inference.group.group_test`.
    alpha : float
        The level, between 0 and 1.
    n_permutations : int
        The most sign flips.
    threshold : float, "tfce" or None
        What makes a cluster.
    seed : int
        Of the random flips.
    progress : bool
        Say when long work begins.

    Raises
    ------
    ArgumentError
        If a choice is not among those allowed.

    Examples
    --------
    >>> Settings(correction="maxt")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: correction must be one of 'max-t', 'cluster', ... Got 'maxt'.
    """

    correction: str = "max-t"
    tail: str = "two-sided"
    alpha: float = 0.05
    n_permutations: int = 5000
    center: str | None = None
    threshold: float | str | None = None
    family: str = "condition"
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        check_one_of("correction", self.correction, CORRECTIONS)
        check_one_of("tail", self.tail, TAILS)
        check_one_of("center", self.center, CENTERS)
        check_one_of("family", self.family, FAMILIES)
        check_number("alpha", self.alpha, above=0, below=1)
        check_number("n_permutations", self.n_permutations, low=1, whole=True)
        if self.threshold is not None and self.correction != "cluster":
            raise ArgumentError(
                f"threshold is for correction='cluster'. Got {self.threshold!r} with "
                f"correction={self.correction!r}."
            )

    def n_flips(self, n_subjects: int) -> int:
        """Count the data sets that are compared, the observed one among them.

        Parameters
        ----------
        n_subjects : int
            How many signs a flip has.

        Returns
        -------
        int
            All there are, or as many as are drawn.

        Examples
        --------
        >>> Settings().n_flips(5), Settings(n_permutations=999).n_flips(50)
        (16, 1000)
        """
        return min(self._all(n_subjects), int(self.n_permutations) + 1)

    def smallest_p(self, n_subjects: int) -> float:
        """Give the smallest p-value that the flips of so many subjects can reach.

        Parameters
        ----------
        n_subjects : int
            How many signs a flip has.

        Returns
        -------
        float
            0 for ``"fdr"``, whose p-values come from the t distribution.

        Examples
        --------
        >>> Settings(tail="greater").smallest_p(4), Settings().smallest_p(4)
        (0.0625, 0.125)
        """
        if self.correction == "fdr":
            return 0.0
        count = self.n_flips(n_subjects)
        twice = self.correction == "cluster" and count == 2**n_subjects
        return (1 + twice) / count

    def as_attributes(self, n_subjects: int) -> dict[str, object]:
        """List the choices as attributes that any file format takes.

        Parameters
        ----------
        n_subjects : int
            How many subjects were tested.

        Returns
        -------
        dict
            Text and numbers.

        Examples
        --------
        >>> Settings(center="map").as_attributes(5)["center"]
        'map'
        """
        chosen = {name: value for name, value in asdict(self).items() if name != "progress"}
        if self.correction == "cluster":
            chosen["threshold"] = str(self.threshold or f"p = {FORMING_P:g}")
        known = {name: value for name, value in chosen.items() if value is not None}
        count = self.n_flips(n_subjects)
        exact = "yes" if count == self._all(n_subjects) else "no"
        smallest = self.smallest_p(n_subjects)
        return known | {"n_flips": count, "exact": exact, "smallest_p": smallest}

    def _all(self, n_subjects: int) -> int:
        """Count the flips there are."""
        return 2 ** (n_subjects - (self.tail == "two-sided"))
