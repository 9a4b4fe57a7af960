"""The doors that tests go through, and the small world's constants."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smstune.inference.manifest import EXPORTED_FILES
from smstune.text.normalize import normalize

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
SAMPLE = ROOT / "train/smstune/data/sample/messages.csv"
LABELS = ("bank_alert", "retail", "bank_phishing", "gambling")
# fp32, so that numbers are the same on every processor; one dropout mask more or less is felt.
TINY_OVERRIDES = (
    # As in configs/base.yaml.
    "model.attention_dropout=0",
    "training.precision=fp32",
    "training.num_train_epochs=2",
    "training.learning_rate=1e-3",
    "training.per_device_train_batch_size=8",
    "data.max_length=64",
    "evaluation.bootstrap_samples=50",
)
# Enough for the tiny encoder to tell its four labels apart, where the above leaves it near chance.
LEARNING_OVERRIDES = (
    *TINY_OVERRIDES,
    "model.pooling=mean",
    "model.hidden_dropout=0",
    "training.learning_rate=2e-3",
    "training.num_train_epochs=20",
)
Main = Callable[..., int]


def script(name: str) -> Main:
    """Return ``main`` of ``scripts/<name>.py``."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def run(name: str, *argv: object) -> int:
    """Run a script's ``main`` in this process."""
    return script(name)([str(argument) for argument in argv])


def parquet_of(table: pa.Table) -> pq.ParquetFile:
    """Return ``table`` as a parquet file in memory."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return pq.ParquetFile(sink.getvalue())


def write_csv(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...]) -> Path:
    """Write a csv and return its path."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def sentence(seed: int, length: int = 14) -> str:
    """Return Chinese characters at random: no two seeds have three in a row in common."""
    rng = random.Random(seed)
    return normalize("".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(length)))


def prepared_rows(folder: Path) -> dict[str, list[dict[str, object]]]:
    """Return the rows of each split of a prepared folder."""
    splits = ("train", "validation", "test")
    return {split: pq.read_table(folder / f"{split}.parquet").to_pylist() for split in splits}


def json_lines(path: Path) -> list[object]:
    """Return what each line of a file holds as JSON."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def add_exported_form(folder, content):
    """Let a run have ``content`` as its fp32 form, as if it had been exported so."""
    shutil.rmtree(folder / "onnx", ignore_errors=True)
    change_json(
        folder / "manifest.json",
        lambda manifest: [manifest["sha256"].pop(name, None) for name in EXPORTED_FILES],
    )
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    form = {
        "format": "onnx", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content),
        "keep_fp32": [], "gate": {}, "latency": {}, "machine": "", "versions": {},
    }  # fmt: skip
    export = {
        "weights_sha256": manifest["sha256"]["model.safetensors"],
        "files": {"model.onnx": form},
    }
    (folder / "onnx").mkdir()
    (folder / "onnx/model.onnx").write_bytes(content)
    (folder / "onnx/export.json").write_text(json.dumps(export), "utf-8")
    name_in_manifest(folder, "onnx/model.onnx", "onnx/export.json")


def change_json(path, change):
    """Let ``change`` alter the content of a JSON file; a manifest gets the checksum of the new."""
    content = json.loads(path.read_text("utf-8"))
    change(content)
    if isinstance(content, dict) and content.get("checksum"):
        values = {name: value for name, value in content.items() if name != "checksum"}
        text = json.dumps(values, sort_keys=True)
        content["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content), "utf-8")


def name_in_manifest(run, *names):
    """Let a run's manifest name files as they are now, as one does who knows how."""
    hashes = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}
    change_json(run / "manifest.json", lambda manifest: manifest["sha256"].update(hashes))
