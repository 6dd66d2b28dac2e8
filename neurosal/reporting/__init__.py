"""Figures, the turning brain and the HTML report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "brains": ["plot_brain_mosaic"],
        "check_figures": ["check_caption", "plot_check"],
        "comparisons": ["plot_attention", "plot_method_comparison"],
        "figures": [
            "plot_accuracy",
            "plot_confusion",
            "plot_network_timecourses",
            "plot_top_regions",
        ],
        "heatmaps": ["plot_region_time", "plot_truth_recovery"],
        "html": ["write_figures", "write_report"],
        "methods_text": ["methods_section"],
        "results": ["Results"],
        "significance_map": ["plot_significant"],
        "slider": ["BrainSlider", "brain_slider"],
        "surface_mosaic": ["plot_surface_mosaic"],
    },
)
