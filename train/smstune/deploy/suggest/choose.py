"""Which of many unlabelled messages to label next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smstune.arrays import Floats, Ints
from smstune.inference.ngrams import LONGEST

#: Candidates for each message that is chosen: enough of them to be spread over topics.
_CANDIDATES = 10


def choose(
    texts: Sequence[str], probabilities: Floats, campaigns: Ints, number: int, seed: int = 0
) -> Ints:
    """Return the rows of ``texts`` to label next, at most ``number``, the most uncertain first.

    The uncertainty of a message is the difference between its two best ``probabilities``, shape
    (messages, labels): the smaller, the more uncertain (Scheffer et al., 2001). Candidates are the
    most uncertain messages, one per campaign. k-means over their character n-grams makes
    ``number`` clusters, and the most uncertain message of each is chosen (after Zhdanov, 2019).
    """
    best = np.partition(probabilities, -2, axis=1)[:, -2:]
    order = np.argsort(best[:, 1] - best[:, 0], kind="stable")
    _, first_of_campaign = np.unique(campaigns[order], return_index=True)
    candidates = order[np.sort(first_of_campaign)][: _CANDIDATES * number]
    if len(candidates) <= number:
        return candidates
    topics = _topics([texts[row] for row in candidates], number, seed)
    _, first_of_topic = np.unique(topics, return_index=True)
    # Empty clusters leave fewer topics than asked for: the most uncertain of the rest fill up.
    not_first = np.setdiff1d(np.arange(len(candidates)), first_of_topic)
    missing = number - len(first_of_topic)
    chosen: Ints = candidates[np.sort(np.concatenate([first_of_topic, not_first[:missing]]))]
    return chosen


def _topics(texts: Sequence[str], number: int, seed: int) -> Ints:
    """Return the cluster of each text."""
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, LONGEST), sublinear_tf=True)
    clusters: Ints = KMeans(number, n_init=1, random_state=seed).fit_predict(
        vectorizer.fit_transform(texts)
    )
    return clusters
