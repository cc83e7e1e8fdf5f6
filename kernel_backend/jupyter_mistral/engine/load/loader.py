"""Loads a model from a GGUF file, a 16-bit folder or a 4-bit one, and makes an `Engine` of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from ...models import store
from ...models.memory import KV_KINDS, VALUE_GROUP
from ...protocol.failures import Failure
from ...tokenizer.text_tokenizer import TEXT_TOKENIZER
from ..decode import float32_linear
from ..decode.head import narrow
from ..device import memory
from ..device.gpu import current
from ..kv import attention
from ..text.vocabulary import write_text_tokenizer
from . import experts
from .engine import Engine, Loaded, build
from .folder import Report, check_folder
from .park import move
from .progress import report_progress
from .quantize import model_class, quantize
from .spill import Plan, Spill, plan_spill

_LEAST_SHARE = 0.25  # NF4 with double quantization needs 4.127 of 16 bits


def load(order: Mapping[str, Any], report: Report) -> Engine:
    """Carry out a `load` frame. Raises `Failure`."""
    device = _device(str(order.get("device") or "auto"))
    if order.get("quantization") not in (None, "nf4"):
        raise Failure("unsupported", f"The quantization {order['quantization']} is not supported.", "Use nf4.")
    if device == "cuda":
        current()  # measures what CUDA itself needs, before any of our memory is there
    folder = _ready_folder(order, device, report)
    config = _config(folder)
    memory.clear()
    plan = _plan(order, folder, config.get_text_config(), device)
    context, room = _admit(order, folder, config.get_text_config(), device, 1.0, plan)
    detail = "copying the weights"
    if plan:
        detail += f"; {plan.count} layers stay in host memory, {memory.format_bytes(plan.host)} are copied in each step"
    elif order.get("spill"):
        detail += "; all layers fit on the device"
    with report_progress(report, "load", 0.2, 0.8, detail):
        model, spill = _model(folder, config, device, plan)
    return build(order, Loaded(folder, model, spill, device, kv_of(order), context, room), report)


def _device(choice: str) -> str:
    if choice in ("auto", "cuda") and torch.cuda.is_available():
        return "cuda"
    if choice == "cuda":
        raise Failure("unsupported", "No CUDA device was found.", "Load the model on the CPU.")
    return "cpu"


def _ready_folder(order: Mapping[str, Any], device: str, report: Report) -> Path:
    """The checked folder with 4-bit weights, made in the order's `out` if its `path` has none."""
    path, out = Path(order["path"]), order.get("out")
    if not path.exists():
        raise Failure("model_not_on_disk", f"{path} does not exist.", "Run `jupyter mistral pull NAME`.")
    if path.is_dir():
        report("load", 0.0, "checking the files", None)
        if _is_four_bit(path):
            return path
    if out is None:
        raise Failure("bad_request", f"{path.name} is not 4-bit and no output folder was given.", "Give `out`.")
    if path.is_dir():
        # a model that cannot fit even in 4 bit is not worth an hour of quantizing
        if not order.get("spill"):
            _admit(order, path, _config(path).get_text_config(), device, _LEAST_SHARE)
        quantize(path, Path(out), device, report)
    else:
        from .gguf import convert  # gguf takes seconds to import

        convert(path, Path(out), report)
    return Path(out)


def _is_four_bit(folder: Path) -> bool:
    """Whether a folder, which is checked, has 4-bit weights already. Raises `Failure` for other quantizations."""
    quantization = check_folder(folder).get("quantization_config")
    if not quantization:
        return False
    if not quantization.get("load_in_4bit"):
        method = quantization.get("quant_method", "quantized in another way")
        raise Failure("unsupported", f"The weights of {folder.name} are {method}.", "Choose the model's bf16 version.")
    if not (folder / TEXT_TOKENIZER).is_file() and not (folder / store.MANIFEST).is_file():
        write_text_tokenizer(folder)  # a 4-bit folder from elsewhere
    return True


