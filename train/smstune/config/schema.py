"""Pydantic models of the configuration's sections: all keys with defaults and bounds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from smstune.config.choices import Layout, SplitMethod
from smstune.language import Message, joined
from smstune.paths import user_path


def _no_boolean(number: object) -> object:
    if isinstance(number, bool):
        raise ValueError(Message("expected a number"))
    return number


def _auto_or_above_0(rate: object) -> object:
    """Check both kinds of value at once; a union would report an error for each of them."""
    if rate == "auto":
        return rate
    message = Message("expected auto or a number above 0")
    if isinstance(rate, bool) or not isinstance(rate, int | float | str):
        raise ValueError(message)
    try:
        number = float(rate)
    except (ValueError, OverflowError) as error:
        raise ValueError(message) from error
    if not 0 < number < math.inf:
        raise ValueError(message)
    return number


def _no_empty_path(path: object) -> object:
    if path == "":
        raise ValueError(Message("expected a path"))
    return path


def _expanded(name: str) -> str:
    return str(user_path(name)) if name.startswith("~") else name


#: A finite number; ``Section`` refuses infinity and NaN.
Number = Annotated[float, BeforeValidator(_no_boolean)]
#: A whole number that fits the 32-bit integers of the libraries.
Whole = Annotated[int, BeforeValidator(_no_boolean), Field(le=2**31 - 1)]
#: A seed that numpy accepts.
Seed = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, le=2**32 - 1)]
FilePath = Annotated[Path, BeforeValidator(_no_empty_path), AfterValidator(user_path)]
#: A local path or the id of a repository on the hub.
PathOrId = Annotated[str, AfterValidator(_expanded)]
#: A number, or auto for one that follows from the encoder.
LearningRate = Annotated[float | Literal["auto"], BeforeValidator(_auto_or_above_0)]
#: A share that may be neither 0 nor 1.
ShareAbove0Below1 = Annotated[Number, Field(gt=0, lt=1)]
#: A share that may be 0 but not 1.
ShareBelow1 = Annotated[Number, Field(ge=0, lt=1)]
#: A share that may be 0 or 1.
ShareUpTo1 = Annotated[Number, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of all sections: frozen, without unknown keys, infinity or NaN."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


TransformName = Literal[
    "full_width", "zero_width", "traditional", "homophones", "pinyin", "initials", "look_alike",
    "split_characters", "symbols", "digit_words", "shuffle", "contacts", "signature", "benign_text",
]  # fmt: skip


class AugmentConfig(Section):
    """Rewrite training messages as evasive spam.

    Transforms that are not listed stay unseen, so the evasion suite can test the model on them.
    """

    transforms: list[TransformName] = Field(
        min_length=1, description="Kinds of evasion to train on."
    )
    share: Number = Field(
        0.3, gt=0, le=1, description="Share of the messages to rewrite, drawn anew each epoch."
    )
    strength: tuple[ShareUpTo1, ShareUpTo1] = Field(
        (0.1, 0.5), description="Range of the share of positions to change in a message."
    )

    @field_validator("strength")
    @classmethod
    def _rising(cls, strength: tuple[float, float]) -> tuple[float, float]:
        if strength[0] > strength[1]:
            raise ValueError(Message("expected a range from a smaller to a larger strength"))
        return strength


#: The keys that each loss uses, which are also its parameters' names.
LOSS_KEYS = {
    "cross_entropy": {"label_smoothing"},
    "focal": {"focal_gamma"},
    "ldam": {"ldam_margin"},
    "logit_adjusted": {"label_smoothing", "tau"},
}


class LossConfig(Section):
    """The training objective."""

    name: Literal["cross_entropy", "focal", "ldam", "logit_adjusted"] = "cross_entropy"
    label_smoothing: ShareBelow1 = Field(0.0, description="For cross_entropy and logit_adjusted.")
    focal_gamma: Number = Field(2.0, ge=0, description="Exponent of focal.")
    ldam_margin: Number = Field(
        0.5, gt=0, description="For ldam: margin of the rarest label, in logits."
    )
    tau: Number = Field(1.0, ge=0, description="Strength of logit_adjusted.")
    class_weights: Literal["inverse", "inverse_sqrt", "effective_number"] | None = None
    reweight_after: ShareBelow1 = Field(
        0.0, description="Apply class_weights only after this share of the steps."
    )
    r_drop: Number = Field(0.0, ge=0, description="Weight of R-Drop's divergence; 0 disables it.")
    fgm: Number = Field(
        0.0, ge=0, description="Size of FGM's step on word embeddings; 0 disables it."
    )

    @model_validator(mode="after")
    def _no_idle_key(self) -> Self:
        idle = set().union(*LOSS_KEYS.values()) - LOSS_KEYS[self.name]
        reasons = dict.fromkeys(sorted(idle), Message("with name {name}", name=self.name))
        if self.class_weights is None:
            reasons["reweight_after"] = Message("without class_weights")
        fields = type(self).model_fields
        problems = [
            Message("{key} has no effect {reason}: remove it", key=key, reason=reason)
            for key, reason in reasons.items()
            if getattr(self, key) != fields[key].default
        ]
        if problems:
            raise ValueError(joined(problems, "; "))
        return self


class DistillationConfig(Section):
    """Let a student learn the answers of a teacher, a finished run."""

    teacher: FilePath = Field(description="The teacher's run folder.")
    temperature: Number = Field(
        4.0, gt=0, description="Both answers are softened by it before they are compared."
    )
    weight: Number = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the teacher's term in the loss; the rest is the loss on the true "
        "labels.",
    )
    unlabelled: list[str] = Field(
        default=[],
        description="Messages without labels that the teacher answers, too, as [SOURCE:]PATH.",
    )


class OperatingPointConfig(Section):
    """The labels to block, and exactly one of three budgets for what blocking may cost."""

    labels: list[str] = Field(min_length=1, description="Labels to block, or parents of labels.")
    max_false_positive_rate: ShareAbove0Below1 | None = Field(
        None, description="Largest share of the harmless campaigns that may be blocked."
    )
    min_precision: ShareAbove0Below1 | None = Field(
        None, description="Smallest share of the blocked campaigns that is blocked rightly."
    )
    cost_ratio: Annotated[Number, Field(gt=0)] | None = Field(
        None,
        description="Cost of wrongly blocking a campaign, as a multiple of the cost of missing "
        "one.",
    )
    confidence: ShareAbove0Below1 = Field(0.95, description="Confidence that the budget is kept.")
    review_share: Number = Field(
        0.0, ge=0, lt=1, description="Largest share of all messages that people can review."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if len(self.budget) != 1:
            raise ValueError(
                Message(
                    "expected exactly one of max_false_positive_rate, min_precision, cost_ratio"
                )
            )
        return self

    @property
    def budget(self) -> dict[str, float]:
        """The budget by its name."""
        names = ("max_false_positive_rate", "min_precision", "cost_ratio")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class CascadeConfig(Section):
    """Let the linear model answer alone the messages that it is sure of."""

    max_changed: ShareAbove0Below1 = Field(
        0.01, description="Largest share of campaigns in which that may change an answer."
    )
    confidence: ShareAbove0Below1 = Field(
        0.95, description="Confidence that no more of them change."
    )


class GateConfig(Section):
    """A required score of the whole set, of a label, or of a slice."""

    score: str = Field(
        description="A score of metrics.json, of a label's row, or of a slice's row."
    )
    label: str | None = Field(None, description="The label whose score it is, if any.")
    slice: str | None = Field(None, description="The slice whose score it is, if any.")
    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.label is not None and self.slice is not None:
            raise ValueError(Message("expected a label or a slice, not both"))
        if self.min is None and self.max is None:
            raise ValueError(Message("expected min or max"))
        return self


class ExportConfig(Section):
    """How much worse than the run an export in fewer bits may be on validation."""

    max_macro_f1_loss: Number = Field(0.005, ge=0)
    max_recall_loss: Number = Field(
        0.01, ge=0, description="Loss of each operating point's recall, by messages."
    )
    max_ece_rise: Number = Field(0.01, ge=0, description="Rise of the expected calibration error.")
    keep_fp32: list[str] = Field(
        default=[], description="Layers to keep in fp32, such as bert.encoder.layer.3."
    )


class EvaluationConfig(Section):
    """How a run is evaluated."""

    split: Literal["validation", "test"] = "test"
    baseline: bool = Field(True, description="Also train and evaluate the linear baseline.")
    bootstrap_samples: Whole = Field(
        1000, ge=0, description="Bootstrap samples for the intervals; 0 disables them."
    )
    label_bias: bool = Field(
        False, description="Shift each label's logit to maximise macro-F1 on validation."
    )
    operating_points: dict[str, OperatingPointConfig] = Field(
        default={}, description="By name: labels to block within a budget."
    )
    cascade: CascadeConfig | None = Field(
        None,
        description="Let the linear model answer alone the messages that it is sure of; null "
        "disables it.",
    )
    groups: dict[str, list[str]] = Field(
        default={},
        description="By name: labels (or parents) whose macro-F1 against all other labels and "
        "whose joint recall at a fixed false-positive rate are reported, as for each parent.",
    )
    costs: dict[str, dict[str, Number]] = Field(
        default={},
        description="Cost of a mistake by true label (or parent), then predicted one; 1 for all "
        "others.",
    )
    slices: list[str] = Field(
        default=[], description="Columns to slice by, in addition to source and month."
    )
    hard_twins: bool = Field(
        True,
        description="Report messages with a near copy under another parent (or label, if labels "
        "have no parents) as a slice.",
    )
    gates: list[GateConfig] = Field(
        default=[], description="Required scores; exit status 3 if one is missed."
    )
    max_drift: Number | None = Field(
        None,
        gt=0,
        description="Largest population stability index that --drift accepts; exit status 3 above "
        "it. Null accepts any.",
    )


class ServeConfig(Section):
    """Limits of the server; its other settings are on the command line."""

    max_body_bytes: Whole = Field(1_048_576, ge=1024, description="Largest request body, in bytes.")
    max_messages: Whole = Field(256, ge=1, description="Most messages in one request.")
    max_characters: Whole = Field(
        17_085, ge=1, description="Longest message; the default is the longest possible SMS."
    )
    max_connections: Whole = Field(
        512, ge=1, description="Most connections at a time; beyond them 503."
    )
    max_bytes_in_flight: Whole = Field(
        67_108_864,
        ge=1024,
        description="Most bytes in the bodies of all unanswered requests, at least "
        "max_body_bytes; beyond them 503.",
    )
    body_seconds: Number = Field(
        10.0, gt=0, le=3600, description="Longest time for a client to send a body; after it 408."
    )
    max_wait_seconds: Number = Field(
        5.0,
        gt=0,
        le=3600,
        description="Longest expected wait before a request is processed; beyond it 503.",
    )
    queue_messages: Whole = Field(
        1024,
        ge=64,
        description="Most messages waiting or being scored; beyond them 503. Explanations have "
        "their own queue, where each counts as 64.",
    )
    batch_messages: Whole = Field(64, ge=1, description="Most messages scored together.")
    batch_wait_ms: Number = Field(
        4.0,
        ge=0,
        le=1000,
        description="How long the first message of a batch waits for others, in milliseconds.",
    )
    stop_seconds: Whole = Field(
        20, ge=1, description="Time to finish accepted requests after SIGTERM."
    )
    cors_origins: list[str] = Field(
        default=[], description="Other origins whose pages may call, such as https://shop.example."
    )

    @model_validator(mode="after")
    def _room_for_a_request(self) -> Self:
        if self.queue_messages < self.max_messages:
            raise ValueError(Message("queue_messages must be at least max_messages"))
        return self


class MemoryConfig(Section):
    """What `smstune learn` remembers, and which campaigns it refuses."""

    similarity: Number = Field(
        0.7,
        ge=0.3,
        le=1,
        description="Smallest Jaccard similarity of a message to a remembered one, over 3-grams of "
        "letters. Fixed once something is learned.",
    )
    max_false_positive_rate: ShareAbove0Below1 = Field(
        0.01,
        description="Largest share of the campaigns of other labels that one campaign may match; "
        "its upper bound counts.",
    )


Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow", "swanlab"]


class PrepareConfig(Section):
    """The input of `smstune prepare`, and how to split it."""

    inputs: list[str] = Field(
        default=[], description="Messages, as [SOURCE:]PATH, relative to the working folder."
    )
    source: str | None = Field(None, description="Format of inputs without a SOURCE: prefix.")
    labels: FilePath | None = Field(
        None,
        description="YAML that maps the sources' labels to ours, relative to this file; null keeps "
        "the labels unchanged.",
    )
    split: SplitMethod = Field(
        "group", description="How to split; given: as the column `split` of each row says."
    )
    held_out: str | None = Field(
        None, description="For split source: the source that becomes the test set."
    )
    folds: Whole = Field(5, description="For split folds: number of folds, at least 3.")
    test: list[str] = Field(default=[], description="Messages to use unchanged as the test set.")
    text_column: str | None = Field(
        None, description="Column of the message; null: text, or a usual name such as 内容."
    )
    label_column: str | None = Field(None, description="Column of the label; null as above.")
    time_column: str | None = Field(None, description="Column of the time; null as above.")
    group_column: str | None = Field(
        None, description="Column whose equal values keep messages together; null as above."
    )
    sheet: str | None = Field(None, description="Sheet of a workbook; null: the first visible one.")
    no_header: bool = Field(False, description="The first row of a table is a message.")
    layout: Layout | None = Field(
        None, description="How a folder of files holds messages; null: recognised."
    )
    mask_pii: bool = Field(True, description="Replace personal information by placeholders.")
    drop_punctuation: bool = Field(
        False,
        description="Remove punctuation and symbols, for sources of which one has none; a run "
        "trained on it reads all messages so.",
    )
    drop_rare: bool = Field(
        False, description="Drop labels of fewer than three campaigns, otherwise an error."
    )
    seed: Seed = Field(42, description="Random seed of the split.")

    @field_validator("folds")
    @classmethod
    def _three_roles(cls, folds: int) -> int:
        if folds < 3:
            raise ValueError(
                Message(
                    "expected at least 3 folds: one for test, one for validation, the others for "
                    "train"
                )
            )
        return folds


class PretrainConfig(Section):
    """What an encoder reads before it is fine-tuned; `smstune pretrain`."""

    inputs: list[str] = Field(
        min_length=1,
        description="Messages without labels, as [SOURCE:]PATH, relative to the working folder.",
    )
    protect: list[FilePath] = Field(
        description="Prepared folders: near copies of their validation and test messages are set "
        "aside. An empty list protects none.",
    )
    mlm_probability: ShareAbove0Below1 = Field(
        0.15, description="Share of the tokens to predict, drawn anew each epoch."
    )
    held_out: ShareAbove0Below1 = Field(
        0.02, description="Share of the campaigns to measure the masked loss on."
    )


class DataConfig(Section):
    """The prepared data."""

    path: FilePath = Field(description="The prepared folder.")
    max_length: Whole = Field(
        128, ge=8, description="Longest message in tokens; longer ones are cut."
    )
    augment: AugmentConfig | None = Field(
        None, description="Train on evasive rewrites; null disables it."
    )


class FromScratchConfig(Section):
    """Size of a BERT with random weights and a tokenizer trained on the data."""

    vocab_size: Whole = Field(6000, ge=100)
    hidden_size: Whole = Field(128, ge=8)
    num_hidden_layers: Whole = Field(4, ge=1)
    num_attention_heads: Whole = Field(4, ge=1)
    intermediate_size: Whole = Field(512, ge=8)

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                Message(
                    "hidden_size must be a multiple of num_attention_heads, found {hidden_size} "
                    "and {num_attention_heads}",
                    hidden_size=self.hidden_size,
                    num_attention_heads=self.num_attention_heads,
                )
            )
        return self


class LoraConfig(Section):
    """Low-rank adapters; the names are peft's, except rank for r."""

    rank: Whole = Field(8, ge=1)
    alpha: Whole = Field(16, ge=1, description="The adapters are scaled by alpha / rank.")
    dropout: ShareBelow1 = 0.0
    target_modules: list[str] | None = Field(
        None,
        min_length=1,
        description="Linear layers, by the ends of their names. Null: those of the queries and "
        "values, whatever the architecture calls them.",
    )


