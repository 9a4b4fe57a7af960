"""A run folder, written whole."""

from __future__ import annotations

import os

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerState

from smstune.files import put_in_place, scratch_folder
from smstune.inference.linear import LINEAR
from smstune.inference.manifest import MANIFEST, write_manifest
from smstune.inference.run import Run


def save_run(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    state: TrainerState,
    config_yaml: str,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write the files of a folder, calibrated already, into its folder, the manifest last.

    A folder without a manifest is an unfinished folder: a crash at any moment leaves either the
    unfinished folder, which can be resumed, or the whole one. ``weights`` are the model's, where it
    holds a shard of them.
    """
    folder, linear = run.path, run.linear
    folder.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder / MANIFEST) as scratch:
        model.save_pretrained(scratch, state_dict=weights)
        tokenizer.save_pretrained(scratch)
        run.labels.save(scratch / "labels.json")
        (scratch / "config.yaml").write_text(config_yaml, "utf-8")
        state.save_to_json(str(scratch / "trainer_state.json"))
        if linear is not None:
            linear.save(scratch / LINEAR)
        write_manifest(scratch, run.manifest)
        for name in sorted(os.listdir(scratch), key=lambda name: (name == MANIFEST, name)):
            put_in_place(scratch / name, folder / name)
