"""The sections of the configuration: every key, its default and its bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from smstune.config.choices import SplitMethod


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _no_empty_path(value: object) -> object:
    if value == "":
        raise ValueError("expected a path")
    return value


#: Finite: the sections take no infinity and no NaN.
Number = Annotated[float, BeforeValidator(_no_boolean)]
#: As large as the 32-bit integers of the libraries.
Whole = Annotated[int, BeforeValidator(_no_boolean), Field(le=2**31 - 1)]
#: What numpy takes as a seed.
Seed = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, le=2**32 - 1)]
FilePath = Annotated[Path, BeforeValidator(_no_empty_path)]
#: A share that is neither none nor all.
Open = Annotated[Number, Field(gt=0, lt=1)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Unit = Annotated[Number, Field(ge=0, le=1)]


class Section(BaseModel):
    """Frozen, and strict about unknown keys and numbers that are not finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


TransformName = Literal[
    "full_width", "zero_width", "traditional", "homophones", "pinyin", "initials", "look_alike",
    "split_characters", "symbols", "digit_words", "shuffle", "contacts", "signature", "benign_text",
]  # fmt: skip


class AugmentConfig(Section):
    """Training messages written as evasive spam is; kinds not named stay held out for the suite."""

    transforms: list[TransformName] = Field(min_length=1, description="Kinds to train on.")
    share: Number = Field(0.3, gt=0, le=1, description="Share of the messages, anew each epoch.")
    strength: tuple[Unit, Unit] = Field((0.1, 0.5), description="From, to: share of the places.")

    @field_validator("strength")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("expected a range from a smaller to a larger strength")
        return value


#: The keys that each loss reads; they are the names of its arguments, too.
LOSS_KEYS = {
    "cross_entropy": {"label_smoothing"},
    "focal": {"focal_gamma"},
    "ldam": {"ldam_margin"},
    "logit_adjusted": {"label_smoothing", "tau"},
}


class LossConfig(Section):
    """The training objective."""

    name: Literal["cross_entropy", "focal", "ldam", "logit_adjusted"] = "cross_entropy"
    label_smoothing: Share = Field(0.0, description="Of cross_entropy and logit_adjusted.")
    focal_gamma: Number = Field(2.0, ge=0)
    ldam_margin: Number = Field(0.5, gt=0, description="Margin of the rarest label, in logits.")
    tau: Number = Field(1.0, ge=0, description="Strength of logit_adjusted.")
    class_weights: Literal["inverse", "inverse_sqrt", "effective_number"] | None = None
    reweight_after: Share = Field(
        0.0, description="Share of the steps after which class_weights apply."
    )
    r_drop: Number = Field(0.0, ge=0, description="Weight of R-Drop's divergence; 0: one pass.")
    fgm: Number = Field(0.0, ge=0, description="How far FGM moves word embeddings; 0: not at all.")

    @model_validator(mode="after")
    def _no_idle_key(self) -> Self:
        idle = set().union(*LOSS_KEYS.values()) - LOSS_KEYS[self.name]
        if self.class_weights is None:
            idle.add("reweight_after")
        fields = type(self).model_fields
        given = sorted(key for key in idle if getattr(self, key) != fields[key].default)
        if given:
            raise ValueError(
                f"{', '.join(given)} would change nothing with name {self.name} and class_weights "
                f"{self.class_weights}: remove"
            )
        return self


