"""How a command ends."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import threading

import pytest
from doors import ROOT, TINY_OVERRIDES, run, write_csv
from safetensors import SafetensorError
from tqdm import tqdm

from smstune.command import command, setup_logging
from smstune.errors import UserError
from smstune.files import file_written_whole, folder_written_whole


def ends_with(error):
    def body(argv):
        raise error

    return command(body)([])


@pytest.mark.parametrize(
    "error",
    [
        UserError("expected a\nb"),
        OSError(errno.ENOSPC, "x", "somewhere"),
        FileNotFoundError(errno.ENOENT, "x", "somewhere"),
        PermissionError(errno.EACCES, "x", "somewhere"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        SafetensorError("I/O error: File too large (os error 27)"),
        OSError(errno.EFBIG, "File too large", "somewhere"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 128 vs 22"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_status_2(error, capsys):
    assert ends_with(error) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("no number"), KeyError("k")])
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        ends_with(error)


def test_interrupted(capsys):
    assert ends_with(KeyboardInterrupt()) == 130
    assert "interrupted" in capsys.readouterr().err


def write_half(context, name):
    with context as path:
        target = path if name is None else path / name
        target.write_text("half")
        raise RuntimeError


def under_gbk(*words):
    """Run a command with standard streams in GBK, which has Chinese characters but no emoji."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "PYTHONIOENCODING": "gbk"}
    call = [sys.executable, "-m", "smstune", *map(str, words)]
    return subprocess.run(call, env=environment, capture_output=True, encoding="gbk", check=False)


def test_an_answer_with_an_emoji_is_json_under_gbk(finished_run):
    text = "收到 \N{MONEY BAG} 请查收 ok \N{MONEY BAG}"
    done = under_gbk("predict", finished_run, "--text", text, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"].endswith("\N{MONEY BAG}")
    assert "收到" in done.stdout


def test_paths_and_errors_with_an_emoji_under_gbk(finished_run, tmp_path):
    messages = write_csv(tmp_path / "短信\N{MONEY BAG}.csv", [("你好",)], ("text",))
    output = tmp_path / "答案\N{MONEY BAG}.csv"
    done = under_gbk("predict", finished_run, messages, output)
    assert done.returncode == 0, done.stderr
    assert json.loads(f'"{done.stdout.strip()}"') == str(output)
    missing = under_gbk("predict", finished_run, tmp_path / "\N{MONEY BAG}.csv", output)
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1].startswith("error: ")


def test_nothing_half_written_stays(tmp_path):
    with pytest.raises(RuntimeError):
        write_half(folder_written_whole(tmp_path / "out"), "part")
    with pytest.raises(RuntimeError):
        write_half(file_written_whole(tmp_path / "file"), None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        write_half(file_written_whole(target), None)
    assert target.read_text() == "old"
    with file_written_whole(target) as path:
        path.write_text("new")
    assert target.read_text() == "new"


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 64 KiB, where the machine lets us."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_ends_each_stage_with_one_line(small_disk, messages, config_file, capsys):
    output = small_disk / "run"
    overrides = (*TINY_OVERRIDES, "training.max_steps=2", f"training.output_dir={output}")
    assert run("finetune", config_file, *overrides) == 2
    assert "error: no space left" in capsys.readouterr().err
    (small_disk / "filler").write_bytes(b"0" * 30_000)
    assert run("prepare", messages, "--output", small_disk / "prepared") == 2
    assert "error: no space left" in capsys.readouterr().err
    assert not (small_disk / "prepared").exists()


def test_a_thread_logs_while_another_draws_a_bar(monkeypatch, capsys):
    def race(*_, **__):
        raise RuntimeError("Set changed size during iteration")

    monkeypatch.setattr(tqdm, "external_write_mode", race)
    setup_logging()
    thread = threading.Thread(target=logging.getLogger("smstune").warning, args=("retrying",))
    thread.start()
    thread.join()
    assert "retrying" in capsys.readouterr().err
