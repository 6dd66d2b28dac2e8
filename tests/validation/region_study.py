"""A simulated motor study as region series, without volumes: runs, windows and truth."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import xarray as xr

from neurosal.labelled import region_coordinates
from neurosal.loaders.confounds import clean_series
from neurosal.loaders.events import concat_windows, make_windows
from neurosal.loaders.runs import Run
from neurosal.loaders.simulate_noise import NoiseModel, autoregressive
from neurosal.loaders.simulate_regions import amplitude_matrix, match_peaks
from neurosal.loaders.simulate_response import expected_response, run_response, seed_for
from neurosal.loaders.simulate_tasks import RUNS, T_R, block_events
from neurosal.loaders.simulate_truth import truth_mask
from neurosal.models.classifier import InputCellClassifier
from neurosal.models.training import Training
from neurosal.parcellation.atlas import load_atlas
from neurosal.saliency.window_decoder import WindowDecoder, cross_explain

CONDITIONS = {"rh": ["rh"], "lf": ["lf"], "t": ["t"]}


@dataclass
class RegionStudy:
    """Series and runs side by side; windows of them; the cells that tell conditions apart."""

    series: list
    runs: list
    windows: xr.DataArray
    truth: xr.DataArray
    regions: pd.DataFrame

    @property
    def y(self):
        return self.windows["condition"].to_numpy()

    def folds(self, by="subject"):
        groups = self.windows[by].to_numpy()
        return [
            (np.flatnonzero(groups != one), np.flatnonzero(groups == one))
            for one in np.unique(groups)
        ]


@cache
def planted(n_other):
    """The atlas's regions with a peak and some without, and the amplitudes of all."""
    atlas = load_atlas("dosenbach160")
    table, _ = match_peaks("MOTOR", labels=atlas.labels, regions=atlas.regions)
    own = atlas.regions["label_id"].isin(table["label_id"])
    others = atlas.regions[~own].iloc[:: max(1, (~own).sum() // n_other)].head(n_other)
    regions = pd.concat([atlas.regions[own], others]).sort_values("label_id", ignore_index=True)
    return regions, amplitude_matrix("MOTOR", table, regions=regions)


def region_study(*, seed=0, n_subjects=4, effect=1.0, noise_sd=0.5, n_other=20):
    """Simulate; the noise is slow, and in part shared by all regions."""
    regions, amplitudes = planted(n_other)
    series, runs = [], []
    for subject in range(n_subjects):
        for run in RUNS:
            rng = np.random.default_rng(seed_for(seed, subject, run, "noise"))
            options = {"noise": NoiseModel(), "subject": subject, "seed": seed}
            found = effect * run_response("MOTOR", run, amplitudes=amplitudes, **options)
            found += noise_sd * autoregressive(rng, found.shape, rho=0.7)
            found += 0.5 * noise_sd * autoregressive(rng, (len(found), 1), rho=0.7)
            coords = {"time": T_R * np.arange(len(found)), **region_coordinates(regions)}
            dims = ("time", "region")
            series.append(xr.DataArray(100 + found, dims=dims, coords=coords))
            events = block_events("MOTOR", run)[["onset", "duration", "trial_type"]]
            runs.append(Run("none", events, T_R, subject=f"{subject + 1:02d}", task="M", run=run))
    cut = {"window": 12.0, "conditions": CONDITIONS}
    parts = [make_windows(clean_series(s), r, **cut) for s, r in zip(series, runs, strict=True)]
    windows = concat_windows(parts)
    response = expected_response("MOTOR", amplitudes, regions=regions)
    truth = truth_mask(response, time_s=windows["time"].to_numpy(), conditions=CONDITIONS)
    return RegionStudy(series, runs, windows, truth.sortby("condition"), regions)


def small_decoder(seed=0, **settings):
    """A decoder that trains within a second."""
    training = Training(**{"max_epochs": 20, "time_mask": (0.2, 0.5)} | settings)
    shape = {"hops": 4, "attention_size": 16, "bidirectional": True, "read": "both-ends"}
    classifier = InputCellClassifier(8, training=training, random_state=seed, **shape)
    return WindowDecoder(classifier, random_state=seed)


@dataclass
class Decoded:
    """A study with its held-out predictions, maps and fold decoders."""

    study: RegionStudy
    y: np.ndarray
    decoder: WindowDecoder
    predictions: np.ndarray
    maps: xr.DataArray
    fold_decoders: list

    @property
    def mean_map(self):
        return self.maps.groupby("condition").mean("sample")


@cache
def decoded(seed=0, *, shuffled=False):
    """Simulate and decode; with labels shuffled over all windows, if wanted."""
    study = region_study(seed=seed)
    y = np.random.default_rng(seed).permutation(study.y) if shuffled else study.y
    decoder = small_decoder(seed)
    return Decoded(study, y, decoder, *cross_explain(decoder, study.windows, y, study.folds()))
