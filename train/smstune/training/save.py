"""A run folder, written whole."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smstune.files import folder_written_whole
from smstune.inference.labels import LabelMap
from smstune.inference.linear import LINEAR, LinearModel
from smstune.inference.manifest import Manifest, write_manifest
from smstune.inference.run import Artifact


def save_artifact(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    labels: LabelMap,
    manifest: Manifest,
    config_yaml: str,
    weights: dict[str, torch.Tensor] | None = None,
    linear: LinearModel | None = None,
) -> Artifact:
    """Write the model's files into the run folder, the manifest last, and return them as loaded.

    A folder without a manifest is an unfinished run: a crash at any moment leaves either the
    unfinished run or the whole one. ``weights`` are the model's, where it holds a shard of them;
    ``linear`` is joined to it.
    """
    path.mkdir(parents=True, exist_ok=True)
    with folder_written_whole(path / ".artifact") as scratch:
        model.save_pretrained(scratch, state_dict=weights)
        tokenizer.save_pretrained(scratch)
        labels.save(scratch / "labels.json")
        (scratch / "config.yaml").write_text(config_yaml, "utf-8")
        if linear is not None:
            linear.save(scratch / LINEAR)
        whole = write_manifest(scratch, manifest)
    names = sorted(os.listdir(path / ".artifact"), key=lambda name: name == "manifest.json")
    for name in names:
        (path / ".artifact" / name).replace(path / name)
    (path / ".artifact").rmdir()
    return Artifact(path, whole, labels, model.config, tokenizer, linear)
