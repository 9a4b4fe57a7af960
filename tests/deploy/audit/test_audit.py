"""audit through its door: rules, counts, nothing personal written, limits, bad input."""

from __future__ import annotations

import csv
import json
import re
import shutil
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doors import run, write_csv
from hypothesis import given
from hypothesis import strategies as st

from smstune.deploy.audit import audit as audit_module
from smstune.deploy.audit.recipients import Moment, RecipientDays, read_moment
from smstune.deploy.audit.rules import has_signature, has_variants, load_rules, text_hits
from smstune.inference.classifier import SmsClassifier

RULES = load_rules().rules
HEADER = ("text", "sender", "recipient", "time", "consent")
NOON = "2021-11-01 12:00:00"
GOOD = "【云集优选】会员专享，满300减50，到店即用，拒收请回复R"


def hits(text):
    return text_hits(text, RULES)


@pytest.mark.parametrize(
    ("name", "rule"),
    [(name, rule) for name, rule in RULES.by_name().items() if rule.examples],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_examples_beside_a_rule(name, rule):
    applied = RULES.model_copy(update={name: rule.model_copy(update={"enabled": True})})
    assert [text for text in rule.examples.hits if name not in text_hits(text, applied)] == []
    assert [text for text in rule.examples.clean if name in text_hits(text, applied)] == []


def test_every_rule_of_words_has_examples():
    without = [name for name, rule in RULES.by_name().items() if rule.examples is None]
    # They look at other columns, or at the label alone.
    assert without == [
        "no_consent", "before_consent", "after_withdrawal", "outside_period", "outside_type",
        "outside_frequency", "no_evidence", "night", "too_many", "fraud",
    ]  # fmt: skip


@given(st.text(), st.text(st.characters(exclude_characters="【】")))
def test_signature_is_found_whatever_surrounds_it(before, after):
    text = f"{before.rstrip('【')}【云集优选】{after}"
    assert has_signature(text, RULES.no_signature)
    assert "no_signature" not in hits(text)


@given(
    st.text(
        st.sampled_from("退回TDR【】微信v❤①０１２138\u200b\ufe0f 保本.cn/ab\ud800證亻言")
        | st.characters()
    )
)
def test_rules_take_any_text(text):
    assert hits(text) <= set(type(RULES).model_fields)


@given(st.text(st.sampled_from("今日特惠全场满减包邮，。！ 0123456789abcXYZ")))
def test_plain_text_has_no_variants(text):
    assert not has_variants(text) or any(mark in text for mark in " ")


@pytest.mark.parametrize(
    ("value", "day", "hour"),
    [
        ("2021-11-01 23:30:00", "2021-11-01", 23),
        ("2021-11-01T15:59:59Z", "2021-11-01", 23),
        ("2021-11-01T16:00:00+00:00", "2021-11-02", 0),
        ("2021/11/1 9:05", "2021-11-01", 9),
        ("2021年11月1日 09:05", "2021-11-01", 9),
        ("20211101090500", "2021-11-01", 9),
        ("2021-11-01", "2021-11-01", None),
        ("20211101", "2021-11-01", None),
        (1635782400, "2021-11-02", 0),
        ("1635782399000", "2021-11-01", 23),
        (datetime(2021, 11, 1, 16, tzinfo=UTC), "2021-11-02", 0),
        (datetime(2021, 11, 1, 16), "2021-11-01", 16),
        (datetime(2021, 11, 1).date(), "2021-11-01", None),
        (44501.25, "2021-11-01", 6),
        ("44501", "2021-11-01", None),
    ],
)
def test_times_are_read_as_china_s(value, day, hour):
    days = (datetime.fromisoformat(day) - datetime(1970, 1, 1)).days
    assert read_moment(value) == Moment(days, hour)


@pytest.mark.parametrize(
    "value", ["", None, "明天", "1960-01-01", "9999-12-31T23:00:00-12:00", 1e300, True]
)
def test_what_is_no_time_is_none(value):
    assert read_moment(value) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1))
