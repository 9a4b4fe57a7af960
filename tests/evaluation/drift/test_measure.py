"""Drift through eval's door: unlabelled messages beside the run's own split."""

from __future__ import annotations

import csv
import json
import math
import shutil

import numpy as np
import pytest
from doors import run, write_csv
from evaluated_sets import evaluated_set
from scipy.stats import fisher_exact
from statsmodels.stats.proportion import confint_proportions_2indep
from transformers import AutoTokenizer

from smstune.campaigns.grouping import campaign_groups
from smstune.data.prepared import load_split
from smstune.errors import GateError
from smstune.evaluation.drift.measure import difference_interval, label_shift
from smstune.evaluation.drift.results import Stability
from smstune.evaluation.drift.stability import chance_level, require_stability, stability, verdict
from smstune.inference.classifier import SmsClassifier


@pytest.fixture(scope="module")
def copy(finished_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("drift") / "run"
    shutil.copytree(finished_run, path)
    return path


def drift(copy, name):
    page = (copy / "eval" / name / "drift.html").read_text("utf-8")
    assert page.count("<h2>") == 5
    return json.loads((copy / "eval" / name / "drift.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def shifted(copy, tmp_path_factory):
    """Hold gambling alone, without labels, with copies and an empty row, against test."""
    texts = [
        f"澳门{a}城{b}，首存{10 + n}元送彩金，微信{a}{b}来电" for n, (a, b) in enumerate(
            (a, b) for a in "金银铜铁锡" for b in "甲乙丙丁戊己"
        )
    ]  # fmt: skip
    rows = [(text,) for text in [*texts, texts[0], " "]]
    new = write_csv(tmp_path_factory.mktemp("new") / "november.csv", rows, ("text",))
    assert run("eval", copy, "--drift", new) == 0
    return drift(copy, "november"), texts


def test_files_and_last_lines(copy, tmp_path, capsys):
    new = write_csv(tmp_path / "test.csv", [("你好，明天见",)], ("sms",))
    assert run("eval", copy, "--drift", new, "--text-column", "sms") == 0
    folder = copy / "eval/test.csv"
    assert capsys.readouterr().out.splitlines() == [
        str(folder / "drift.html"),
        str(folder / "drift.json"),
    ]
    assert {path.name for path in folder.iterdir()} == {"drift.html", "drift.json"}


def test_drift_past_the_limit_is_status_3_after_the_report(shifted, copy, tmp_path, capsys):
    measured, texts = shifted
    new = write_csv(tmp_path / "december.csv", [(text,) for text in texts], ("text",))
    largest = max(row["psi"] for row in measured["psi"])
    assert run("eval", copy, "--drift", new, f"evaluation.max_drift={largest + 1}") == 0
    capsys.readouterr()
    shutil.rmtree(copy / "eval/december")
    assert run("eval", copy, "--drift", new, "evaluation.max_drift=0.25") == 3
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == str(copy / "eval/december/drift.json")
    assert drift(copy, "december")["psi"]
    (line,) = [line for line in output.err.splitlines() if line.startswith("error: ")]
    assert "characters" in line
    assert "evaluation.max_drift" in line


def test_an_index_within_chance_is_no_drift():
    row = {"feature": "confidence", "psi": 0.4, "bins": [], "reading": ""}
    require_stability([Stability(**row, chance=0.5)], 0.25)
    with pytest.raises(GateError, match=r"confidence 0\.4"):
        require_stability([Stability(**row, chance=0.3)], 0.25)


def test_counts_and_shares_are_those_of_the_messages(shifted, copy, prepared):
    found, texts = shifted
    assert found["new"]["messages"] == len(texts) + 1
    assert found["new"]["unusable"] == 1
    classifier = SmsClassifier.from_pretrained(copy)
    clean = sorted(set(classifier.preprocess(texts)))
    assert found["new"]["distinct"] == len(clean)
    assert found["new"]["campaigns"] == len(np.unique(campaign_groups(clean)))
    reference = load_split(prepared, "test")
    assert found["reference"]["distinct"] == len(reference)
    for key, messages in (("reference", list(reference["text"])), ("new", clean)):
        answers = classifier.predict(messages)
        for row in found["labels"]:
            share = np.mean([answer.label == row["label"] for answer in answers])
            assert row[key] == pytest.approx(share)
        mean = np.mean([answer.score for answer in answers])
        assert found["confidence"][key]["mean"] == pytest.approx(mean, abs=1e-3)
        tokenizer = AutoTokenizer.from_pretrained(classifier.run.path)
        ids = tokenizer(messages, add_special_tokens=False)["input_ids"]
        unknown = [row.count(tokenizer.unk_token_id) for row in ids]
        assert found["unknown_tokens"][key]["messages"] == np.count_nonzero(unknown)
    assert found["unknown_tokens"]["new"]["rate"] > 0
    assert found["no_known_campaign"] == {"reference": 1.0, "new": 1.0}


def test_known_campaigns_are_those_of_train(copy, prepared, tmp_path):
    known = list(load_split(prepared, "train")["text"])[:3]
    rows = [(text,) for text in [*known, "明天下午三点在老地方碰头，别忘了带上次借的书"]]
    assert run("eval", copy, "--drift", write_csv(tmp_path / "mixed.csv", rows, ("text",))) == 0
    assert drift(copy, "mixed")["no_known_campaign"]["new"] == 0.25


def test_the_split_itself_shows_no_shift(copy, prepared, tmp_path):
    rows = [(text,) for text in load_split(prepared, "test")["text"]]
    assert run("eval", copy, "--drift", write_csv(tmp_path / "same.csv", rows, ("text",))) == 0
    found = drift(copy, "same")
    assert [row["psi"] for row in found["psi"]] == [0.0] * len(found["psi"])
    assert not any(row["shifted"] for row in found["labels"])


def test_longer_messages_without_placeholders_are_seen(copy, prepared, tmp_path):
    phrases = "窗外下着雨我们坐在屋里喝茶聊天谈起从前的事情真是恍如隔世"
    rng = np.random.default_rng(0)
    rows = [("".join(rng.permutation(list(phrases * 3))),) for _ in range(200)]
    assert run("eval", copy, "--drift", write_csv(tmp_path / "long.csv", rows, ("text",))) == 0
    found = {row["feature"]: row for row in drift(copy, "long")["psi"]}
    for name in ("characters", "placeholders"):
        assert found[name]["reading"] == "shift"
        counts = [[one[side] for one in found[name]["bins"]] for side in ("reference", "new")]
        assert found[name]["psi"] == pytest.approx(stability(*counts))
        assert sum(counts[1]) == 200
        lengths = [len(text) for text in load_split(prepared, "test")["text"]]
        if name == "characters":
            first = found[name]["bins"][0]
            assert first["reference"] == sum(one <= first["up_to"] for one in lengths)
    # The largest first.
    values = [row["psi"] for row in drift(copy, "long")["psi"]]
    assert values == sorted(values, reverse=True)


def test_a_single_message_claims_nothing(copy, tmp_path):
    new = write_csv(tmp_path / "one.csv", [("澳门金城，首存送彩金",)], ("text",))
    assert run("eval", copy, "--drift", new) == 0
    found = drift(copy, "one")
    assert found["new"]["distinct"] == 1
    assert {row["reading"] for row in found["psi"]} == {"no shift shown"}
    assert not any(row["shifted"] for row in found["labels"])


def test_another_script_is_told_by_its_unknown_tokens(copy, tmp_path):
    rows = [(f"สวัสดี ครับ {one}",) for one in ("เรียน", "ขอบคุณ", "พรุ่งนี้", "ธนาคาร")]
    assert run("eval", copy, "--drift", write_csv(tmp_path / "thai.csv", rows, ("text",))) == 0
    assert drift(copy, "thai")["unknown_tokens"]["new"]["rate"] > 0.5
    assert "another language or script?" in (copy / "eval/thai/drift.html").read_text("utf-8")


def test_months_have_scores_where_there_are_labels(copy, messages, tmp_path):
    with messages.open(encoding="utf-8") as stream:
        rows = [
            (row["text"], row["label"], f"2026-{1 + at % 2:02d}-03")
            for at, row in enumerate(csv.DictReader(stream))
        ]
    rows += [("早上好，今天天气不错", "weather", "2026-03-01"), ("晚安，做个好梦", "", "?")]
    new = write_csv(tmp_path / "timed.csv", rows, ("text", "label", "time"))
    assert run("eval", copy, "--drift", new) == 0
    found = drift(copy, "timed")
    assert [row["month"] for row in found["months"]] == ["2026-01", "2026-02", "2026-03"]
    assert found["new"]["unknown"] == 1
    first, _, last = found["months"]
    assert (last["messages"], last["labelled"], last["accuracy"]) == (1, 0, None)
    classifier = SmsClassifier.from_pretrained(copy)
    texts = [row[0] for row in rows]
    kept = dict(zip(classifier.preprocess(texts)[::-1], rows[::-1], strict=True)).values()
    mine = [row for row in kept if row[2] == "2026-01-03"]
    answers = classifier.predict([row[0] for row in mine])
    right = [answer.label == row[1] for answer, row in zip(answers, mine, strict=True)]
    assert first["labelled"] == len(mine)
    assert first["accuracy"] == pytest.approx(np.mean(right))
    for name in ("accuracy", "macro_f1"):
        low, high = first[f"{name}_ci"]
        assert 0 <= low <= high <= 1
    page = (copy / "eval/timed/drift.html").read_text("utf-8")
    assert "1 messages have a label that the run does not know" in page
    assert page.count("<svg") == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "found an empty file"),
        ("text\n", "found none in 0 rows"),
        ("text\n \n", "found none in 1 rows"),
        ("text,a\nx\n", "line 2: ragged row"),
        ("words,label\n你好,retail\n", "expected column text in"),
    ],
)
def test_useless_files_end_with_status_2(copy, tmp_path, capsys, content, expected):
    (tmp_path / "bad.csv").write_text(content, "utf-8")
    assert run("eval", copy, "--drift", tmp_path / "bad.csv") == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert not (copy / "eval/bad").exists()


