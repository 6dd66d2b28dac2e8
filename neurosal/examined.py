"""What a fitted decoder can be asked: is it to be trusted, does it hold, show me all of it.

Each method calls one function of :mod:`neurosal.validation`, :mod:`neurosal.inference` or
:mod:`neurosal.reporting`, and keeps the answer for the report.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from neurosal.saliency.compare import Comparison
    from neurosal.validation.card import TrustCard

_ANSWERS = ("trust_", "statistics_", "accuracy_test_", "comparison_", "saliency_img_")


class Examined:
    """The questions of :class:`neurosal.SaliencyDecoder`, which is fitted elsewhere.

    See Also
    --------
    neurosal.SaliencyDecoder : has these methods.
    """

    def trust_card(
        self, checks: object = "quick", *, truth: xr.DataArray | None = None, **options: object
    ) -> "TrustCard":
        """Check whether the maps are to be trusted.

        Parameters
        ----------
        checks : {'quick', 'full'}, sequence of str or dict
            Which checks, see :func:`neurosal.validation.trust_card`.
        truth : xarray.DataArray of bool, optional
            (condition, time, region): the true cells, where they are known.
        **options
            Further arguments of :func:`neurosal.validation.trust_card`.

        Returns
        -------
        TrustCard
            One :class:`~neurosal.validation.check.Check` each; kept as ``trust_``, and shown by
            :meth:`generate_report`.
        """
        from neurosal.validation.card import trust_card

        check_is_fitted(self)
        given = {"seed": self.random_state, "progress": self.verbose} | options
        self.trust_ = trust_card(self, checks=checks, truth=truth, **given)
        return self.trust_

    def group_test(
        self, contrast: str | tuple[str, str] | None = None, **options: object
    ) -> xr.Dataset:
        """Test which cells of the maps differ from zero, or between conditions, over subjects.

        Parameters
        ----------
        contrast : None, str or (str, str)
            None tests each condition; a name that one; a pair the difference.
        **options
            Further arguments of :func:`neurosal.inference.group_test`: ``correction``, ``tail``,
            ``alpha``, ``n_permutations``, ...

        Returns
        -------
        xarray.Dataset
            Means, effect sizes, p-values and what is significant, with the labels of the maps;
            kept in the dict ``statistics_`` under the contrast's name (``"a - b"``, or
            ``"conditions"`` for all of them), and shown by :meth:`generate_report`.
        """
        from neurosal.inference.group import group_test

        check_is_fitted(self)
        given = {"seed": self.random_state, "progress": self.verbose} | options
        if given.get("correction") == "cluster":
            given.setdefault("adjacency", self.atlas_)
        found = group_test(self.saliency_, contrast=contrast, **given)
        pair = contrast if isinstance(contrast, tuple | list) else [contrast]
        name = "conditions" if contrast is None else " - ".join(map(str, pair))
        self.statistics_ = getattr(self, "statistics_", {}) | {name: found}
        return found

    def accuracy_test(self, **options: object) -> xr.Dataset:
        """Test the accuracy of the held-out predictions against labels shuffled within runs.

        Parameters
        ----------
        **options
            Arguments of :func:`neurosal.inference.prediction_test`, such as ``n_permutations``.

        Returns
        -------
        xarray.Dataset
            ``observed`` accuracy, ``chance``, ``p`` and ``null``; kept as ``accuracy_test_``, and
            shown by :meth:`generate_report`.
        """
        from neurosal.inference.decoding import prediction_test

        check_is_fitted(self)
        y = self.windows_["condition"].to_numpy()
        given = {"seed": self.random_state} | options
        self.accuracy_test_ = prediction_test(self.cv_predictions_, y, self.windows_, **given)
        return self.accuracy_test_

    def compare_methods(self, **options: object) -> "Comparison":
        """Explain some of the windows by several methods, and see how far they agree.

        With the default five methods and ten windows this takes some seconds.

        Parameters
        ----------
        **options
            Arguments of :func:`neurosal.validation.method_agreement`: ``methods``, ``n_windows``,
            ``seed``.

        Returns
        -------
        Comparison
            Maps, costs and agreement of the methods, for the decoder of all windows; kept as
            ``comparison_``, and shown by :meth:`generate_report`.
        """
        from neurosal.validation.methods import method_agreement

        check_is_fitted(self)
        given = {"y": self.windows_["condition"].to_numpy(), "seed": self.random_state} | options
        self.comparison_ = method_agreement(self.decoder_, self.windows_, **given)
        return self.comparison_

    def generate_report(
        self,
        out_dir: str | Path,
        *,
        truth: xr.DataArray | None = None,
        title: str | None = None,
        source: str = "",
    ) -> Path:
        """Write the report and everything in it as files.

        Parameters
        ----------
        out_dir : str or pathlib.Path
            A folder; made if it is not there.
        truth : xarray.DataArray of bool, optional
            (condition, time, region): the true cells, where they are known.
        title : str, optional
            The report's title.
        source : str
            Where the data come from, for the text of methods: "read from ...".

        Returns
        -------
        pathlib.Path
            ``report.html``, with what :meth:`trust_card`, :meth:`group_test`,
            :meth:`accuracy_test` and :meth:`compare_methods` found, if they were called; beside it
            ``importance.tsv``, ``importance.nc``, ``metrics.json``, ``provenance.json``, a
            ``*_saliency.nii.gz`` a condition, and one of what is significant in each test,
            figures, the windows and the classifier. The page lists them.
        """
        from neurosal.reporting.outputs import collect_results, write_outputs

        check_is_fitted(self)
        results = collect_results(self, truth=truth, title=title, source=source)
        return write_outputs(results, out_dir, decoder=self)

    def _forget_answers(self) -> None:
        """Drop what was found of an earlier fit."""
        for name in _ANSWERS:
            vars(self).pop(name, None)
