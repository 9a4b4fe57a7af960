"""Slices, gates, telling errors and the report, through the door of eval."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from doors import LABELS, name_in_manifest, run, write_csv
from evaluated_sets import evaluated_set
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer

from smstune.config.schema import GateConfig
from smstune.evaluation.mistakes.mistakes import instructive_answers
from smstune.evaluation.scores.detectors import detect
from smstune.evaluation.scores.gates import check_gates
from smstune.evaluation.scores.metrics import compute_scores
from smstune.evaluation.scores.slices import TWINS, hard_twins, slice_scores
from smstune.inference.labels import LabelMap

MAP = LabelMap.from_names(("sale", "scam"), ("marketing", "fraud"))
KINDS = {
    "verification code": "您的验证码是[CODE]，五分钟内有效",
    "bank alert": "您尾号1234的储蓄卡账户支出35.00，余额800",
    "delivery": "您的快递已到驿站，请凭取件码领取",
    "government": "市税务局提醒您及时申报",
    "opt-out": "全场五折 拒收请回复R",
    "URL": "详情请看 www.shop.example",
    "amount": "立减50元",
    "personal information": "请致电[PHONE]",
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_told_and_a_greeting_is_none(kind):
    found = detect([KINDS[kind], "晚上一起吃饭吗"])
    assert found[kind].tolist() == [True, False]
    assert "traditional characters" not in found


def test_traditional_characters_are_looked_for_in_what_was_sent():
    found = detect(["优惠", "优惠"], ["優惠", "优惠"])
    assert found["traditional characters"].tolist() == [True, False]


def test_twins_are_near_copies_of_another_kind():
    texts = [
        "您的包裹因地址不详无法派送，请登录网站核实地址信息",
        "您的包裹因地址不详无法派送，请到驿站核实地址信息",
        "您的包裹因地址不详无法派送，请到驿站核实您的地址信息",
        "周年庆典全场商品五折起欢迎光临选购",
    ]
    assert hard_twins(texts, np.array([1, 0, 0, 0])).tolist() == [True, True, True, False]
    assert not hard_twins(texts, np.zeros(4, dtype=int)).any()
    assert not hard_twins(["", "a"], np.array([0, 1])).any()


def test_twins_are_those_of_all_pairs():
    """Only pairs that share a rare gram are compared: none is lost."""
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, word)) for word in rng.integers(0x4E00, 0x4F00, size=(60, 4))]
    texts = ["，".join(rng.choice(words, rng.integers(1, 6))) for _ in range(300)]
    kinds = rng.integers(0, 3, 300)
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(2, 3), sublinear_tf=True)
    grams = vectorizer.fit_transform(texts).toarray()
    near = (grams @ grams.T >= TWINS) & (kinds[:, None] != kinds)
    twins = hard_twins(texts, kinds)
    assert twins.tolist() == near.any(axis=1).tolist()
    assert 0 < twins.sum() < len(twins)


def test_twins_are_left_out_where_the_configuration_says_so(finished_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    notice = "您的包裹因地址不详无法派送，请到驿站核实地址信息"
    forged = notice.replace("到驿站", "登录网站")
    pair = write_csv(
        tmp_path / "pair.csv", [(notice, "retail"), (forged, "gambling")], ("text", "label")
    )
    slices = {}
    for wanted in ("true", "false"):
        assert run("eval", copy, f"evaluation.hard_twins={wanted}", "--data", pair) == 0
        metrics = json.loads((copy / "eval/pair/metrics.json").read_text("utf-8"))
        slices[wanted] = {row["slice"] for row in metrics["slices"]}
    assert slices["true"] - slices["false"] == {"hard twins"}


def some_set():
    truth = np.repeat([0, 1], [40, 20])
    predicted = truth.copy()
    predicted[40:50] = 0
    columns = {"source": ["shop"] * 40 + ["web"] * 20, "month": ["2026-01"] * 60}
    texts = ["恭" * row + ("立减9元" if row % 2 else "喜") for row in range(60)]
    probabilities = np.where(np.eye(2)[predicted] > 0, 0.9, 0.1)
    groups = np.arange(60) // 2
    return evaluated_set(probabilities, predicted, truth, groups, texts=texts, columns=columns)


def test_worst_slice_comes_first_with_its_interval():
    rows = slice_scores(some_set(), MAP, draws=200)
    by_name = {row.slice: row for row in rows}
    assert [row.accuracy for row in rows] == sorted(row.accuracy for row in rows)
    worst = by_name["source=web"]
    assert rows[0].accuracy <= 0.5 == worst.accuracy
    assert (worst.n, worst.campaigns) == (20, 10)
    assert worst.ci[0] < 0.5 < worst.ci[1]
    # All right in 20 campaigns is not certainty.
    assert by_name["source=shop"].ci == (pytest.approx(0.025 ** (1 / 20)), 1)
    assert by_name["parent=fraud"].accuracy == 0.5
    assert by_name["amount"].n == 30
    # A column with one value has no slices.
    assert not any(name.startswith("month") for name in by_name)
    assert sum("characters" in name for name in by_name) == 4


def test_slice_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    covered = 0
    for at in range(200):
        truth = np.zeros(300, dtype=int)
        wrong = np.repeat(rng.uniform(size=150) < 0.2, 2)
        columns = {"source": ["a"] * 150 + ["b"] * 150}
        answers, groups = wrong.astype(int), np.arange(300) // 2
        evaluated = evaluated_set(
            np.eye(2)[answers], answers, truth, groups, texts=[f"m{at}"] * 300, columns=columns
        )
        rows = slice_scores(evaluated, MAP, draws=200)
        (low, high) = next(row.ci for row in rows if row.slice == "source=a")
        covered += low <= 0.8 <= high
    assert 0.9 <= covered / 200 <= 0.98


def test_errors_are_ranked_and_masked():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55], [0.7, 0.3]])
    predicted = probabilities.argmax(axis=1)
    texts = ["致电13800138000", "同上", "好", "差", "行" * 500]
    evaluated = evaluated_set(
        probabilities, predicted, [1, 1, 1, 1, 0], [0, 0, 1, 2, 3], texts=texts
    )
    found = instructive_answers(evaluated, MAP, limit=2)
    assert [row.probability for row in found.confident_mistakes] == [0.9, 0.6]
    assert found.confident_mistakes[0].text == "致电[PHONE]"
    assert [row.probability for row in found.uncertain_hits] == [0.55, 0.7]
    assert len(found.uncertain_hits[1].text) == 120
    (campaign,) = found.campaigns
    assert (campaign.mistakes, campaign.messages, campaign.example.label) == (2, 2, "scam")


def test_gates_look_at_the_set_a_label_or_a_slice():
    gates = (
        GateConfig(score="accuracy", min=0.8),
        GateConfig(label="scam", score="recall", min=0.95),
        GateConfig(label="fraud", score="recall", max=0.9),
        GateConfig(slice="source=web", score="accuracy", min=0.6),
    )
    evaluated = some_set()
    scores = compute_scores(evaluated.probabilities, evaluated.truth, MAP)
    slices = slice_scores(evaluated, MAP, draws=0)
    rows = check_gates(gates, scores, slices)
    assert [row.kept for row in rows] == [True, False, True, False]
    assert [row.value for row in rows] == [pytest.approx(5 / 6), 0.5, 0.5, 0.5]


def test_a_gate_on_an_undefined_score_is_missed():
    scores = compute_scores(np.tile([0.9, 0.1], (4, 1)), np.zeros(4, dtype=int), MAP)
    (row,) = check_gates([GateConfig(score="matthews", min=-1)], scores, [])
    assert (row.value, row.kept) == (None, False)


@pytest.fixture(scope="module")
def copy(finished_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices") / "run"
    shutil.copytree(finished_run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    return folder


def test_broken_gate_ends_with_status_3_and_the_report_is_there(copy, capsys):
    kept = "{score: accuracy, min: 0}"
    broken = "{slice: parent=fraud, score: accuracy, min: 1.1}"
    assert run("eval", copy, f"evaluation.gates=[{kept}]") == 0
    assert run("eval", copy, f"evaluation.gates=[{kept}, {broken}]") == 3
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith(
        "error: gates not kept: accuracy of parent=fraud: expected at least 1.1, found "
    )
    assert captured.out.splitlines()[-1] == str(copy / "eval/test/metrics.json")
    gates = json.loads((copy / "eval/test/metrics.json").read_text("utf-8"))["gates"]
    assert [gate["kept"] for gate in gates] == [True, False]
    assert "MISSED" in (copy / "eval/test/report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ("{slice: nowhere, score: accuracy, min: 1}", "expected a slice of"),
        ("{label: spam, score: recall, min: 1}", "expected a label of"),
        ("{score: beauty, min: 1}", "expected a score of"),
        ("{score: accuracy}", "expected min or max"),
        ("{score: accuracy, min: 1, label: a, slice: b}", "not both"),
    ],
)
def test_gate_on_nothing_ends_with_status_2(copy, capsys, gate, expected):
    draws = "evaluation.bootstrap_samples=0"
    assert run("eval", copy, draws, f"evaluation.gates=[{gate}]") == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


def test_slices_by_columns_of_a_file_of_ones_own(copy, tmp_path, capsys):
    rows = [
        (
            f"全场{row}折優惠",
            LABELS[row % 4],
            "port" if row % 2 else "person",
            f"2026-0{row % 3 + 1}-05",
        )
        for row in range(12)
    ]
    mine = write_csv(tmp_path / "mine.csv", rows, ("text", "label", "sender", "time"))
    assert run("eval", copy, "--data", mine, "evaluation.slices=[sender]") == 0
    scores = json.loads((copy / "eval/mine/metrics.json").read_text("utf-8"))
    counts = {row["slice"]: row["n"] for row in scores["slices"]}
    assert (counts["sender=port"], counts["sender=person"]) == (6, 6)
    assert counts["month=2026-02"] == 4
    assert counts["traditional characters"] == 12
    capsys.readouterr()
    for data in (("--data", mine), ()):
        assert run("eval", copy, *data, "evaluation.slices=[region]") == 2
        assert "expected a column region in" in capsys.readouterr().err.splitlines()[-1]


def test_report_md_holds_the_tables_of_report_html(copy):
    assert run("eval", copy, "evaluation.bootstrap_samples=20") == 0
    page = (copy / "eval/test/report.html").read_text("utf-8")
    text = (copy / "eval/test/report.md").read_text("utf-8")
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert re.findall(r"^## (.*)$", text, re.M) == headings
    for heading in ("Headline", "Operating points", "Calibration", "Slices", "Limits"):
        assert heading in headings
    assert page.count("<tr>") == len(re.findall(r"^\| ", text, re.M))
    assert "<svg" not in text
    widths = {line.count(" | ") for line in text.split("## ")[1].splitlines() if line[:2] == "| "}
    assert widths == {3}


def test_diverged_model_is_told(copy, tmp_path, capsys):
    broken = tmp_path / "run"
    shutil.copytree(copy, broken)
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"][:] = np.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    name_in_manifest(broken, "model.safetensors")
    for command in (
        ("eval", broken),
        ("eval", broken, "--calibrate"),
        ("predict", broken, "-", "-"),
    ):
        if command[0] == "predict":
            (tmp_path / "in.txt").write_text("你好\n", "utf-8")
            command = ("predict", broken, tmp_path / "in.txt", tmp_path / "out.csv")
        assert run(*command) == 2
        assert "the model diverged" in capsys.readouterr().err.splitlines()[-1]


def test_set_of_one_label_is_evaluated(copy, tmp_path):
    rows = [(f"彩票中奖率百分百 {row}", "gambling") for row in range(5)]
    mine = write_csv(tmp_path / "one.csv", rows, ("text", "label"))
    assert run("eval", copy, "--data", mine) == 0
    text = (copy / "eval/one/metrics.json").read_text("utf-8")
    assert "NaN" not in text
    scores = json.loads(text)
    assert scores["undefined"]["matthews"]
    assert scores["per_label"]["retail"]["undefined"]["recall"].startswith(
        "no message has this label"
    )