def test_counts_are_those_of_a_plain_count(sent):
    counted = RecipientDays()
    for who, day in sent:
        counted.add(who, day)
        counted._gather() if day == 5 else None
    days = {pair: sent.count(pair) for pair in sent}
    windows = {
        who: max(
            sum(n for (w, d), n in days.items() if w == who and start <= d < start + 3)
            for start in range(-2, 10)
        )
        for who, _ in sent
    }
    counts = counted.summary(3)
    assert counts.recipients == len(windows)
    assert counts.recipient_days == len(days)
    assert counts.a_day.most == max(days.values())
    assert counts.a_day.over == sum(n > 3 for n in days.values())
    assert counts.three_days.most == max(windows.values())
    assert counts.three_days.over == sum(n > 3 for n in windows.values())
    assert sum(counts.three_days.distribution.values()) == len(windows)


def test_a_number_is_one_recipient_however_it_is_written():
    counted = RecipientDays()
    for number in ("13000000000", "+8613000000000", "+86 130-0000-0000", "008613000000000"):
        counted.add(number, 1)
    assert counted.summary(3).a_day.most == 4


@pytest.fixture(scope="module")
def texts(learned_run, messages):
    """The small world's messages by the label that its run gives them, of each label some."""
    with messages.open(encoding="utf-8", newline="") as stream:
        rows = [row["text"] for row in csv.DictReader(stream)]
    found = {}
    classifier = SmsClassifier.from_pretrained(learned_run, device="cpu")
    for text, answer in zip(rows, classifier.predict(rows), strict=True):
        found.setdefault(answer.label, []).append(text)
    return found


def inspect(learned_run, folder, rows, *argv, header=HEADER):
    """Audit ``rows``; return the exit status, audit.json and the findings."""
    path = write_csv(folder / "outgoing.csv", rows, header)
    output = folder / "audit"
    status = run("audit", learned_run, path, "--output", output, *argv)
    if not output.exists():
        return status, None, None
    with (output / "findings.csv").open(encoding="utf-8-sig", newline="") as stream:
        found = list(csv.DictReader(stream))
    return status, json.loads((output / "audit.json").read_text("utf-8")), found


def test_what_is_written(learned_run, texts, tmp_path, monkeypatch, capsys):
    """Every rule of sending, counts across midnight, and not one recipient in any file."""
    monkeypatch.setattr(audit_module, "_ROWS_AT_ONCE", 3)
    ad = texts["retail"][0]
    secret = "mingzi@example.com"
    rows = [
        (ad, "10690000111", "13000000001", "2021-11-01 23:59:00", "是"),
        (ad, "10690000111", "13000000001", "2021-11-02 00:01:00", "是"),
        *[(ad, "10690000111", "13000000002", NOON, "是")] * 4,
        (ad, "13000001009", "13000000003", "2021-11-03 07:59:00", ""),
        (ad + "尊客阿禾", "10690000111", "阿禾", "2021-11-03 08:00:00", "未同意"),
        (ad, "10690000111", secret, "gone", "是"),
        (texts["bank_phishing"][0], "10690000111", "13000000002", NOON, "是"),
        (texts["gambling"][0], "10690000111", "13000000002", NOON, "是"),
        ("=1+1 六合彩", "10690000111", "13000000002", NOON, ""),
    ]
    status, result, found = inspect(learned_run, tmp_path, rows, "--with-text")
    assert status == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "audit")
    by_row = {int(line["row"]): line["rules"].split() for line in found}
    night = [row for row, rules in by_row.items() if "night" in rules]
    # The header is row 1.
    assert night == [2, 3, 8]
    assert [row for row, rules in by_row.items() if "no_consent" in rules] == [8, 9]
    assert [row for row, rules in by_row.items() if "fraud" in rules] == [11]
    assert "banned_trade" in by_row[12]
    assert (result["rows"], result["inspected"], result["marketing"]) == (12, 12, 9)
    assert result["rules"]["night"]["of"] == 8
    assert result["rules"]["no_consent"]["hits"] == 2
    assert result["unreadable_times"] == result["without_recipient_or_time"] == 1
    # Number 1 got one message on each of two days, number 2 four on one: fraud is not counted.
    people = result["recipients"]
    assert (people["recipients"], people["recipient_days"]) == (4, 5)
    assert people["a_day"]["distribution"]["1"] == 4
    assert people["a_day"]["over"] == people["three_days"]["over"] == 1
    assert people["three_days"]["distribution"]["2"] == 1
    assert result["rules"]["too_many"]["share"] == 0.2
    written = b"".join(path.read_bytes() for path in (tmp_path / "audit").iterdir()).decode()
    for number in ("13000000001", "13000000002", "13000000003", "13000001009", "阿禾", secret):
        assert number not in written
    assert "10690000111" in written
    # No cell is a formula.
    assert by_row[13]
    assert "'=1+1" in written
    assert not any(line["text"].startswith("=") for line in found)
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {
        "findings.csv", "audit.json", "audit.html",
    }  # fmt: skip


