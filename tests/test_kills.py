"""Killed anywhere and started again, a command leaves what an undisturbed one leaves."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from doors import TINY_OVERRIDES, add_exported_form, run
from kills import kill_and_run_again, tree
from onnx import helper
from reported import LOAN, OTHER, VARIANT, reports_file, with_limit

from smstune.inference.manifest import load_manifest, run_file
from smstune.inference.memory.store import open_generation

KILLS = 40
RESUME = "training.resume_from_checkpoint=true"
#: Keys of JSON whose values follow from the clock, or are hashes and sizes of what does.
CLOCK = re.compile(
    r"wall_seconds|_runtime$|_per_second$|latency|checksum|trainer_state\.json|export\.json|report\.md"
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_prepare_is_whole_after_a_kill(tmp_path, messages, labels_file):
    folder = tmp_path / "work"
    command = ("prepare", messages, "--labels", labels_file, "--output", folder / "out")
    assert kill_and_run_again(folder, command, KILLS) > 20


@pytest.mark.parametrize("target", ["out.jsonl", "out.parquet"])
def test_predict_is_whole_after_a_kill(finished_run, tmp_path, target):
    source = tmp_path / "in.jsonl"
    rows = [{"id": number, "text": f"第{number % 30}条消息，请查收"} for number in range(60)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    folder = tmp_path / "work"
    command = ("predict", finished_run, source, folder / target)
    assert kill_and_run_again(folder, command, KILLS // 2) > 20


def in_the_work_folder(run):
    """Return what lays a copy of a run into a folder."""
    return lambda folder: shutil.copytree(run, folder / "run")


def test_a_published_folder_is_whole_after_a_kill(evaluated_run, tmp_path):
    folder = tmp_path / "work"
    command = ("export", folder / "run", "--format", "safetensors")
    lay = in_the_work_folder(evaluated_run)
    assert kill_and_run_again(folder, command, KILLS // 2, lay=lay) > 20


def test_a_folder_staged_to_be_published_goes_after_a_kill(evaluated_run, tmp_path):
    folder = tmp_path / "work"
    command = ("publish", folder / "run", "my-team/sms", "--accept-terms", "--dry-run")
    # Exported already, so that nothing but the staging is killed; an export is killed below.
    exported = shutil.copytree(evaluated_run, tmp_path / "exported")
    add_exported_form(
        exported, helper.make_model(helper.make_graph([], "graph", [], [])).SerializeToString()
    )
    lay = in_the_work_folder(exported)
    assert kill_and_run_again(folder, command, KILLS // 2, lay=lay) > 20


def test_learn_is_whole_after_a_kill(finished_run, tmp_path):
    taught = with_limit(shutil.copytree(finished_run, tmp_path / "taught"), 0.2)
    assert run("learn", taught, reports_file(tmp_path, (OTHER, "retail"))) == 0
    reports = reports_file(tmp_path, (LOAN, "bank_phishing", "block"), (VARIANT, "retail"))
    folder = tmp_path / "work"
    command = ("learn", folder / "run", reports)
    lay = in_the_work_folder(taught)
    assert kill_and_run_again(folder, command, KILLS, lay=lay, facts=facts_of_memory) > 20


def facts_of_memory(folder):
    """Return every file, and of the memory what its current generation remembers."""
    memory = folder / "run/memory"
    generation = open_generation(folder / "run")
    facts = {name: digest for name, digest in tree(folder).items() if "run/memory/" not in name}
    # A killed command may have learned, so that the next one has nothing to add.
    names = {path.name.replace(f"-{generation.number}.", "-N.") for path in memory.iterdir()}
    assert names == {".lock", "manifest.json", "generation-N.jsonl", "generation-N.safetensors"}
    entries = [(entry.id, entry.label, entry.messages) for entry in generation.entries()]
    return facts | {"entries": entries, "messages": generation.index.n_messages}


def steady(value):
    """Return JSON without what the clock says."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if not CLOCK.search(key)}
    if isinstance(value, list):
        # transformers ends a training with a row of its last piece.
        return [steady(item) for item in value if "train_runtime" not in str(item)]
    return value


def facts_of_run(folder):
    """Return every file below a folder as its hash, or without what the clock says."""
    run = folder / "run"
    manifest = load_manifest(run)
    for name in manifest.sha256:
        assert run_file(run, manifest, name) == run / name
    facts = tree(folder)
    for name in list(facts):
        path = folder / name
        if path.suffix == ".json":
            facts[name] = steady(json.loads(path.read_text("utf-8")))
        elif path.name == "config.yaml":
            # The one word that the two commands differ in.
            text = path.read_text("utf-8")
            facts[name] = re.sub(r"(?<=resume_from_checkpoint: )(true|false)", "", text)
        elif path.name == "report.md":
            facts[name] = "with the speeds"
        elif path.parent.name == "logs":
            # Each start of a training writes a log of its own for TensorBoard.
            del facts[name]
    return facts


def test_a_finetune_is_whole_after_a_kill(config_file, tmp_path):
    folder = tmp_path / "work"
    output = f"training.output_dir={folder}/run"
    command = ("finetune", config_file, *TINY_OVERRIDES, "training.save_steps=5", output)
    assert kill_and_run_again(folder, command, KILLS, again=(RESUME,), facts=facts_of_run) > 300


def test_an_export_is_whole_after_a_kill(learned_run, tmp_path):
    folder = tmp_path / "work"
    command = ("export", folder / "run", "--format", "onnx", "onnx-int8")
    lay = in_the_work_folder(learned_run)
    assert kill_and_run_again(folder, command, KILLS, lay=lay, facts=facts_of_run) > 20
