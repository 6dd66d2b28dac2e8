"""Input-cell attention cells, networks to compare them with, and scikit-learn classifiers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention": ["InputCellAttention"],
        "cells": ["InputCellGRU", "InputCellLSTM", "InputCellRNN"],
        "classifier": ["InputCellClassifier", "NetworkClassifier"],
        "folds": ["make_folds"],
        "networks": ["NETWORKS", "build_network"],
        "published": ["from_published_weights"],
        "screening": ["screening_mask"],
        "streaming": ["StreamedWindows"],
        "training": ["Training"],
    },
)