class OperatingPointConfig(Section):
    """What to stop, and what stopping may cost: exactly one of the three budgets."""

    labels: list[str] = Field(min_length=1, description="Guarded labels, or parents of labels.")
    max_false_positive_rate: Open | None = Field(
        None, description="Largest share of the other campaigns that may be hit."
    )
    min_precision: Open | None = Field(
        None, description="Smallest share of the stopped campaigns that is rightly stopped."
    )
    cost_ratio: Annotated[Number, Field(gt=0)] | None = Field(
        None, description="A campaign wrongly hit costs so many times a guarded one that is missed."
    )
    confidence: Open = Field(0.95, description="How sure the budget is to be kept.")
    review_share: Number = Field(
        0.0, ge=0, lt=1, description="Largest share of all messages that people can look at."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if len(self.budget) != 1:
            raise ValueError(
                "expected exactly one of max_false_positive_rate, min_precision, cost_ratio"
            )
        return self

    @property
    def budget(self) -> dict[str, float]:
        """The budget by its name."""
        names = ("max_false_positive_rate", "min_precision", "cost_ratio")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class GateConfig(Section):
    """A score that a run must keep: of the whole set, of a label, or of a slice."""

    score: str = Field(description="A key of metrics.json, of a label's row, or of a slice's row.")
    label: str | None = Field(None, description="A label, if the score is its.")
    slice: str | None = Field(None, description="A slice by its name, if the score is its.")
    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.label is not None and self.slice is not None:
            raise ValueError("expected a label or a slice, not both")
        if self.min is None and self.max is None:
            raise ValueError("expected min or max")
        return self


class ExportConfig(Section):
    """What an export in fewer bits may cost on validation, against the run's own weights."""

    max_macro_f1_loss: Number = Field(0.005, ge=0)
    max_recall_loss: Number = Field(0.01, ge=0, description="Of each operating point, of messages.")
    max_ece_rise: Number = Field(0.01, ge=0, description="Of the expected calibration error.")
    keep_fp32: list[str] = Field(
        default=[], description="Layers that are left in fp32, as in bert.encoder.layer.3."
    )


class EvaluationConfig(Section):
    """How a run is judged."""

    split: Literal["validation", "test"] = "test"
    baseline: bool = Field(True, description="Train the linear baseline beside the model.")
    bootstrap_samples: Whole = Field(1000, ge=0, description="Draws for the intervals; 0: none.")
    label_bias: bool = Field(
        False, description="Shift each label's logit for the best macro-F1 on validation."
    )
    operating_points: dict[str, OperatingPointConfig] = Field(
        default={}, description="By name: what to stop, at what price."
    )
    groups: dict[str, list[str]] = Field(
        default={},
        description="By name: labels (or parents) whose recall at a fixed false-positive rate is "
        "measured together, besides that of each parent.",
    )
    costs: dict[str, dict[str, Number]] = Field(
        default={},
        description="True label (or parent), then answered one: what the mistake costs. A mistake "
        "that is not named costs 1.",
    )
    slices: list[str] = Field(
        default=[], description="Columns to slice by, besides the source and the month."
    )
    hard_twins: bool = Field(
        True, description="Score messages that have a near copy under another label apart."
    )
    gates: list[GateConfig] = Field(default=[], description="Exit status 3 when one is not kept.")


class ServeConfig(Section):
    """What the server takes; the rest is on its command line."""

    max_body_bytes: Whole = Field(1_048_576, ge=1024, description="Largest body of a request.")
    max_messages: Whole = Field(256, ge=1, description="Most messages in a request.")
    max_characters: Whole = Field(
        17_085, ge=1, description="Longest message; the default is the longest an SMS can be."
    )
    max_connections: Whole = Field(512, ge=1, description="Most connections at a time; then 503.")
    max_bytes_in_flight: Whole = Field(
        67_108_864,
        ge=1024,
        description="Most bytes of bodies of requests that are not answered yet, at least "
        "max_body_bytes; then 503.",
    )
    body_seconds: Number = Field(
        10.0, gt=0, le=3600, description="Longest time to send the body of a request; then 408."
    )
    max_wait_seconds: Number = Field(
        5.0,
        gt=0,
        le=3600,
        description="Longest expected wait until a request is scored or explained; then 503.",
    )
    queue_messages: Whole = Field(
        1024,
        ge=64,
        description="Most messages that wait or are scored; then 503. Explanations have a queue of "
        "their own, in which each counts as 64.",
    )
    batch_messages: Whole = Field(64, ge=1, description="Messages that are scored together.")
    batch_wait_ms: Number = Field(
        4.0, ge=0, le=1000, description="How long the first message of a batch waits for others."
    )
    stop_seconds: Whole = Field(
        20, ge=1, description="After SIGTERM, how long to go on with what was taken."
    )
    cors_origins: list[str] = Field(
        default=[], description="Pages of other origins that may call, as https://shop.example."
    )

    @model_validator(mode="after")
    def _room_for_a_request(self) -> Self:
        if self.queue_messages < self.max_messages:
            raise ValueError("expected queue_messages of max_messages or more")
        return self


Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow", "swanlab"]


class PrepareConfig(Section):
    """What `smstune prepare` reads, and how it splits."""

    inputs: list[str] = Field(
        default=[], description="Messages, as [SOURCE:]PATH, relative to the working folder."
    )
    source: str | None = Field(None, description="How to read inputs without a prefix.")
    labels: FilePath | None = Field(
        None,
        description="YAML of source labels to target labels, relative to this file; null: the "
        "labels of the messages as they are.",
    )
    split: SplitMethod = Field("group", description="How to split.")
    held_out: str | None = Field(None, description="Source that is the test set of split source.")
    folds: Whole = Field(5, description="Folds of split folds, at least 3.")
    test: list[str] = Field(default=[], description="Messages that are the test set, unchanged.")
    text_column: str = "text"
    label_column: str = "label"
    time_column: str = "time"
    group_column: str = "group"
    mask_pii: bool = Field(True, description="Replace personal information by placeholders.")
    seed: Seed = Field(42, description="Of the split.")

    @field_validator("folds")
    @classmethod
    def _three_roles(cls, value: int) -> int:
        if value < 3:
            raise ValueError(
                "expected at least 3 folds: one is test, one validation, the others train"
            )
        return value


class DataConfig(Section):
    """The prepared data."""

    path: FilePath = Field(description="The prepared folder.")
    max_length: Whole = Field(128, ge=8, description="Longest message in tokens; the rest is cut.")
    augment: AugmentConfig | None = Field(None, description="Train on evasive writing; null: no.")


class FromScratchConfig(Section):
    """Size of a BERT that starts from random weights, with a tokenizer of its own."""

    vocab_size: Whole = Field(6000, ge=100)
    hidden_size: Whole = Field(128, ge=8)
    num_hidden_layers: Whole = Field(4, ge=1)
    num_attention_heads: Whole = Field(4, ge=1)
    intermediate_size: Whole = Field(512, ge=8)

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"expected a hidden_size that num_attention_heads divides, found "
                f"{self.hidden_size} and {self.num_attention_heads}"
            )
        return self


