"""From an image of a BIDS data set to its run."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from nilearn.interfaces.bids import parse_bids_filename

from neurosal.errors import DataError
from neurosal.loaders.bids_files import BidsImage
from neurosal.loaders.bids_tables import (
    inherited,
    read_confounds,
    read_events,
    repetition_time,
    start_time,
)
from neurosal.loaders.runs import Run
from neurosal.loaders.surfaces import read_frames


@dataclass(frozen=True)
class BidsReader:
    """Reads all that belongs to a run but its voxels.

    Attributes
    ----------
    root : pathlib.Path
        The raw data set.
    folder : pathlib.Path
        The folder of the images: ``root``, or derivatives.
    event_column : str
        The column of the event tables that tells the events' types.
    keep : tuple of str
        Further columns of them to keep.

    Examples
    --------
    >>> reader = BidsReader(Path("study"), Path("study/derivatives/fmriprep"))
    >>> image = Path("study/derivatives/fmriprep/sub-01/func/sub-01_task-x_bold.nii.gz")
    >>> reader.raw_folder(BidsImage(image, {}, "volume")).as_posix()
    'study/sub-01/func'
    """

    root: Path
    folder: Path
    event_column: str = "trial_type"
    keep: tuple[str, ...] = ()

    def read(self, image: BidsImage, choice: str | None = None) -> Run:
        """Read one run.

        Parameters
        ----------
        image : BidsImage
            Its image.
        choice : str, optional
            A note of what was chosen.

        Returns
        -------
        Run
            The run.

        Raises
        ------
        DataError
            If a file is missing or not as it should be.
        """
        subject, session, task, _ = image.identity
        n_frames, header = read_frames(image.img)
        t_r, notes = self.repetition_time(image, header)
        events, more = self.events(image, n_frames * t_r)
        confounds, extra = read_confounds(image.path.parent, image.entities, n_frames)
        notes += more + extra + self.lost_volumes(image, n_frames) + ((choice,) if choice else ())
        return Run(
            image.img,
            events,
            t_r,
            subject=subject,
            task=task,
            run=image.run,
            session=session,
            confounds=confounds,
            space=image.space,
            notes=notes,
            start_time=start_time(self.sidecars(image)),
        )

    def raw_folder(self, image: BidsImage) -> Path:
        """Name the folder of the raw data that corresponds to an image's.

        Parameters
        ----------
        image : BidsImage
            The image.

        Returns
        -------
        pathlib.Path
            The folder; it need not be there.
        """
        return self.root / image.path.parent.relative_to(self.folder)

    def repetition_time(
        self, image: BidsImage, header: float | None
    ) -> tuple[float, tuple[str, ...]]:
        """Find the repetition time, and where it is from.

        Parameters
        ----------
        image : BidsImage
            The image.
        header : float or None
            What its header says (s).

        Returns
        -------
        t_r : float
            Seconds.
        notes : tuple of str
            Where it is from, if that is worth knowing.

        Raises
        ------
        DataError
            If it cannot be a repetition time.
        """
        return repetition_time(image.path, header, self.sidecars(image))

    def sidecars(self, image: BidsImage) -> list[Path]:
        """List the JSON files that speak of an image.

        Parameters
        ----------
        image : BidsImage
            The image.

        Returns
        -------
        list of pathlib.Path
            Those of the raw data first; later ones win.
        """
        top, raw = self.folder, self.raw_folder(image)
        files = list(inherited(raw, self.root, image.entities, "bold", "json"))
        if top != self.root:
            files += inherited(image.path.parent, top, image.entities, "bold", "json")
        return files

    def lost_volumes(self, image: BidsImage, n_frames: int) -> tuple[str, ...]:
        """Note that a derivative has other volumes than the raw image, whose events it takes.

        Parameters
        ----------
        image : BidsImage
            The derivative.
        n_frames : int
            Its frames.

        Returns
        -------
        tuple of str
            The note; empty if the numbers agree, or there is no raw image to compare with.
        """
        folder = self.raw_folder(image)
        for path in inherited(folder, folder, image.entities, "bold", "nii*"):
            raw = BidsImage(path, parse_bids_filename(path)["entities"], "volume")
            if self.folder == self.root or raw.identity != image.identity:
                continue
            try:
                n_raw, _ = read_frames(path)
            except DataError:
                continue
            if n_raw != n_frames:
                return (
                    f"{image.path.name} has {n_frames} volumes, the raw image {n_raw}: if volumes "
                    "were left out at the beginning, the windows come too late by as much",
                )
        return ()

    def events(
        self, image: BidsImage, run_length: float | None = None
    ) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Read the events, and what is odd about them.

        Parameters
        ----------
        image : BidsImage
            The image.
        run_length : float, optional
            Length of the run in seconds, to note events behind its end.

        Returns
        -------
        events : pandas.DataFrame
            Columns ``onset``, ``duration``, ``trial_type``, and those kept.
        notes : tuple of str
            What is odd.

        Raises
        ------
        DataError
            If there are none, or they are not as they should be.
        """
        return read_events(
            self.raw_folder(image),
            self.root,
            image.entities,
            image.path,
            event_column=self.event_column,
            keep=self.keep,
            run_length=run_length,
        )