def test_page_says_what_was_found_and_what_it_is_not(finished_run, learned_run, tmp_path):
    evaluated = tmp_path / "run"
    shutil.copytree(learned_run, evaluated)
    shutil.rmtree(evaluated / "eval", ignore_errors=True)
    text = GOOD.replace("满300减50", "销量第一，咨询13000000000")
    labels = ",".join(json.loads((learned_run / "manifest.json").read_text("utf-8"))["labels"])
    argv = ("--marketing", labels)
    inspect(evaluated, tmp_path, [(text,)], *argv, header=("text",))
    page = (tmp_path / "audit/audit.html").read_text("utf-8")
    assert '<html lang="en">' in page
    assert "this report is not legal advice" in page
    assert "was not evaluated on its test set" in page
    assert "销量第一，咨询[PHONE]" in page
    assert "Advertising Law (广告法) Art. 9 (3)" in page
    assert "the input has no column for recipient, time" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    shutil.rmtree(tmp_path / "audit")
    assert run("eval", evaluated) == 0
    _, result, _ = inspect(evaluated, tmp_path, [(text,)], *argv, header=("text",))
    # All labels count as marketing here, so the run is never wrong about it.
    assert result["model"]["precision"] == result["model"]["recall"] == 1
    page = (tmp_path / "audit/audit.html").read_text("utf-8")
    assert "about 100.0 of 100 messages that it labels as marketing" in page


def test_page_and_findings_in_chinese(learned_run, tmp_path, capsys):
    """Nothing that a reader of Chinese needs is in English; the input's columns are carried."""
    header = ("备注", "短信内容", "手机号", "编号", "经办", "发送时间", "标签")
    text = "【云集优选】全网最低，赌场开业，联系阿禾13000000001"
    rows = [
        ("春节", text, "阿禾", "202111010001", "小李13000001009", NOON, "=1+1"),
        ("春节", text, "阿禾", "202111010002", "13000001009", "2021-11-01 23:00:00", "阿禾的"),
        # Too many cells.
        ("春节", text, "阿禾", "202111010003", "", NOON, "", "13000000009"),
    ]
    labels = ",".join(json.loads((learned_run / "manifest.json").read_text("utf-8"))["labels"])
    argv = ("--with-text", "--marketing", labels, "--lang", "zh")
    status, result, found = inspect(learned_run, tmp_path, rows, *argv, header=header)
    assert status == 0
    assert [*found[0]] == [
        "行号", "命中规则", "规则代号", "标签", "得分", "备注", "短信",
        "原表_备注", "编号", "经办", "发送时间", "原表_标签",
    ]  # fmt: skip
    assert [*result["findings_columns"].items()][:3] == [
        ("row", "行号"), ("rule_titles", "命中规则"), ("rules", "规则代号"),
    ]  # fmt: skip
    first, second, ragged = found
    assert "没有退订方式、留个人联系方式、绝对化用语、违禁行业" in first["命中规则"]
    assert "no_opt_out personal_contact absolute_claim banned_trade" in first["规则代号"]
    assert first["短信"] == "【云集优选】全网最低，赌场开业，联系[RECIPIENT][PHONE]"
    assert [first[name] for name in ("原表_备注", "编号", "经办", "发送时间", "原表_标签")] == [
        "春节", "202111010001", "小李[PHONE]", NOON, "'=1+1",
    ]  # fmt: skip
    assert "夜间发送" in second["命中规则"]
    assert second["原表_标签"] == "[RECIPIENT]的"
    assert ragged["行号"] == "4"
    assert not any(ragged[name] for name in ("原表_备注", "编号", "经办", "短信"))
    page = (tmp_path / "audit/audit.html").read_text("utf-8")
    written = page + "".join(map(str, found)) + json.dumps(result, ensure_ascii=False)
    assert not any(secret in written for secret in ("阿禾", "130000"))
    assert '<html lang="zh-CN">' in page
    assert result["rules"]["night"]["title"] == "Sent at night"
    shown = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    # The reason of a row is that of tables/.
    shown = shown.replace(next(iter(result["set_aside"])), "")
    assert re.findall(r"[A-Za-z]+(?: [A-Za-z]+){2,}", shown) == []
    assert "作收件人" in capsys.readouterr().err


