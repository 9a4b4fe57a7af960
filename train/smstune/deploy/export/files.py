"""Writes a classifier as an onnx file and converts it to int8 or fp16."""

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
    """Write a classifier in fp32 as one onnx file; return the layers to keep in fp32 in all forms.

    Inputs are ``input_ids`` and ``attention_mask``, int64 of shape (batch, sequence), both sizes
    free; the output is ``logits``, fp32 of shape (batch, labels).
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
        raise ValueError("torch.onnx.export returned no program")
    for node in program.model.graph:
        # It has paths and source lines of this machine, which would be published.
        node.metadata_props.pop(_STACK_TRACE, None)
    program.save(file, external_data=False)
    return keep


def convert(source: Path, target: Path, precision: Precision, keep_fp32: Sequence[str]) -> None:
    """Convert ``source``, an fp32 onnx file, to int8 or fp16 except the layers ``keep_fp32``."""
    excluded = [name for name, layer in node_layers(source).items() if within(layer, keep_fp32)]
    with _quiet():
        if precision == "int8":
            _to_int8(source, target, excluded)
        else:
            _to_fp16(source, target, excluded)


def _to_int8(source: Path, target: Path, excluded: list[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # onnxruntime turns Gemm into MatMul, with another name, before it excludes nodes by name. With
    # VNNI its product is faster for signed weights: 8.5 ms per message instead of 13.1.
    quantize_dynamic(
        source,
        target,
        # Gather: embeddings are half of a small encoder, and opening a file reads all of them.
        op_types_to_quantize=["MatMul", "Attention", "Gather"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*excluded, *(f"{name}_MatMul" for name in excluded)],
    )
    _optimize(target)


def _optimize(file: Path) -> None:
    """Store a graph as onnxruntime optimises it on opening it, so that opening takes less time.

    Only with optimisations that do not depend on the processor.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(file)
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    model = onnx.load(file)
    # onnxruntime names all sets of operators that it has, which other versions may lack.
    used = {node.domain for node in model.graph.node}
    for unused in [opset for opset in model.opset_import if opset.domain not in used]:
        model.opset_import.remove(unused)
    onnx.save(model, file)


def _to_fp16(source: Path, target: Path, excluded: list[str]) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved = convert_float_to_float16(
        onnx.load(source), keep_io_types=True, node_block_list=excluded
    )
    onnx.save(halved, target)


def node_layers(file: Path) -> dict[str, str]:
    """Return the layer of each node of an exported file, both by name."""
    import onnx

    layers = {}
    for node in onnx.load(file, load_external_data=False).graph.node:
        scopes = next((prop.value for prop in node.metadata_props if prop.key == _SCOPES), "['']")
        # From the model inwards; the last is the node's own.
        names = ast.literal_eval(scopes)[-2::-1]
        layers[node.name] = next((name for name in names if name), "")
    return layers


def blocks(file: Path) -> list[str]:
    """Return the layers of an exported file; a numbered layer stands for all within it."""
    layers = filter(None, node_layers(file).values())
    return sorted(
        {re.sub(r"(\.\d+)\..*", r"\1", layer) for layer in layers},
        key=lambda name: [int(word) if word.isdigit() else -1 for word in name.split(".")],
    )


def within(layer: str, layers: Sequence[str]) -> bool:
    """Return whether ``layer`` is one of ``layers`` or within one of them."""
    return any(layer == outer or layer.startswith(f"{outer}.") for outer in layers)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries' messages about their internals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
