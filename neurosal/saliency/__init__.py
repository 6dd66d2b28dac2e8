"""From a trained network and its windows to a map of importance over time and regions.

- ``explain.py``: the function for all methods; ``methods.py``: their table; ``compare.py``: several
  side by side.
- ``windows.py``: the samples; ``network.py``: the network; ``scores.py``: the number that is
  explained; ``job.py`` and ``batching.py``: the work in batches that fit the memory.
- ``window_decoder.py``: screening, training and explaining as one estimator.
- ``gradients.py``, ``integrated.py``, ``noise.py``, ``perturbation.py``, ``guided.py``,
  ``attention.py``, ``layerwise.py``: the methods. ``hop_weights.py``: attention as a figure of it
  needs it.
- ``relevance.py``: what ``layerwise.py`` calls for lrp and deep Taylor. ``rules.py`` says how a
  layer shares relevance; ``relevance_affine.py`` and ``relevance_maps.py`` compute it;
  ``relevance_layers.py``, ``relevance_cells.py``, ``relevance_attention.py``,
  ``relevance_networks.py`` and ``relevance_nonrecurrent.py`` lead it through each kind of module.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "compare": ["compare_methods"],
        "explain": ["explain"],
        "hop_weights": ["hop_weights"],
        "relevance": ["relevance"],
        "window_decoder": ["WindowDecoder", "cross_explain"],
    },
)
