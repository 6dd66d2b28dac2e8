"""The works that the report cites, and how they are cited."""

import re
from dataclasses import dataclass

from neurosal.errors import ArgumentError

_MARK = re.compile(r"\[@([a-z0-9_;@ -]+)\]")
_SHORT = re.compile(r"^(.+?) \((\d{4})\)")
_DOI = re.compile(r"doi:(10\.\d{4,9}/\S+?)\.?$|https://doi\.org/(10\.\d{4,9}/\S+?)\.?$")


@dataclass(frozen=True)
class Reference:
    """One work.

    Parameters
    ----------
    short : str
        As in a text, ``"Ismail et al., 2019"``.
    full : str
        Authors, year, title and where it appeared.
    link : str
        Address, of the DOI where there is one; empty if none.

    Examples
    --------
    >>> Reference("A, 2000", "A (2000). B.", "https://doi.org/10.1/2").doi
    '10.1/2'
    """

    short: str
    full: str
    link: str = ""

    @property
    def doi(self) -> str:
        """The DOI, or an empty string."""
        head = "https://doi.org/"
        return self.link.removeprefix(head) if self.link.startswith(head) else ""


def _work(short: str, full: str, doi: str) -> Reference:
    """Make a reference of a work with a DOI."""
    return Reference(short, full, f"https://doi.org/{doi}")


