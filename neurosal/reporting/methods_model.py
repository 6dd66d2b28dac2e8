"""The paragraphs of the methods section on the decoder and on the explanation of it."""

from collections.abc import Mapping

from neurosal.reporting.results import Results

_CELLS = {
    "lstm": "long short-term memory units [@hochreiter1997]",
    "gru": "gated recurrent units [@cho2014]",
    "rnn": "simple recurrent units",
}
_READS = {
    "last": "at the last step",
    "mean": "from the mean over steps",
    "max": "from the maximum over steps",
    "both-ends": "where each direction has seen the whole window",
}
_EXPLAINED = {
    "gradient": "the gradient of the score [@simonyan2014]",
    "squared_gradient": "the squared gradient of the score [@simonyan2014]",
    "gradient_x_input": "gradient times input [@shrikumar2016]",
    "integrated_gradients": "integrated gradients [@sundararajan2017]",
    "smoothgrad": "SmoothGrad [@smilkov2017]",
    "smoothgrad_squared": "squared SmoothGrad [@hooker2019]",
    "vargrad": "VarGrad [@adebayo2018local]",
    "expected_gradients": "expected gradients [@erion2021]",
    "occlusion": "occlusion [@zeiler2014]",
    "feature_ablation": "ablation of blocks of cells [@zeiler2014]",
    "temporal_rescaling": "temporal saliency rescaling [@ismail2020]",
    "guided_backprop": "guided backpropagation [@springenberg2015]",
    "lrp": "layer-wise relevance propagation [@bach2015; @arras2017]",
    "deep_taylor": "deep Taylor decomposition [@montavon2017; @chormai2018]",
    "attention": "the attention of the input cells [@ismail2019]",
}


#: Methods whose maps depend on what "absent" means.
_FROM_BASELINE = (
    *("gradient_x_input", "integrated_gradients", "expected_gradients", "occlusion"),
    *("feature_ablation", "temporal_rescaling", "attention"),
)


def decoder_text(results: Results) -> str:
    """Write how windows were decoded.

    Parameters
    ----------
    results : Results
        With ``provenance["parameters"]`` and, of a network, ``provenance["network"]``.

    Returns
    -------
    str
        Screening, network and training; empty if nothing is known.

    Examples
    --------
    >>> decoder_text(Results("", provenance={"network": {"class": "SVC"}}))
    'The conditions were told apart by SVC with its parameters as listed.'
    """
    parameters = results.provenance.get("parameters") or {}
    network = results.provenance.get("network") or {}
    words = []
    share = parameters.get("screening_percentile")
    if share is not None and share < 100:
        words.append(
            f"In each fold the {share:g} % of the cells (time, region) that differ most between "
            "the conditions in the training windows (analysis of variance) were kept; the others "
            "were set to zero."
        )
    if network.get("class") == "InputCellClassifier":
        words += [_network(network), _training(network)]
    elif network.get("class"):
        words.append(
            f"The conditions were told apart by {network['class']} with its parameters as listed."
        )
    return " ".join(words)


def explanation_text(results: Results) -> str:
    """Write how the decoder was explained.

    Parameters
    ----------
    results : Results
        With the attributes that :func:`neurosal.explain` gives ``importance``, or
        ``provenance["parameters"]``.

    Returns
    -------
    str
        Method, target, baseline and averaging; empty if the method is not known.

    Examples
    --------
    >>> explanation_text(Results("", provenance={"parameters": {"method": "occlusion"}}))[:60]
    'Every window was explained by the decoder that had not seen '
    """
    attrs = {} if results.importance is None else results.importance.attrs
    method = attrs.get("method") or (results.provenance.get("parameters") or {}).get("method")
    if not method:
        return ""
    words = (
        "Every window was explained by the decoder that had not seen it in training, by "
        f"{_EXPLAINED.get(method, method)}"
    )
    return words + (
        f"{_settings(attrs)}. Importance, one number for each region at each time, was averaged "
        "over the windows of a condition."
    )


