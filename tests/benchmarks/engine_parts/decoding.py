"""Whole decode steps of our real `Decoder` on random weights: methods, contexts, KV formats, concurrent requests, and whether
the tokens equal the reference's."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.fast import ops
from jupyter_mistral.engine.fast.choose import HEAD, FastPath, fast_path
from jupyter_mistral.engine.fast.step import FastModel
from jupyter_mistral.engine.kv import attention
from jupyter_mistral.models.memory import KV_KINDS

from . import rows, weights
from .sections import Figures, Plan, Report
from .stock import Stock

SMALL_CARD = 24e9  # bytes for us on a card with 24,564 MiB; CUDA and a desktop use the other 1.7 GB
GREEDY = 256  # tokens that must equal the reference's
LONGEST = 131072
HEAD_BYTES = {"bf16": 2, "int8": 1}  # of a weight


def decode_mode(plan: Plan) -> str:
    """Triton's kernels where they can run: on CUDA or under Triton's interpreter."""
    return "triton" if plan.device == "cuda" or os.environ.get("TRITON_INTERPRET") == "1" else "reference"


def context_of(plan: Plan) -> int:
    return 128 if plan.is_tiny else 1024


def _ready(plan: Plan, attending: str = attention.NAME) -> Any:
    attention.register()
    model = weights.model(plan.shape, plan.device)
    model.config._attn_implementation = attending
    return model


def plain(model: Any, kv: str = "bf16") -> Decoder:
    """transformers' own forward with bitsandbytes' kernel, the reference for all others."""
    return Decoder(model, 4096, None, kv)


def fast(plan: Plan, model: Any, kv: str = "bf16") -> Decoder:
    """As the worker builds it."""
    found, reason = fast_path(model, kv, decode_mode(plan))
    if found is None:
        raise RuntimeError(f"no fast path: {reason}")
    return Decoder(model, 4096, None, kv, fast=found)


def ours(plan: Plan, kv: str = "bf16") -> Decoder:
    return fast(plan, _ready(plan), kv)


def checked(decoder: Decoder) -> None:
    """Raise if the fast path failed during the measurement, which then measured something else."""
    if decoder.fast is not None and not decoder.fast.is_on:
        raise RuntimeError(f"the fast path failed: {decoder.fast.failure}")


# ---------------------------------------------------------------------------------------------- one way after the other


def ways(plan: Plan, tell: Report) -> None:
    """A new answer of one request, from transformers' `generate` to our full path. Each method has its own model."""
    kernels = "Triton's kernels" if decode_mode(plan) == "triton" else "the kernels' references"
    found: dict[str, Callable[[Plan], Decoder]] = {
        "our loop, bitsandbytes' kernel": lambda plan: plain(_ready(plan)),
        "recorded step, bitsandbytes' kernel": _stock,
        f"recorded step, {kernels}": ours,
        "the same, last layer in int8": ours,
    }
    tell("generate of transformers", _attempt(lambda: _generated(plan)))
    for name, make in found.items():
        os.environ[HEAD] = head = "int8" if name.endswith("int8") else "bf16"
        size = HEAD_BYTES[head]
        tell(name, _attempt(lambda: measured(plan, make(plan), context_of(plan), head_bytes=size)))  # noqa: B023
        _clear()


