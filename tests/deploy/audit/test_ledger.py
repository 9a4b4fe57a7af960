"""audit --ledger and --opt-outs through its door: each message's proof, and broken lists."""

from __future__ import annotations

import csv
import itertools
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from doors import run, write_csv
from python_calamine import CalamineWorkbook

from smstune.deploy.audit.consents import (
    Consent,
    ConsentIndex,
    Frequency,
    Refusal,
    Sending,
    Span,
    read_frequency,
    read_span,
    span_text,
)
from smstune.inference.classifier import SmsClassifier
from smstune.text.opt_out import is_opt_out_reply

SENT = ("text", "recipient", "time")
LEDGER = ("手机号", "同意时间", "渠道", "内容类型", "频次", "截止时间", "撤回时间", "证据")
GIVEN = "2026-03-01 10:00:00"
NOON = "2026-05-04 12:00:00"
WHO = "13000000001"


@pytest.fixture(scope="module")
def ad(learned_run, messages):
    """A message that the learned run takes for marketing."""
    with messages.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream) if row["label"] == "retail"]
    answers = SmsClassifier.from_pretrained(learned_run, device="cpu").predict(texts)
    return next(t for t, answer in zip(texts, answers, strict=True) if answer.label == "retail")


def entry(who=WHO, given=GIVEN, **changes):
    """Return a row of a ledger, complete and valid but for ``changes``."""
    cells = {
        "channel": "门店", "types": "retail、会员活动", "frequency": "每月4条",
        "until": "2026-12-31", "withdrawn": "", "evidence": "表单7",
    }  # fmt: skip
    return (who, given, *({**cells, **changes}.values()))


def audit(learned_run, folder, sent, ledger, *argv, header=SENT):
    """Audit ``sent`` against a ledger; return the status, audit.json and the evidence list."""
    source = write_csv(folder / "outgoing.csv", sent, header)
    if isinstance(ledger, list):
        ledger = write_csv(folder / "ledger.csv", ledger, LEDGER)
    output = folder / "audit"
    argv = (*argv, "--ledger", ledger) if ledger else argv
    status = run("audit", learned_run, source, "--output", output, *argv)
    if not output.exists():
        return status, None, None
    evidence = []
    if (output / "evidence.csv").is_file():
        with (output / "evidence.csv").open(encoding="utf-8-sig", newline="") as stream:
            evidence = list(csv.DictReader(stream))
    return status, json.loads((output / "audit.json").read_text("utf-8")), evidence


@pytest.mark.parametrize(
    ("changes", "time", "hits"),
    [
        ({}, NOON, ""),
        ({"who": "13000000009"}, NOON, "no_consent"),
        ({"given": "2026-05-04 12:00:01"}, NOON, "before_consent"),
        # Of a date alone the hour is not known.
        ({"given": "2026-05-04"}, NOON, ""),
        ({"given": "2026-05-05"}, NOON, "before_consent"),
        ({"withdrawn": "2026-05-04 11:59:59"}, NOON, "after_withdrawal"),
        ({"withdrawn": "2026-05-04 12:00:01"}, NOON, ""),
        # Withdrawn, nobody knows when.
        ({"withdrawn": "是"}, NOON, "after_withdrawal"),
        ({"until": "2026-05-03"}, NOON, "outside_period"),
        ({"until": "2026-05-04"}, NOON, ""),
        ({"until": "长期"}, NOON, ""),
        ({"types": "bank_alert"}, NOON, "outside_type"),
        # The name of its parent covers a label.
        ({"types": "Marketing"}, NOON, ""),
        # What is no label of the run cannot be compared with one.
        ({"types": "会员活动"}, NOON, ""),
        ({"evidence": ""}, NOON, "no_evidence"),
        ({"evidence": "无"}, NOON, "no_evidence"),
        ({"until": "2026-05-03", "evidence": ""}, NOON, "outside_period no_evidence"),
        ({}, "", ""),
    ],
)
def test_what_a_consent_covers(learned_run, tmp_path, ad, changes, time, hits):
    # The second entry lets the types be compared, whatever the first says.
    ledger = [entry(**changes), entry(who="13000000008")]
    sent = [(ad, WHO, time), (ad, "13000000008", NOON)]
    status, result, evidence = audit(learned_run, tmp_path, sent, ledger)
    assert status == 0
    assert evidence[0]["rules"] == hits
    expected = "not covered" if hits else "covered by a consent" if time else "not fully checked"
    assert evidence[0]["outcome"] == expected
    assert evidence[0]["ledger_row"] == ("" if hits == "no_consent" else "2")
    for name in hits.split():
        assert result["rules"][name]["hits"] == 1
    written = b"".join(path.read_bytes() for path in (tmp_path / "audit").iterdir()).decode()
    assert "1300000000" not in written


