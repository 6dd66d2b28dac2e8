"""From a trained network and its windows to a map of importance over time and regions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "compare": ["compare_methods"],
        "explain": ["explain"],
        "relevance": ["relevance"],
    },
)
