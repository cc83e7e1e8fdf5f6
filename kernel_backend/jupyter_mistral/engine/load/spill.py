"""A model larger than its device: the last layers stay in host memory, and each is copied to the device just before it runs.

Two buffers on the device alternate: while one layer computes, the next is copied into the other on its own stream. The bytes
are those of the checkpoint, so answers are the same to the bit. Knows no requests.
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
from ..device import memory

CONTEXT = 8192  # tokens to leave room for by default: a longer context would keep more layers off the device
_ALIGN = 256  # bytes; the alignment of CUDA's allocator
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_STATES = ("absmax", "code", "offset")


@dataclass(frozen=True)
class Plan:
    """How many of the last layers stay in host memory.

    device: bytes of weights and buffers on the device. host: bytes of the layers in host memory, copied in each step.
    """

    count: int
    device: int
    host: int

    @classmethod
    def of(cls, layers: Sequence[int], others: int, count: int) -> Plan:
        """layers: bytes of each. others: bytes of everything that is never spilled."""
        count = min(count, len(layers))
        resident, spilled = layers[: len(layers) - count], layers[len(layers) - count :]
        buffers = min(2, count) * max(spilled, default=0)
        return cls(count, others + sum(resident) + buffers, sum(spilled))

    @classmethod
    def within(cls, layers: Sequence[int], others: int, room: int) -> Plan | None:
        """Spill the fewest layers that make the rest fit into `room` bytes; None if even all are not enough."""
        plans = (cls.of(layers, others, count) for count in range(len(layers) + 1))
        return next((plan for plan in plans if plan.device <= room), None)


def layer_sizes(folder: Path) -> tuple[list[int], int]:
    """Bytes of each layer of the text model, and of everything else, from the headers of a checked folder."""
    layers: dict[int, int] = {}
    others = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        for name, entry in header.items():
            start, end = entry["data_offsets"] if name != "__metadata__" else (0, 0)
            match = None if "vision" in name else _LAYER.search(name)
            if match:
                layers[int(match[1])] = layers.get(int(match[1]), 0) + end - start
            else:
                others += end - start
    return [layers[number] for number in sorted(layers)], others


def plan_spill(
    order: Mapping[str, Any],
    folder: Path,
    longest: int,
    per_token: int,
    device: str,
    free_bytes: Callable[[str], tuple[int, int]] = memory.free_bytes,
) -> Plan | None:
    """Which layers stay in host memory; None if all fit. Raises `Failure("no_memory")` with the numbers.

    The order's `spill` allows it where the weights do not fit; `spill_layers` forces a number of layers, on any device.
    """
    forced = int(order.get("spill_layers") or 0)
    if not forced and (not order.get("spill") or device == "cpu"):  # the CPU's memory is the host's
        return None
    layers, others = layer_sizes(folder)
    context = min(order.get("context_length") or CONTEXT, longest)
    free, _ = free_bytes(device)
    room = free - memory.margin(device) - per_token * context
    plan = Plan.of(layers, others, forced) if forced else Plan.within(layers, others, room)
    if plan is None:
        need = Plan.of(layers, others, len(layers)).device + free - room
        raise Failure(
            "no_memory",
            f"Even with all {len(layers)} layers in host memory, the model needs {memory.format_bytes(need)} with {context:,} "
            f"tokens of context, but only {memory.format_bytes(free)} are free on {device}.",
            "Load it with a shorter context, or load a smaller model.",
        )
    whole, (host, _) = others + sum(layers), free_bytes("cpu")
    if plan.count and device != "cpu" and whole > host:
        raise Failure(
            "no_memory",
            f"{plan.count} of {len(layers)} layers would stay in host memory, where the model is read first. That needs "
            f"{memory.format_bytes(whole)}, but only {memory.format_bytes(host)} are free.",
            "Close other programs, or load a smaller model.",
        )
    return plan if plan.count else None


class Spill:
    """Keeps the last layers of a model in host memory, where it was loaded, and copies each to the device when it runs."""

    def __init__(self, model: Any, count: int, device: str) -> None:
        layers = list(model.get_decoder().layers)
        spilled = layers[len(layers) - count :]
        self._device = device
        self._modules = {id(module) for layer in spilled for module in layer.modules()}
        self._stream = torch.cuda.Stream() if device != "cpu" else None  # type: ignore[no-untyped-call]  # torch's own
        self._ready: list[Any] = [None, None]
        self._buffers: list[torch.Tensor] = []
        self._host_layers = [_HostLayer(layer, is_pinned=self._stream is not None) for layer in spilled]
        model.spilled_layers = count  # for code that bypasses the modules, which would find no weights
        layers[0].register_forward_pre_hook(lambda *_: self._begin())
        for number, layer in enumerate(spilled):
            layer.register_forward_pre_hook(lambda *_, n=number: self._await(n))
            layer.register_forward_hook(lambda *_, n=number: self._fetch(n + 2))
        self.allocate_buffers()

    @property
    def host_bytes(self) -> int:
        return sum(layer.block.nbytes for layer in self._host_layers)

    @property
    def device_bytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers)

    def resident(self, model: Any) -> list[Any]:
        """The modules whose weights stay on the device."""
        return [module for module in model.modules() if id(module) not in self._modules]

    def allocate_buffers(self) -> None:
        """Allocate the buffers, from where the spilled layers read their weights from now on."""
        size = max(layer.block.nbytes for layer in self._host_layers)
        self._buffers = [torch.empty(size, dtype=torch.uint8, device=self._device) for _ in self._host_layers[:2]]
        for number, layer in enumerate(self._host_layers):
            layer.use_block(self._buffers[number % 2])

    def free_buffers(self) -> None:
        """Free the buffers; no forward may follow before `allocate_buffers`."""
        if self._stream is not None:
            self._stream.synchronize()
        for layer in self._host_layers:
            layer.use_block(layer.block)
        self._buffers = []

    # ------------------------------------------------------------------------------------------ in a step

    def _begin(self) -> None:
        """Fetch the first layers; the last step, finished or failed, no longer needs the buffers."""
        for number in range(len(self._buffers)):
            self._fetch(number)

    def _fetch(self, number: int) -> None:
        """Copy a layer into its buffer, after the layer that used it has computed."""
        if number >= len(self._host_layers):
            return
        source = self._host_layers[number].block
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


class _HostLayer:
    """One layer's bytes in host memory, in one block."""

    def __init__(self, layer: Any, is_pinned: bool) -> None:
        if not is_pinned:
            _repack(layer)
        self._views: list[tuple[Any, str, int, torch.Tensor]] = []
        end = 0
        for owner, name, tensor in _tensors(layer):
            self._views.append((owner, name, end, tensor))
            end += -(-tensor.nbytes // _ALIGN) * _ALIGN
        self.block = torch.empty(end, dtype=torch.uint8)
        for _, _, start, tensor in self._views:
            _view(self.block, start, tensor).copy_(tensor)
        # only shape and dtype are needed from here on; this frees the bytes, layer by layer
        self._views = [(owner, name, at, tensor.to("meta")) for owner, name, at, tensor in self._views]
        self.use_block(self.block)
        if is_pinned:
            _pin(self.block)

    def use_block(self, block: torch.Tensor) -> None:
        """Make the layer's tensors views of this block."""
        for owner, name, start, like in self._views:
            setattr(owner, name, _view(block, start, like))


def _tensors(layer: Any) -> Iterator[tuple[Any, str, torch.Tensor]]:
    """(owner, attribute, tensor) of everything a layer reads, including the quantization state of 4-bit weights."""
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
    """On some CPUs bitsandbytes repacks 4-bit weights at their first use, which must not happen in a buffer."""
    for linear in layer.modules():
        if isinstance(linear, Linear4bit):
            with torch.inference_mode():
                linear(torch.zeros(1, linear.in_features, dtype=torch.bfloat16))


def _pin(block: torch.Tensor) -> None:
    """Pin in place: torch's allocator of pinned memory rounds up to a power of two."""
    runtime, address = torch.cuda.cudart(), block.data_ptr()  # type: ignore[no-untyped-call]  # torch's own
    try:
        torch.cuda.check_error(int(runtime.cudaHostRegister(address, block.nbytes, 0)))
    except RuntimeError as error:
        message = f"{memory.format_bytes(block.nbytes)} of host memory could not be pinned for copies to the device."
        raise Failure("no_memory", message, "Close other programs, or load a smaller model.") from error
    weakref.finalize(block, runtime.cudaHostUnregister, address)
