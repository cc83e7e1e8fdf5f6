"""llama.cpp on this machine: a random 4-bit model of the same shape, timed by its own `llama-bench`."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .sections import Plan, Report
from .shapes import Shape

_BUILD = "build-engine-benchmark"
_OURS = {
    "attn_q": "q_proj",
    "attn_k": "k_proj",
    "attn_v": "v_proj",
    "attn_output": "o_proj",
    "ffn_gate": "gate_proj",
    "ffn_up": "up_proj",
    "ffn_down": "down_proj",
}


def build(plan: Plan, tell: Report) -> None:
    """Build `llama-bench` from the given sources, unless it is built."""
    if plan.llama_cpp is None or _found(plan) is not None:
        return tell("llama-bench", {"path": str(_found(plan) or "none, no sources were given")})
    place = plan.llama_cpp / _BUILD
    settings = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF"]
    if plan.device == "cuda":
        settings += ["-DGGML_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=native"]
    _do("cmake", "-S", str(plan.llama_cpp), "-B", str(place), *settings)
    _do("cmake", "--build", str(place), "--target", "llama-bench", "-j", str(os.cpu_count() or 2))
    return tell("llama-bench", {"path": str(_found(plan))})


def measure(plan: Plan, tell: Report) -> None:
    bench = _found(plan)
    if bench is None:
        raise FileNotFoundError("no llama-bench on PATH, and no llama.cpp by --llama-cpp PATH: no peer was measured")
    with tempfile.TemporaryDirectory() as scratch:
        file = write(plan.shape, Path(scratch) / "random.gguf")
        context = 64 if plan.is_tiny else 1024
        told = _do(
            str(bench), "-m", str(file), "-p", "0", "-n", "64", "-d", str(context), "-o", "json", "-r", "3",
            "-fa", "1", "-ngl", "99" if plan.device == "cuda" else "0",
        )  # fmt: skip
    (found,) = json.loads(told)
    tell("llama.cpp", {"tokens/s": round(found["avg_ts"], 1), "GB a step": round(step_bytes(plan.shape) / 1e9, 3)})


def step_bytes(shape: Shape) -> float:
    """Bytes of weights per step: 18 bytes per 32 weights, 34 in the output layer."""
    return shape.linear_weights * 18 / 32 + shape.vocabulary * shape.hidden * 34 / 32


def _found(plan: Plan) -> Path | None:
    if plan.llama_cpp is not None:
        if plan.llama_cpp.is_file():
            return plan.llama_cpp
        return next((path for path in sorted(plan.llama_cpp.rglob("llama-bench")) if path.is_file()), None)
    path = shutil.which("llama-bench")
    return Path(path) if path else None


def _do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {lines[-1] if lines else 'it said nothing'}")
    return done.stdout


def write(shape: Shape, file: Path) -> Path:
    """Linear layers in Q4_0, embeddings and output layer in Q8_0; layers of one shape have the same random bytes."""
    import gguf

    kind = gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.longest)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.size)
    writer.add_value_length(shape.size)
    writer.add_rope_dimension_count(shape.size)
    writer.add_rope_freq_base(1e9)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("no_vocab")
    random = np.random.default_rng(0)
    table = _random(random, shape.vocabulary, shape.hidden, 34)
    ones = np.ones(shape.hidden, dtype=np.float32)
    writer.add_tensor("token_embd.weight", table, raw_dtype=kind.Q8_0)
    writer.add_tensor("output.weight", table, raw_dtype=kind.Q8_0)
    writer.add_tensor("output_norm.weight", ones)
    bytes_of = {pair: _random(random, *pair, 18) for pair in sorted(set(shape.linears.values()))}
    for layer in range(shape.layers):
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{layer}.ffn_norm.weight", ones)
        for theirs, ours in _OURS.items():
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", bytes_of[shape.linears[ours]], raw_dtype=kind.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _random(random: np.random.Generator, rows: int, columns: int, width: int) -> npt.NDArray[np.uint8]:
    """Blocks of 32 weights, each after a float16 scale, [rows, bytes]; outputs have about the deviation of inputs.
    width: bytes of a block, 18 in Q4_0, 34 in Q8_0."""
    spread = {18: 4.6, 34: 73.9}[width]
    blocks = random.integers(0, 256, (rows, columns // 32, width), dtype=np.uint8)
    blocks[:, :, :2] = np.array([1 / (spread * math.sqrt(columns))], dtype=np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)