def _config(folder: Path) -> Any:
    """The configuration. Raises `Failure` for architectures that transformers or this engine cannot run."""
    try:
        config = AutoConfig.from_pretrained(folder)
    except (ValueError, KeyError, OSError) as error:
        raise Failure(
            "unsupported",
            f"transformers does not know the architecture of {folder.name}.",
            "Choose a model that it knows, such as a Mistral.",
        ) from error
    text = config.get_text_config()
    if set(getattr(text, "layer_types", None) or []) - {"full_attention", "sliding_attention", "chunked_attention"}:
        raise Failure(
            "unsupported",
            f"{text.model_type} keeps a state other than keys and values, which this engine does not support.",
            "Choose a plain transformer, such as a Mistral.",
        )
    return config


def refuse_kv(kv: str, text: Any) -> None:
    """Raise `Failure("unsupported")` if the KV cache of a model with this text configuration cannot be stored as `kv`."""
    if kv == "bf16":
        return
    reason, size = "", memory.head_size(text)
    if not attention.is_fit(text):
        reason = f"{text.model_type} has its own attention, which needs the KV cache in bf16."
    elif size % min(VALUE_GROUP, size):
        reason = f"{text.model_type} has attention heads of {size} channels, which cannot be packed as {kv}."
    if reason:
        raise Failure("unsupported", reason, "Load it with `--kv bf16`.")


def kv_of(order: Mapping[str, Any]) -> str:
    """The format of the KV cache. Raises `Failure`."""
    kv = str(order.get("kv") or "bf16")
    if kv not in KV_KINDS:
        raise Failure("unsupported", f"The KV cache cannot be stored as {kv}.", f"Use {', '.join(KV_KINDS)}.")
    return kv


def _longest(text: Any) -> int:
    return int(getattr(text, "max_position_embeddings", 0) or 4096)


def _plan(order: Mapping[str, Any], folder: Path, text: Any, device: str) -> Plan | None:
    return plan_spill(order, folder, _longest(text), memory.kv_bytes_per_token(text, kv_of(order)), device)


def _admit(
    order: Mapping[str, Any], folder: Path, text: Any, device: str, share: float, plan: Plan | None = None
) -> tuple[int, int]:
    """The context length to load with, and the tokens that all requests may use together.

    share: of the folder's bytes that the weights will need; with a plan, it says what they need on the device.
    Raises `Failure("no_memory")`.
    """
    weights = plan.device if plan else int(share * sum(path.stat().st_size for path in folder.glob("*.safetensors")))
    free, _ = memory.free_bytes(device)
    longest = _longest(text)
    kv = kv_of(order)
    refuse_kv(kv, text)
    per_token = memory.kv_bytes_per_token(text, kv)
    return memory.admit(weights, per_token, order.get("context_length"), longest, free, device)


def _model(folder: Path, config: Any, device: str, plan: Plan | None) -> tuple[Any, Spill | None]:
    """The model on its device; with a plan it is read into host memory first, where some layers stay."""
    try:
        model, spill = _read_model(folder, config, device, plan)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if memory.is_out_of_memory(error):
            raise memory.out_of_memory(device) from error
        line = (str(error).splitlines() or [""])[0]
        raise Failure("corrupt_model", f"The weights could not be loaded: {line}", "Load the model again.") from error
    text = model.config.get_text_config()
    if attention.is_fit(text):
        attention.register()
        text._attn_implementation = attention.NAME
    narrow(model)
    if device == "cpu":
        float32_linear.widen(model)
    return model, spill


def _read_model(folder: Path, config: Any, device: str, plan: Plan | None) -> tuple[Any, Spill | None]:
    first = "cpu" if plan else device
    has_experts = (folder / experts.FILE).is_file()
    model = model_class(config).from_pretrained(
        folder,
        config=experts.with_narrow_experts(config) if has_experts else config,
        device_map={"": first},
        use_safetensors=True,
        dtype=torch.bfloat16,
        attn_implementation="sdpa",
    )
    if has_experts:
        experts.insert_experts(model, config, folder, first)
    model.eval()
    spill = Spill(model, plan.count, device) if plan else None
    if spill:
        move(spill.resident(model), device)
    return model, spill