def _attempt(measure: Callable[[], Figures]) -> Figures:
    try:
        return measure()
    except Exception as error:  # a method that fails must not end the others
        return {"reason": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"}


def _stock(plan: Plan) -> Decoder:
    model = _ready(plan)
    chosen = Stock(ops.triton() if decode_mode(plan) == "triton" else ops.Reference(), model)
    return Decoder(model, 4096, None, fast=FastPath(lambda: FastModel(model, chosen), "bf16"))


def _generated(plan: Plan) -> Figures:
    """Two lengths, so that the prefill cancels out."""
    model, count = _ready(plan, "sdpa"), 4 if plan.is_tiny else 48
    ids = torch.tensor([rows.ids(plan.shape, context_of(plan))], device=plan.device)
    taken = {}
    for tokens in (2, 2, 2 + count):  # the first warms up
        begin = time.perf_counter()
        model.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        _wait(plan)
        taken[tokens] = time.perf_counter() - begin
    return _speed(plan, (taken[2 + count] - taken[2]) / count, context_of(plan), "bf16")


def measured(
    plan: Plan, decoder: Decoder, context: int, kv: str = "bf16", together: int = 1, head_bytes: int = 2
) -> Figures:
    """`together` requests with this context, answered greedily in shared steps."""
    count = 4 if plan.is_tiny else 32
    held = [rows.begun(decoder, plan.shape, context, count + 16) for _ in range(together)]
    seconds = rows.step_seconds(decoder, held, count)
    checked(decoder)
    rows.end(decoder, held)
    return _speed(plan, seconds, context, kv, together, head_bytes)


def _speed(plan: Plan, seconds: float, context: int, kv: str, together: int = 1, head_bytes: int = 2) -> Figures:
    read = plan.shape.step_bytes(head_bytes) + together * plan.shape.context_bytes(context, kv)
    return {
        "tokens/s": round(together / seconds, 1),
        "ms a step": round(1000 * seconds, 3),
        "GB a step": round(read / 1e9, 3),
        "GB/s": round(read / seconds / 1e9, 1),
    }


def _wait(plan: Plan) -> None:
    if plan.device == "cuda":
        torch.cuda.synchronize()


def _clear() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ---------------------------------------------------------------------------------------------- ours alone


def contexts(plan: Plan, tell: Report) -> None:
    decoder = ours(plan)
    for context in (64, 192, 512, 1536) if plan.is_tiny else (512, 8192, 32768, LONGEST - 1024):
        tell(f"{context} tokens", measured(plan, decoder, context))
        decoder.free_idle()
        _clear()


def kinds(plan: Plan, tell: Report) -> None:
    """Of storing keys and values, where they weigh as much as it takes to be seen."""
    context, model = 512 if plan.is_tiny else 32768, _ready(plan)
    for kv in KV_KINDS:
        tell(kv, measured(plan, fast(plan, model, kv), context, kv))
        _clear()


def together(plan: Plan, tell: Report) -> None:
    decoder = ours(plan)
    one = 0.0
    for count in (1, 2, 4, 8):
        found = measured(plan, decoder, context_of(plan), together=count)
        one = one or found["tokens/s"]
        tell(f"{count} requests", found | {"times one": round(found["tokens/s"] / one, 2)})


def identical(plan: Plan, tell: Report) -> None:
    """Both paths get the reference's tokens: while each choice equals the reference's, so does the answer."""
    model = _ready(plan)
    # Triton's interpreter takes seconds for a step
    count = GREEDY if not plan.is_tiny else 48 if decode_mode(plan) == "reference" else 4
    decoders = fast(plan, model), plain(model)
    held = [rows.begun(decoder, plan.shape, context_of(plan), count + 1) for decoder in decoders]
    assert held[1].scores is not None
    token, same, errors = int(held[1].scores.argmax()), count, []
    for n in range(count):
        tried, known = (d.forward([row.step([token])])[0][0].float() for d, row in zip(decoders, held, strict=True))
        errors.append(float((tried - known).norm() / known.norm()))
        token = int(known.argmax())
        if int(tried.argmax()) != token:
            same = min(same, n)
    checked(decoders[0])
    found = {"tokens": same, "of": count, "identical": same == count}
    told = {"error, median": f"{sorted(errors)[count // 2]:.1e}", "error, most": f"{max(errors):.1e}"}
    tell("greedy", found | told)


def small_card(plan: Plan, tell: Report) -> None:
    """The longest context on a card with 24 GB, KV cache in int4: prefill the last chunk of the prompt, then answer."""
    context = 1536 if plan.is_tiny else LONGEST
    if plan.device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, SMALL_CARD / total))
    try:
        found = measured(plan, ours(plan, "int4"), context - 64, "int4") | {"fits": True}
    except torch.OutOfMemoryError:
        found = {"fits": False}
    if plan.device == "cuda":
        found |= {"GB, most": round(torch.cuda.max_memory_reserved() / 1e9, 2), "cap, GB": SMALL_CARD / 1e9}
    tell(f"{context} tokens", found)
