"""What is trained on is what was prepared, and what is resumed is what was written."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from child import SendSignal, add_to_trainer
from doors import TINY_OVERRIDES, run

RESUME = "training.resume_from_checkpoint=true"


def test_labels_shifted_by_a_row_are_not_trained_on(config_file, prepared, tmp_path, capsys):
    folder, output = tmp_path / "prepared", tmp_path / "run"
    shutil.copytree(prepared, folder)
    table = pq.read_table(folder / "train.parquet")
    labels = table["label"].to_pylist()
    column = table.schema.get_field_index("label")
    shifted = table.set_column(column, "label", pa.array([*labels[1:], labels[0]]))
    pq.write_table(shifted, folder / "train.parquet")
    paths = (f"data.path={folder}", f"training.output_dir={output}")
    assert run("finetune", config_file, *TINY_OVERRIDES, *paths) == 2
    assert capsys.readouterr().err == (
        f"error: {folder / 'train.parquet'}: expected the file that manifest.json names, found "
        "another: prepare again\n"
    )
    assert not output.exists()


@pytest.fixture
def stopped_run(config_file, tmp_path, monkeypatch):
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        add_to_trainer(SendSignal(2, "SIGTERM"), patch.setattr)
        arguments = (*TINY_OVERRIDES, f"training.output_dir={output}")
        assert run("finetune", config_file, *arguments) == 143
    return output


def test_a_changed_checkpoint_is_not_resumed(stopped_run, config_file, capsys):
    (checkpoint,) = (stopped_run / "checkpoints").iterdir()
    arguments = (*TINY_OVERRIDES, f"training.output_dir={stopped_run}", RESUME)
    files = [path for path in checkpoint.iterdir() if path.name != "complete.json"]
    assert {"model.safetensors", "optimizer.pt", "trainer_state.json"} < {f.name for f in files}
    for path in files:
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        path.write_bytes(damaged)
        assert run("finetune", config_file, *arguments) == 2, path.name
        assert f"found other content in {checkpoint.name}" in capsys.readouterr().err
        path.write_bytes(content)


def test_a_checkpoint_of_an_earlier_version_is_resumed(stopped_run, config_file):
    (checkpoint,) = (stopped_run / "checkpoints").iterdir()
    (checkpoint / "sha256.json").unlink()
    mark = checkpoint / "complete.json"
    sizes = json.loads(mark.read_text("utf-8"))
    del sizes["sha256.json"]
    mark.write_text(json.dumps(sizes), "utf-8")
    arguments = (*TINY_OVERRIDES, f"training.output_dir={stopped_run}", RESUME)
    assert run("finetune", config_file, *arguments) == 0
