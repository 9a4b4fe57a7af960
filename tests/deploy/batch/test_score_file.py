"""Scoring of large files: compressed, killed and gone on with, copies once, shared work."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scoring_child
import zstandard
from doors import ROOT, SAMPLE, change_json, run
from safetensors.numpy import save_file

from smstune.deploy.batch import score_file as batch
from smstune.deploy.batch import scorer
from smstune.inference.classifier import SmsClassifier
from smstune.tables.formats import parquet
from smstune.text.normalize import preprocess


def sample(n):
    """Return n rows, every third a copy of an earlier one, the copies differing in their blanks."""
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    distinct = list(dict.fromkeys(texts))[: n - n // 3]
    rows = []
    for i in range(n):
        text = rows[i // 2]["text"] + "  " if i % 3 == 2 else distinct[i - i // 3]
        rows.append({"id": i, "text": text})
    return rows


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def unpacked(path):
    """Return a file's bytes, decompressed by other libraries than ours."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    return data


@pytest.fixture
def scored(monkeypatch):
    """Return the list of messages that reach the model."""
    seen = []
    encoder_logits = SmsClassifier.encoder_logits

    def counted(self, texts, *args):
        seen.extend(texts)
        return encoder_logits(self, texts, *args)

    monkeypatch.setattr(SmsClassifier, "encoder_logits", counted)
    return seen


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(batch, "_ROWS_AT_ONCE", scoring_child.ROWS_AT_ONCE)


def child(when, *arguments):
    """Return status and stderr of a scoring of its own process that is sent a signal."""
    words = [sys.executable, ROOT / "tests/scoring_child.py", when, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(word) for word in words], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "jsonl"])
