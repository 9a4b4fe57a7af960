"""Logits by torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shutil import copyfile
from typing import Any, Literal

import torch
from safetensors import safe_open
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import PreTrainedConfig

from smstune.arrays import Floats
from smstune.config.choices import DeviceName, Precision
from smstune.errors import UserError
from smstune.files import temporary_folder
from smstune.inference.backends.first_token import use_first_token_layer
from smstune.inference.backends.torch_devices import hide_loading_bars, pick_attention
from smstune.inference.manifest import CONFIG, WEIGHTS, mismatch
from smstune.inference.tokenization import Batch
from smstune.language import Message

#: The number formats of torch's weights.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """A run's own weights in torch."""

    name: Literal["torch"] = "torch"
    #: Messages of similar length are computed together.
    one_by_one = False

    def __init__(
        self,
        model: Any,  # noqa: ANN401
        device: torch.device,
        precision: Precision,
    ) -> None:
        """Take a ``PreTrainedModel``, a classifier, and convert its weights to ``precision``."""
        # XLNet makes some in fp32 whatever it is asked. Buffers stay: rotary frequencies need fp32.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(DTYPES[precision])
        use_first_token_layer(model)
        self.model: PreTrainedModel = model.to(device).eval()
        self.device: DeviceName = "cuda" if device.type == "cuda" else "cpu"
        self.precision = precision

    @classmethod
    def load(cls, path: Path, device: torch.device, precision: Precision) -> TorchBackend:
        """Read the weights of a run folder whose files were compared with its manifest.

        Raises:
            UserError: if transformers cannot read config.json, or weights that it asks are missing.
        """
        # Not by the folder's path: transformers would map the file, so that a copy over it ends
        # this process, and would also read an adapter that lies beside.
        with safe_open(path / WEIGHTS, framework="pt", backend="pread") as tensors:
            weights = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
        return cls.with_weights(path, _read_config(path), weights, device, precision)

    @classmethod
    def with_weights(
        cls,
        path: Path,
        config: PreTrainedConfig,
        weights: Mapping[str, torch.Tensor],
        device: torch.device,
        precision: Precision,
    ) -> TorchBackend:
        """Build the model of ``config`` with weights that are in memory; ``path`` is for errors.

        Raises:
            UserError: if weights are missing or of another shape.
        """
        hide_loading_bars()
        model_class: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
        model, keys = model_class.from_pretrained(
            None,
            config=config,
            state_dict=dict(weights),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=DTYPES[precision],
            attn_implementation=pick_attention(device),
        )
        absent = [*keys["missing_keys"], *(name for name, *_ in keys["mismatched_keys"])]
        if absent:
            raise mismatch(
                path,
                Message("{file} lacks what config.json asks: {name}", file=WEIGHTS, name=absent[0]),
            )
        return cls(model, device, precision)

    def run(self, batches: Iterable[Batch]) -> Iterator[Floats]:
        """Yield the logits of each batch, shape (batch, labels)."""
        return map(self._logits, batches)

    @torch.inference_mode()
    def _logits(self, batch: Batch) -> Floats:
        inputs = {name: torch.from_numpy(values).to(self.device) for name, values in batch.items()}
        logits: Floats = self.model(**inputs).logits.to("cpu", torch.float64).numpy()
        return logits


def _read_config(path: Path) -> PreTrainedConfig:
    """Read config.json of a run from a folder that holds nothing else, and no code."""
    with temporary_folder() as scratch:
        copyfile(path / CONFIG, scratch / CONFIG)
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                str(scratch), trust_remote_code=False
            )
        # What the file of a run of an earlier version holds is not known.
        except Exception as error:
            reason = " ".join(str(error).split())[:200].replace(str(scratch), str(path))
            raise UserError(
                "expected a model's configuration in {path} that needs no code of its own, found "
                "what transformers cannot read ({reason}): train again",
                path=path,
                reason=reason,
            ) from error
    return config