def test_a_message_whose_own_column_denies_consent_is_not_covered(learned_run, tmp_path, ad):
    sent = [(ad, WHO, NOON, "否"), (ad, WHO, NOON, "是")]
    header = (*SENT, "是否同意")
    _, result, evidence = audit(learned_run, tmp_path, sent, [entry()], header=header)
    assert [row["rules"] for row in evidence] == ["no_consent", ""]
    assert [row["outcome"] for row in evidence] == ["not covered", "covered by a consent"]
    assert result["rules"]["no_consent"]["hits"] == 1


def test_each_message_beyond_the_frequency_hits_in_its_own_period(learned_run, tmp_path, ad):
    """Times out of order: the third of a week is over, wherever it stands."""
    days = ("2026-05-05", "2026-05-04", "2026-05-10", "2026-05-11", "2026-05-06")
    sent = [(ad, WHO, f"{day} 12:00:00") for day in days]
    _, result, evidence = audit(learned_run, tmp_path, sent, [entry(frequency="每周2条")])
    assert [row["rules"] for row in evidence] == [
        "", "", "outside_frequency", "", "outside_frequency",
    ]  # fmt: skip
    assert {row["frequency"] for row in evidence} == {"at most 2 a week"}
    assert result["consent"]["covered"] == 3


def test_the_best_of_several_consents_counts(learned_run, tmp_path, ad):
    ledger = [
        entry(given="2025-01-01", until="2025-12-31"),
        entry(given="2026-02-01", withdrawn="2026-03-01"),
        entry(given="2026-04-01"),
    ]
    _, _, evidence = audit(learned_run, tmp_path, [(ad, WHO, NOON)], ledger)
    assert (evidence[0]["rules"], evidence[0]["ledger_row"]) == ("", "4")


def test_a_recipient_in_both_lists_is_judged_by_the_later(learned_run, tmp_path, ad, capsys):
    opt_outs = write_csv(
        tmp_path / "replies.csv",
        [
            (WHO, "2026-05-03 09:00:00", "TD"),
            ("+86 130-0000-0002", "2026-02-01 09:00:00", "退订"),
            ("13000000003", "2026-05-01 09:00:00", "你好，有货吗"),
            ("13000000004", "2026-05-05 09:00:00", "R"),
            ("13000000005", "gone", "T"),
        ],
        ("手机号", "回复时间", "回复内容"),
    )
    people = [WHO, *(f"1300000000{digit}" for digit in range(2, 6))]
    sent = [(ad, who, NOON) for who in people]
    ledger = [entry(who=who) for who in people]
    status, result, evidence = audit(learned_run, tmp_path, sent, ledger, "--opt-outs", opt_outs)
    assert status == 0
    # Consent after the opt-out; no opt-out; opt-out after the message; at a time unknown.
    assert [row["rules"] for row in evidence] == [
        "after_withdrawal",
        "",
        "",
        "",
        "after_withdrawal",
    ]
    assert (evidence[0]["refused"], evidence[0]["opt_out_row"]) == ("2026-05-03 09:00:00", "2")
    assert result["consent"] == {
        "ledger_rows": 5, "opt_outs": 4, "other_replies": 1, "in_both": 4,
        "problems": {"the opt-out has no time": 1}, "covered": 3, "not_covered": 2, "undecided": 0,
    }  # fmt: skip
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "4 recipients are in the ledger and" in line]) == 1


def test_a_request_for_consent_after_an_opt_out(learned_run, tmp_path, ad):
    """Without a ledger opt-outs alone are checked, of messages that are no marketing, too."""
    opt_outs = write_csv(tmp_path / "o.csv", [(WHO, "2026-05-01")], ("recipient", "time"))
    ask = "您是否同意接收本店活动短信？同意请回复Y"
    sent = [(ask, WHO, NOON), (ask, "13000000002", NOON), (ask, WHO, "2026-04-30"), (ad, WHO, NOON)]
    _, result, _ = audit(learned_run, tmp_path, sent, None, "--opt-outs", opt_outs)
    with (tmp_path / "audit/findings.csv").open(encoding="utf-8-sig", newline="") as stream:
        rules = {int(row["row"]): row["rules"].split() for row in csv.DictReader(stream)}
    asked = [row for row, names in rules.items() if "request_after_refusal" in names]
    assert asked == [2]
    assert "after_withdrawal" in rules[5]
    assert result["rules"]["before_consent"]["unchecked"] == "no ledger was given (--ledger)"
    assert not (tmp_path / "audit/evidence.csv").exists()