class LoraConfig(Section):
    """Low-rank adapters; the names are peft's, r is rank here."""

    rank: Whole = Field(8, ge=1)
    alpha: Whole = Field(16, ge=1, description="The adapters are scaled by alpha / rank.")
    dropout: Share = 0.0
    target_modules: list[str] = Field(
        default=["query", "value"], min_length=1, description="Linear layers, by the end of a name."
    )


class ModelConfig(Section):
    """The encoder to fine-tune."""

    name_or_path: str = Field("hfl/chinese-macbert-base", description="Hub id or local folder.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
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

    @model_validator(mode="before")
    @classmethod
    def _without_remote_code(cls, values: Any) -> Any:  # noqa: ANN401
        # A key of earlier versions, which every run of theirs has in its config.yaml.
        if isinstance(values, dict) and values.get("trust_remote_code") is False:
            return {name: value for name, value in values.items() if name != "trust_remote_code"}
        return values


class TrainingConfig(Section):
    """How to train; the names are those of transformers.TrainingArguments."""

    output_dir: FilePath = Field(Path("runs/default"), description="The run folder.")
    resume_from_checkpoint: bool = Field(
        False, description="Go on from the last whole checkpoint in output_dir."
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: Seed = 42
    num_train_epochs: Number = Field(3.0, gt=0)
    max_steps: Whole = Field(-1, ge=-1, description="Stop after so many steps; -1: by epochs.")
    learning_rate: Number = Field(5e-5, gt=0)
    layerwise_lr_decay: Number = Field(
        1.0, gt=0, le=1, description="Rate of a layer over that of the layer above it."
    )
    class_balanced_sampling: bool = Field(
        False, description="Draw every label as often, with replacement."
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_ratio: Share = Field(0.1, description="Share of the steps with a rising rate.")
    weight_decay: Number = Field(0.01, ge=0)
    max_grad_norm: Number = Field(1.0, ge=0)
    per_device_train_batch_size: Whole = Field(32, ge=1)
    per_device_eval_batch_size: Whole = Field(64, ge=1)
    gradient_accumulation_steps: Whole = Field(1, ge=1)
    gradient_checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, slower."
    )
    tf32: bool = Field(False, description="fp32 products in TF32 on an NVIDIA GPU from Ampere on.")
    torch_compile: bool = Field(False, description="Compile the model; brought nothing on a CPU.")
    dataloader_num_workers: Whole = Field(0, ge=0)
    logging_steps: Whole = Field(20, ge=1)
    save_steps: Whole = Field(
        500, ge=0, description="A checkpoint each so many steps beside each epoch's; 0: none."
    )
    save_total_limit: Whole = Field(
        2, ge=1, description="Checkpoints kept, the last and the best always."
    )
    early_stopping_patience: Whole = Field(
        0, ge=0, description="Stop after so many epochs without a better macro_f1; 0: never."
    )
    report_to: list[Tracker] | None = Field(
        None, description="Null: TensorBoard where it is installed; an empty list: none."
    )

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, value: int) -> int:
        if value == 0:
            raise ValueError("expected steps, or -1 to train by epochs")
        return value


class Config(Section):
    """A whole configuration."""

    prepare: PrepareConfig = PrepareConfig()
    data: DataConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    serve: ServeConfig = ServeConfig()
