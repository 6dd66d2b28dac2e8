"""Does it hold over subjects? Statistics of maps and of decoding accuracy.

- ``group.py``: the test over subjects, from maps to p-values with the labels of the maps;
  ``settings.py``: what it is asked; ``subjects.py``: one map for each subject; ``cells.py``: which
  cells can be tested.
- ``signflip.py``: sign flips and max-T; ``clusters.py`` and ``adjacency.py``: clusters of
  neighbours (mne); ``effects.py``: t, effect sizes and intervals.
- ``decoding.py``: is the accuracy above chance?
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adjacency": ["region_adjacency"],
        "clusters": ["cluster_test"],
        "decoding": ["prediction_test", "retraining_test"],
        "group": ["group_test", "thresholded"],
        "signflip": ["sign_flip_test"],
        "subjects": ["subject_means"],
    },
)
