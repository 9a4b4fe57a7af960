"""The processor as Linux describes it."""

from __future__ import annotations

import pytest

from smstune.inference.backends import processor

_XEON = """processor	: 0
model name	: Intel(R) Xeon(R) Processor @ 2.70GHz
flags		: fpu sse2 avx avx2 avx512f avx512_bf16 avx512_vnni amx_bf16 amx_tile amx_int8
vmx flags	: vnmi

processor	: 1
model name	: another
"""


@pytest.mark.parametrize(
    ("cpuinfo", "sets"),
    [
        (_XEON, ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")),
        # avx512 is not avx512f, and ARM calls its flags Features.
        ("flags		: avx512bw avx2_x\n", ()),
        ("Features	: fp asimd avx2\n", ()),
    ],
)
def test_instruction_sets_are_those_of_the_processor(cpuinfo, sets, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo, "utf-8")
    monkeypatch.setattr(processor, "_CPUINFO", path)
    assert processor.instruction_sets() == sets


def test_a_name_is_there_with_and_without_cpuinfo(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPUINFO", path)
    assert processor.instruction_sets() == ()
    assert processor.processor_name().endswith(" cores")
    path.write_text(_XEON, "utf-8")
    assert processor.processor_name().startswith("Intel(R) Xeon(R) Processor @ 2.70GHz, ")