def test_a_recipient_s_column_is_left_out_in_every_file_of_a_folder(learned_run, tmp_path, texts):
    (tmp_path / "sent").mkdir()
    ad = texts["retail"][0]
    write_csv(tmp_path / "sent/a.csv", [(ad, "阿禾", "")], ("text", "recipient", "consent"))
    write_csv(tmp_path / "sent/b.csv", [(ad, "阿青", "", "1")], ("短信", "手机号", "同意", "批次"))
    assert run("audit", learned_run, tmp_path / "sent", "--output", tmp_path / "audit") == 0
    written = (tmp_path / "audit/findings.csv").read_text("utf-8-sig")
    assert written.splitlines()[0].endswith("score,note,file,consent,短信,同意,批次")
    assert not any(secret in written for secret in ("阿禾", "阿青", ad[:5]))
    assert "b.csv,,,,1" in written


def test_rows_that_cannot_be_read_are_set_aside(learned_run, texts, tmp_path, capsys):
    path = tmp_path / "outgoing.csv"
    ad = texts["retail"][0]
    path.write_text(f"text,recipient\n{ad},13000000001\n多,了,13000000002\n", "utf-8")
    assert run("audit", learned_run, path, "--output", tmp_path / "audit") == 0
    result = json.loads((tmp_path / "audit/audit.json").read_text("utf-8"))
    assert result["inspected"] == 1
    assert sum(result["set_aside"].values()) == 1
    assert "13000000002" not in (tmp_path / "audit/audit.html").read_text("utf-8")
    assert [line for line in capsys.readouterr().err.splitlines() if "ragged" in line] == [
        "warning: ragged row: 1 in all, at row 3: not inspected, see findings.csv"
    ]
    assert '3,,,,,"ragged row' in (tmp_path / "audit/findings.csv").read_text("utf-8-sig")


def test_parquet_with_times_of_its_own(learned_run, texts, tmp_path):
    path = tmp_path / "outgoing.parquet"
    times = [datetime(2021, 11, 1, 15, 59, tzinfo=UTC), datetime(2021, 11, 1, 16, tzinfo=UTC), None]
    columns = {
        "words": texts["retail"][:1] * 3,
        "phone": [13000000001] * 3,
        "sent": times,
        "agreed": [True, False, None],
    }
    pq.write_table(pa.table(columns), path)
    names = ("--text-column", "words", "--recipient-column", "phone", "--time-column", "sent")
    output = tmp_path / "audit"
    argv = (*names, "--consent-column", "agreed", "--output", output)
    assert run("audit", learned_run, path, *argv) == 0
    result = json.loads((output / "audit.json").read_text("utf-8"))
    assert result["rules"]["no_consent"]["hits"] == 2
    assert result["recipients"]["recipient_days"] == 2
    assert result["unreadable_times"] == 1


