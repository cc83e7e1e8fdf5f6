"""A loaded model with everything that answers with it: tokenizer, decoder, grammars, adapters, placement."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...models import store
from ...protocol.events import Usage
from ...protocol.failures import Failure
from ...protocol.status import Memory, ModelCard
from ...tokenizer.text_tokenizer import TEXT_TOKENIZER
from ..decode.decoder import Decoder
from ..device import memory
from ..device.gpu import Gpu, current
from ..fast.choose import SWITCH, fast_path
from ..kv.prefix import PrefixMemory
from ..kv.prefix_disk import PrefixDisk
from ..requests.answer import Answerer
from ..requests.energy import Meter
from ..requests.schedule import Schedule
from ..text.grammar import Grammars
from ..text.prompt_tokenizer import PromptTokenizer
from ..text.vocabulary import Vocabulary
from ..vision import ImagePreparer
from .adapters import Adapters
from .folder import Report
from .park import Placement
from .spill import Spill

PREFIX_DISK = "JUPYTER_MISTRAL_PREFIX_DISK_MB"
PREFIX_MEMORY = "JUPYTER_MISTRAL_PREFIX_MEMORY_MB"
_CHUNK, _SHARED_CHUNK = {"cpu": 256, "cuda": 4096}, {"cpu": 64, "cuda": 1024}
_WIDTH = {"cpu": 4, "cuda": 8}  # requests answered at once
_MIB = 2**20


@dataclass(frozen=True)
class Loaded:
    """A model in memory. context: its longest, in tokens. room: tokens that all requests may use together."""

    folder: Path
    model: Any
    spill: Spill | None
    device: str
    kv: str
    context: int
    room: int


@dataclass(frozen=True)
class Engine:
    """A model that is ready to answer. width: requests answered at once."""

    card: ModelCard
    vocabulary: Vocabulary
    template: PromptTokenizer
    image_preparer: ImagePreparer | None
    decoder: Decoder
    answerer: Answerer
    ends: frozenset[int]
    fim: Mapping[str, Any] | None
    device: str
    placement: Placement
    adapters: Adapters
    width: int
    room: int
    gpu: Gpu | None

    def schedule(self, to_failure: Callable[[Exception], Failure]) -> Schedule:
        meter = Meter(self.gpu.energy_mj) if self.gpu is not None else None
        return Schedule(self.decoder, self.width, self.room, to_failure, meter)

    def memory(self) -> Memory:
        measured = memory.measure(self.device, self.placement.device_bytes, self.decoder.kv_bytes, self.gpu)
        return replace(measured, spilled=self.placement.host_bytes)

    def close(self) -> None:
        """Finish writing the prefix memory; then another model may be loaded or the process may end."""
        self.decoder.close()


def build(order: Mapping[str, Any], loaded: Loaded, report: Report) -> Engine:
    """Make an engine of a loaded model, as the `load` frame says. Raises `Failure`."""
    model, device = loaded.model, loaded.device
    report("load", 0.8, "reading the tokenizer", None)
    vocabulary, image_preparer, template = _text_parts(loaded)
    ends = _ends(model, template, vocabulary)
    decoder = _decoder(order, loaded, report)
    adapters = _adapters(order, loaded, decoder)
    card = _card(order, loaded, adapters.used, image_preparer is not None, template.dialect is not None)
    usage = Usage(model=card.name, quantization=card.quantization, context_length=loaded.context)
    grammars = Grammars(vocabulary, int(model.config.get_text_config().vocab_size), sorted(ends))
    return Engine(
        card=card,
        vocabulary=vocabulary,
        template=template,
        image_preparer=image_preparer,
        decoder=decoder,
        answerer=Answerer(decoder, vocabulary, grammars, usage),
        ends=ends,
        fim=order.get("fim"),
        device=device,
        placement=_placement(loaded, decoder),
        adapters=adapters,
        width=min(_WIDTH[device], int(order.get("width") or _WIDTH[device])) if decoder.is_packing else 1,
        room=loaded.room,
        gpu=current() if device == "cuda" else None,
    )


def _text_parts(loaded: Loaded) -> tuple[Vocabulary, ImagePreparer | None, PromptTokenizer]:
    folder, config = loaded.folder, loaded.model.config
    if not (folder / TEXT_TOKENIZER).is_file():
        raise store.corrupt(folder / TEXT_TOKENIZER, "is missing")
    vocabulary = Vocabulary(folder)
    image_preparer = _image_preparer(folder, config, vocabulary)
    names = vocabulary.control.items() if image_preparer else ()
    image_token = next((name for name, token in names if token == config.image_token_id), None)
    return vocabulary, image_preparer, PromptTokenizer(folder, vocabulary, image_token)


def _image_preparer(folder: Path, config: Any, vocabulary: Vocabulary) -> ImagePreparer | None:
    vision = getattr(config, "vision_config", None)
    if vision is None or vision.model_type != "pixtral" or "[IMG_BREAK]" not in vocabulary.control:
        return None
    return ImagePreparer(folder, config, vocabulary.control_id)


def _ends(model: Any, template: PromptTokenizer, vocabulary: Vocabulary) -> frozenset[int]:
    """The tokens that end an answer: those of the generation settings, and the one that the chat template closes it with."""
    ends: set[int] = set()
    for settings in (model.generation_config, model.config, model.config.get_text_config()):
        eos = getattr(settings, "eos_token_id", None)
        ends |= set(eos) if isinstance(eos, list) else ({eos} if eos is not None else set())
    if template.end is not None:
        ends.add(template.end)
    return frozenset(ends) or frozenset(vocabulary.control.values())


def _decoder(order: Mapping[str, Any], loaded: Loaded, report: Report) -> Decoder:
    """Warmed up. Builds the fast path before the model's first forward, as that requires."""
    device, kv = loaded.device, loaded.kv
    prefix_memory = _prefix_memory(order, loaded.folder, f"{device}/{kv}" if kv != "bf16" else device)
    report("warm", None, "first steps", None)
    fast, reason = fast_path(loaded.model, kv, os.environ.get(SWITCH, "auto"))
    decoder = Decoder(loaded.model, _CHUNK[device], prefix_memory, kv, _SHARED_CHUNK[device], fast)
    single = "" if decoder.is_packing else "; this model has its own attention: one request at a time, KV cache in bf16"
    speed = f"; fast path off: {reason}" if reason else "; fast path on" if fast else ""
    report("warm", None, f"first steps{single}{speed}", None)
    decoder.warm()
    return decoder


