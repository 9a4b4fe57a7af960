"""The linear baseline that every score stands beside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC


def fit_baseline(texts: Sequence[str], labels: NDArray[np.int64]) -> Pipeline:
    """Fit TF-IDF over character 1- to 4-grams and a linear SVM to preprocessed ``texts``."""
    pipeline = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True),
        LinearSVC(random_state=0),
    )
    return pipeline.fit(list(texts), labels)


def predict_baseline(baseline: Pipeline, texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the label ids that the baseline gives ``texts``."""
    predicted: NDArray[np.int64] = baseline.predict(list(texts)).astype(np.int64)
    return predicted
