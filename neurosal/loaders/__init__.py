"""From folders on disk to runs, and from events to labelled windows."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bids": ["find_bids_runs"],
        "confounds": ["choose_confounds", "clean_series"],
        "events": ["concat_windows", "default_window", "make_windows", "parse_conditions"],
        "hcp": ["find_hcp_runs", "hcp_conditions"],
        "inspect": ["inspect_study"],
        "runs": ["Run"],
        "scrub": ["framewise_displacement", "scrub_mask"],
        "store": ["open_windows", "save_windows"],
        "strategies": ["load_strategy"],
        "simulate": ["load_truth", "simulate_hcp", "truth_mask"],
    },
)
