"""Checks that a map tells the truth."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"check": ["Check"], "localization": ["truth_recovery"]}
)
