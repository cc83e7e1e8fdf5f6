"""Compares 4-bit products in 32 bit with bitsandbytes' in bfloat16, on the CPU: `python tests/benchmarks/float32_linear.py`.

For each shape of the embedded default's layers and each number of tokens the best of `--rounds` in turn, in milliseconds, and
the ratio. On a processor with AVX-512 ours is measured as well, though not used there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the server starts its worker
sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

import bitsandbytes as bnb
import torch
from four_bit import layer
from jupyter_mistral.engine.decode import float32_linear

SHAPES = ((4864, 896), (896, 4864), (896, 896), (128, 896))  # rows and columns of Qwen2.5-Coder-0.5B
TOKENS = (1, 4, 16, 64, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(
        f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads; used here: {float32_linear.is_faster()}"
    )
    print(f"{'rows':>6} {'columns':>8} {'tokens':>7} {'bfloat16 ms':>12} {'32 bit ms':>10} {'ratio':>6}")
    for rows, columns in SHAPES:
        made = layer(rows, columns, True)
        state = made.weight.quant_state
        given = (made.weight.data, state.shape, state.state2.absmax, state.blocksize, state.quant_type)
        more = {"absmax_8bit": state.absmax, "absmax_code": state.state2.code, "absmax_offset": state.offset}
        for tokens in TOKENS:
            states = torch.randn(tokens, columns).bfloat16()
            with torch.inference_mode():
                theirs, ours = best(
                    rounds,
                    lambda x=states, w=made.weight: bnb.matmul_4bit(x, w, quant_state=w.quant_state),
                    lambda x=states, g=given, m=more: float32_linear.four_bit(x, *g, **m),
                )
            print(f"{rows:6} {columns:8} {tokens:7} {theirs:12.2f} {ours:10.2f} {theirs / ours:6.2f}")


def best(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Milliseconds of each, run in turn, so that other load affects all equally."""
    found = [float("inf")] * len(works)
    for _ in range(rounds + 1):  # the first warms up, and is never the best
        for n, work in enumerate(works):
            started = time.perf_counter()
            work()
            found[n] = min(found[n], 1e3 * (time.perf_counter() - started))
    return found


if __name__ == "__main__":
    main()
