"""Fits the linear model of character n-grams: labelled messages in, a ``LinearModel`` out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from smstune.arrays import Floats, Ints
from smstune.errors import UserError
from smstune.inference.linear import ABSENT, LinearModel
from smstune.inference.ngrams import LONGEST

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def fit_linear(
    texts: Sequence[str],
    labels: Ints,
    count: int,
    groups: Ints,
    min_campaigns: int,
) -> LinearModel:
    """Fit the linear model to preprocessed ``texts`` of ``count`` labels.

    ``groups`` has the campaign of each message. Only n-grams that messages of at least
    ``min_campaigns`` campaigns contain become known to the model: rarer ones could reveal messages.
    For the same reason its document frequencies are counts of campaigns, rounded to powers of two.

    Raises:
        UserError: if no n-gram is in messages of that many campaigns.
        ValueError: if all messages are of one label.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize
    from sklearn.svm import LinearSVC

    vectorizer = CountVectorizer(analyzer="char", ngram_range=(1, LONGEST), dtype=np.float64)
    counts = vectorizer.fit_transform(texts)
    n_campaigns, frequencies = _campaign_frequencies(counts, groups)
    frequent = np.flatnonzero(frequencies >= min_campaigns)
    if not len(frequent):
        raise UserError(
            "the linear model needs n-grams that messages of {min_campaigns} campaigns contain, "
            "but there are none in {n_texts} messages: lower model.linear_min_campaigns, or "
            "set model.linear=false and evaluation.baseline=false",
            min_campaigns=min_campaigns,
            n_texts=len(texts),
        )
    idf = _idf(frequencies[frequent], n_campaigns)
    features = counts[:, frequent]
    features.data = (1 + np.log(features.data)) * idf[features.indices]
    machine = LinearSVC(random_state=0).fit(normalize(features), labels)
    planes, offsets = machine.coef_, machine.intercept_
    if len(planes) == 1:
        planes, offsets = np.concatenate([-planes, planes]), np.concatenate([-offsets, offsets])
    weights = np.zeros((len(frequent), count), np.float32)
    intercepts = np.full(count, ABSENT)
    weights[:, machine.classes_] = planes.T
    # Rounded as the file has them.
    intercepts[machine.classes_] = offsets.astype(np.float32)
    vocabulary = vectorizer.get_feature_names_out()[frequent].tolist()
    return LinearModel(tuple(vocabulary), idf, weights, intercepts, min_campaigns)


def _campaign_frequencies(counts: csr_matrix, groups: Ints) -> tuple[int, Ints]:
    """Return the number of campaigns, and in how many of them each n-gram occurs."""
    from scipy.sparse import csr_matrix

    names, campaigns = np.unique(groups, return_inverse=True)
    messages = np.arange(len(campaigns))
    memberships = csr_matrix((np.ones(len(messages)), (campaigns, messages)))
    return len(names), np.bincount((memberships @ counts).indices, minlength=counts.shape[1])


def _idf(frequencies: Ints, n_campaigns: int) -> Floats:
    """Return scikit-learn's smooth idf of frequencies rounded to powers of two."""
    rounded = 2.0 ** np.round(np.log2(frequencies))
    idf: Floats = np.log((1 + n_campaigns) / (1 + rounded)) + 1
    return idf