REFERENCES: dict[str, Reference] = {
    "abraham2014": _work(
        "Abraham et al., 2014",
        "Abraham, A. et al. (2014). Machine learning for neuroimaging with scikit-learn. "
        "Frontiers in Neuroinformatics 8, 14.",
        "10.3389/fninf.2014.00014",
    ),
    "adebayo2018local": _work(
        "Adebayo et al., 2018",
        "Adebayo, J., Gilmer, J., Goodfellow, I. & Kim, B. (2018). Local explanation methods for "
        "deep neural networks lack sensitivity to parameter values. arXiv:1810.03307.",
        "10.48550/arXiv.1810.03307",
    ),
    "arras2017": _work(
        "Arras et al., 2017",
        "Arras, L., Montavon, G., Müller, K.-R. & Samek, W. (2017). Explaining recurrent neural "
        "network predictions in sentiment analysis. Proceedings of WASSA 2017, 159-168.",
        "10.18653/v1/W17-5221",
    ),
    "bach2015": _work(
        "Bach et al., 2015",
        "Bach, S. et al. (2015). On pixel-wise explanations for non-linear classifier decisions by "
        "layer-wise relevance propagation. PLOS ONE 10, e0130140.",
        "10.1371/journal.pone.0130140",
    ),
    "benjamini1995": _work(
        "Benjamini & Hochberg, 1995",
        "Benjamini, Y. & Hochberg, Y. (1995). Controlling the false discovery rate: a practical "
        "and powerful approach to multiple testing. Journal of the Royal Statistical Society B "
        "57, 289-300.",
        "10.1111/j.2517-6161.1995.tb02031.x",
    ),
    "cho2014": _work(
        "Cho et al., 2014",
        "Cho, K. et al. (2014). Learning phrase representations using RNN encoder-decoder for "
        "statistical machine translation. Proceedings of EMNLP 2014, 1724-1734.",
        "10.3115/v1/D14-1179",
    ),
    "chormai2018": Reference(
        "Chormai, 2018",
        "Chormai, P. (2018). Designing recurrent neural networks for explainability. Master's "
        "thesis, Technische Universität Berlin.",
    ),
    "ciric2017": _work(
        "Ciric et al., 2017",
        "Ciric, R. et al. (2017). Benchmarking of participant-level confound regression strategies "
        "for the control of motion artifact in studies of functional connectivity. NeuroImage 154, "
        "174-187.",
        "10.1016/j.neuroimage.2017.03.020",
    ),
    "erion2021": _work(
        "Erion et al., 2021",
        "Erion, G., Janizek, J. D., Sturmfels, P., Lundberg, S. M. & Lee, S.-I. (2021). Improving "
        "performance of deep learning models with axiomatic attribution priors and expected "
        "gradients. Nature Machine Intelligence 3, 620-631.",
        "10.1038/s42256-021-00343-w",
    ),
    "fischl1999": _work(
        "Fischl et al., 1999",
        "Fischl, B., Sereno, M. I., Tootell, R. B. H. & Dale, A. M. (1999). High-resolution "
        "intersubject averaging and a coordinate system for the cortical surface. Human Brain "
        "Mapping 8, 272-284.",
        "10.1002/(SICI)1097-0193(1999)8:4<272::AID-HBM10>3.0.CO;2-4",
    ),
    "haufe2014": _work(
        "Haufe et al., 2014",
        "Haufe, S. et al. (2014). On the interpretation of weight vectors of linear models in "
        "multivariate neuroimaging. NeuroImage 87, 96-110.",
        "10.1016/j.neuroimage.2013.10.067",
    ),
    "hochreiter1997": _work(
        "Hochreiter & Schmidhuber, 1997",
        "Hochreiter, S. & Schmidhuber, J. (1997). Long short-term memory. Neural Computation 9, "
        "1735-1780.",
        "10.1162/neco.1997.9.8.1735",
    ),
    "hooker2019": _work(
        "Hooker et al., 2019",
        "Hooker, S., Erhan, D., Kindermans, P.-J. & Kim, B. (2019). A benchmark for "
        "interpretability methods in deep neural networks. Advances in Neural Information "
        "Processing Systems 32.",
        "10.48550/arXiv.1806.10758",
    ),
    "ismail2019": _work(
        "Ismail et al., 2019",
        "Ismail, A. A., Gunady, M., Pessoa, L., Corrada Bravo, H. & Feizi, S. (2019). Input-cell "
        "attention reduces vanishing saliency of recurrent neural networks. Advances in Neural "
        "Information Processing Systems 32.",
        "10.48550/arXiv.1910.12370",
    ),
    "ismail2020": _work(
        "Ismail et al., 2020",
        "Ismail, A. A., Gunady, M., Corrada Bravo, H. & Feizi, S. (2020). Benchmarking deep "
        "learning interpretability in time series predictions. Advances in Neural Information "
        "Processing Systems 33.",
        "10.48550/arXiv.2010.13924",
    ),
    "loshchilov2019": _work(
        "Loshchilov & Hutter, 2019",
        "Loshchilov, I. & Hutter, F. (2019). Decoupled weight decay regularization. International "
        "Conference on Learning Representations.",
        "10.48550/arXiv.1711.05101",
    ),
    "maris2007": _work(
        "Maris & Oostenveld, 2007",
        "Maris, E. & Oostenveld, R. (2007). Nonparametric statistical testing of EEG- and "
        "MEG-data. Journal of Neuroscience Methods 164, 177-190.",
        "10.1016/j.jneumeth.2007.03.024",
    ),
    "montavon2017": _work(
        "Montavon et al., 2017",
        "Montavon, G., Lapuschkin, S., Binder, A., Samek, W. & Müller, K.-R. (2017). Explaining "
        "nonlinear classification decisions with deep Taylor decomposition. Pattern Recognition "
        "65, 211-222.",
        "10.1016/j.patcog.2016.11.008",
    ),
    "nichols2002": _work(
        "Nichols & Holmes, 2002",
        "Nichols, T. E. & Holmes, A. P. (2002). Nonparametric permutation tests for functional "
        "neuroimaging: a primer with examples. Human Brain Mapping 15, 1-25.",
        "10.1002/hbm.1058",
    ),
    "nichols2017": _work(
        "Nichols et al., 2017",
        "Nichols, T. E. et al. (2017). Best practices in data analysis and sharing in neuroimaging "
        "using MRI. Nature Neuroscience 20, 299-303.",
        "10.1038/nn.4500",
    ),
    "noirhomme2014": _work(
        "Noirhomme et al., 2014",
        "Noirhomme, Q. et al. (2014). Biased binomial assessment of cross-validated estimation of "
        "classification accuracies illustrated in diagnosis predictions. NeuroImage: Clinical 4, "
        "687-694.",
        "10.1016/j.nicl.2014.04.004",
    ),
    "paszke2019": _work(
        "Paszke et al., 2019",
        "Paszke, A. et al. (2019). PyTorch: an imperative style, high-performance deep learning "
        "library. Advances in Neural Information Processing Systems 32.",
        "10.48550/arXiv.1912.01703",
    ),
    "pedregosa2011": Reference(
        "Pedregosa et al., 2011",
        "Pedregosa, F. et al. (2011). Scikit-learn: machine learning in Python. Journal of Machine "
        "Learning Research 12, 2825-2830.",
        "https://jmlr.org/papers/v12/pedregosa11a.html",
    ),
    "power2014": _work(
        "Power et al., 2014",
        "Power, J. D. et al. (2014). Methods to detect, characterize, and remove motion artifact "
        "in resting state fMRI. NeuroImage 84, 320-341.",
        "10.1016/j.neuroimage.2013.08.048",
    ),
    "shrikumar2016": _work(
        "Shrikumar et al., 2016",
        "Shrikumar, A., Greenside, P., Shcherbina, A. & Kundaje, A. (2016). Not just a black box: "
        "learning important features through propagating activation differences. "
        "arXiv:1605.01713.",
        "10.48550/arXiv.1605.01713",
    ),
    "simonyan2014": _work(
        "Simonyan et al., 2014",
        "Simonyan, K., Vedaldi, A. & Zisserman, A. (2014). Deep inside convolutional networks: "
        "visualising image classification models and saliency maps. arXiv:1312.6034.",
        "10.48550/arXiv.1312.6034",
    ),
    "smilkov2017": _work(
        "Smilkov et al., 2017",
        "Smilkov, D., Thorat, N., Kim, B., Viégas, F. & Wattenberg, M. (2017). SmoothGrad: "
        "removing noise by adding noise. arXiv:1706.03825.",
        "10.48550/arXiv.1706.03825",
    ),
    "smith2009": _work(
        "Smith & Nichols, 2009",
        "Smith, S. M. & Nichols, T. E. (2009). Threshold-free cluster enhancement: addressing "
        "problems of smoothing, threshold dependence and localisation in cluster inference. "
        "NeuroImage 44, 83-98.",
        "10.1016/j.neuroimage.2008.03.061",
    ),
    "smith2019": _work(
        "Smith & Topin, 2019",
        "Smith, L. N. & Topin, N. (2019). Super-convergence: very fast training of neural networks "
        "using large learning rates. Proceedings of SPIE 11006, 1100612.",
        "10.1117/12.2520589",
    ),
    "springenberg2015": _work(
        "Springenberg et al., 2015",
        "Springenberg, J. T., Dosovitskiy, A., Brox, T. & Riedmiller, M. (2015). Striving for "
        "simplicity: the all convolutional net. arXiv:1412.6806.",
        "10.48550/arXiv.1412.6806",
    ),
    "sundararajan2017": _work(
        "Sundararajan et al., 2017",
        "Sundararajan, M., Taly, A. & Yan, Q. (2017). Axiomatic attribution for deep networks. "
        "Proceedings of ICML 2017, 3319-3328.",
        "10.48550/arXiv.1703.01365",
    ),
    "vanessen2012": _work(
        "Van Essen et al., 2012",
        "Van Essen, D. C., Glasser, M. F., Dierker, D. L., Harwell, J. & Coalson, T. (2012). "
        "Parcellations and hemispheric asymmetries of human cerebral cortex analyzed on "
        "surface-based atlases. Cerebral Cortex 22, 2241-2262.",
        "10.1093/cercor/bhr291",
    ),
    "zeiler2014": _work(
        "Zeiler & Fergus, 2014",
        "Zeiler, M. D. & Fergus, R. (2014). Visualizing and understanding convolutional networks. "
        "Computer Vision - ECCV 2014, 818-833.",
        "10.1007/978-3-319-10590-1_53",
    ),
}


