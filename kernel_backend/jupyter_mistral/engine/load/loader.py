"""Makes a model ready: from a GGUF file, a 16-bit folder or a 4-bit one, to an `Engine` that answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from ...models import store
from ...models.memory import KV_KINDS
from ...protocol.events import Usage
from ...protocol.failures import Failure
from ...protocol.status import Memory, ModelCard
from ...tokenizer.text_tokenizer import TEXT_TOKENIZER
from ..decode import wide
from ..decode.decoder import Decoder
from ..decode.head import narrow
from ..fast.choose import WISH, fast_path
from ..kv import attention
from ..kv.prefix import PrefixMemory
from ..kv.prefix_disk import Parking
from ..text.grammar import Grammars
from ..text.prompt_tokenizer import PromptTokenizer
from ..text.vocabulary import Vocabulary, write_text_tokenizer
from ..vision import ImagePreparer
from ..worker.answer import Answerer
from ..worker.energy import Meter
from ..worker.gpu import Gpu, current
from ..worker.schedule import Schedule
from . import experts, memory
from .adapters import Adapters
from .folder import Tell, check_folder
from .placement import Shelf, move
from .progress import told
from .quantize import model_class, quantize
from .spill import Plan, Spill, planned

PREFIX_DISK = "JUPYTER_MISTRAL_PREFIX_DISK_MB"
PREFIX_MEMORY = "JUPYTER_MISTRAL_PREFIX_MEMORY_MB"
_CHUNK, _SHARED_CHUNK = {"cpu": 256, "cuda": 4096}, {"cpu": 64, "cuda": 1024}
_WIDTH = {"cpu": 4, "cuda": 8}  # requests that are answered at once
_MIB = 2**20
_LEAST_SHARE = 0.25  # NF4 with double quantization of 16 bit: 4.127 bits of 16


@dataclass(frozen=True)
class Engine:
    """A model that is ready."""

    card: ModelCard
    vocabulary: Vocabulary
    template: PromptTokenizer
    image_preparer: ImagePreparer | None
    decoder: Decoder
    answerer: Answerer
    ends: frozenset[int]
    fim: Mapping[str, Any] | None
    device: str
    shelf: Shelf
    adapters: Adapters
    width: int
    room: int
    gpu: Gpu | None

    def schedule(self, name: Callable[[Exception], Failure]) -> Schedule:
        meter = Meter(self.gpu.energy_mj) if self.gpu is not None else None
        return Schedule(self.decoder, self.width, self.room, name, meter)

    def memory(self) -> Memory:
        found = memory.state(self.device, self.shelf.held, self.decoder.kv_bytes, self.gpu)
        return replace(found, spilled=self.shelf.spilled)

    def close(self) -> None:
        """Finish writing, so that another model may be loaded or the process may end."""
        self.decoder.close()


def load(order: Mapping[str, Any], tell: Tell) -> Engine:
    """Carry out a `load` frame. Raises `Failure`."""
    device = _device(str(order.get("device") or "auto"))
    if order.get("quantization") not in (None, "nf4"):
        raise Failure("unsupported", f"{order['quantization']} is not a way to store weights here.", "Use nf4.")
    if device == "cuda":
        current()  # it measures what CUDA itself takes, before anything of ours is there
    folder = _ready_folder(order, device, tell)
    config = _config(folder)
    memory.clear()
    plan = _plan(order, folder, config.get_text_config(), device)
    admitted = _admitted(order, folder, config.get_text_config(), device, 1.0, plan)
    away = "; every layer has its place on the device" if order.get("spill") else ""
    if plan:
        away = f"; {plan.count} layers stay in host memory, {memory.size(plan.host)} to copy in each step"
    with told(tell, "load", 0.2, 0.8, f"copying the weights{away}"):
        model, spill = _model(folder, config, device, plan)
    return _engine(order, folder, (model, spill), admitted, device, tell)


def _engine(
    order: Mapping[str, Any],
    folder: Path,
    loaded: tuple[Any, Spill | None],
    admitted: tuple[int, int],
    device: str,
    tell: Tell,
) -> Engine:
    (model, spill), (context, room), kv = loaded, admitted, kv_of(order)
    tell("load", 0.8, "reading the tokenizer", None)
    if not (folder / TEXT_TOKENIZER).is_file():
        raise store.corrupt(folder / TEXT_TOKENIZER, "is missing")
    vocabulary = Vocabulary(folder)
    image_preparer = _image_preparer(folder, model.config, vocabulary)
    image = next(
        (name for name, i in vocabulary.control.items() if image_preparer and i == model.config.image_token_id), None
    )
    template = PromptTokenizer(folder, vocabulary, image)
    ends = _ends(model, template, vocabulary)
    memory_of_prefixes = _prefix_memory(order, folder, f"{device}/{kv}" if kv != "bf16" else device)
    tell("warm", None, "first steps", None)
    fast, reason = fast_path(model, kv, os.environ.get(WISH, "auto"))
    decoder = Decoder(model, _CHUNK[device], memory_of_prefixes, kv, _SHARED_CHUNK[device], fast)
    own = "" if decoder.is_packing else "; its attention is not ours: one request at a time, keys and values in bf16"
    off = f"; fast path off: {reason}" if reason else "; fast path on" if fast else ""
    tell("warm", None, f"first steps{own}{off}", None)
    decoder.warm()
    name = str(order.get("name") or folder.name)
    fim = order.get("fim")
    abilities = (("image", image_preparer), ("fim", fim), ("tools", template.dialect))
    can = ("text", *(name for name, found in abilities if found))
    card = ModelCard(name, parameters=_parameters(model), quantization="nf4", context_length=context, can=can, kv=kv)
    usage = Usage(model=name, quantization="nf4", context_length=context)
    grammars = Grammars(vocabulary, int(model.config.get_text_config().vocab_size), sorted(ends))
    answerer = Answerer(decoder, vocabulary, grammars, usage)
    adapters = Adapters(model, decoder, device)
    wanted = order.get("adapter") or {}
    if wanted:
        adapters.load(str(wanted["name"]), Path(wanted["path"]))
        adapters.use(str(wanted["name"]))
    card = replace(card, adapter=adapters.used)
    weights = int(model.get_memory_footprint()) + (spill.device_bytes - spill.host_bytes if spill else 0)
    shelf = Shelf(model, decoder, device, weights, spill)
    width = min(_WIDTH[device], int(order.get("width") or _WIDTH[device])) if decoder.is_packing else 1
    gpu = current() if device == "cuda" else None
    return Engine(
        card,
        vocabulary,
        template,
        image_preparer,
        decoder,
        answerer,
        ends,
        fim,
        device,
        shelf,
        adapters,
        width,
        room,
        gpu,
    )


def _device(wish: str) -> str:
    if wish in ("auto", "cuda") and torch.cuda.is_available():
        return "cuda"
    if wish == "cuda":
        raise Failure("unsupported", "No CUDA device is there.", "Load the model on the cpu.")
    return "cpu"


def _ready_folder(order: Mapping[str, Any], device: str, tell: Tell) -> Path:
    """The checked folder with 4-bit weights; made in the order's `out` where its `path` has none."""
    path, out = Path(order["path"]), order.get("out")
    if not path.exists():
        raise Failure("model_not_on_disk", f"{path} is not there.", "Run `jupyter mistral pull NAME`.")
    if path.is_dir():
        tell("load", 0.0, "checking the files", None)
        made_by = check_folder(path).get("quantization_config")
        if made_by and not made_by.get("load_in_4bit"):
            kind = made_by.get("quant_method", "of another kind")
            raise Failure("unsupported", f"The weights of {path.name} are {kind}.", "Choose the model's bf16 version.")
        if made_by:
            if not (path / TEXT_TOKENIZER).is_file() and not (path / store.MANIFEST).is_file():
                write_text_tokenizer(path)  # a 4-bit folder that others made
            return path
    if out is None:
        raise Failure("bad_request", f"{path.name} is not 4 bit, and no folder was given to make it so.", "Give `out`.")
    if path.is_dir():
        # what cannot fit once it is 4 bit is not worth an hour of quantizing: no model falls below this share
        if not order.get("spill"):
            _admitted(order, path, _config(path).get_text_config(), device, _LEAST_SHARE)
        quantize(path, Path(out), device, tell)
    else:
        from .gguf import convert  # gguf takes seconds to import

        convert(path, Path(out), tell)
    return Path(out)


