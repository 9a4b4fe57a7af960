"""Logits by torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from smstune.config.choices import Precision
from smstune.inference.backends.first_token import use_first_token_layer
from smstune.inference.backends.torch_devices import hide_loading_bars, pick_attention
from smstune.inference.manifest import WEIGHTS, mismatch
from smstune.inference.run import Run

if TYPE_CHECKING:
    from smstune.inference.tokenization import Batch

#: The number formats of torch's weights.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """The run's own weights in torch.

    They are read from the run folder, or are those that are in memory already, ``weights``.
    """

    name: Literal["torch"] = "torch"

    def __init__(
        self,
        run: Run,
        device: torch.device,
        precision: Precision,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        if weights is None:
            # Not by the folder's path: transformers would map the file, so that a copy over it ends
            # this process, and would also read an adapter that lies beside.
            with safe_open(run.path / WEIGHTS, framework="pt", backend="pread") as tensors:
                weights = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
        hide_loading_bars()
        model_class: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(run.config)]
        model, keys = model_class.from_pretrained(
            None,
            config=run.config,
            state_dict=dict(weights),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=DTYPES[precision],
            attn_implementation=pick_attention(device),
        )
        absent = [*keys["missing_keys"], *(name for name, *_ in keys["mismatched_keys"])]
        if absent:
            raise mismatch(run.path, f"{WEIGHTS} lacks what config.json asks: {absent[0]}")
        # XLNet makes some in fp32 whatever it is asked. Buffers stay: rotary frequencies need fp32.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(DTYPES[precision])
        use_first_token_layer(model)
        self.model: PreTrainedModel = model.to(device).eval()
        self.device = device
        self.precision = precision

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> NDArray[np.float64]:
        """Return the logits of a batch, shape (batch, labels)."""
        inputs = {name: tensor.to(self.device) for name, tensor in batch.items()}
        logits: NDArray[np.float64] = self.model(**inputs).logits.to("cpu", torch.float64).numpy()
        return logits