def test_shares_above_their_limit_end_with_status_3(learned_run, texts, tmp_path, capsys):
    ad = "【云集优选】" + texts["retail"][0].replace("退订", "")
    rows = [(ad, "1", "a", NOON, consent) for consent in ("是", "是", "是", "否")]
    for limit, status in (("no_consent=0.25", 0), ("no_consent=0.24", 3)):
        assert inspect(learned_run, tmp_path, rows, "--max-share", limit, "night=0")[0] == status
        # The report is there either way.
        assert (tmp_path / "audit/audit.html").is_file()
        shutil.rmtree(tmp_path / "audit")
    assert "no_consent 25.00 % of 4, above 24 %" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--max-share", "nosuch=0.1"), "unknown rule 'nosuch'"),
        (("--max-share", "night=2"), "a share from 0 to 1, found '2'"),
        (("--max-share", "night"), "a share from 0 to 1, found ''"),
        (("--text-column", "body"), "expected column body"),
        (("--sender-column", "from"), "name yours with --sender-column"),
        (("--time-column", "consent"), "expected times such as"),
        (("--marketing", "adverts"), "found adverts"),
        (("--rules", "rules.yaml"), "rules.nigth"),
    ],
)
def test_what_the_user_can_fix(learned_run, tmp_path, monkeypatch, capsys, argv, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text("rules: {nigth: {from_hour: 21}}\n", "utf-8")
    status, result, _ = inspect(learned_run, tmp_path, [(GOOD, "1", "2", NOON, "是")], *argv)
    assert status == 2
    assert result is None
    assert told in capsys.readouterr().err


def test_limit_on_a_rule_that_cannot_be_checked(learned_run, tmp_path, capsys):
    argv = ("--max-share", "too_many=0.1")
    assert inspect(learned_run, tmp_path, [(GOOD,)], *argv, header=("text",))[0] == 2
    assert "no column for recipient, time" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "text,time\n"])
def test_input_without_a_message(learned_run, tmp_path, capsys, content):
    path = tmp_path / "outgoing.csv"
    path.write_text(content, "utf-8")
    assert run("audit", learned_run, path, "--output", tmp_path / "audit") == 2
    assert "expected messages" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("marketing: []", "marketing"),
        ("rules: {night: {from_hour: '22:00'}}", "rules.night.from_hour"),
        ("rules: {absolute_claim: {words: ['(']}}", "invalid regular expression"),
        ("rules: {absolute_claim: {words: ['a*']}}", "matches every text"),
        ("rules: {night: {how: '{until}'}}", "no such value of the rule"),
        ("rules: {night: {how: {en: At night, zh: '{until}'}}}", "no such value of the rule"),
        ("rules: {night: {title: 5}}", "rules.night.title: expected a text, or one in zh"),
        ("rules: {night: {title: {}}}", "rules.night.title: expected a text in zh or en"),
        ("rules: {night: {title: {de: Nachts}}}", "rules.night.title.de: unknown key"),
        ("rules: [night]", "a mapping for each rule"),
        ("rule: {}", "rule: unknown key: did you mean rules?"),
    ],
)
def test_own_rules_are_checked(tmp_path, learned_run, capsys, text, told):
    path = tmp_path / "rules.yaml"
    path.write_text(text + "\n", "utf-8")
    argv = ("--rules", path)
    assert inspect(learned_run, tmp_path, [(GOOD,)], *argv, header=("text",))[0] == 2
    assert told in capsys.readouterr().err


def test_own_rules_change_what_they_name(tmp_path, learned_run, texts):
    path = tmp_path / "rules.yaml"
    path.write_text(
        "rules:\n  night: {from_hour: 12, to_hour: 13}\n  absolute_claim: {words: [独家秘方]}\n"
        "  too_many: {most: 1, title: 一天两条}\n",
        "utf-8",
    )
    claims = [text + "独家秘方" for text in texts["retail"]]
    answers = SmsClassifier.from_pretrained(learned_run, device="cpu").predict(claims)
    # The claim may change what the small run answers.
    claim = next(
        text for text, answer in zip(claims, answers, strict=True) if answer.label == "retail"
    )
    rows = [(claim, "1", "2", NOON, "是")] * 2
    _, result, found = inspect(learned_run, tmp_path, rows, "--rules", path)
    assert {"night", "absolute_claim"} <= set(found[0]["rules"].split())
    assert result["rules"]["too_many"]["hits"] == 1
    # A text without a language is shown in both.
    assert result["rules"]["too_many"]["title"] == "一天两条"
    assert result["rules"]["night"]["how"] == "Sent between 12:00 and 13:00, China time."