def test_words_that_do_not_go_together(copy, capsys):
    assert run("eval", copy, "--drift", "x.csv", "--robustness") == 2
    assert "remove --drift" in capsys.readouterr().err


def test_index_by_hand():
    # 0.5 to 0.75: 0.25 ln 1.5; 0.5 to 0.25: -0.25 ln 0.5.
    assert stability([50, 50], [75, 25]) == pytest.approx(0.25 * math.log(1.5) + 0.25 * math.log(2))
    assert stability([10, 0], [10, 0]) == 0
    # An empty bin counts as half a message.
    assert stability([5, 5], [10, 0]) == pytest.approx(0.5 * math.log(2) + 0.45 * math.log(10))
    verdicts = [verdict(psi, 0.05) for psi in (0.05, 0.09, 0.2, 0.3)]
    assert verdicts == ["no shift shown", "stable", "some shift", "shift"]


@pytest.mark.parametrize("sizes", [(500, 40), (2000, 8), (300, 1)])
@pytest.mark.parametrize("shares", [[0.1] * 10, [0.97, 0.03]])
def test_samples_of_one_population_seldom_exceed_the_chance_level(sizes, shares):
    rng = np.random.default_rng(1)
    pairs = [[rng.multinomial(size, shares) for size in sizes] for _ in range(100)]
    above = [stability(*pair) > chance_level(np.transpose(pair), sizes) for pair in pairs]
    # 5 % of 100, and what chance adds.
    assert np.mean(above) <= 0.12
    if sizes == (500, 40) and len(shares) == 10:
        # The rule of thumb alone would cry shift.
        assert np.mean([stability(*pair) > 0.1 for pair in pairs]) > 0.9
        assert np.mean(above) > 0


