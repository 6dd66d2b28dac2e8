"""Checks that a map tells the truth."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "card": ["TrustCard", "trust_card"],
        "chance": ["above_chance"],
        "check": ["Check"],
        "contrast": ["contrast_comparison", "glm_comparison"],
        "faithfulness": ["deletion_insertion"],
        "known_truth": ["known_truth"],
        "localization": ["truth_recovery"],
        "methods": ["method_agreement"],
        "patterns": ["haufe_comparison", "linear_patterns"],
        "region_contrasts": ["glm_contrasts", "window_contrasts"],
        "reliability": ["reliability"],
        "roar": ["roar"],
        "sanity": ["label_permutation", "parameter_randomisation"],
        "signal_size": ["signal_size"],
        "spatial_null": ["MoranNull", "region_centroids"],
        "temporal_bias": ["temporal_bias"],
    },
)
