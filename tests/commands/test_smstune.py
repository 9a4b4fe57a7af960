"""smstune NAME: every command by one name, light, with help for each option."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import smstune
from smstune.commands.__main__ import COMMANDS, main
from smstune.commands.parser import command_parser


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"smstune {smstune.__version__}\n"


def test_help_lists_each_command_with_its_first_line(capsys):
    assert main([]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[3:]]
    assert listed == list(COMMANDS)


def test_the_module_and_the_entry_point_call_the_same_main():
    (entry,) = entry_points(group="console_scripts", name="smstune")
    assert entry.load() is main
    call = [sys.executable, "-m", "smstune", "configs"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert "recipes/lora" in done.stdout.splitlines()


def test_unknown_command_ends_with_status_2_and_a_suggestion(capsys):
    assert main(["predikt", "x"]) == 2
    assert "did you mean predict?" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name, capsys, monkeypatch):
    parsers = []

    def remembered(*args):
        parsers.append(command_parser(*args))
        return parsers[-1]

    module = import_module(f"smstune.commands.{name}")
    monkeypatch.setattr(module, "command_parser", remembered)
    with pytest.raises(SystemExit) as end:
        module.main(["--help"])
    assert end.value.code == 0
    assert "Examples:" in capsys.readouterr().out
    (parser,) = parsers
    for action in parser._actions:
        for inner in (action.choices or {}).values() if action.dest == "subject" else [parser]:
            assert all(one.help for one in inner._actions if one.dest != "subject"), name


def test_flags_cannot_be_abbreviated(capsys):
    with pytest.raises(SystemExit) as end:
        main(["predict", "run", "in.csv", "out.csv", "--text-col", "sms"])
    assert end.value.code == 2
    assert "--text-col" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("predict run in.csv out.csv --text-colum=sms", "did you mean --text-column instead of"),
        # argparse alone says only that --output is required.
        ("suggest run pool.csv --ouput sheet.csv", "did you mean --output instead of --ouput?"),
        ("prepare in.csv --outptu prepared/x", "did you mean --output instead of --outptu?"),
        ("benchmark inference --messags 3", "did you mean --messages instead of --messags?"),
        ("export run --format onnx-int", "did you mean onnx-int8?"),
        ("benchmark inferense", "did you mean inference?"),
    ],
)
def test_a_misspelt_flag_or_choice_ends_with_status_2_and_a_suggestion(words, meant, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert meant in capsys.readouterr().err


def test_configs_prints_one(capsys):
    assert main(["configs", "fbs14"]) == 0
    assert "labels: labels/fbs14.yaml" in capsys.readouterr().out
    assert main(["configs", "fbs15"]) == 2
    assert "did you mean fbs14?" in capsys.readouterr().err


def test_what_is_public_is_exported_and_nothing_else():
    for name in smstune.__all__:
        assert callable(getattr(smstune, name))
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        _ = smstune.Trainer


def test_a_notebook_calls_what_the_commands_call(config_file, tmp_path, monkeypatch):
    from doors import TINY_OVERRIDES

    monkeypatch.chdir(tmp_path)
    overrides = [*TINY_OVERRIDES, "training.max_steps=2", "training.output_dir=runs/mine"]
    run = smstune.finetune(config_file, overrides)
    assert run == Path("runs/mine")
    scores = smstune.evaluate(run, ["evaluation.bootstrap_samples=0"])
    assert 0 <= scores["macro_f1"] <= 1
    assert (tmp_path / "runs/mine/eval/test/metrics.json").is_file()


@pytest.mark.parametrize("name", ["finetune", "pretrain", "sweep"])
def test_flags_may_stand_before_overrides(name, capsys):
    assert main([name, "no-such-configuration", "--quiet", "data.path=prepared/none"]) == 2
    said = capsys.readouterr().err
    assert "no-such-configuration" in said
    assert "unrecognized" not in said
