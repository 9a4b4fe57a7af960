"""Every text for people has a Chinese translation, and is printed in the reader's language."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys

import pytest
from translations import KEYWORDS, MO, PACKAGE, PO, read_catalogue, texts_of_the_code

from smstune.commands.__main__ import main
from smstune.errors import UserError
from smstune.language import Message, joined, preferred_language, translated, translated_log


def test_catalogue_holds_the_texts_of_the_code_and_no_others():
    in_code = {message.id for message in texts_of_the_code()}
    assert {message.id for message in read_catalogue(PO)} == in_code, "run `make translations`"


def test_every_text_is_translated():
    catalogue = read_catalogue(PO)
    missing = [message.id for message in catalogue if message.id and not message.string]
    assert missing == []


def test_translations_fill_the_same_values_as_the_texts():
    problems = [
        (message.id, list(map(str, errors))) for message, errors in read_catalogue(PO).check()
    ]
    assert problems == []


def test_compiled_catalogue_is_that_of_the_po():
    texts = {message.id: message.string for message in read_catalogue(PO) if message.id}
    compiled = {message.id: message.string for message in read_catalogue(MO) if message.id}
    assert compiled == {text: translation for text, translation in texts.items() if translation}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_texts_for_people_are_templates(path):
    """A text that is built by an f-string or by concatenation cannot be looked up."""
    calls = [
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)
    ]
    built = [
        call.lineno
        for call in calls
        if getattr(call.func, "id", getattr(call.func, "attr", None)) in KEYWORDS
        and call.args
        and isinstance(call.args[0], (ast.JoinedStr, ast.BinOp))
    ]
    assert built == []


def test_message_equals_its_english_text_and_survives_pickling():
    message = Message("expected {count:,} rows in {path}", count=1234, path="a.csv")
    assert message == "expected 1,234 rows in a.csv"
    copy = pickle.loads(pickle.dumps(UserError(message))).args[0]
    assert (copy, copy.template, copy.values) == (message, message.template, message.values)


def test_values_are_translated_with_their_message():
    inner = UserError("no such file or folder: check the path")
    outer = Message("error: {message}", message=inner)
    assert translated(outer, "zh") == f"错误：{translated(inner, 'zh')}"
    assert translated(joined([inner.args[0], "b"], "; "), "zh") == f"{translated(inner, 'zh')}；b"


@pytest.mark.parametrize(
    ("arguments", "environment", "language"),
    [
        ([], {}, "en"),
        ([], {"LANG": "zh_CN.UTF-8"}, "zh"),
        ([], {"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ([], {"LANG": "de_DE", "LC_MESSAGES": "zh_TW"}, "zh"),
        ([], {"LC_ALL": "", "LANG": "Chinese (Simplified)_China.936"}, "zh"),
        (["--lang", "zh"], {"LC_ALL": "C"}, "zh"),
        (["--lang=en"], {"LANG": "zh_CN"}, "en"),
        (["--lang"], {"LANG": "zh_CN"}, "zh"),
        (["--lang", "fr"], {}, "en"),
    ],
)
def test_language_is_the_one_asked_for_else_that_of_the_system(arguments, environment, language):
    assert preferred_language(arguments, environment) == language


def test_error_is_printed_in_the_reader_s_language(tmp_path, capsys):
    command = ["predict", str(tmp_path / "none"), "--text", "您好"]
    assert main([*command, "--lang", "zh"]) == 2
    chinese = capsys.readouterr().err
    assert chinese.startswith("错误：")
    assert main([*command, "--lang", "en"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_argparse_s_errors_are_translated(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--lang", "zh"])
    assert "缺少参数" in capsys.readouterr().err


def test_log_is_translated(monkeypatch):
    monkeypatch.setattr("smstune.language._language", "zh")
    catalogue = read_catalogue(PO)
    template = next(message.id for message in catalogue if message.id.count("%s") == 1)
    expected = catalogue[template].string.replace("%s", "x")
    assert translated_log(template, ("x",)) == expected != template.replace("%s", "x")


def test_language_of_the_system_is_read_by_a_real_process(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "smstune.commands",
            "predict",
            str(tmp_path / "none"),
            "--text",
            "a",
        ],
        env={"LANG": "zh_CN.UTF-8", "PYTHONPATH": str(PACKAGE.parent), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr[:3]) == (2, "错误：")