def _config(folder: Path) -> Any:
    """The configuration, if transformers knows the architecture and this engine its state."""
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
            f"{text.model_type} keeps a state that is not keys and values, which this engine does not run.",
            "Choose a plain transformer, such as a Mistral.",
        )
    return config


def kv_of(order: Mapping[str, Any]) -> str:
    """How keys and values are to be stored. Raises `Failure`."""
    kv = str(order.get("kv") or "bf16")
    if kv not in KV_KINDS:
        raise Failure("unsupported", f"{kv} is not a way to store keys and values.", f"Use {', '.join(KV_KINDS)}.")
    return kv


def _longest(text: Any) -> int:
    return int(getattr(text, "max_position_embeddings", 0) or 4096)


def _plan(order: Mapping[str, Any], folder: Path, text: Any, device: str) -> Plan | None:
    return planned(order, folder, _longest(text), memory.kv_bytes_per_token(text, kv_of(order)), device)


def _admitted(
    order: Mapping[str, Any], folder: Path, text: Any, device: str, share: float, plan: Plan | None = None
) -> tuple[int, int]:
    """The context length to load with, and the tokens that all requests may hold together, for weights of this share of the
    folder's, or for what a plan puts on the device. Raises `Failure("no_memory")`."""
    weights = plan.device if plan else int(share * sum(path.stat().st_size for path in folder.glob("*.safetensors")))
    free, _ = memory.free_bytes(device)
    longest = _longest(text)
    kv = kv_of(order)
    if kv != "bf16" and not attention.is_fit(text):
        raise Failure(
            "unsupported",
            f"{text.model_type} has an attention of its own, which reads keys and values in bf16 alone.",
            "Load it with kv bf16.",
        )
    per_token = memory.kv_bytes_per_token(text, kv)
    return memory.admit(weights, per_token, order.get("context_length"), longest, free, device)


