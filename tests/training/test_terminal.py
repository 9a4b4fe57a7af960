"""What a person at a terminal sees: stages in plain lines, no dicts, no notices of libraries."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
import transformers
from doors import ROOT, TINY_OVERRIDES, run, write_csv


@pytest.fixture
def overrides(tmp_path):
    return [*TINY_OVERRIDES, "training.logging_steps=1", f"training.output_dir={tmp_path / 'run'}"]


def test_a_fine_tune_in_lines(config_file, overrides, tmp_path, capsys):
    assert run("finetune", config_file, *overrides) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'run'}\n"
    # Which characters the vocabulary lacked comes first.
    lines = captured.err.splitlines()[1:]
    assert re.fullmatch(r"fine-tuning \S+ on cpu, fp32", lines[0])
    assert re.fullmatch(r"\d+ messages to train on, \d+ of validation, 4 labels", lines[1])
    assert re.fullmatch(r"\d+ steps in 2 epochs, batches of 8", lines[2])
    scores = r"validation loss \d\.\d{3}, macro-F1 \d\.\d{3}, accuracy \d\.\d{3}"
    validated = [line for line in lines if line.startswith("epoch ")]
    assert len(validated) == 2
    assert re.fullmatch(rf"epoch 1 of 2: {scores}", validated[0])
    kept = rf"kept the checkpoint of step \d+, the best one: {scores}"
    assert re.fullmatch(kept, lines[-2])
    assert lines[-1] == f"next: smstune eval {tmp_path / 'run'}"
    assert "{" not in captured.err
    assert "it/s" not in captured.err


def test_quiet_leaves_warnings_alone(config_file, overrides, capsys, monkeypatch):
    # As in a notebook that has used transformers before; its log reaches ours when CI is set.
    transformers_log = logging.getLogger("transformers")
    monkeypatch.setattr(transformers_log, "propagate", True)
    transformers.logging.set_verbosity_info()
    assert run("finetune", config_file, *overrides, "--quiet") == 0
    lines = capsys.readouterr().err.splitlines()
    # The tiny run has too few messages to be calibrated on.
    assert [line.split(" ")[0] for line in lines] == ["warning:"]


def test_rows_of_a_preparation_are_counted_with_reasons(messages, tmp_path, capsys):
    bad = write_csv(tmp_path / "bad.csv", [("", "a"), ("你好", "")], ("text", "label"))
    assert run("prepare", messages, bad, "--output", tmp_path / "out") == 0
    lines = capsys.readouterr().err.splitlines()
    (counts,) = [line for line in lines if line.startswith("read ")]
    assert re.fullmatch(r"read \d+ rows: kept \d+, merged \d+ copies, rejected 2", counts)
    assert "  1 x no text: row 2 of bad.csv" in lines
    assert "  1 x no label: row 3 of bad.csv" in lines


def test_on_a_terminal_a_log_line_stands_on_a_line_of_its_own(config_file, overrides):
    main, side = pty.openpty()
    rows, columns = 40, 120
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    call = [sys.executable, ROOT / "scripts/finetune.py", config_file, *overrides]
    child = subprocess.Popen(list(map(str, call)), stderr=side, stdout=subprocess.DEVNULL)
    os.close(side)
    shown = b""
    try:
        while chunk := os.read(main, 4096):
            shown += chunk
    except OSError:
        # What Linux says where the other side of a terminal is closed.
        pass
    assert child.wait() == 0
    text = shown.decode()
    assert re.search(r"training: \d+/\d+ steps, [\d.?]+ steps/s, \S+ left", text)
    validated = re.findall(r"([^\r\n]*)epoch \d of 2: validation loss", text)
    assert validated == ["", ""]
