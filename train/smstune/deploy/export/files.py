"""The onnx file of a classifier, and the same in int8 or fp16."""

from __future__ import annotations

import ast
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel

from smstune.config.choices import Precision
from smstune.deploy.export.graph import as_fused

_SCOPES, _STACK_TRACE = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.stack_trace"


def write_graph(model: PreTrainedModel, file: Path) -> list[str]:
    """Write a classifier in fp32 as one onnx file; return the layers to keep so in every form.

    Inputs ``input_ids`` and ``attention_mask``, int64 of shape (batch, sequence), both free; output
    ``logits``, fp32 of shape (batch, labels).
    """
    fused, keep = as_fused(model)
    ids = torch.full((2, 8), model.config.pad_token_id or 0)
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    names = ["input_ids", "attention_mask"]
    with _quiet():
        program = torch.onnx.export(
            fused.eval(),
            kwargs={"input_ids": ids, "attention_mask": torch.ones_like(ids)},
            dynamo=True,
            dynamic_shapes=dict.fromkeys(names, shape),
            input_names=names,
            output_names=["logits"],
            verbose=False,
        )
    if program is None:
        raise ValueError("expected a program of torch.onnx.export, found none")
    for node in program.model.graph:
        # Paths and source lines of this machine, which would be published.
        node.metadata_props.pop(_STACK_TRACE, None)
    program.save(file, external_data=False)
    return keep


def convert(source: Path, target: Path, precision: Precision, keep_fp32: Sequence[str]) -> None:
    """Write ``source``, an fp32 onnx file, in int8 or fp16, but for the layers ``keep_fp32``."""
    kept = [name for name, layer in node_layers(source).items() if within(layer, keep_fp32)]
    with _quiet():
        if precision == "int8":
            _to_int8(source, target, kept)
        else:
            _to_fp16(source, target, kept)


def _to_int8(source: Path, target: Path, kept: list[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # onnxruntime turns Gemm into MatMul, and then looks at the names. Its product is faster for
    # signed weights where the processor has VNNI: 8.5 ms a message against 13.1.
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Attention"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*kept, *(f"{name}_MatMul" for name in kept)],
    )


def _to_fp16(source: Path, target: Path, kept: list[str]) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved = convert_float_to_float16(onnx.load(source), keep_io_types=True, node_block_list=kept)
    onnx.save(halved, target)


def node_layers(file: Path) -> dict[str, str]:
    """Return the layer of each node of an exported file, both by name."""
    import onnx

    found = {}
    for node in onnx.load(file, load_external_data=False).graph.node:
        scopes = next((one.value for one in node.metadata_props if one.key == _SCOPES), "['']")
        # From the model inwards; the last is the node's own.
        found[node.name] = next((one for one in ast.literal_eval(scopes)[-2::-1] if one), "")
    return found


def blocks(file: Path) -> list[str]:
    """Return the layers of an exported file, those within a numbered one as one."""
    layers = filter(None, node_layers(file).values())
    return sorted(
        {re.sub(r"(\.\d+)\..*", r"\1", layer) for layer in layers},
        key=lambda name: [int(part) if part.isdigit() else -1 for part in name.split(".")],
    )


def within(layer: str, layers: Sequence[str]) -> bool:
    """Say whether ``layer`` is one of ``layers`` or a part of one."""
    return any(layer == one or layer.startswith(f"{one}.") for one in layers)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the libraries say of their own inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
