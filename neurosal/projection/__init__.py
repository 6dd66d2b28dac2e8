"""From region values back to the brain."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"volume": ["from_nifti", "save_map", "to_nifti"]}
)