def _model(folder: Path, config: Any, device: str, plan: Plan | None) -> tuple[Any, Spill | None]:
    """Ready to run on the device; with a plan it is read into host memory first, and a part of it stays there."""
    first = "cpu" if plan else device
    is_mixed = (folder / experts.FILE).is_file()
    try:
        model = model_class(config).from_pretrained(
            folder,
            config=experts.narrowed(config) if is_mixed else config,
            device_map={"": first},
            use_safetensors=True,
            dtype=torch.bfloat16,
            attn_implementation="sdpa",
        )
        if is_mixed:
            experts.put_into(model, config, folder, first)
        model.eval()
        spill = Spill(model, plan.count, device) if plan else None
        if spill:
            move(spill.resident(model), device)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if memory.is_out_of_memory(error):
            raise memory.out_of_memory(device) from error
        line = (str(error).splitlines() or [""])[0]
        raise Failure("corrupt_model", f"The weights do not load: {line}", "Load the model again.") from error
    text = model.config.get_text_config()
    if attention.is_fit(text):
        attention.register()
        text._attn_implementation = attention.NAME
    narrow(model)
    if device == "cpu":
        wide.widen(model)
    return model, spill


def _image_preparer(folder: Path, config: Any, vocabulary: Vocabulary) -> ImagePreparer | None:
    vision = getattr(config, "vision_config", None)
    if vision is None or vision.model_type != "pixtral" or "[IMG_BREAK]" not in vocabulary.control:
        return None
    return ImagePreparer(folder, config, vocabulary.control_id)


def _ends(model: Any, template: PromptTokenizer, vocabulary: Vocabulary) -> frozenset[int]:
    """The tokens that end an answer: those of the generation settings, and the one the chat template closes it with."""
    found: set[int] = set()
    for settings in (model.generation_config, model.config, model.config.get_text_config()):
        told = getattr(settings, "eos_token_id", None)
        found |= set(told) if isinstance(told, list) else ({told} if told is not None else set())
    if template.end is not None:
        found.add(template.end)
    return frozenset(found) or frozenset(vocabulary.control.values())


def _parameters(model: Any) -> int:
    """Counts 4-bit weights, which are stored two in a byte, as what they stand for."""
    total = 0
    for weight in model.parameters():
        state = getattr(weight, "quant_state", None)
        total += int(state.shape.numel()) if state is not None else weight.numel()
    return total


def _prefix_memory(order: Mapping[str, Any], folder: Path, kind: str) -> PrefixMemory:
    """On disk under our home, or `prefix_dir` of the order; its size 0 switches that off."""
    free, _ = memory.free_bytes("cpu")
    budget = int(os.environ.get(PREFIX_MEMORY, 0)) * _MIB or min(8 * 1024 * _MIB, free // 8)
    disk = int(os.environ.get(PREFIX_DISK, 2048)) * _MIB
    root = _fingerprint(folder)
    parking = None
    if disk and order.get("prefix_disk", True):
        where = Path(order["prefix_dir"]) if order.get("prefix_dir") else store.home() / "prefix"
        try:
            parking = Parking(where / root[:16], disk)
        except OSError:  # a home that cannot be written to: memory alone serves
            parking = None
    return PrefixMemory(f"{root}/{kind}", budget, parking)


def _fingerprint(folder: Path) -> str:
    """Tells these weights apart from all others."""
    import hashlib

    digest = hashlib.sha256((folder / "config.json").read_bytes())
    manifest = folder / store.MANIFEST
    if manifest.is_file():
        digest.update(manifest.read_bytes())
    else:
        for path in sorted(folder.glob("*.safetensors")):
            digest.update(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()