def test_a_consent_is_found_by_its_id_and_only_for_its_recipient(learned_run, tmp_path, ad):
    ledger = write_csv(
        tmp_path / "ledger.csv",
        [("A-1", WHO, GIVEN), ("A-2", "13000000002", GIVEN), ("A-3", "", GIVEN)],
        ("同意编号", "手机号", "同意时间"),
    )
    sent = [(ad, WHO, NOON, consent_id) for consent_id in ("A-1", "A-2", "A-3", "A-4", "")]
    header = (*SENT, "consent_id")
    _, _, evidence = audit(learned_run, tmp_path, sent, ledger, header=header)
    assert [(row["rules"], row["ledger_row"]) for row in evidence] == [
        ("", "2"), ("no_consent", ""), ("", "4"), ("no_consent", ""), ("", "2"),
    ]  # fmt: skip


def test_types_are_those_of_the_messages_column(learned_run, tmp_path, ad):
    sent = [(ad, WHO, NOON, kind) for kind in ("会员活动", "新品", "")]
    header = (*SENT, "内容类型")
    _, _, evidence = audit(learned_run, tmp_path, sent, [entry()], header=header)
    assert [row["rules"] for row in evidence] == ["", "outside_type", ""]


def test_workbooks_in_and_out_in_chinese(learned_run, tmp_path, ad):
    with xlsxwriter.Workbook(tmp_path / "ledger.xlsx") as workbook:
        sheet = workbook.add_worksheet()
        sheet.write(0, 0, "同意台账")
        sheet.write_row(1, 0, LEDGER)
        sheet.write_row(2, 0, (int(WHO), *entry()[1:]))
        sheet.write_row(3, 0, entry(who="13000000002", until="2026-02-01"))
    argv = ("--excel", "--lang", "zh")
    status, _, _ = audit(learned_run, tmp_path, [(ad, WHO, NOON)], tmp_path / "ledger.xlsx", *argv)
    assert status == 0
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {
        "findings.xlsx", "evidence.xlsx", "audit.json", "audit.html",
    }  # fmt: skip
    workbook = CalamineWorkbook.from_path(str(tmp_path / "audit/evidence.xlsx"))
    header, row = workbook.get_sheet_by_index(0).to_python()
    assert header[:4] == ["行号", "结论", "命中规则", "规则代号"]
    assert row[1] == "有同意记录覆盖"
    assert row[header.index("台账行号")] == 3
    page = (tmp_path / "audit/audit.html").read_text("utf-8")
    assert "同意的证明" in page
    assert "《消费者权益保护法》第二十九条第三款" in page
    assert "仅据转述" in page
    assert "截止时间早于同意时间" in page


def test_a_parquet_ledger_with_times_of_its_own(learned_run, tmp_path, ad):
    times = [datetime(2026, 5, 4, 3, 59, tzinfo=UTC), datetime(2026, 5, 4, 4, 1, tzinfo=UTC)]
    columns = {"recipient": [int(WHO), 13000000002], "given": times}
    pq.write_table(pa.table(columns), tmp_path / "ledger.parquet")
    sent = [(ad, WHO, NOON), (ad, "13000000002", NOON)]
    _, result, evidence = audit(learned_run, tmp_path, sent, tmp_path / "ledger.parquet")
    assert [row["rules"] for row in evidence] == ["", "before_consent"]
    assert result["rules"]["no_evidence"]["unchecked"] == "the ledger has no column for evidence"


def test_rows_of_a_ledger_that_prove_nothing_are_named(learned_run, tmp_path, ad, capsys):
    """None is lost: their recipients have no consent, and each kind is one line."""
    broken = [
        entry(withdrawn="2026-02-01"),
        entry(who="13000000002", until="2026-02-01"),
        entry(who="13000000003", given="去年"),
        entry(who="13000000004", frequency="偶尔"),
        entry(who=""),
        (*entry(who="13000000005"), "一格太多"),
    ]
    people = [WHO, *(f"1300000000{digit}" for digit in range(2, 6)), ""]
    sent = [(ad, who, NOON) for who in people]
    _, result, evidence = audit(learned_run, tmp_path, sent, broken)
    assert [row["rules"] for row in evidence] == ["no_consent"] * 6
    assert [row["ledger_row"] for row in evidence] == ["2", "3", "4", "5", "7", ""]
    assert evidence[0]["note"] == "the consent was withdrawn before it was given"
    assert evidence[-1]["note"] == "the message has no recipient"
    assert sum(result["consent"]["problems"].values()) == 6
    lines = capsys.readouterr().err.splitlines()
    warned = [line for line in lines if "no proof of that consent" in line]
    assert len(warned) == 6
    assert any("1 in all, at row 3" in line for line in warned)
    assert not any("1300" in line for line in lines)


