"""The attention kernel compiles to code that reads memory efficiently on GPUs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

triton: Any = pytest.importorskip("triton")


@pytest.mark.parametrize(("kind", "capability", "tokens"), [("bf16", 80, 16), ("int8", 89, 1), ("int4", 90, 1)])
def test_the_kernel_compiles_for_gpus_and_reads_sixteen_bytes_at_once(
    kind: str, capability: int, tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistral Small 3.1: 32 heads of queries, 8 of keys, of size 128. No GPU is needed to compile."""
    from jupyter_mistral.engine.fast import attention_triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    shape = attention_triton.shape(kind, tokens, 32, 8, 128)
    types = dict.fromkeys(("POSITIONS", "FIRSTS", "COUNTS", "ADDRESSES"), "*i64") | {"QUERY": "*bf16"}
    types |= dict.fromkeys(("ANSWERS", "TOPS", "TOTALS"), "*fp32") | {"layer": "i32", "scale": "fp32"}
    fixed = {**shape.fixed, "INTERPRETED": False}
    names = attention_triton._attend.arg_names
    aligned = {(at,): [["tt.divisibility", 16]] for at, name in enumerate(names) if types.get(name, "").startswith("*")}
    source = ASTSource(attention_triton._attend, {n: types.get(n, "constexpr") for n in names}, fixed, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=shape.options)
    assert made.asm["cubin"] and made.metadata.shared <= 99 * 1024, "a program of a 4090 has 99 KiB of shared memory"
    code = made.asm["ptx"]
    assert "cp.async.cg.shared.global" in code, "blocks are not loaded ahead, 16 bytes at a time"
    assert len(re.findall(r"ld\.global\S*\.b(?:8|16)\b", code)) <= (0 if kind == "bf16" else 32), (
        "scales are two bytes each"
    )
