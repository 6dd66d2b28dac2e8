"""Atlases that nilearn downloads, under short names."""

import inspect
import zlib
from collections.abc import Callable

import nibabel as nib
import pandas as pd

from neurosal.errors import ArgumentError, DataError, check_one_of

FETCHERS = {
    "aal": ("fetch_atlas_aal", {}),
    "basc": ("fetch_atlas_basc_multiscale_2015", {"resolution": 122, "version": "asym"}),
    "destrieux": ("fetch_atlas_destrieux_2009", {}),
    "difumo": ("fetch_atlas_difumo", {"dimension": 64, "resolution_mm": 2}),
    "harvard_oxford": ("fetch_atlas_harvard_oxford", {"atlas_name": "cort-maxprob-thr25-2mm"}),
    "juelich": ("fetch_atlas_juelich", {"atlas_name": "maxprob-thr25-2mm"}),
    "msdl": ("fetch_atlas_msdl", {}),
    "pauli2017": ("fetch_atlas_pauli_2017", {"atlas_type": "deterministic"}),
    "schaefer2018": ("fetch_atlas_schaefer_2018", {"n_rois": 400, "resolution_mm": 2}),
    "talairach": ("fetch_atlas_talairach", {"level_name": "ba"}),
    "yeo2011": ("fetch_atlas_yeo_2011", {}),
}
MAPS = ("difumo", "msdl")
CITATIONS = {
    "aal": "Tzourio-Mazoyer et al. (2002), doi:10.1006/nimg.2001.0978",
    "basc": "Bellec et al. (2010), doi:10.1016/j.neuroimage.2010.02.082",
    "destrieux": "Destrieux et al. (2010), doi:10.1016/j.neuroimage.2010.06.010",
    "difumo": "Dadi et al. (2020), doi:10.1016/j.neuroimage.2020.117126",
    "harvard_oxford": "Desikan et al. (2006), doi:10.1016/j.neuroimage.2006.01.021",
    "juelich": "Eickhoff et al. (2005), doi:10.1016/j.neuroimage.2004.12.034",
    "msdl": "Varoquaux et al. (2011), doi:10.1007/978-3-642-22092-0_46",
    "pauli2017": "Pauli et al. (2018), doi:10.1038/sdata.2018.63",
    "schaefer2018": "Schaefer et al. (2018), doi:10.1093/cercor/bhx179",
    "talairach": "Lancaster et al. (2000), "
    "doi:10.1002/1097-0193(200007)10:3<120::AID-HBM30>3.0.CO;2-8",
    "yeo2011": "Yeo et al. (2011), doi:10.1152/jn.00338.2011",
}


def fetch(name: str, options: dict) -> dict:
    """Download an atlas with nilearn and take it apart.

    Parameters
    ----------
    name : str
        A key of ``FETCHERS``.
    options : dict
        Arguments of nilearn's fetcher; ``n_regions`` is understood for Schaefer's ``n_rois`` and
        DiFuMo's ``dimension``.

    Returns
    -------
    dict
        The arguments of :class:`~neurosal.parcellation.atlas.Atlas`, or, with ``maps`` for
        ``labels``, of :class:`~neurosal.parcellation.maps.MapsAtlas`.

    Raises
    ------
    ArgumentError
        If an option is not the fetcher's, or asks for a probabilistic atlas.
    DataError
        If the download fails.

    Examples
    --------
    >>> fetch("schaefer2018", {"parcels": 400})
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: An option of schaefer2018 must be one of 'n_rois', ...
    """
    from nilearn import datasets

    function = getattr(datasets, FETCHERS[name][0])
    bunch = _call(name, function, _checked(name, function, options))
    if bunch.atlas_type != "deterministic" and name not in MAPS:
        raise ArgumentError(
            f"{name} with {options} is probabilistic, without a table of its maps. Choose its "
            f"deterministic ('maxprob') version, or one of {', '.join(map(repr, MAPS))}."
        )
    img = bunch.maps if hasattr(bunch.maps, "dataobj") else nib.load(bunch.maps)
    return {
        "maps" if name in MAPS else "labels": img,
        "regions": _maps_table(bunch) if name in MAPS else _labels_table(bunch),
        "name": name,
        "space": "" if bunch.template == "MNI?" else bunch.template,
        "source": f"nilearn.datasets.{FETCHERS[name][0]}",
        "licence": "as its makers state; see the description that nilearn gives",
        "citation": CITATIONS[name],
    }


def _labels_table(bunch: dict) -> pd.DataFrame:
    """Take nilearn's look-up table; names that occur twice get their id."""
    table = bunch["lut"][["index", "name"]].copy()
    return _unique_names(table)


def _maps_table(bunch: dict) -> pd.DataFrame:
    """Make a table of the labels of maps, which nilearn gives as a table or a list."""
    labels = bunch["labels"]
    if isinstance(labels, pd.DataFrame):
        table = labels.rename(
            columns={"component": "index", "difumo_names": "name", "yeo_networks7": "network"}
        )
    else:
        table = pd.DataFrame({"index": range(1, len(labels) + 1), "name": labels})
        table["network"] = bunch.get("networks", "")
    return _unique_names(table[["index", "name", "network"]].copy())


def _unique_names(table: pd.DataFrame) -> pd.DataFrame:
    """Add the id to names that occur more than once."""
    twice = table["name"].duplicated(keep=False)
    table.loc[twice, "name"] += " " + table.loc[twice, "index"].astype(str)
    return table


def _checked(name: str, function: Callable, options: dict) -> dict:
    """Add the user's options to the defaults; refuse those the fetcher does not have."""
    allowed = list(inspect.signature(function).parameters)
    options = dict(options)
    count = next((word for word in ("n_rois", "dimension") if word in allowed), None)
    if "n_regions" in options and count:
        options[count] = options.pop("n_regions")
    for option in options:
        check_one_of(f"An option of {name}", option, allowed)
    quiet = {"verbose": 0} if "verbose" in allowed else {}
    return {**quiet, **FETCHERS[name][1], **options}


def _call(name: str, function: Callable, options: dict) -> object:
    """Run nilearn's fetcher; its many ways to fail without a network become one message."""
    import requests

    try:
        return function(**options)
    except (OSError, requests.RequestException, EOFError, zlib.error, RuntimeError) as error:
        raise DataError(
            f"Cannot download the atlas {name} with nilearn ({function.__name__}): {error}. "
            "Without a network, take 'dosenbach160', 'power264' or 'seitzman300', which need no "
            "download, or files of your own: Atlas.from_files(labels, table)."
        ) from error