def _settings(attrs: Mapping) -> str:
    """The settings of an explanation that its reader needs."""
    words, method = "", attrs.get("method")
    target = {"true": "the true condition", "predicted": "the predicted condition"}
    if attrs.get("output") and method != "attention":
        of = target.get(str(attrs.get("target")), str(attrs.get("target")))
        words += f" of the {attrs['output']} of {of}"
    if attrs.get("background"):
        words += ", with baselines drawn from a background"
    elif attrs.get("baseline") and method in _FROM_BASELINE:
        words += f", with the baseline {attrs['baseline']}"
    drawn = "random points" if method == "expected_gradients" else "noisy samples"
    for key, name in (("n_steps", "steps"), ("n_samples", drawn)):
        if attrs.get(key):
            words += f", in {attrs[key]} {name}"
    return words


def _network(network: Mapping) -> str:
    """The network, from its parameters."""
    cell = _CELLS.get(str(network.get("cell")), f"units of the kind {network.get('cell')}")
    ways = "in both directions of time" if network.get("bidirectional") else "forwards"
    words = (
        f"The conditions were told apart by a recurrent network of {network.get('hidden_size')} "
        f"{cell} that reads {ways}, with input-cell attention [@ismail2019] of "
        f"{network.get('hops')} hops"
    )
    words += ", all of which it reads" if network.get("readout") == "flatten" else ""
    words += " and the number of the step" if network.get("positional") else ""
    if network.get("read") in _READS:
        words += f"; class scores were read {_READS[network['read']]}"
    count = network.get("n_ensembles") or 1
    words += f". The logits of {count} networks were averaged." if count > 1 else "."
    return words


def _training(network: Mapping) -> str:
    """The training, from its parameters."""
    own = {key.partition("__")[2]: v for key, v in network.items() if key.startswith("training__")}
    if not own:
        return ""
    early = "up to " if own.get("patience") or own.get("stop_accuracy") else ""
    words = (
        f"It was trained on {_loss(own)} by AdamW [@loshchilov2019] for "
        f"{early}{own.get('max_epochs')} epochs in batches of {own.get('batch_size')} windows"
    )
    extra = _regularisation(own, network)
    words += f", with {', '.join(extra)}." if extra else "."
    if own.get("learning_rate") is not None:
        rate = f"{own['learning_rate']:g}"
        cycle = own.get("schedule") == "one-cycle"
        words += " The learning rate " + (
            f"rose to {rate} and fell in one cycle [@smith2019]" if cycle else f"was {rate}"
        )
        words += f"; weight decay was {own.get('weight_decay', 0):g}."
    return words


def _loss(own: Mapping) -> str:
    """The loss, with the weights of the conditions."""
    weights = own.get("class_weight")
    if weights == "balanced":
        return "cross-entropy (conditions weighted by one over their frequency)"
    if isinstance(weights, Mapping):
        told = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        return f"cross-entropy (conditions weighted: {told})"
    return "cross-entropy"


def _regularisation(own: Mapping, network: Mapping) -> list[str]:
    """What keeps the network from learning its training windows by heart."""
    extra = []
    if own.get("input_noise"):
        extra.append(f"normal noise of standard deviation {own['input_noise']:g} on the inputs")
    if own.get("time_mask"):
        low, high = (100 * share for share in own["time_mask"])
        extra.append(f"a random stretch of {low:g} to {high:g} % of each window hidden")
    if network.get("dropout"):
        extra.append(f"dropout of {network['dropout']:g}")
    if own.get("patience"):
        share = 100 * own.get("validation", 0)
        extra.append(
            f"a stop after {own['patience']} epochs without a better loss on {share:g} % of the "
            "training windows"
        )
    if own.get("stop_accuracy"):
        share = 100 * own["stop_accuracy"]
        extra.append(f"a stop once {share:g} % of the training windows were named right")
    if own.get("clip_norm"):
        extra.append(f"gradients clipped to a norm of {own['clip_norm']:g}")
    return extra
