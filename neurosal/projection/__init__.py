"""From region values back to the brain."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "grayordinates": ["from_cifti", "to_cifti"],
        "images": ["map_extension", "save_map", "to_image"],
        "surface": ["from_surface", "to_surface"],
        "volume": ["from_nifti", "to_nifti"],
    },
)
