"""`smstune learn`: reports in, a memory out; what is refused; what survives kills and writers."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doors import ROOT, run
from hypothesis import given
from hypothesis import strategies as st
from reported import LOAN, OTHER, VARIANT, reports_file, with_limit
from scipy.stats import beta

from smstune.deploy.batch import score_file
from smstune.deploy.learn.bound import upper_bound
from smstune.deploy.learn.learn import open_teacher
from smstune.errors import UserError
from smstune.inference.classifier import SmsClassifier
from smstune.inference.manifest import load_manifest
from smstune.inference.memory.store import open_generation
from smstune.inference.run_config import run_config
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows


@pytest.fixture
def taught(tmp_path, finished_run) -> Path:
    """Return a copy of a run that may be taught, with what it was prepared from at hand."""
    return with_limit(Path(shutil.copytree(finished_run, tmp_path / "run")), 0.2)


def entries(run_folder: Path) -> list:
    return list(open_generation(run_folder).entries())


def answer(run_folder: Path, text: str):
    return SmsClassifier.from_pretrained(run_folder, device="cpu").predict([text])[0]


def error_of(capsys) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_report_is_recognised_at_once_and_the_run_is_as_before(tmp_path, taught, capsys):
    before = (taught / "manifest.json").read_bytes()
    assert answer(taught, VARIANT).campaign is None
    reports = reports_file(tmp_path, (LOAN, "bank_phishing", "block", "seen this morning"))
    assert run("learn", taught, reports) == 0
    assert "campaign 1: bank_phishing, block; messages: 1, new: 1" in capsys.readouterr().out
    assert (taught / "manifest.json").read_bytes() == before
    prediction = answer(taught, VARIANT)
    assert (prediction.label, prediction.decision) == ("bank_phishing", "block")
    assert prediction.score == prediction.scores["bank_phishing"]
    campaign = prediction.campaign
    assert (campaign.id, campaign.action, campaign.reason) == (1, "block", "seen this morning")
    assert 0.7 <= campaign.similarity < 1
    assert campaign.first == entries(taught)[0].first[:10]
    assert answer(taught, OTHER).campaign is None


def test_no_text_of_a_report_is_stored(tmp_path, taught):
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "bank_phishing"))) == 0
    for path in (taught / "memory").iterdir():
        content = path.read_bytes()
        assert b"13800138000" not in content
        assert "低息贷款".encode() not in content


def test_near_duplicates_are_one_campaign_and_come_to_a_known_one(tmp_path, taught):
    rows = [(LOAN, "bank_phishing"), (VARIANT, "bank_phishing"), (OTHER, "retail")]
    assert run("learn", taught, reports_file(tmp_path, *rows)) == 0
    assert [(entry.id, entry.messages) for entry in entries(taught)] == [(1, 2), (2, 1)]
    third = LOAN.replace("您好", "")
    later = reports_file(tmp_path, (third, "bank_phishing", "", "again"), (LOAN, "bank_phishing"))
    assert run("learn", taught, later) == 0
    assert [(entry.id, entry.messages) for entry in entries(taught)] == [(1, 3), (2, 1)]
    # Of another label or action it is another campaign.
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "bank_phishing", "block"))) == 0
    assert [entry.id for entry in entries(taught)] == [1, 2, 3]


def test_allow_goes_before_block_and_both_before_a_label(tmp_path, taught):
    # The later ones come last in the order.
    rows = [(LOAN, "bank_phishing", "block"), (LOAN, "bank_alert")]
    assert run("learn", taught, reports_file(tmp_path, *rows)) == 0
    assert answer(taught, LOAN).decision == "block"
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "retail", "allow"))) == 0
    prediction = answer(taught, LOAN)
    assert (prediction.label, prediction.decision) == ("retail", "pass")
    assert run("learn", taught, "--forget", 3) == 0
    assert run("learn", taught, "--forget", 1) == 0
    assert answer(taught, LOAN).label == "bank_alert"
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "retail", "allow"))) == 0
    # An id is not used again.
    assert [entry.id for entry in entries(taught)] == [2, 4]
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "gambling", "block"))) == 0
    assert answer(taught, LOAN).decision == "pass"


def test_the_decision_follows_from_the_label_of_a_campaign(tmp_path, evaluated_run):
    run_folder = with_limit(Path(shutil.copytree(evaluated_run, tmp_path / "run")), 0.2)
    assert run("learn", run_folder, reports_file(tmp_path, (OTHER, "bank_phishing"))) == 0
    assert run("learn", run_folder, reports_file(tmp_path, (LOAN, "retail"))) == 0
    assert answer(run_folder, OTHER).decision == "block"
    assert answer(run_folder, LOAN).decision == "pass"


def test_a_report_counts_until_its_end(tmp_path, taught, monkeypatch):
    reports = reports_file(tmp_path, (LOAN, "bank_phishing", "block", "", "2099-01-01"))
    assert run("learn", taught, reports) == 0
    assert answer(taught, LOAN).campaign is not None
    (entry,) = entries(taught)
    assert entry.until == "2099-01-02T00:00:00+08:00"
    monkeypatch.setattr("smstune.inference.memory.lookup.time.time", lambda: 4_070_966_401)
    assert answer(taught, LOAN).campaign is None


def test_a_campaign_that_matches_other_labels_is_refused_unless_forced(
    tmp_path, finished_run, messages, capsys
):
    # Of 39 campaigns of other labels none may be matched: with one, the bound is 12 %.
    taught = with_limit(Path(shutil.copytree(finished_run, tmp_path / "run")), 0.1)
    with messages.open(encoding="utf-8") as stream:
        retail = [row["text"] for row in csv.DictReader(stream) if row["label"] == "retail"]
    broad = [(text, "bank_phishing") for text in retail]
    reports = reports_file(tmp_path, (LOAN, "bank_phishing"), *broad)
    assert run("learn", taught, reports) == 3
    captured = capsys.readouterr()
    assert "campaigns were not learned, the first of row " in captured.err
    refused = captured.out.count("refused: bank_phishing")
    assert refused >= 1
    # The others are remembered.
    assert answer(taught, LOAN).campaign is not None
    assert f"{refused} of {refused + len(entries(taught))} campaigns" in captured.err
    assert run("learn", taught, reports, "--force") == 0
    assert sum(entry.false_alarms.messages for entry in entries(taught)) > 0


def test_without_anything_to_measure_on_only_force_learns(tmp_path, taught, prepared, capsys):
    manifest = json.loads((taught / "manifest.json").read_text("utf-8"))
    del manifest["checksum"]
    manifest["data"]["path"] = "/nowhere"
    (taught / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    reports = reports_file(tmp_path, (LOAN, "bank_phishing"))
    assert run("learn", taught, reports) == 2
    assert "--validation FILE" in error_of(capsys)
    assert not (taught / "memory").exists()
    assert run("learn", taught, reports, "--force") == 0
    assert "not measured" in capsys.readouterr().out
    assert run("learn", taught, "--list") == 0
    assert "not measured" in capsys.readouterr().out
    # A file with a message of another label that is nearly the same.
    rows = [(VARIANT, "retail"), (OTHER, "retail")]
    validation = reports_file(tmp_path, *rows, name="validation.csv")
    reports = reports_file(tmp_path, (LOAN, "bank_alert"))
    assert run("learn", taught, reports, "--validation", validation) == 3
    assert "1 of 2 campaigns" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ((LOAN, "unknown"), "no label 'unknown'"),
        # The columns are swapped: a message must not be printed.
        ((LOAN, LOAN * 3), f"no label {3 * len(LOAN)} characters"),
        ((LOAN, "retail", LOAN * 3), f"found {3 * len(LOAN)} characters"),
        ((LOAN, ""), "no label"),
        (("  ", "retail"), "no message"),
        ((LOAN, "retail", "stop"), "allow, block or none"),
        ((LOAN, "retail", "", "", "2001-01-01"), "is over"),
        ((LOAN, "retail", "", "", "soon"), "expected a time"),
    ],
)
def test_a_bad_report_is_one_line_and_nothing_is_learned(tmp_path, taught, capsys, row, problem):
    reports = reports_file(tmp_path, (OTHER, "retail"), row)
    assert run("learn", taught, reports) == 2
    line = error_of(capsys)
    assert problem in line
    assert LOAN not in line
    assert "row 3" in line
    assert not (taught / "memory").exists()


def test_another_similarity_is_refused_before_a_report_comes(tmp_path, taught, capsys):
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "retail"))) == 0
    config = taught / "config.yaml"
    changed = re.sub(r"similarity: 0\.7", "similarity: 0.6", config.read_text("utf-8"))
    config.write_text(changed, "utf-8")
    assert "similarity: 0.6" in changed
    manifest = load_manifest(taught)
    section = run_config(taught, manifest, "memory").memory
    with pytest.raises(UserError, match=r"was begun with memory.similarity=0.7"):
        open_teacher(taught, manifest, section, None)


def test_a_broken_generation_is_refused_in_one_line(tmp_path, taught, capsys):
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "retail"))) == 0
    memory = taught / "memory"
    whole = {path.name: path.read_bytes() for path in memory.iterdir()}
    capsys.readouterr()
    for name in ("manifest.json", "generation-1.safetensors", "generation-1.jsonl"):
        content = bytearray(whole[name])
        content[len(content) // 2] ^= 4
        for broken in (bytes(content), whole[name][:-9], b"", None):
            if broken is None and name == "manifest.json":
                continue
            (memory / name).unlink()
            if broken is not None:
                (memory / name).write_bytes(broken)
            for command in (["learn", taught, "--list"], ["predict", taught, "--text", LOAN]):
                assert run(*command) == 2
                assert "memory is broken" in error_of(capsys).replace(str(taught), "")
        (memory / name).write_bytes(whole[name])
    assert run("learn", taught, "--list") == 0


def test_a_broken_memory_stops_no_evaluation(tmp_path, taught):
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "retail"))) == 0
    (taught / "memory/generation-1.jsonl").write_text("")
    assert run("eval", taught, "evaluation.bootstrap_samples=0", "evaluation.baseline=false") == 0


def test_two_writers_lose_nothing(tmp_path, taught):
    letters = "春夏秋冬东西南北风花雪月山水云天江河湖海"
    texts = [letters[n : n + 8] * 3 + letters[-n:] + OTHER[: n + 9] for n in range(12)]
    children = []
    for number in range(4):
        rows = [(text, "retail") for text in texts[number * 3 : number * 3 + 3]]
        reports = reports_file(tmp_path, *rows, name=f"reports-{number}.csv")
        command = [sys.executable, ROOT / "scripts/learn.py", taught, reports]
        children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    assert [child.wait() for child in children] == [0] * 4
    classifier = SmsClassifier.from_pretrained(taught, device="cpu")
    assert all(prediction.campaign for prediction in classifier.predict(texts))
    assert classifier.memory.generation.number == 4
    ids = [entry.id for entry in entries(taught)]
    assert ids == list(range(1, len(ids) + 1))


def test_a_reader_holds_the_generation_it_opened(tmp_path, taught):
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "bank_phishing", "block"))) == 0
    classifier = SmsClassifier.from_pretrained(taught, device="cpu")
    assert classifier.predict([LOAN])[0].campaign is not None
    assert run("learn", taught, "--forget", 1) == 0
    assert classifier.predict([LOAN])[0].campaign is not None
    classifier.refresh_memory()
    assert classifier.predict([LOAN])[0].campaign is None


@given(st.integers(0, 400), st.integers(1, 400))
def test_the_bound_is_clopper_and_pearsons(count, total):
    count = min(count, total)
    expected = beta.ppf(0.95, count + 1, total - count) if count < total else 1.0
    assert upper_bound(count, total) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".xlsx"])
def test_predict_has_a_column_for_the_campaign(tmp_path, taught, suffix):
    assert run("learn", taught, reports_file(tmp_path, (LOAN, "bank_phishing", "block"))) == 0
    source = tmp_path / "in.csv"
    source.write_text(f"text,campaign\n{OTHER},mine\n{VARIANT},too\n", "utf-8")
    output = tmp_path / f"out{suffix}"
    assert run("predict", taught, source, output) == 0
    rows = list(read_rows(output, TableOptions(labelled=False)))
    assert [row.fields["input_campaign"] for row in rows] == ["mine", "too"]
    assert list(rows[0].fields)[-1] == "campaign"
    assert rows[0].fields["campaign"] in (None, "")
    campaign = rows[1].fields["campaign"]
    campaign = json.loads(campaign) if isinstance(campaign, str) else campaign
    assert (campaign["id"], campaign["label"], campaign["action"]) == (1, "bank_phishing", "block")
    assert (rows[1].fields["label"], rows[1].fields["decision"]) == ("bank_phishing", "block")


def test_predict_starts_over_where_the_memory_has_changed(tmp_path, taught, monkeypatch, capsys):
    monkeypatch.setattr(score_file, "_ROWS_AT_ONCE", 2)
    source, output = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("text\n" + f"{OTHER}\n{VARIANT}\n" * 3, "utf-8")

    def interrupted(rows, scorer, scored_parts, progress):
        yield next(score_chunks(rows, scorer, scored_parts, progress))
        raise KeyboardInterrupt

    score_chunks = score_file._score_chunks
    for command in ([], ["--forget", "1"]):
        reports = command or [reports_file(tmp_path, (LOAN, "bank_phishing"))]
        with monkeypatch.context() as patch:
            patch.setattr(score_file, "_score_chunks", interrupted)
            assert run("predict", taught, source, output) == 130
        assert run("learn", taught, *reports) == 0
        assert run("predict", taught, source, output) == 0
        said = capsys.readouterr().err
        assert "the memory changed since the last start: starting over" in said
        rows = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
        assert [row.get("campaign") is not None for row in rows] == [False, not command] * 3
        output.unlink()
