"""The published experiments, run through the public API, with the published numbers beside."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "boxes": ["make_boxes"],
        "image_sets": ["load_images"],
        "majority_data": ["majority_cosine", "make_majority"],
        "runner": ["EXPERIMENTS", "reproduce"],
    },
)
