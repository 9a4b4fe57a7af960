"""suggest: unlabelled messages in, a sheet to fill in out."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from doors import run, write_csv

from smstune.deploy.suggest.choose import choose
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows

PHONE = "13800138000"
TOPICS = ("您的快递已到驿站", "恭喜您获得贷款额度", "本店新款上市欢迎选购", "您的验证码请勿泄露")


@pytest.fixture
def pool(tmp_path):
    """Return 40 messages: ten campaigns of three near-copies, nine others, and one empty row."""
    rows = [
        (f"{TOPICS[number % 4]}，编号{'甲乙丙丁戊己庚辛壬癸'[number]}，联系{PHONE}" + "！" * copy,)
        for number in range(10)
        for copy in range(3)
    ]
    rows += [
        (f"{'东南西北中天地玄黄'[number] * 7}门店{TOPICS[number % 4]}",) for number in range(9)
    ]
    return write_csv(tmp_path / "pool.csv", [*rows, ("",)], ("短信内容",))


def sheet_rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_sheet_has_masked_messages_of_different_campaigns_and_an_empty_label(
    learned_run, pool, tmp_path, capsys
):
    sheet = tmp_path / "sheet.csv"
    assert run("suggest", learned_run, pool, "--number", 8, "--output", sheet) == 0
    rows = sheet_rows(sheet)
    assert list(rows[0]) == ["text", "label", "answer", "score", "campaign_messages"]
    assert len(rows) == len({row["text"].rstrip("！") for row in rows}) == 8
    assert {row["label"] for row in rows} == {""}
    assert PHONE not in sheet.read_text("utf-8")
    assert any("[PHONE]" in row["text"] and row["campaign_messages"] == "3" for row in rows)
    assert capsys.readouterr().out.strip() == str(sheet)


def test_the_suffix_of_the_output_counts_in_any_case(learned_run, pool, tmp_path):
    for name in ("a.CSV", "a.Json", "a.JSONL"):
        output, usual = tmp_path / name, tmp_path / name.lower().replace("a.", "b.")
        for file in (output, usual):
            assert run("suggest", learned_run, pool, "--number", 5, "--output", file) == 0
        assert output.read_bytes() == usual.read_bytes()


def test_tasks_of_label_studio_and_doccano_carry_the_answer(learned_run, pool, tmp_path):
    tasks_file, lines_file = tmp_path / "tasks.json", tmp_path / "tasks.jsonl"
    for output in (tasks_file, lines_file):
        assert run("suggest", learned_run, pool, "--number", 5, "--output", output) == 0
    tasks = json.loads(tasks_file.read_text("utf-8"))
    lines = [json.loads(line) for line in lines_file.read_text("utf-8").splitlines()]
    assert [task["data"]["text"] for task in tasks] == [line["text"] for line in lines]
    assert [task["predictions"][0]["result"][0]["value"]["choices"] for task in tasks] == [
        [line["answer"]] for line in lines
    ]
    assert all(line["label"] == [] for line in lines)


def test_a_filled_in_sheet_is_prepared_as_it_is(learned_run, pool, tmp_path):
    sheet, filled = tmp_path / "sheet.csv", tmp_path / "filled.csv"
    assert run("suggest", learned_run, pool, "--number", 16, "--output", sheet) == 0
    rows = sheet_rows(sheet)
    filled_rows = [(row["text"], "ab"[index % 2], row["answer"]) for index, row in enumerate(rows)]
    write_csv(filled, filled_rows, ("text", "label", "answer"))
    assert run("prepare", filled, "--output", tmp_path / "prepared") == 0
    counts = json.loads((tmp_path / "prepared/manifest.json").read_text("utf-8"))["counts"]
    assert counts["kept"] == len(rows) == 16


def test_a_sheet_that_exists_may_be_half_filled_in_and_is_kept(learned_run, pool, tmp_path, capsys):
    sheet = tmp_path / "sheet.xlsx"
    sheet.write_bytes(b"an hour of work")
    arguments = ("suggest", learned_run, pool, "--number", 3, "--output", sheet)
    assert run(*arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert sheet.read_bytes() == b"an hour of work"
    assert run(*arguments, "--overwrite") == 0
    assert len(list(read_rows(sheet, TableOptions(labelled=False)))) == 3


def test_exports_of_annotation_tools_are_prepared_as_they_are(learned_run, pool, tmp_path):
    tasks_file, lines_file = tmp_path / "tasks.json", tmp_path / "tasks.jsonl"
    for output in (tasks_file, lines_file):
        assert run("suggest", learned_run, pool, "--number", 16, "--output", output) == 0
    tasks = json.loads(tasks_file.read_text("utf-8"))
    for index, task in enumerate(tasks):
        choice = {**task["predictions"][0]["result"][0], "value": {"choices": ["ab"[index % 2]]}}
        task["annotations"] = [{"result": [choice], "was_cancelled": False}]
    tasks_file.write_text(json.dumps(tasks, ensure_ascii=False), "utf-8")
    lines = [json.loads(line) for line in lines_file.read_text("utf-8").splitlines()]
    labelled = [{**line, "label": ["ab"[index % 2]]} for index, line in enumerate(lines)]
    lines_file.write_text("\n".join(map(json.dumps, labelled)), "utf-8")
    for number, filled in enumerate((tasks_file, lines_file)):
        output = tmp_path / f"prepared-{number}"
        assert run("prepare", filled, "--output", output) == 0
        counts = json.loads((output / "manifest.json").read_text("utf-8"))["counts"]
        assert counts["kept"] == 16


def test_uncertain_messages_come_first_and_are_spread_over_topics():
    texts = [f"{topic}，{name}" for topic in TOPICS for name in "甲乙丙"]
    certainty = np.linspace(0.5, 0.99, len(texts))
    probabilities = np.stack([certainty, 1 - certainty], axis=1)
    campaigns = np.arange(len(texts))
    assert choose(texts, probabilities, campaigns, 4).tolist() == [0, 3, 6, 9]
    # Rows 0 and 1 are one campaign: the more uncertain of the two stands for it.
    campaigns[1] = 0
    chosen = choose(texts, probabilities, campaigns, 20)
    assert chosen.tolist() == [0, *range(2, len(texts))]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output", "sheet.docx"], "expected .xlsx, .csv, .tsv"),
        (["--output", "sheet.csv", "--number", "0"], "--number must be at least 1"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_read(
    finished_run, pool, arguments, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    try:
        status = run("suggest", finished_run, pool, *arguments)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert words in capsys.readouterr().err


def test_a_pool_without_messages_is_refused(finished_run, tmp_path, capsys):
    pool = write_csv(tmp_path / "empty.csv", [(" ", "x"), ("", "y")], ("text", "note"))
    assert run("suggest", finished_run, pool, "--output", tmp_path / "out.csv") == 2
    assert "found none in 2 rows" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
