"""From region values back to the brain."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "averages": ["mean_by_condition", "mean_maps"],
        "export": ["save_maps"],
        "gifti": ["save_surface_map"],
        "grayordinates": ["from_cifti", "to_cifti"],
        "images": ["from_image", "map_extension", "save_map", "to_image"],
        "names": ["bids_name"],
        "surface": ["from_surface", "to_surface"],
        "volume": ["from_nifti", "to_nifti"],
    },
)