def test_compressed_in_and_out_is_the_plain_file(finished_run, tmp_path, small_chunks, kind):
    rows = sample(30)
    if kind == "txt":
        content = "".join(f"{row['text']}\n" for row in rows)
    elif kind == "jsonl":
        content = write_jsonl(tmp_path / "rows", rows).read_text("utf-8")
    else:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, ["id", "text"], delimiter="," if kind == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
        content = stream.getvalue()
    data = content.encode()
    half = data.index(b"\n", len(data) // 2)
    packed = {
        kind: data,
        # Two streams one after the other, as `cat a.gz b.gz` makes them.
        f"{kind}.gz": gzip.compress(data[:half], mtime=0) + gzip.compress(data[half:], mtime=0),
        f"{kind}.zst": zstandard.compress(data[:half]) + zstandard.compress(data[half:]),
    }
    target = "csv" if kind == "txt" else kind
    results = []
    for (name, content), suffix in zip(packed.items(), ("", ".zst", ".gz"), strict=True):
        (tmp_path / f"in.{name}").write_bytes(content)
        output = tmp_path / f"out.{target}{suffix}"
        assert run("predict", finished_run, tmp_path / f"in.{name}", output) == 0
        results.append(unpacked(output))
    assert results[0].count(b"\n") >= 30
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("target", ["csv.gz", "parquet", "xlsx"])
def test_killed_and_started_again_leaves_the_file_of_an_untouched_run(
    finished_run, tmp_path, small_chunks, monkeypatch, scored, capsys, target
):
    rows = sample(70)
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    untouched, output = tmp_path / f"untouched.{target}", tmp_path / f"out.{target}"
    assert run("predict", finished_run, source, untouched) == 0
    everything = len(scored)
    scored.clear()

    status, _ = child("3:SIGKILL", finished_run, source, output)
    assert status == -signal.SIGKILL
    assert not output.exists()
    for parts, name, status in ((5, "SIGTERM", 143), (6, "SIGINT", 130)):
        with monkeypatch.context() as patch:
            scoring_child.send_after(parts, name, patch.setattr)
            assert run("predict", finished_run, source, output) == status
        assert (
            f"{parts * 8} rows are scored: run the same command to resume"
            in capsys.readouterr().err
        )
    assert not output.exists()

    scored.clear()
    assert run("predict", finished_run, source, output) == 0
    assert output.read_bytes() == untouched.read_bytes()
    assert 0 < len(scored) < everything / 2
    # What an earlier start scored is known to this one, copies of it included.
    assert not set(scored) & {preprocess(row["text"], mask=True) for row in rows[:48]}
    assert "starting over" not in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {source.name, output.name, untouched.name}


@pytest.mark.parametrize("change", ["input", "run", "option"])
def test_another_input_run_or_option_starts_anew(
    finished_run, tmp_path, small_chunks, monkeypatch, scored, capsys, change
):
    source = write_jsonl(tmp_path / "in.jsonl", sample(30))
    model, output = tmp_path / "run", tmp_path / "out.jsonl"
    options = ["--precision", "fp32"]
    shutil.copytree(finished_run, model)
    with monkeypatch.context() as patch:
        scoring_child.send_after(2, "SIGINT", patch.setattr)
        assert run("predict", model, source, output, *options) == 130
    scored.clear()
    if change == "input":
        rows = sample(30)
        write_jsonl(source, [*rows[1:], rows[0]])
    elif change == "run":
        change_json(model / "manifest.json", lambda m: m["calibration"].update(temperature=3.0))
    else:
        options = ["--precision", "bf16"]
    assert run("predict", model, source, output, *options) == 0
    assert "changed since the last start: starting over" in capsys.readouterr().err
    assert run("predict", model, source, tmp_path / "untouched.jsonl", *options) == 0
    assert output.read_bytes() == (tmp_path / "untouched.jsonl").read_bytes()
    assert len(scored) == 2 * len(set(scored))


def test_copies_are_scored_once_across_chunks(finished_run, tmp_path, small_chunks, scored):
    rows = sample(60)
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    assert run("predict", finished_run, source, tmp_path / "out.jsonl") == 0
    assert sorted(scored) == sorted({preprocess(row["text"], mask=True) for row in rows})
    assert len(scored) <= 40
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").open(encoding="utf-8")]
    assert [row["text"] for row in answers] == [row["text"] for row in rows]
    for i in range(2, 60, 3):
        assert answers[i]["scores"] == answers[i // 2]["scores"]


def test_no_more_messages_are_remembered_than_said(finished_run, tmp_path, monkeypatch, scored):
    monkeypatch.setattr(batch, "_ROWS_AT_ONCE", 2)
    monkeypatch.setattr(scorer, "_REMEMBERED", 2)
    texts = ["一号", "二号", "一号", "三号", "一号", "二号"]
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n", "utf-8")
    assert run("predict", finished_run, tmp_path / "in.txt", tmp_path / "out.jsonl") == 0
    # The second was longest unseen when the third came; the first was seen again meanwhile.
    assert scored == ["一号", "二号", "三号", "二号"]


def test_workers_give_the_same_rows(finished_run, tmp_path, small_chunks):
    source = write_jsonl(tmp_path / "in.jsonl", sample(30))
    for n in (1, 2):
        output = tmp_path / f"{n}.jsonl"
        options = ("--workers", n, "--precision", "fp32")
        assert run("predict", finished_run, source, output, *options) == 0
    one, two = ((tmp_path / f"{n}.jsonl").read_text("utf-8").splitlines() for n in (1, 2))
    for ours, theirs in zip(map(json.loads, one), map(json.loads, two), strict=True):
        # The batch that a message is in shows in the last digits.
        assert theirs["scores"] == pytest.approx(ours["scores"], abs=1e-5)
        assert {**theirs, "scores": 0, "score": 0} == {**ours, "scores": 0, "score": 0}


@pytest.mark.slow
def test_a_dead_worker_ends_the_run(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scorer, "_classify_in_worker", scoring_child.die)
    source = write_jsonl(tmp_path / "in.jsonl", sample(6))
    assert run("predict", finished_run, source, tmp_path / "out.jsonl", "--workers", 2) == 2
    assert "a worker process died" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
def test_workers_end_with_the_killed_run(finished_run, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", sample(30))
    words = [sys.executable, ROOT / "tests/scoring_child.py", "2:SIGKILL", finished_run, source]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [str(word) for word in (*words, tmp_path / "out.jsonl", "--workers", "2")],
        env=environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.wait(120) == -signal.SIGKILL
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("workers outlived the run")


def test_parquet_keeps_types_and_has_row_groups(finished_run, tmp_path, small_chunks, monkeypatch):
    monkeypatch.setattr(parquet, "_ROW_GROUP", 16)
    texts = [row["text"] for row in sample(40)]
    table = pa.table(
        {
            "text": texts,
            "id": pa.array(range(40), pa.int16()),
            "seen": pa.array([None] * 39 + [datetime(2026, 1, 2)], pa.timestamp("us")),
            "tags": pa.array([["a"], []] * 20, pa.list_(pa.string())),
            "label": pa.array(["x"] * 40).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=7)
    assert run("predict", finished_run, tmp_path / "in.parquet", tmp_path / "out.parquet") == 0
    with pq.ParquetFile(tmp_path / "out.parquet") as output:
        assert output.num_row_groups == 3
    after = pq.read_table(tmp_path / "out.parquet")
    assert after.column_names[:5] == ["text", "id", "seen", "tags", "input_label"]
    for name in ("text", "id", "seen", "tags"):
        assert after[name].equals(table[name])
    assert after["input_label"].to_pylist() == ["x"] * 40


def test_a_table_has_the_columns_of_all_rows(finished_run, tmp_path, small_chunks):
    source = write_jsonl(tmp_path / "in.jsonl", [*sample(9), {"text": "多一列", "extra": 1}])
    assert run("predict", finished_run, source, tmp_path / "out.parquet") == 0
    after = pq.read_table(tmp_path / "out.parquet")
    assert after.column_names[:3] == ["id", "text", "extra"]
    assert after["extra"].to_pylist() == [None] * 9 + [1]
    assert after["id"].to_pylist() == [*range(9), None]


@pytest.mark.parametrize(
    ("name", "content", "output", "expected"),
    [
        (
            "in.csv.gz",
            gzip.compress(b"text\n" + b"x,\n" * 9000, mtime=0)[:-20],
            "out.csv",
            "is not a complete",
        ),
        ("in.jsonl.zst", b"no zst", "out.csv", "is not a complete"),
        ("in.txt.gz", gzip.compress(b"", mtime=0), "out.csv", "empty file"),
        ("in.csv", b"text\n", "out.parquet", "found no row"),
        ("in.parquet.gz", gzip.compress(b"x", mtime=0), "out.csv", "not a readable parquet"),
        ("in.txt", b"x\n", "out.parquet.zst", "no table can be written as"),
        ("in.txt", b"x\n", "folder.csv", "found the folder"),
    ],
)
def test_useless_files_end_with_status_2_before_any_work(
    finished_run, tmp_path, scored, capsys, name, content, output, expected
):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / name).write_bytes(content)
    assert run("predict", finished_run, tmp_path / name, tmp_path / output) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {name, "folder.csv"}
    assert scored == []


def test_output_where_nothing_can_be_written(finished_run, tmp_path, scored, capsys):
    source = write_jsonl(tmp_path / "in.jsonl", sample(3))
    (tmp_path / "file").touch()
    assert run("predict", finished_run, source, tmp_path / "file" / "out.jsonl") == 2
    assert "expected a folder and found a file" in capsys.readouterr().err
    (tmp_path / ".out.jsonl.parts").touch()
    assert run("predict", finished_run, source, tmp_path / "out.jsonl") == 2
    assert "which is a file: remove it" in capsys.readouterr().err
    assert scored == []


@pytest.fixture
def read_only_folder(tmp_path):
    if os.geteuid():
        folder = tmp_path / "read-only"
        folder.mkdir(mode=0o500)
        return folder
    folder = tmp_path / "mounted"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    return folder


def test_read_only_folder(finished_run, tmp_path, read_only_folder, scored, capsys):
    source = write_jsonl(tmp_path / "in.jsonl", sample(3))
    try:
        assert run("predict", finished_run, source, read_only_folder / "out.jsonl") == 2
    finally:
        if not os.geteuid():
            subprocess.run(["umount", str(read_only_folder)], check=True)
    assert "error: " in capsys.readouterr().err.splitlines()[-1]
    assert scored == []


def test_ray_that_is_not_installed_is_named(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    source = write_jsonl(tmp_path / "in.jsonl", sample(3))
    assert run("predict", finished_run, source, tmp_path / "out.jsonl", "--engine", "ray") == 2
    assert "pip install -c constraints.txt -e '.[ray]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_ray_gives_the_rows_of_the_local_engine(finished_run, tmp_path, monkeypatch, kind):
    pytest.importorskip("ray")
    monkeypatch.setattr(batch, "_ROWS_AT_ONCE", 64)
    rows = sample(1000)
    source = tmp_path / f"in.{kind}"
    if kind == "jsonl":
        write_jsonl(source, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), source, row_group_size=100)
    # ray.init takes the working folder's files along only if asked; workers import train by path.
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "train"))
    results = []
    for engine in ("local", "ray"):
        output = tmp_path / f"{engine}.jsonl"
        options = ("--engine", engine, "--precision", "fp32")
        assert run("predict", finished_run, source, output, *options) == 0
        results.append([json.loads(line) for line in output.open(encoding="utf-8")])
    for ours, theirs in zip(*results, strict=True):
        assert theirs["scores"] == pytest.approx(ours["scores"], abs=1e-4)
        assert {**theirs, "scores": 0, "score": 0} == {**ours, "scores": 0, "score": 0}


@pytest.mark.parametrize("damage", ["one bit", "another's", "of no rows", "call"])
def test_a_damaged_part_is_scored_again(finished_run, tmp_path, small_chunks, monkeypatch, damage):
    source, output = write_jsonl(tmp_path / "in.jsonl", sample(40)), tmp_path / "out.jsonl"
    assert run("predict", finished_run, source, tmp_path / "untouched.jsonl") == 0
    with monkeypatch.context() as patch:
        scoring_child.send_after(3, "SIGINT", patch.setattr)
        assert run("predict", finished_run, source, output) == 130
    parts = tmp_path / ".out.jsonl.parts"
    part = parts / "000001.safetensors"
    if damage == "one bit":
        content = bytearray(part.read_bytes())
        content[-1] ^= 1
        part.write_bytes(content)
    elif damage == "another's":
        shutil.copyfile(parts / "000000.safetensors", part)
    elif damage == "of no rows":
        save_file({"weights": np.zeros(3)}, part)
    else:
        (parts / "call.json").write_text("[]")
    assert run("predict", finished_run, source, output) == 0
    assert output.read_bytes() == (tmp_path / "untouched.jsonl").read_bytes()
    assert not parts.exists()
