"""A model larger than its device: the last layers stay in host memory, and each is copied to the device just before its turn.

Two buffers on the device take turns: while one layer computes, the next is copied into the other on a stream of its own. The
bytes are those of the checkpoint, so the answers are the same bits. Knows no requests.
"""

from __future__ import annotations

import json
import re
import struct
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit

from ...protocol.failures import Failure
from . import memory

CONTEXT = 8192  # tokens to make room for where none are asked for: each more keeps another layer from the device
_ALIGN = 256  # bytes; what CUDA's own allocator gives
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_STATES = ("absmax", "code", "offset")


@dataclass(frozen=True)
class Plan:
    """count: of the last layers, which stay in host memory. device: bytes of weights and buffers on the device; host: of the
    layers that stay, which every step copies."""

    count: int
    device: int
    host: int

    @classmethod
    def of(cls, layers: Sequence[int], others: int, count: int) -> Plan:
        """layers: bytes of each, first to last. others: of what is never spilled."""
        count = min(count, len(layers))
        here, away = layers[: len(layers) - count], layers[len(layers) - count :]
        buffers = min(2, count) * max(away, default=0)
        return cls(count, others + sum(here) + buffers, sum(away))

    @classmethod
    def within(cls, layers: Sequence[int], others: int, room: int) -> Plan | None:
        """The fewest layers that must stay away for the rest to fit into `room` bytes; None where even all are too few."""
        plans = (cls.of(layers, others, count) for count in range(len(layers) + 1))
        return next((plan for plan in plans if plan.device <= room), None)


def sizes(folder: Path) -> tuple[list[int], int]:
    """Bytes of each layer of the text model and of all else, as a checked folder's headers tell."""
    layers: dict[int, int] = {}
    others = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        for name, entry in header.items():
            start, end = entry["data_offsets"] if name != "__metadata__" else (0, 0)
            found = None if "vision" in name else _LAYER.search(name)
            if found:
                layers[int(found[1])] = layers.get(int(found[1]), 0) + end - start
            else:
                others += end - start
    return [layers[number] for number in sorted(layers)], others


def planned(
    order: Mapping[str, Any],
    folder: Path,
    longest: int,
    per_token: int,
    device: str,
    free_bytes: Callable[[str], tuple[int, int]] = memory.free_bytes,
) -> Plan | None:
    """What stays in host memory, None where nothing has to. Raises `Failure("no_memory")` with the numbers.

    The order's `spill` asks for it where the weights do not fit; `spill_layers` says how many, on any device.
    """
    forced = int(order.get("spill_layers") or 0)
    if not forced and (not order.get("spill") or device == "cpu"):  # the CPU's memory is the host's
        return None
    layers, others = sizes(folder)
    context = min(order.get("context_length") or CONTEXT, longest)
    free, _ = free_bytes(device)
    room = free - memory.margin(device) - per_token * context
    plan = Plan.of(layers, others, forced) if forced else Plan.within(layers, others, room)
    if plan is None:
        need = Plan.of(layers, others, len(layers)).device + free - room
        raise Failure(
            "no_memory",
            f"Even with all {len(layers)} layers in host memory the model needs {memory.size(need)} with {context:,} tokens "
            f"of context, {memory.size(free)} are free on {device}.",
            "Load it with a shorter context, or a smaller model.",
        )
    whole, (host, _) = others + sum(layers), free_bytes("cpu")
    if plan.count and device != "cpu" and whole > host:
        raise Failure(
            "no_memory",
            f"{plan.count} of {len(layers)} layers would stay in host memory, where the model is read first: that needs "
            f"{memory.size(whole)}, {memory.size(host)} are free.",
            "Close other programs, or load a smaller model.",
        )
    return plan if plan.count else None


