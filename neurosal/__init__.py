"""See which brain regions, and when, a recurrent network looks at in task fMRI."""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "decoder": ["SaliencyDecoder"],
        "inference": [
            "group_test",
            "prediction_test",
            "region_adjacency",
            "retraining_test",
            "thresholded",
        ],
        "labelled": ["load_array", "save_array"],
        "loaders": [
            "Run",
            "find_bids_runs",
            "find_hcp_runs",
            "inspect_study",
            "make_windows",
            "simulate_hcp",
        ],
        "models": ["InputCellClassifier", "NetworkClassifier"],
        "parcellation": ["Atlas", "extract_regions", "extract_runs", "load_atlas"],
        "pipeline": ["extract_windows"],
        "projection": ["from_image", "from_nifti", "save_maps", "to_image", "to_nifti"],
        "saliency": ["WindowDecoder", "compare_methods", "explain"],
    },
)
