"""From volumes to region time series."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "atlas": ["Atlas", "list_atlases", "load_atlas"],
        "cache": ["SeriesCache"],
        "extract": ["extract_regions"],
        "grayordinates": ["GrayordinateAtlas"],
        "maps": ["MapsAtlas"],
        "maskers": ["MaskerAtlas"],
        "series": ["extract_runs", "iterate_runs"],
    },
)
