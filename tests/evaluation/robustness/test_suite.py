"""The evasion suite through eval's door."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from doors import LEARNING_OVERRIDES, run

from smstune.data.prepared import load_split
from smstune.evaluation.robustness import suite as suite
from smstune.inference.classifier import SmsClassifier
from smstune.inference.labels import LabelMap
from smstune.text.evasion import TRANSFORMS, evade
from smstune.text.pii.mask import mask_pii


@pytest.fixture(scope="module")
def measured(config_file, tmp_path_factory):
    """Fine-tune until the labels are told apart, on two of the transforms, and run the suite."""
    output = tmp_path_factory.mktemp("robust") / "run"
    overrides = (
        *LEARNING_OVERRIDES,
        "training.learning_rate=3e-3",
        "data.augment={transforms: [symbols, pinyin], strength: [0.1, 0.3], share: 0.05}",
        f"training.output_dir={output}",
    )
    assert run("finetune", config_file, *overrides) == 0
    assert run("eval", output, "--robustness") == 0
    return output


@pytest.fixture(scope="module")
def results(measured):
    return json.loads((measured / "eval/test/metrics.json").read_text("utf-8"))["robustness"]


def cell(results, name, strength):
    return next(
        row
        for row in results["rows"]
        if (row["transform"], row["strength"]) == (name, strength)
    )  # fmt: skip


def test_the_run_tells_the_labels_apart(results):
    """Otherwise the rest of this file would show nothing."""
    assert results["clean"]["recall"] > results["clean"]["false_positive_rate"] + 0.2


def test_every_transform_and_strength_has_its_scores(results, prepared):
    cells = [(row["transform"], row["strength"]) for row in results["rows"]]
    assert cells == [(name, strength) for name in TRANSFORMS for strength in suite.STRENGTHS]
    assert results["n"] == len(load_split(prepared, "test"))
    assert results["harmful"] == ["gambling", "bank_phishing"]
    trained = {row["transform"] for row in results["rows"] if row["trained_on"]}
    assert trained == {"symbols", "pinyin"}


@pytest.mark.parametrize("name", ["pinyin", "full_width", "look_alike"])
def test_scores_are_those_of_the_classifier_on_the_written_texts(measured, results, prepared, name):
    classifier = SmsClassifier.from_pretrained(measured)
    table = load_split(prepared, "test")
    written = [evade(text, name, 1.0, results["seed"]) for text in table["text"]]
    names = np.array(classifier.labels.names)
    truth = np.isin(table["label"], ["gambling", "bank_phishing"])
    answers = {
        "on": names[classifier.predict_proba(written).argmax(axis=1)],
        "off": [
            names[classifier._score([mask_pii(text)]).argmax()] for text in written
        ],
    }  # fmt: skip
    for side, labels in answers.items():
        called = np.isin(labels, ["gambling", "bank_phishing"])
        scores = cell(results, name, 1.0)[side]
        assert scores["recall"] == pytest.approx(called[truth].mean())
        assert scores["false_positive_rate"] == pytest.approx(called[~truth].mean())


def test_normaliser_is_worth_what_it_undoes(results):
    for name in ("zero_width", "traditional"):
        row = cell(results, name, 1.0)
        assert row["changed"] > 0.9
        assert row["on"] == results["clean"]
    assert row["off"]["macro_f1"] < results["clean"]["macro_f1"]


def test_report_shows_curves_and_numbers(measured):
    page = (measured / "eval/test/report.html").read_text("utf-8")
    assert "<h2>Evasion</h2>" in page
    assert page.count("<td>split_characters</td>") == len(suite.STRENGTHS)
    assert page.count("<td>symbols (trained on)</td>") == len(suite.STRENGTHS)
    assert page.count(">split_characters</text>") == 1


def test_without_the_flag_there_is_no_suite(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    assert run("eval", tmp_path / "run") == 0
    assert "robustness" not in json.loads((tmp_path / "run/eval/test/metrics.json").read_text())


@pytest.mark.parametrize(
    ("names", "parents", "expected"),
    [
        (["AD:Loan", "FR:Other", "IL:Gambling"], ["AD", "FR", "IL"], [False, True, True]),
        (["marketing", "fraud", "other"], [None] * 3, [False, True, False]),
        (["a", "b"], [None] * 2, None),
        (["a", "b"], ["fraud", "illegal"], None),
    ],
)
def test_harmful_labels_go_by_parent_or_name(names, parents, expected):
    found = suite.harmful_labels(LabelMap.from_names(names, parents))
    assert (found if found is None else found.tolist()) == expected


def test_without_harmful_labels_recall_has_no_value():
    scores = suite._scores(np.array([0, 1]), np.array([0, 0]), None)
    assert scores.recall is None
    assert scores.false_positive_rate is None
