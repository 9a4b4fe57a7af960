"""The fit of the linear model: which n-grams it may know, and how exactly it counts them."""

from __future__ import annotations

import numpy as np
import pytest
from doors import TINY_OVERRIDES, run
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from smstune.errors import UserError
from smstune.inference.linear import ABSENT
from smstune.modeling.fit_linear import fit_linear

TEXTS = [
    "贷款 低息 来电",
    "贷款 秒批 来电",
    "新房 开盘 特惠",
    "新房 特惠 到访",
    "ABC 退订",
    "abc 退订 回T",
]
LABELS = np.array([0, 0, 1, 1, 2, 2])
ALONE = np.arange(6)


@pytest.mark.parametrize("labels", [LABELS, LABELS // 2], ids=["three", "two"])
def test_the_machine_is_scikit_learn_s(labels):
    linear = fit_linear(TEXTS, labels, int(labels.max()) + 1, ALONE, 2)
    vectorizer = TfidfVectorizer(
        analyzer="char", ngram_range=(1, 4), sublinear_tf=True, vocabulary=linear.vocabulary
    )
    vectorizer.idf_ = linear.idf
    machine = LinearSVC(random_state=0).fit(vectorizer.transform(TEXTS), labels)
    new = [*TEXTS, "贷款特惠", "", "陌生"]
    expected = machine.decision_function(vectorizer.transform(new))
    if expected.ndim == 1:
        expected = np.stack([-expected, expected], axis=1)
    assert linear.scores(new) == pytest.approx(expected, abs=1e-6)
    assert linear.answers(new).tolist() == machine.classes_[expected.argmax(axis=1)].tolist()


def test_n_grams_of_few_campaigns_stay_unknown():
    # The first two messages are of one campaign: nothing but the space is in two campaigns of it.
    campaigns = np.array([7, 7, 1, 2, 3, 4])
    vocabulary = fit_linear(TEXTS, LABELS, 3, campaigns, 2).vocabulary
    assert not {"贷", "贷款", "来电"} & set(vocabulary)
    assert {" ", "新房", "退订", "abc "} <= set(vocabulary)
    assert "贷款" in fit_linear(TEXTS, LABELS, 3, ALONE, 2).vocabulary
    assert fit_linear(TEXTS, LABELS, 3, campaigns, 5).vocabulary == (" ",)


def test_frequencies_are_campaigns_rounded_to_powers_of_two():
    texts = ["甲乙丙", "甲乙", "甲乙", "甲乙", "甲", "甲"]
    linear = fit_linear(texts, LABELS, 3, np.array([0, 1, 2, 2, 3, 4]), 1)
    idf = dict(zip(linear.vocabulary, linear.idf, strict=True))
    frequencies = {gram: 6 / np.exp(value - 1) - 1 for gram, value in idf.items()}
    # 甲 is in 5 campaigns, 乙 in 3, 丙 in 1.
    assert frequencies["甲"] == pytest.approx(4)
    assert frequencies["乙"] == pytest.approx(4)
    assert frequencies["丙"] == pytest.approx(1)


def test_a_label_without_messages_is_never_answered():
    scores = fit_linear(TEXTS, LABELS * 2, 5, ALONE, 2).scores(TEXTS)
    assert (scores[:, [1, 3]] == ABSENT).all()
    assert scores.argmax(axis=1).tolist() == (LABELS * 2).tolist()


def test_too_few_campaigns_are_an_error_that_names_the_key():
    with pytest.raises(UserError, match=r"7 campaigns.*lower model\.linear_min_campaigns"):
        fit_linear(TEXTS, LABELS, 3, ALONE, 7)


def test_a_fine_tune_of_too_few_campaigns_ends_before_it_trains(config_file, tmp_path, capsys):
    key = "model.linear_min_campaigns=100000"
    overrides = [*TINY_OVERRIDES, "model.linear=true", key, f"training.output_dir={tmp_path}/run"]
    assert run("finetune", config_file, *overrides) == 2
    assert "lower model.linear_min_campaigns" in capsys.readouterr().err