class ModelConfig(Section):
    """The encoder to fine-tune."""

    name_or_path: PathOrId = Field(
        "hfl/chinese-macbert-base", description="Hub id or local folder."
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    from_scratch: FromScratchConfig | None = Field(
        None, description="Build a new BERT of this size instead of loading name_or_path."
    )
    keep_layers: list[Annotated[Whole, Field(ge=0)]] | None = Field(
        None,
        min_length=1,
        description="Start from these layers of name_or_path alone, counted from 0; null keeps "
        "all.",
    )
    hidden_dropout: ShareBelow1 | None = Field(None, description="Null keeps the checkpoint's own.")
    attention_dropout: ShareBelow1 | None = Field(
        None, description="Null keeps the checkpoint's own."
    )
    classifier_dropout: ShareBelow1 | None = Field(
        None, description="Null keeps the checkpoint's own."
    )
    pooling: Literal["cls", "mean"] = Field(
        "cls",
        description="Input of the classifier: the first token (of a decoder, the last), or the "
        "mean of all.",
    )
    trim_vocabulary: bool = Field(
        False,
        description="Keep only the tokens of the training messages, of common characters and of "
        "bytes, special tokens and placeholders; drop the others with their embeddings.",
    )
    linear: bool = Field(
        False,
        description="Add the scores of a linear model of character n-grams to the logits, with a "
        "weight fitted on validation.",
    )
    linear_min_campaigns: Whole = Field(
        5,
        ge=1,
        description="The linear model knows only character n-grams that messages of this many "
        "campaigns contain; rarer ones could reveal messages.",
    )
    lora: LoraConfig | None = Field(
        None,
        description="Train low-rank adapters instead of all weights, and merge them at the end.",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_remote_code(cls, values: object) -> object:
        # Earlier versions wrote this key into every run's config.yaml.
        if isinstance(values, dict) and values.get("trust_remote_code") is False:
            return {name: values[name] for name in values if name != "trust_remote_code"}
        return values

    @model_validator(mode="after")
    def _layers_of_a_checkpoint(self) -> Self:
        if self.keep_layers is None:
            return self
        if self.from_scratch is not None:
            raise ValueError(
                Message("keep_layers needs a checkpoint, found from_scratch: remove one of them")
            )
        if self.keep_layers != sorted(set(self.keep_layers)):
            raise ValueError(Message("keep_layers must be in ascending order, each once"))
        return self


class TrainingConfig(Section):
    """How to train; the names follow transformers.TrainingArguments."""

    output_dir: FilePath = Field(Path("runs/default"), description="The run folder.")
    resume_from_checkpoint: bool = Field(
        False, description="Resume from the last complete checkpoint in output_dir."
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: Seed = 42
    num_train_epochs: Number = Field(3.0, gt=0)
    max_steps: Whole = Field(
        -1, ge=-1, description="Stop after this many steps; -1: train by epochs."
    )
    learning_rate: LearningRate = Field(
        5e-5,
        description="auto: 2e-4 for encoders up to width 384, 3e-5 from width 768 on, linear "
        "between.",
    )
    layerwise_lr_decay: Number = Field(
        1.0,
        gt=0,
        le=1,
        description="Learning rate of a layer divided by that of the layer above it.",
    )
    class_balanced_sampling: bool = Field(
        False, description="Draw all labels equally often, with replacement."
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_ratio: ShareBelow1 = Field(
        0.1, description="Share of the steps with a rising learning rate."
    )
    weight_decay: Number = Field(0.01, ge=0)
    max_grad_norm: Number = Field(1.0, ge=0)
    per_device_train_batch_size: Whole = Field(32, ge=1)
    per_device_eval_batch_size: Whole = Field(64, ge=1)
    gradient_accumulation_steps: Whole = Field(1, ge=1)
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, slower."
    )
    tf32: bool = Field(
        False, description="Use TF32 for fp32 products on NVIDIA GPUs from Ampere on."
    )
    torch_compile: bool = Field(False, description="Use torch.compile. Gave no speed-up on a CPU.")
    dataloader_num_workers: Whole = Field(0, ge=0)
    logging_steps: Whole = Field(20, ge=1)
    save_steps: Whole = Field(
        500, ge=0, description="Also save a checkpoint every N steps; 0 disables it."
    )
    save_total_limit: Whole = Field(
        2, ge=1, description="Checkpoints to keep; the last and the best are always kept."
    )
    early_stopping_patience: Whole = Field(
        0, ge=0, description="Stop after this many epochs without a better macro_f1; 0: never."
    )
    report_to: list[Tracker] | None = Field(
        None, description="Null: TensorBoard if it is installed; an empty list: none."
    )

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, steps: int) -> int:
        if steps == 0:
            raise ValueError(Message("expected steps, or -1 to train by epochs"))
        return steps


class SearchedKeyConfig(Section):
    """The values of one key that a search may choose: a range of numbers, or ``choices``."""

    low: Number | None = Field(None, description="Smallest number.")
    high: Number | None = Field(None, description="Largest number.")
    log: bool = Field(False, description="Draw from the logarithm of the range.")
    choices: list[bool | int | float | str | None] | None = Field(
        None, min_length=2, description="Instead of a range: the values."
    )

    @model_validator(mode="after")
    def _range_or_choices(self) -> Self:
        ends = (self.low, self.high)
        is_range = self.choices is None and None not in ends
        is_choice = self.choices is not None and ends == (None, None) and not self.log
        if not (is_range or is_choice):
            raise ValueError(Message("expected low and high, or choices"))
        if self.low is not None and self.high is not None:
            if self.low >= self.high:
                raise ValueError(Message("low must be below high"))
            if self.log and self.low <= 0:
                raise ValueError(Message("low must be above 0 with log"))
        return self


#: The name of a variant, which is part of its run folders' names.
VariantName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


class SweepConfig(Section):
    """Many fine-tunes as one experiment: seeds alone, named variants, or a searched space."""

    output_dir: FilePath = Field(Path("runs/sweep"), description="The folder of the sweep.")
    seeds: list[Seed] = Field(
        [42, 43, 44], min_length=1, description="Each variant is trained once with each."
    )
    grid: dict[VariantName, list[str]] | None = Field(
        None,
        min_length=1,
        description="Variants by name: overrides (key.path=value) of this configuration, or of the "
        "configuration file that stands before them. The first is the base of the comparison.",
    )
    space: dict[str, SearchedKeyConfig] | None = Field(
        None, min_length=1, description="Keys that optuna searches, as key.path."
    )
    n_trials: Whole | None = Field(None, ge=1, description="For space: number of trials.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        twice = sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1})
        if twice:
            raise ValueError(
                Message("seeds has {seeds} twice: keep one", seeds=", ".join(map(str, twice)))
            )
        if self.grid is not None and self.space is not None:
            raise ValueError(Message("expected grid or space, not both: remove one"))
        if (self.space is None) != (self.n_trials is None):
            raise ValueError(Message("space and n_trials need each other"))
        return self


class Config(Section):
    """The whole configuration."""

    prepare: PrepareConfig = PrepareConfig()
    pretrain: PretrainConfig | None = None
    data: DataConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    distillation: DistillationConfig | None = Field(
        None, description="Learn from a teacher as well; null disables it."
    )
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    serve: ServeConfig = ServeConfig()
    sweep: SweepConfig | None = Field(None, description="For `smstune sweep` alone.")
    memory: MemoryConfig = MemoryConfig()

    @model_validator(mode="after")
    def _cascade_has_a_linear_model(self) -> Self:
        if self.evaluation.cascade is not None and not self.model.linear:
            raise ValueError(
                Message(
                    "evaluation.cascade needs a linear model: train with model.linear=true, or set "
                    "evaluation.cascade=null"
                )
            )
        return self

    @model_validator(mode="after")
    def _teacher_answers_what_is_trained_on(self) -> Self:
        if self.distillation is None:
            return self
        if self.data.augment is not None:
            raise ValueError(
                Message(
                    "distillation does not go with data.augment: the teacher answers the messages "
                    "as they are, not their rewrites: set one of them to null"
                )
            )
        if self.distillation.unlabelled and self.training.class_balanced_sampling:
            raise ValueError(
                Message(
                    "distillation.unlabelled does not go with training.class_balanced_sampling: "
                    "unlabelled messages belong to no label: remove one of them"
                )
            )
        return self
