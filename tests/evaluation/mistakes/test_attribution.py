"""Token attributions through eval's door, and the function that a page of a server calls."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from doors import TINY_OVERRIDES, run, write_csv

from smstune.data.prepared import load_split
from smstune.errors import UserError
from smstune.evaluation.mistakes.attribution import _pieces, deletion_areas, explain
from smstune.inference.cascade import Cascade
from smstune.inference.classifier import SmsClassifier


@pytest.fixture(scope="module")
def learned(config_file, tmp_path_factory):
    """Fine-tune until the labels are told apart, with the frozen averaging layer at the end."""
    output = tmp_path_factory.mktemp("explained") / "run"
    longer = (
        "training.num_train_epochs=20",
        "training.learning_rate=3e-3",
        "model.pooling=mean",
        f"training.output_dir={output}",
    )
    assert run("finetune", config_file, *TINY_OVERRIDES, *longer) == 0
    assert run("eval", output, "--split", "validation", "--explain", "2") == 0
    return output


@pytest.fixture(scope="module")
def explained(learned):
    metrics = json.loads((learned / "eval/validation/metrics.json").read_text("utf-8"))
    return metrics["explanations"]


def with_early_answers_only(classifier):
    """Return the same run with a cascade in which the linear model answers every message."""
    cascade = Cascade(max_changed=0.01, confidence=0.95, threshold=1e-9, temperature=0.3)
    manifest = classifier.run.manifest
    calibration = manifest.calibration.model_copy(update={"cascade": cascade})
    return classifier.with_manifest(manifest.model_copy(update={"calibration": calibration}))


@pytest.mark.parametrize("form", ["mean", "cls", "joined", "early"])
def test_scores_add_up_and_follow_the_classifier(learned, finished_run, joined_run, prepared, form):
    folder = {"mean": learned, "cls": finished_run}.get(form, joined_run)
    classifier = SmsClassifier.from_pretrained(folder, device="cpu", precision="fp32")
    if form == "early":
        classifier = with_early_answers_only(classifier)
    for text in load_split(prepared, "test")["text"][:3]:
        answer = classifier.predict([text])[0]
        found = explain(classifier, text)
        assert (found.label, found.probability) == (answer.label, pytest.approx(answer.score, 1e-4))
        assert found.log_odds == pytest.approx(np.log(answer.score / (1 - answer.score)), abs=1e-3)
        pieces = sum(piece.score or 0 for piece in found.pieces)
        gap = abs(pieces - (found.log_odds - found.baseline))
        assert gap < 0.02 * max(1, abs(found.log_odds - found.baseline))
        assert np.abs(found.token_scores).max() > 0
        if form not in ("joined", "early"):  # where the spaces between tokens count too
            assert pieces == pytest.approx(found.token_scores.sum())
        assert "".join(piece.text for piece in found.pieces) == classifier.preprocess([text])[0]


@pytest.mark.parametrize("form", ["mean", "joined", "early"])
def test_tokens_of_high_score_carry_the_answer(learned, joined_run, prepared, form):
    folder = learned if form == "mean" else joined_run
    classifier = SmsClassifier.from_pretrained(folder, device="cpu", precision="fp32")
    if form == "early":
        classifier = with_early_answers_only(classifier)
    texts = load_split(prepared, "test")["text"][:12]
    areas = np.array([deletion_areas(classifier, explain(classifier, text)) for text in texts])
    assert ((areas >= 0) & (areas <= 1)).all()
    by_score, at_random = areas.mean(axis=0)
    assert by_score < at_random - 0.1


def test_in_fp32_whatever_the_precision(learned):
    text = "【云禾银行】您的账户存在异常，请登录 http://yh-app.example/k2p 核实"
    coarse, exact = (
        SmsClassifier.from_pretrained(learned, device="cpu", precision=precision)
        for precision in ("bf16", "fp32")
    )
    assert np.array_equal(explain(coarse, text).token_scores, explain(exact, text).token_scores)


def test_another_label_can_be_explained(learned):
    classifier = SmsClassifier.from_pretrained(learned, device="cpu", precision="fp32")
    found = explain(classifier, "彩票中奖率百分百", "retail")
    scores = classifier.predict(["彩票中奖率百分百"])[0].scores
    assert found.probability == pytest.approx(scores["retail"], abs=1e-5)
    with pytest.raises(UserError, match="found spam"):
        explain(classifier, "彩票中奖率百分百", "spam")


@pytest.mark.parametrize("text", ["", "恭喜" * 200])
def test_empty_and_long_messages(learned, text):
    classifier = SmsClassifier.from_pretrained(learned, device="cpu", precision="fp32")
    found = explain(classifier, text)
    assert "".join(piece.text for piece in found.pieces) == text
    assert [piece.score for piece in found.pieces if piece.text][-1:] == ([None] if text else [])
    by_score, at_random = deletion_areas(classifier, found)
    if not text:
        assert by_score == at_random == found.probability


def test_personal_information_is_one_masked_piece():
    text = "请致电13900000000哦好"
    spans = [(0, 0), (0, 3), (3, 8), (8, 14), (14, 15), (0, 0)]
    found = _pieces(text, spans, np.array([9.0, 1.0, 2.0, -0.5, 4.0, 9.0]), None)
    expected = [("请致电", 1.0), ("[PHONE]", 1.5), ("哦", 4.0), ("好", None)]
    assert [(piece.text, piece.score) for piece in found] == expected
    found = _pieces(text, spans, np.zeros(6), np.arange(16.0))
    expected = [("请致电", 3.0), ("[PHONE]", 88.0), ("哦", 14.0), ("好", 15.0)]
    assert [(piece.text, piece.score) for piece in found] == expected


def test_report_shows_the_chosen_messages_in_colours(learned, explained):
    kinds = [row["kind"] for row in explained]
    assert kinds.count("uncertain hit") == 2
    assert kinds == sorted(kinds)
    for row in explained:
        assert (row["kind"] == "mistake") == (row["label"] != row["true_label"])
        total = sum(score or 0 for _, score in row["pieces"])
        assert total == pytest.approx(row["log_odds"] - row["baseline"], rel=0.02, abs=0.02)
    page = (learned / "eval/validation/report.html").read_text("utf-8")
    assert "<h2>What answers rest on</h2>" in page
    for row in explained:
        strongest = max((score for _, score in row["pieces"] if score), key=abs)
        assert f'transparent)" title="{strongest:+.2f}">' in page
        assert f"<td>{row['deletion_area']:.3f}</td>" in page
    assert "".join(text for text, _ in explained[0]["pieces"])[:9] in (
        learned / "eval/validation/report.md"
    ).read_text("utf-8")


def test_a_confident_mistake_is_explained(learned, tmp_path):
    shutil.copytree(learned, tmp_path / "run")
    rows = [("【云禾银行】您的账户支出35元", name) for name in ("gambling", "retail", "gambling")]
    mine = write_csv(tmp_path / "mine.csv", rows, ("text", "label"))
    assert run("eval", tmp_path / "run", "--data", mine, "--explain", "3") == 0
    metrics = json.loads((tmp_path / "run/eval/mine/metrics.json").read_text("utf-8"))
    # The same message three times, with labels that are not all the answer: explained once a kind.
    kinds = [row["kind"] for row in metrics["explanations"]]
    assert kinds[0] == "mistake"
    assert len(kinds) == len(set(kinds))


def test_without_the_flag_nothing_is_explained(finished_run, tmp_path, capsys):
    shutil.copytree(finished_run, tmp_path / "run")
    assert run("eval", tmp_path / "run") == 0
    assert "explanations" not in (tmp_path / "run/eval/test/metrics.json").read_text("utf-8")
    assert run("eval", tmp_path / "run", "--explain", "-1") == 2
    assert "found -1" in capsys.readouterr().err