def cited(text: str, more: dict[str, Reference] | None = None) -> list[Reference]:
    """List the works that a text with marks such as ``[@ismail2019; @bach2015]`` cites.

    Parameters
    ----------
    text : str
        With marks as Pandoc has them.
    more : dict of str to Reference, optional
        Works beside :data:`REFERENCES`.

    Returns
    -------
    list of Reference
        By author, each once.

    Raises
    ------
    ArgumentError
        If a mark names an unknown work.

    Examples
    --------
    >>> [work.short for work in cited("A [@ismail2019; @bach2015] and B [@bach2015].")]
    ['Bach et al., 2015', 'Ismail et al., 2019']
    """
    works = {key: _find(key, more) for mark in _MARK.findall(text) for key in _keys(mark)}
    return sorted(works.values(), key=lambda work: work.full.casefold())


def as_read(text: str, more: dict[str, Reference] | None = None) -> str:
    """Replace marks by author and year.

    Parameters
    ----------
    text : str
        With marks such as ``[@ismail2019]``.
    more : dict of str to Reference, optional
        Works beside :data:`REFERENCES`.

    Returns
    -------
    str
        As it is read.

    Examples
    --------
    >>> as_read("Attention [@ismail2019].")
    'Attention (Ismail et al., 2019).'
    """
    return _MARK.sub(
        lambda mark: f"({'; '.join(_find(key, more).short for key in _keys(mark[1]))})", text
    )


def reference_of(citation: str) -> Reference:
    """Make a reference of an atlas's citation, ``"Power et al. (2011), title, doi:10..."``.

    Parameters
    ----------
    citation : str
        Authors, year in brackets, and what else there is.

    Returns
    -------
    Reference
        With the DOI as its link if it ends in one.

    Examples
    --------
    >>> reference_of("Power et al. (2011), Neuron 72:665, doi:10.1016/j.neuron.2011.09.006").short
    'Power et al., 2011'
    """
    short = _SHORT.match(citation)
    doi = _DOI.search(citation.strip())
    link = "https://doi.org/" + next(filter(None, doi.groups())) if doi else ""
    full = _DOI.sub("", citation.strip()).rstrip(" ,.") + "."
    return Reference(f"{short[1]}, {short[2]}" if short else citation[:60], full, link)


def _keys(mark: str) -> list[str]:
    """Take a mark apart."""
    return [key.strip().removeprefix("@") for key in mark.split(";")]


def _find(key: str, more: dict[str, Reference] | None) -> Reference:
    """Look a work up."""
    works = REFERENCES | (more or {})
    if key not in works:
        raise ArgumentError(f"The text cites an unknown work. Got {key!r}.")
    return works[key]