def _prefix_memory(order: Mapping[str, Any], folder: Path, kind: str) -> PrefixMemory:
    """On disk in our home, or in the order's `prefix_dir`; a size of 0 switches the disk off."""
    free, _ = memory.free_bytes("cpu")
    budget = int(os.environ.get(PREFIX_MEMORY, 0)) * _MIB or min(8 * 1024 * _MIB, free // 8)
    limit = int(os.environ.get(PREFIX_DISK, 2048)) * _MIB
    root = _fingerprint(folder)
    disk = None
    if limit and order.get("prefix_disk", True):
        parent = Path(order["prefix_dir"]) if order.get("prefix_dir") else store.home() / "prefix"
        try:
            disk = PrefixDisk(parent / root[:16], limit)
        except OSError:  # the home is read-only: memory alone will do
            disk = None
    return PrefixMemory(f"{root}/{kind}", budget, disk)


def _fingerprint(folder: Path) -> str:
    """A hash that tells these weights apart from all others."""
    import hashlib

    digest = hashlib.sha256((folder / "config.json").read_bytes())
    manifest = folder / store.MANIFEST
    if manifest.is_file():
        digest.update(manifest.read_bytes())
    else:
        for path in sorted(folder.glob("*.safetensors")):
            digest.update(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


def _adapters(order: Mapping[str, Any], loaded: Loaded, decoder: Decoder) -> Adapters:
    adapters = Adapters(loaded.model, decoder, loaded.device)
    if adapter := order.get("adapter"):
        adapters.load(str(adapter["name"]), Path(adapter["path"]))
        adapters.use(str(adapter["name"]))
    return adapters


def _card(order: Mapping[str, Any], loaded: Loaded, adapter: str, has_vision: bool, has_tools: bool) -> ModelCard:
    abilities = (("image", has_vision), ("fim", order.get("fim")), ("tools", has_tools))
    return ModelCard(
        str(order.get("name") or loaded.folder.name),
        parameters=_parameters(loaded.model),
        quantization="nf4",
        context_length=loaded.context,
        can=("text", *(name for name, is_able in abilities if is_able)),
        kv=loaded.kv,
        adapter=adapter,
    )


def _parameters(model: Any) -> int:
    """Counts a 4-bit weight, stored two to a byte, as one parameter."""
    total = 0
    for weight in model.parameters():
        state = getattr(weight, "quant_state", None)
        total += int(state.shape.numel()) if state is not None else weight.numel()
    return total


def _placement(loaded: Loaded, decoder: Decoder) -> Placement:
    spill = loaded.spill
    weights = int(loaded.model.get_memory_footprint()) + (spill.device_bytes - spill.host_bytes if spill else 0)
    return Placement(loaded.model, decoder, loaded.device, weights, spill)
