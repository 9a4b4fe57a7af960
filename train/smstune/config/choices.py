"""The values of settings that concern the machine."""

from __future__ import annotations

from typing import Literal

BackendChoice = Literal["auto", "torch", "onnx"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
DeviceName = Literal["cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Attention = Literal["eager", "sdpa"]
Engine = Literal["local", "ray"]
Layout = Literal["files", "folder-per-label", "file-per-label"]
SplitMethod = Literal["group", "time", "source", "random", "folds", "given"]
SplitName = Literal["train", "validation", "test"]