class Spill:
    """Keeps layers of a model that was loaded into host memory there, and sees to it that each is on the device when it runs."""

    def __init__(self, model: Any, count: int, device: str) -> None:
        layers = list(model.get_decoder().layers)
        away = layers[len(layers) - count :]
        self._device = device
        self._modules = {id(module) for layer in away for module in layer.modules()}
        self._stream = torch.cuda.Stream() if device != "cpu" else None  # type: ignore[no-untyped-call]  # torch's own
        self._ready: list[Any] = [None, None]
        self._buffers: list[torch.Tensor] = []
        self._homes = [_Home(layer, is_pinned=self._stream is not None) for layer in away]
        model.spilled_layers = count  # who runs layers past their modules must not
        layers[0].register_forward_pre_hook(lambda *_: self._begin())
        for number, layer in enumerate(away):
            layer.register_forward_pre_hook(lambda *_, n=number: self._await(n))
            layer.register_forward_hook(lambda *_, n=number: self._fetch(n + 2))
        self.bring()

    @property
    def host_bytes(self) -> int:
        return sum(home.block.nbytes for home in self._homes)

    @property
    def device_bytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers)

    def resident(self, model: Any) -> list[Any]:
        """The modules whose weights lie on the device for good."""
        return [module for module in model.modules() if id(module) not in self._modules]

    def bring(self) -> None:
        """Make the buffers; each layer's weights are those in its buffer from now on."""
        size = max(home.block.nbytes for home in self._homes)
        blank = [torch.empty(size, dtype=torch.uint8, device=self._device) for _ in self._homes[:2]]
        self._buffers = blank
        for number, home in enumerate(self._homes):
            home.show(blank[number % 2])

    def release(self) -> None:
        """Give the buffers back; no forward may follow before `bring`."""
        if self._stream is not None:
            self._stream.synchronize()
        for home in self._homes:
            home.show(home.block)
        self._buffers = []

    # ------------------------------------------------------------------------------------------ in a step

    def _begin(self) -> None:
        """The last step, whole or broken off, has no more need of the buffers."""
        for number in range(len(self._buffers)):
            self._fetch(number)

    def _fetch(self, number: int) -> None:
        """Copy a layer into its buffer, once the layer that it takes the place of has computed."""
        if number >= len(self._homes):
            return
        source = self._homes[number].block
        target = self._buffers[number % 2][: len(source)]
        if self._stream is None:
            target.copy_(source)
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
            self._ready[number % 2] = self._stream.record_event()

    def _await(self, number: int) -> None:
        if self._stream is not None:
            torch.cuda.current_stream().wait_event(self._ready[number % 2])


class _Home:
    """One layer's bytes in host memory, in one piece."""

    def __init__(self, layer: Any, is_pinned: bool) -> None:
        if not is_pinned:
            _repack(layer)
        self._places: list[tuple[Any, str, int, torch.Tensor]] = []
        end = 0
        for owner, name, tensor in _tensors(layer):
            self._places.append((owner, name, end, tensor))
            end += -(-tensor.nbytes // _ALIGN) * _ALIGN
        self.block = torch.empty(end, dtype=torch.uint8)
        for _, _, start, tensor in self._places:
            _view(self.block, start, tensor).copy_(tensor)
        # the shape and the kind are all that is still needed; the bytes are given back here, layer by layer
        self._places = [(owner, name, at, tensor.to("meta")) for owner, name, at, tensor in self._places]
        self.show(self.block)
        if is_pinned:
            _pin(self.block)

    def show(self, block: torch.Tensor) -> None:
        """Have the layer's tensors lie in this block."""
        for owner, name, start, like in self._places:
            setattr(owner, name, _view(block, start, like))


def _tensors(layer: Any) -> Iterator[tuple[Any, str, torch.Tensor]]:
    """(owner, attribute, tensor) of all that a layer's computing reads, the parts of 4-bit weights' states too."""
    for module in layer.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                yield module, name, buffer
        for parameter in module._parameters.values():
            if parameter is None:
                continue
            yield parameter, "data", parameter.data
            state = getattr(parameter, "quant_state", None)
            for part in (state, getattr(state, "state2", None)):
                for name in _STATES:
                    tensor = getattr(part, name, None)
                    if isinstance(tensor, torch.Tensor):
                        yield part, name, tensor


def _view(block: torch.Tensor, start: int, like: torch.Tensor) -> torch.Tensor:
    return block[start : start + like.nbytes].view(like.dtype).view(like.shape)


def _repack(layer: Any) -> None:
    """bitsandbytes gives 4-bit weights another form at their first use on some CPUs, which must not happen in a buffer."""
    for linear in layer.modules():
        if isinstance(linear, Linear4bit):
            with torch.inference_mode():
                linear(torch.zeros(1, linear.in_features, dtype=torch.bfloat16))


def _pin(block: torch.Tensor) -> None:
    """In place: torch's own allocator of pinned memory rounds up to a power of two."""
    runtime, address = torch.cuda.cudart(), block.data_ptr()  # type: ignore[no-untyped-call]  # torch's own
    try:
        torch.cuda.check_error(int(runtime.cudaHostRegister(address, block.nbytes, 0)))
    except RuntimeError as error:
        what = f"{memory.size(block.nbytes)} of host memory could not be locked for copies to the device."
        raise Failure("no_memory", what, "Close other programs, or load a smaller model.") from error
    weakref.finalize(block, runtime.cudaHostUnregister, address)