@pytest.mark.parametrize(
    ("header", "rows", "told"),
    [
        (("手机号", "备注"), [("1", "2")], "expected column given in"),
        (("备注", "同意时间"), [("1", "2")], "expected column recipient or consent_id in"),
        (("甲", "乙"), [("1", "2")], "expected column given, recipient or consent_id in"),
        (LEDGER, [], "expected rows in"),
    ],
)
def test_a_ledger_with_wrong_columns(learned_run, tmp_path, ad, capsys, header, rows, told):
    ledger = write_csv(tmp_path / "ledger.csv", rows, header)
    assert audit(learned_run, tmp_path, [(ad, WHO, NOON)], ledger)[:2] == (2, None)
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert told in lines[-1]


def test_messages_without_a_recipient_cannot_be_looked_up(learned_run, tmp_path, ad, capsys):
    assert audit(learned_run, tmp_path, [(ad,)], [entry()], header=("text",))[0] == 2
    assert "name yours with --recipient-column" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("option", ["--ledger", "--opt-outs"])
@pytest.mark.parametrize("path", ["gone.csv", ".", "-"])
def test_a_list_that_is_no_file(learned_run, tmp_path, ad, capsys, monkeypatch, option, path):
    monkeypatch.chdir(tmp_path)
    assert audit(learned_run, tmp_path, [(ad, WHO, NOON)], None, option, path)[0] == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_a_list_is_no_output(learned_run, tmp_path, ad, capsys):
    ledger = write_csv(tmp_path / "audit", [entry()], LEDGER)
    source = write_csv(tmp_path / "outgoing.csv", [(ad, WHO, NOON)], SENT)
    argv = ("--output", tmp_path / "audit", "--ledger", ledger, "--overwrite")
    assert run("audit", learned_run, source, *argv) == 2
    assert "is the input itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "frequency"),
    [
        ("每月4条", Frequency(4, "month")),
        ("每天不超过1条", Frequency(1, "day")),
        ("每周两次", Frequency(2, "week")),
        ("4条/月", Frequency(4, "month")),
        ("2 per week", Frequency(2, "week")),
        ("Daily", Frequency(1, "day")),
        ("偶尔", None),
        ("", None),
    ],
)
def test_frequencies_as_people_write_them(text, frequency):
    assert read_frequency(text) == frequency


@pytest.mark.parametrize(
    "reply", ["R", "td", " T ", "“TD”", "退订", "请不要再发了", "0000", "STOP"]
)
def test_replies_that_opt_out(reply):
    assert is_opt_out_reply(reply)


@pytest.mark.parametrize("reply", ["Y", "好的", "RT", "TD是什么意思", "1", ""])
def test_replies_that_do_not(reply):
    assert not is_opt_out_reply(reply)


@pytest.mark.parametrize(("given", "refused", "sent"), itertools.product(range(3), repeat=3))
def test_a_refusal_holds_until_a_later_consent(given, refused, sent):
    index = ConsentIndex()
    index.by_recipient[1].append(Consent(2, 1, given=Span(given, given)))
    index.opt_outs[1].append(Refusal(2, Span(refused, refused)))
    sending = Sending(1, None, Span(sent, sent), frozenset())
    renewed = refused < given <= sent
    assert (index.refused(sending) is not None) == (refused < sent and not renewed)
    hits = index.prove(sending).hits
    assert ("before_consent" in hits) == (sent < given)


def test_a_withdrawal_counts_even_in_an_entry_that_proves_nothing():
    index = ConsentIndex()
    broken = Consent(2, 1, withdrawn=Span(1, 1), problem="no time")
    index.by_recipient[1].append(broken)
    sending = Sending(1, None, Span(2, 2), frozenset())
    assert index.refused(sending).row == 2
    index.by_recipient[1].append(Consent(3, 1, given=Span(0, 0)))
    assert index.refused(sending) is None


def test_the_end_of_time_is_a_time():
    assert span_text(read_span("9999-12-31 23:59:59")).startswith("2200-01-01")
