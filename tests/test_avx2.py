"""A processor without bf16: the parts that ask it compute in fp32 and end in reasonable time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from doors import ROOT

# What makes torch and oneDNN take this processor for one with AVX2 alone.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
# torch.cpu.get_capabilities() asks the processor itself and does not follow them.
_CODE = """
import sys
import pytest
import torch

capabilities = {**torch.cpu.get_capabilities(), "avx512_bf16": False, "amx_bf16": False}
torch.cpu.get_capabilities = lambda: capabilities
sys.exit(pytest.main(sys.argv[1:]))
"""
TESTS = (
    "tests/benchmark/test_benchmark.py",
    "tests/training/test_finetune.py",
    "tests/deploy/batch/test_predict.py",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_few_tests_pass_on_such_a_processor():
    words = [sys.executable, "-c", _CODE, "-m", "", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, **AVX2}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
