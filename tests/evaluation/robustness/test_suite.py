"""The evasion suite through eval's door."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from doors import LEARNING_OVERRIDES, run

from smstune.data.prepared import load_split
from smstune.evaluation.robustness import suite as suite
from smstune.evaluation.robustness.report import robustness_section
from smstune.inference.cascade import Cascade
from smstune.inference.classifier import SmsClassifier
from smstune.inference.labels import LabelMap
from smstune.reporting.document import Report
from smstune.reporting.markdown import render_markdown
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


def test_recall_is_measured_with_and_without_the_cascade(joined_run, prepared, monkeypatch):
    monkeypatch.setattr(suite, "TRANSFORMS", {"symbols": TRANSFORMS["symbols"]})
    plain = SmsClassifier.from_pretrained(joined_run, device="cpu", precision="fp32")
    # Early answers by linear scores of the wrong sign: the cascade is as bad as it can be.
    linear_scores = plain.linear_scores
    monkeypatch.setattr(SmsClassifier, "linear_scores", lambda _self, texts: -linear_scores(texts))
    cascade = Cascade(max_changed=0.01, confidence=0.95, threshold=0.01)
    manifest = plain.run.manifest
    calibration = manifest.calibration.model_copy(update={"cascade": cascade, "linear_weight": 0.0})
    manifest = manifest.model_copy(update={"calibration": calibration})
    classifier = plain.with_manifest(manifest)
    table = load_split(prepared, "test")
    texts, labels = list(table["text"]), classifier.labels
    truth = np.array([labels.label2id[name] for name in table["label"]])
    measured = suite.measure_robustness(classifier, texts, truth)
    without = suite.measure_robustness(classifier.without_cascade(), texts, truth)
    assert "recall_without_cascade" not in without.to_json()["clean"]
    for row, full in zip(measured.rows, without.rows, strict=True):
        assert row.normalised.recall_without_cascade == full.normalised.recall
    deployed = classifier.answers(classifier.predict_proba(texts, preprocessed=True))
    harmful = suite.harmful_labels(labels)
    assert measured.clean.recall == harmful[deployed[harmful[truth]]].mean()
    assert measured.clean.recall != measured.clean.recall_without_cascade


def scores_with_recall(recall, without_cascade):
    return suite.SuiteScores(
        macro_f1=0.5, recall=recall, false_positive_rate=0.0, recall_without_cascade=without_cascade
    )


def test_a_transform_that_loses_more_than_a_point_to_the_cascade_is_named():
    recalls = {"pinyin": (0.80, 0.81), "symbols": (0.80, 0.82), "shuffle": (0.9, 0.8)}
    rows = [
        suite.SuiteRow(
            transform=transform,
            strength=strength,
            trained_on=False,
            changed=1.0,
            on=scores_with_recall(*(pair if strength == 0.3 else (0.8, 0.8))),
            off=scores_with_recall(0.1, 0.9),
        )
        for transform, pair in recalls.items()
        for strength in suite.STRENGTHS
    ]
    clean = scores_with_recall(0.9, 0.9)
    robustness = suite.Robustness(n=9, seed=0, harmful=["fraud"], clean=clean, rows=rows)
    assert robustness.lost_to_cascade() == {"symbols": pytest.approx(0.02)}
    page = render_markdown(Report("", [], None, [robustness_section(robustness)]))
    assert "more than 1 point smaller under these transforms: symbols (2.0 points)" in page
    assert "recall without cascade" in page
