"""The configuration of a fine-tune: one strict YAML, frozen sections.

Defaults live here and nowhere else; a YAML states only what differs from them.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError

from train.command import UserError
from train.sections import (
    AugmentConfig,
    EvaluationConfig,
    ExportConfig,
    LossConfig,
    Section,
    ServeConfig,
    Share,
)

Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow", "swanlab"]


class DataConfig(Section):
    """The prepared data."""

    path: Path = Field(description="Folder that scripts/prepare.py left.")
    max_length: int = Field(128, ge=8, description="Longest message in tokens; the rest is cut.")
    augment: AugmentConfig | None = Field(None, description="Train on evasive writing; null: no.")


class FromScratchConfig(Section):
    """Size of a BERT that starts from random weights, with a tokenizer of its own."""

    vocab_size: int = Field(6000, ge=100)
    hidden_size: int = Field(128, ge=8)
    num_hidden_layers: int = Field(4, ge=1)
    num_attention_heads: int = Field(4, ge=1)
    intermediate_size: int = Field(512, ge=8)


class LoraConfig(Section):
    """Low-rank adapters; the names are peft's, r is rank here."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1, description="The adapters are scaled by alpha / rank.")
    dropout: Share = 0.0
    target_modules: list[str] = Field(
        default=["query", "value"], min_length=1, description="Linear layers, by the end of a name."
    )


class ModelConfig(Section):
    """The encoder to fine-tune."""

    name_or_path: str = Field("hfl/chinese-macbert-base", description="Hub id or local folder.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    trust_remote_code: bool = Field(False, description="Run code that comes with the checkpoint.")
    from_scratch: FromScratchConfig | None = Field(
        None, description="Build a new BERT of this size instead of loading name_or_path."
    )
    hidden_dropout: Share | None = Field(None, description="Null keeps the checkpoint's own.")
    attention_dropout: Share | None = Field(None, description="Null keeps the checkpoint's own.")
    classifier_dropout: Share | None = Field(None, description="Null keeps the checkpoint's own.")
    pooling: Literal["cls", "mean"] = Field(
        "cls", description="What the classifier reads: the first token, or the mean of all."
    )
    linear: bool = Field(
        False,
        description="Join a linear model of character n-grams to the encoder: its scores, weighted "
        "on validation, are added to the logits.",
    )
    lora: LoraConfig | None = Field(
        None,
        description="Train low-rank adapters instead of all weights; they are merged at the end.",
    )


class TrainingConfig(Section):
    """How to train; the names are those of transformers.TrainingArguments."""

    output_dir: Path = Field(Path("runs/default"), description="The run folder.")
    resume_from_checkpoint: bool = Field(
        False, description="Go on from the last whole checkpoint in output_dir."
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = Field(42, ge=0)
    num_train_epochs: float = Field(3.0, gt=0)
    max_steps: int = Field(-1, ge=-1, description="Stop after so many steps; -1: by epochs.")
    learning_rate: float = Field(5e-5, gt=0)
    layerwise_lr_decay: float = Field(
        1.0, gt=0, le=1, description="Rate of a layer over that of the layer above it."
    )
    class_balanced_sampling: bool = Field(
        False, description="Draw every label as often, with replacement."
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_ratio: Share = Field(0.1, description="Share of the steps with a rising rate.")
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, ge=0)
    per_device_train_batch_size: int = Field(32, ge=1)
    per_device_eval_batch_size: int = Field(64, ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    gradient_checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, slower."
    )
    tf32: bool = Field(False, description="fp32 products in TF32 on an NVIDIA GPU from Ampere on.")
    torch_compile: bool = Field(False, description="Compile the model; brought nothing on a CPU.")
    dataloader_num_workers: int = Field(0, ge=0)
    logging_steps: int = Field(20, ge=1)
    save_steps: int = Field(
        500, ge=0, description="A checkpoint each so many steps beside each epoch's; 0: none."
    )
    save_total_limit: int = Field(
        2, ge=1, description="Checkpoints kept, the last and the best always."
    )
    early_stopping_patience: int = Field(
        0, ge=0, description="Stop after so many epochs without a better macro_f1; 0: never."
    )
    report_to: list[Tracker] | None = Field(
        None, description="Null: TensorBoard where it is installed; an empty list: none."
    )


class Config(Section):
    """A whole configuration."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    serve: ServeConfig = ServeConfig()


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice and reads ``2e-5`` as the number it looks like."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                line = node.value[index][0].start_mark.line + 1
                raise UserError(f"line {line}: key {key!r} is given twice: keep one")
        return super().construct_mapping(node, deep)


# YAML 1.1 asks for a dot in a float, so that 2e-5 would be a string.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML, its one parent (``extends: FILE``) and ``key.path=value`` overrides.

    Raises:
        UserError: naming every wrong key or value at once, with its path.
    """
    path = Path(path)
    return build_config(_read_with_parent(path), overrides, path)


def build_config(values: dict[str, Any], overrides: Sequence[str], where: Path) -> Config:
    """Check ``values`` with ``overrides`` laid over them; errors name ``where`` they are from.

    Raises:
        UserError: naming every wrong key or value at once, with its path.
    """
    for override in overrides:
        _merge(values, _parse_override(override))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = "; ".join(_explain(item) for item in error.errors())
        raise UserError(f"{where}: {lines}") from error


def dump_config(config: Config) -> str:
    """Return the resolved configuration as YAML; loading it gives an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_schema() -> str:
    """Return the JSON schema of a configuration file, for editors."""
    schema = Config.model_json_schema()
    schema["properties"]["extends"] = {"type": "string", "description": "One parent file."}
    # A child may leave everything to its parent or to the command line.
    schema.pop("required", None)
    return json.dumps(schema, indent=2, ensure_ascii=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping strictly.

    Raises:
        UserError: if the file is missing, is no UTF-8, no YAML or no mapping.
    """
    try:
        values = yaml.load(path.read_text("utf-8"), Loader=_StrictLoader)
    except FileNotFoundError as error:
        raise UserError(f"expected a YAML file, found nothing at {path}: check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: expected YAML: {error}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping of keys, found {type(values).__name__}")
    return values


def _read_with_parent(path: Path) -> dict[str, Any]:
    values = read_yaml(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    merged = read_yaml(path.parent / parent)
    if "extends" in merged:
        raise UserError(
            f"{path}: extends {parent}, which extends another: only one parent is allowed"
        )
    _merge(merged, values)
    return merged


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> None:
    for key, value in top.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"expected key.path=value, found {text!r}")
    try:
        nested = yaml.load(value, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{key}: expected a YAML value, found {value!r}") from error
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return dict(nested)


def _explain(error: Mapping[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    if error["type"] == "missing":
        return f"{key}: expected a value, found none: add it"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _known_keys(location[:-1]), n=1, cutoff=0.5)
        hint = f": did you mean {'.'.join([*location[:-1], near[0]])}?" if near else ""
        return f"{key}: unknown key{hint}"
    return f"{key}: {error['msg'].lower()}, found {error['input']!r}"


def _known_keys(location: Iterable[str]) -> list[str]:
    section: type[BaseModel] = Config
    for part in location:
        # The name of an entry or its place in a list is no field.
        if part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation)
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel]:  # noqa: ANN401
    """Return the section class inside ``X | None``, ``list[X]`` or ``dict[str, X]``."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
    if get_origin(annotation) in (list, dict):
        annotation = get_args(annotation)[-1]
    return annotation  # type: ignore[no-any-return]