@pytest.mark.parametrize("counts", [((3, 50), (9, 40)), ((0, 10), (4, 4)), ((0, 5), (0, 9))])
def test_interval_is_that_of_statsmodels(counts):
    first, second = counts
    expected = confint_proportions_2indep(*second, *first, method="newcomb", compare="diff")
    assert difference_interval(first, second) == pytest.approx(list(expected), abs=1e-6)


def test_campaigns_count_and_not_their_copies(copy):
    labels = SmsClassifier.from_pretrained(copy).labels

    def side(answers, groups):
        return evaluated_set(np.eye(4)[answers], answers, answers, groups)

    old = side([0] * 20 + [1] * 20, range(40))
    # Fifty copies of one campaign: a new share of 50 in 60, and one campaign more.
    flood = side([1] * 50 + [0] * 5 + [1] * 5, [7] * 50 + list(range(50, 60)))
    row = label_shift(old, flood, labels)[1]
    assert row.new == pytest.approx(55 / 60)
    assert row.campaigns == (20, 6)
    assert row.p == pytest.approx(fisher_exact([[20, 20], [6, 5]]).pvalue)
    assert not row.shifted
    many = label_shift(old, side([1] * 60, range(60)), labels)
    assert [row.shifted for row in many] == [True, True, False, False]
    assert many[1].p_holm == pytest.approx(4 * min(row.p for row in many))
