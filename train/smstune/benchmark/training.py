"""Training speed compared with the stock example's, in one run on one machine."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from smstune.config.schema import Config
from smstune.data.prepared import load_split
from smstune.files import temporary_folder
from smstune.inference.backends.first_token import FirstTokenLayer
from smstune.inference.backends.torch_devices import multiplies_bf16
from smstune.inference.labels import LabelMap
from smstune.modeling.tokenization import (
    PaddingCollator,
    build_encoder,
    load_tokenizer,
    tokenize_dataset,
)
from smstune.training.assemble import assemble

#: The stock example's default: transformers' examples/pytorch/text-classification.
_STOCK_LENGTH = 128
_MATRIX_SIDE = 2048
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainingSpeed:
    """Speed of one setup.

    ``gflops`` is the model's arithmetic per second: 6 operations per encoder weight and token
    (Kaplan et al. 2020), 4 if the weight is frozen and needs no gradient, padding and a last layer
    that computes one token not counted. ``matrix_share`` is ``gflops`` divided by this machine's
    rate for a matrix product. ``ratio`` is the speed divided by that of the stock setup.
    """

    setup: str
    messages_per_second: float
    peak_rss_gib: float
    gflops: float
    ratio: float
    matrix_share: float


@dataclass(frozen=True)
class _Measurement:
    messages_per_second: float
    peak_rss_gib: float
    gflops: float


def benchmark_training(config: Config, messages: int = 960) -> list[TrainingSpeed]:
    """Measure one pass over the same ``messages`` with each setup, each in a fresh process.

    A warm-up step is not counted; the speed is the one that the Trainer reports. The setups:
    ``ours`` is ``config``; ``stock`` is a plain Trainer with the defaults of transformers'
    run_classification.py (fp32, padding to 128); ``stock tuned`` uses the best of its flags
    (dynamic padding, grouping by length, bf16 if the processor multiplies it).
    """
    setups: dict[str, Callable[[Config, int], _Measurement]] = {
        "ours": _ours,
        "stock tuned": _stock_tuned,
        "stock": _stock,
    }
    context = multiprocessing.get_context("spawn")
    peak = matrix_rate()
    measured = {}
    for name, measure in setups.items():
        with context.Pool(1) as pool:
            measured[name] = pool.apply(measure, (config, messages))
    return [
        TrainingSpeed(
            setup=name,
            messages_per_second=speed.messages_per_second,
            peak_rss_gib=speed.peak_rss_gib,
            gflops=speed.gflops,
            ratio=speed.messages_per_second / measured["stock"].messages_per_second,
            matrix_share=speed.gflops / peak,
        )
        for name, speed in measured.items()
    ]


def matrix_rate() -> float:
    """Return the GFLOP/s of a matrix product of side 2048 on the CPU, the best of 10.

    In bf16 if the processor multiplies it, otherwise in fp32: torch would emulate bf16 in one
    thread, and a single product would take minutes.
    """
    dtype = torch.bfloat16 if multiplies_bf16(_CPU) else torch.float32
    left = torch.randn(_MATRIX_SIDE, _MATRIX_SIDE, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - started)
    return 2 * _MATRIX_SIDE**3 / best / 1e9


def _ours(config: Config, messages: int) -> _Measurement:
    with temporary_folder() as folder:
        training = config.training.model_copy(
            update={"output_dir": folder, "num_train_epochs": 1.0, "report_to": []}
        )
        trainer = assemble(config.model_copy(update={"training": training})).trainer
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        return _measure(trainer, messages)


def _stock(config: Config, messages: int) -> _Measurement:
    return _stock_trainer(config, messages, tuned=False)


def _stock_tuned(config: Config, messages: int) -> _Measurement:
    return _stock_trainer(config, messages, tuned=True)


def _stock_trainer(config: Config, messages: int, *, tuned: bool) -> _Measurement:
    labels = LabelMap.load(config.data.path / "labels.json")
    tokenizer = load_tokenizer(config.model.name_or_path)
    table = load_split(config.data.path, "train")
    length = min(_STOCK_LENGTH, config.data.max_length)
    encoder = build_encoder(tokenizer, length)
    encoded = tokenize_dataset(table, encoder, labels)
    if not tuned:
        encoded = encoded.map(
            lambda batch: tokenizer.pad(
                {"input_ids": batch["input_ids"]}, padding="max_length", max_length=length
            ),
            batched=True,
        )
    model = AutoModelForSequenceClassification.from_pretrained(
        config.model.name_or_path,
        num_labels=len(labels.names),
        dtype=torch.float32,
        trust_remote_code=False,
    )
    model.resize_token_embeddings(len(tokenizer))
    with temporary_folder() as folder:
        arguments = TrainingArguments(
            output_dir=str(folder),
            use_cpu=True,
            num_train_epochs=1,
            per_device_train_batch_size=config.training.per_device_train_batch_size,
            save_strategy="no",
            report_to="none",
            bf16=tuned and multiplies_bf16(_CPU),
            train_sampling_strategy="group_by_length" if tuned else "random",
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=encoded,
            data_collator=(
                PaddingCollator(encoder.padding, "cpu") if tuned else default_data_collator
            ),
        )
        trainer.args.remove_unused_columns = not tuned
        return _measure(trainer, messages)


def _warm_up(trainer: Trainer) -> None:
    """Run one forward and backward pass, so that first calls are not measured."""
    model: Any = trainer.model
    batch = next(iter(trainer.get_train_dataloader()))
    with trainer.accelerator.autocast():
        loss: torch.Tensor = model(**batch).loss
    torch.autograd.backward(loss)
    model.zero_grad()


def _measure(trainer: Trainer, messages: int) -> _Measurement:
    """Train one pass over a fixed sample of the data and return its speed."""
    dataset: Any = trainer.train_dataset
    dataset = dataset.shuffle(seed=0).select(range(min(messages, len(dataset))))
    trainer.train_dataset = dataset
    _warm_up(trainer)
    speed = trainer.train().metrics["train_samples_per_second"]
    model: Any = trainer.model
    operations = _operations_per_token(model)
    mask = dataset["attention_mask"] if "attention_mask" in dataset.column_names else None
    lengths = map(sum, mask) if mask else map(len, dataset["input_ids"])
    return _Measurement(
        messages_per_second=speed,
        peak_rss_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        gflops=operations * sum(lengths) / len(dataset) * speed / 1e9,
    )


def _operations_per_token(model: torch.nn.Module) -> int:
    last = [
        f"{name}." for name, module in model.named_modules() if isinstance(module, FirstTokenLayer)
    ]
    return sum(
        (6 if weight.requires_grad else 4) * weight.numel()
        for name, weight in model.named_parameters()
        if ".encoder." in name and not name.startswith(tuple(last))
    )