def test_rules_are_turned_on_and_off(tmp_path, learned_run):
    path = tmp_path / "rules.yaml"
    path.write_text(
        "rules:\n  opt_out_form: {enabled: true}\n  night: {enabled: false}\n"
        "  no_opt_out: {enabled: false}\n  too_many: {most: 1, enabled: false}\n"
        "  no_signature: {characters: [3, 8]}\n  banned_trade: {enabled: false}\n",
        "utf-8",
    )
    labels = ",".join(json.loads((learned_run / "manifest.json").read_text("utf-8"))["labels"])
    midnight = "2021-11-01 23:00:00"
    rows = [("【云集】六合彩，拒收请回复 R", "1", "2", midnight, "是")] * 2
    argv = ("--rules", path, "--marketing", labels)
    _, result, found = inspect(learned_run, tmp_path, rows, *argv)
    assert {"no_signature", "opt_out_form"} <= set(found[0]["rules"].split())
    off = {"night", "no_opt_out", "too_many", "banned_trade"}
    assert not off & set(found[0]["rules"].split())
    assert all(result["rules"][name]["hits"] is None for name in off)
    assert "this rule is off" in result["rules"]["night"]["unchecked"]


def test_an_example_without_visible_text_says_so(tmp_path, learned_run):
    labels = ",".join(json.loads((learned_run / "manifest.json").read_text("utf-8"))["labels"])
    rows = [("\u200b\ufeff\u200b",)]
    inspect(learned_run, tmp_path, rows, "--marketing", labels, header=("text",))
    page = (tmp_path / "audit/audit.html").read_text("utf-8")
    assert "(no visible text)" in page


def test_run_without_marketing_says_how_to_name_it(finished_run, tmp_path, capsys):
    labels = finished_run / "labels.json"
    assert "marketing" in labels.read_text("utf-8")
    path = tmp_path / "rules.yaml"
    path.write_text("marketing: [advert]\n", "utf-8")
    argv = ("--rules", path)
    assert inspect(finished_run, tmp_path, [(GOOD,)], *argv, header=("text",))[0] == 2
    assert "--marketing" in capsys.readouterr().err


def test_an_audit_replaces_another_only_with_overwrite(learned_run, texts, tmp_path, capsys):
    for n_rows, options, status in ((1, [], 0), (2, [], 2), (2, ["--overwrite"], 0)):
        rows = [(texts["retail"][0], "", "", NOON, "")] * n_rows
        assert inspect(learned_run, tmp_path, rows, *options)[0] == status
        result = json.loads((tmp_path / "audit/audit.json").read_text("utf-8"))
        assert result["rows"] == (n_rows if status == 0 else 1)
        error = capsys.readouterr().err
        if status:
            # Before the model is loaded.
            assert error.splitlines() == [
                f"error: {tmp_path / 'audit'} exists: name another output, or replace it with "
                "--overwrite"
            ]


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("mine", "because notes.txt in it is not of an audit"),
        (".", "in it is not of an audit"),
        ("outgoing.csv", "is the input itself"),
        ("mine/notes.txt", "found the file"),
    ],
)
def test_nothing_but_an_audit_is_overwritten(learned_run, tmp_path, capsys, output, told):
    source = write_csv(tmp_path / "outgoing.csv", [("您好",)], ("text",))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    (tmp_path / "mine/audit.json").touch()
    before = sorted(tmp_path.rglob("*"))
    call = ("audit", learned_run, source, "--output", tmp_path / output, "--overwrite")
    assert run(*call) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before
