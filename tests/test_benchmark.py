"""benchmark through its door, on few messages: the table is there, the numbers are numbers."""

from __future__ import annotations

from doors import TINY_OVERRIDES, run


def test_dedup(messages, capsys):
    assert run("benchmark", "dedup", messages, "--sizes", "200", "400") == 0
    table = capsys.readouterr().out
    assert "messages_per" in table
    assert "recall" in table


def test_training_of_each_way(config_file, tmp_path, capsys):
    overrides = [*TINY_OVERRIDES, f"training.output_dir={tmp_path / 'run'}"]
    assert run("benchmark", "train", config_file, *overrides, "--messages", "32") == 0
    table = capsys.readouterr().out
    for way in ("ours", "stock tuned", "stock"):
        assert way in table
    assert not (tmp_path / "run").exists()
