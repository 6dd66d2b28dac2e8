"""What atlases of every kind have in common: a table of regions and how to look them up."""

import numpy as np
import pandas as pd


class RegionAtlas:
    """Regions in the order of their label ids; the base of every kind of atlas.

    Attributes
    ----------
    regions : pandas.DataFrame
        ``label_id`` (rising), ``name`` (unique), ``network``, ``hemisphere``; one row a region.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> isinstance(load_atlas("power264"), RegionAtlas)
    True
    """

    regions: pd.DataFrame

    def __len__(self) -> int:
        return len(self.regions)

    def rows_of(self, label_ids: np.ndarray) -> np.ndarray:
        """Give the rows of ``regions`` that hold label ids.

        Parameters
        ----------
        label_ids : numpy.ndarray
            Labels of this atlas.

        Returns
        -------
        numpy.ndarray
            Positions in ``regions``, of the same shape.

        Examples
        --------
        >>> from neurosal.parcellation.atlas import load_atlas
        >>> load_atlas("power264").rows_of(np.array([1, 264])).tolist()
        [0, 263]
        """
        return np.searchsorted(self.regions["label_id"], label_ids)

    def table_text(self) -> bytes:
        """Write the table down for a hash.

        Returns
        -------
        bytes
            The table as comma-separated text, with the same line ends everywhere.

        Examples
        --------
        >>> from neurosal.parcellation.atlas import load_atlas
        >>> load_atlas("power264").table_text()[:22]
        b'label_id,name,network,'
        """
        return self.regions.to_csv(index=False, lineterminator="\n").encode()
