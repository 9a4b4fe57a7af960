"""eval through its door: the numbers of what is deployed, and the files it leaves."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from doors import change_json, run, write_csv
from sklearn.metrics import f1_score

KEYS = {
    "split", "n", "accuracy", "macro_f1", "weighted_f1", "per_label", "confusion_matrix", "labels",
    "ci", "ece", "nll", "baseline", "contamination", "coarse", "slices", "throughput",
    "macro_precision", "macro_recall", "weighted_precision", "weighted_recall", "micro_precision",
    "micro_recall", "micro_f1", "balanced_accuracy", "matthews", "brier", "recall_at_fpr",
    "precision_recall", "group_macro_f1", "operating_points", "calibration", "gates",
    "predictions_sha256",
}  # fmt: skip

#: Three words in a row, at least: a sentence, not a name or a term.
ENGLISH = re.compile(r"[A-Za-z]{2,}(?: [A-Za-z]{2,}){2,}")


@pytest.fixture(scope="module")
def evaluated(finished_run, tmp_path_factory):
    """Evaluate a copy, so that other tests see the run as it was left."""
    copy = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(finished_run, copy)
    assert run("eval", copy) == 0
    return copy


def metrics(folder, name="test"):
    return json.loads((folder / "eval" / name / "metrics.json").read_text("utf-8"))


def test_files_keys_and_last_line(evaluated, capsys):
    capsys.readouterr()
    assert run("eval", evaluated, "--split", "validation") == 0
    output = capsys.readouterr().out
    assert output.splitlines()[-1] == str(evaluated / "eval/validation/metrics.json")
    assert "linear baseline" in output
    for name in ("test", "validation"):
        files = {path.name for path in (evaluated / "eval" / name).iterdir()}
        assert files == {"metrics.json", "predictions.parquet", "report.html", "report.md"}
        assert metrics(evaluated, name).keys() - {"undefined"} == KEYS


def test_numbers_follow_from_the_predictions(evaluated, prepared):
    table = pq.read_table(evaluated / "eval/test/predictions.parquet").to_pydict()
    scores = metrics(evaluated)
    assert table["text"] == pq.read_table(prepared / "test.parquet")["text"].to_pylist()
    assert scores["n"] == len(table["text"])
    expected = f1_score(table["label"], table["predicted"], average="macro")
    assert scores["macro_f1"] == pytest.approx(expected)
    low, high = scores["ci"]["macro_f1"]
    assert low <= scores["macro_f1"] <= high
    assert scores["contamination"] == {"exact": 0.0, "near": 0.0}
    assert 0.3 < scores["baseline"]["macro_f1"] <= 1
    assert scores["throughput"]["device"] == "cpu"


def test_report_needs_nothing_from_outside(evaluated):
    page = (evaluated / "eval/test/report.html").read_text("utf-8")
    assert page.count("<svg") >= 2
    for outside in ("src=", "<link", "@import", 'href="http'):
        assert outside not in page
    assert "linear baseline" in page
    assert "<h2>Training</h2>" in page
    assert "bank_phishing" in page


def test_reports_and_table_are_chinese(finished_run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    point = "{stop: {labels: [gambling], max_false_positive_rate: 0.001, review_share: 0.1}}"
    overrides = ("evaluation.bootstrap_samples=20", f"evaluation.operating_points={point}")
    assert run("eval", copy, "--calibrate", "--robustness", "--lang", "zh", *overrides) == 0
    output = capsys.readouterr()
    assert "线性基线" in output.out
    assert "警告：拦截阈值 stop：验证集太小" in output.err
    new = write_csv(tmp_path / "new.csv", [("澳门金城，首存送彩金",)], ("text",))
    assert run("eval", copy, "--drift", new, "--lang", "zh", *overrides) == 0
    for file, sentence in (("test/report", "线性基线"), ("new/drift", "未见变化")):
        page = (copy / "eval" / f"{file}.html").read_text("utf-8")
        assert '<html lang="zh-CN">' in page
        assert sentence in page
        body = re.sub("《[^》]*》", "", page.split("</style>")[1])
        texts = re.findall(r'>([^<]+)<|aria-label="([^"]+)"', body)
        assert [text for pair in texts for text in pair if ENGLISH.search(text)] == []
    # The report follows from the manifest, where the reason is an English text.
    assert "没有可用的阈值：验证集太小" in (copy / "eval/test/report.md").read_text("utf-8")
    assert metrics(copy)["operating_points"][0]["reason"].startswith("the validation split is too")


def test_a_report_without_mistakes_says_so_and_has_no_empty_table(learned_run, tmp_path):
    copy = shutil.copytree(learned_run, tmp_path / "run")
    assert run("eval", copy, "evaluation.bootstrap_samples=0") == 0
    table = pq.read_table(copy / "eval/test/predictions.parquet").to_pydict()
    report = (copy / "eval/test/report.md").read_text("utf-8")
    mistakes = table["label"] != table["predicted"]
    assert ("taken for" in report, "There are no mistakes." in report) == (mistakes, not mistakes)
    rows = list(zip(table["text"], table["predicted"], strict=True))
    data = write_csv(tmp_path / "right.csv", rows, ("text", "label"))
    assert run("eval", copy, "--data", data, "evaluation.bootstrap_samples=0") == 0
    report = (copy / "eval/right/report.md").read_text("utf-8")
    assert "There are no mistakes." in report
    assert "taken for" not in report


def test_predict_gives_what_eval_gave(evaluated, tmp_path):
    table = pq.read_table(evaluated / "eval/test/predictions.parquet").to_pydict()
    rows = [(text,) for text in table["text"]]
    source = write_csv(tmp_path / "in.csv", rows, ("text",))
    assert run("predict", evaluated, source, tmp_path / "out.parquet") == 0
    answers = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert answers["text"] == table["text"]
    assert answers["label"] == table["predicted"]
    assert np.allclose(answers["score"], table["score"], atol=1e-5)


def test_own_labelled_file(evaluated, tmp_path):
    rows = [("【云禾银行】您的账户支出35元", "bank_alert"), ("彩票中奖率百分百", "gambling")]
    mine = write_csv(tmp_path / "mine.csv", rows, ("sms", "kind"))
    columns = ("--text-column", "sms", "--label-column", "kind")
    assert run("eval", evaluated, "--data", mine, *columns) == 0
    scores = metrics(evaluated, "mine")
    assert (scores["split"], scores["n"]) == ("mine", 2)
    assert scores["per_label"]["retail"]["recall"] is None


def test_a_file_named_as_a_split_does_not_take_its_place(evaluated, tmp_path):
    before = metrics(evaluated)
    mine = write_csv(tmp_path / "test.csv", [("彩票中奖率百分百", "gambling")], ("text", "label"))
    assert run("eval", evaluated, "--data", mine) == 0
    assert metrics(evaluated) == before
    assert metrics(evaluated, "test.csv")["n"] == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,label\n你好,spam\n", "not trained on these labels: spam (1 row)"),
        ("text,label\n你好,\n", "line 2: no text or no label"),
        ("text,label\n", "found none"),
        ("text,kind\n你好,retail\n", "expected column label"),
    ],
)
def test_useless_labels_end_with_status_2(evaluated, tmp_path, capsys, content, expected):
    (tmp_path / "mine.csv").write_text(content, "utf-8")
    assert run("eval", evaluated, "--data", tmp_path / "mine.csv") == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert not (evaluated / "eval/mine.csv").exists()


def test_changed_data_is_refused(evaluated, tmp_path, prepared, capsys):
    other = tmp_path / "prepared"
    shutil.copytree(prepared, other)
    shutil.copy(other / "train.parquet", other / "test.parquet")
    copy = tmp_path / "run"
    shutil.copytree(evaluated, copy)
    change_json(copy / "manifest.json", lambda manifest: manifest["data"].update(path=str(other)))
    assert run("eval", copy) == 2
    assert "found another test.parquet" in capsys.readouterr().err


def test_a_group_of_labels_is_scored_against_all_others(evaluated):
    groups = "evaluation.groups={harmful: [bank_phishing, gambling]}"
    assert run("eval", evaluated, "--split", "validation", groups) == 0
    page = (evaluated / "eval/validation/report.md").read_text("utf-8")
    assert "macro-F1 of harmful against all others" in page
    scores = metrics(evaluated, "validation")
    table = pq.read_table(evaluated / "eval/validation/predictions.parquet").to_pydict()
    harmful = ("bank_phishing", "gambling")
    truth, answers = (
        [label in harmful for label in table[column]] for column in ("label", "predicted")
    )
    expected = f1_score(truth, answers, average="macro")
    assert scores["group_macro_f1"]["harmful"] == pytest.approx(expected)
    low, high = scores["ci"]["group_macro_f1"]["harmful"]
    assert low <= expected <= high
    assert 0.3 < scores["baseline"]["group_macro_f1"]["harmful"] <= 1
