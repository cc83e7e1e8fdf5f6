"""The KV cache in fewer bits: whole blocks are packed, the block being written stays in 16 bit.

Keys are quantized per channel over a few tokens, values per token over a few channels, which KIVI (arXiv 2402.02750) found
best: the outliers of keys stay in their channels. A token attends to its own block of 64 in 16 bit and to the blocks before
it packed. So its result depends on its position alone: any chunking, a restored prefix or a rejected draft gives the same
bits. The price: a sequence can be cut back only to its 16-bit tokens, or to the start of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from ...models.memory import KEY_GROUP, VALUE_GROUP
from .sequence import BLOCK, KEY_BLOCK, GrowingLayer, Layer, LayerAddress, Sequence, Visible

_SLICE = 32  # blocks unpacked at a time, to keep the 32-bit intermediate small


class Codec(Protocol):
    """Turns blocks [blocks, heads, BLOCK, size] into rows of bytes and back."""

    def encode(self, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Bytes [blocks, n]."""

    def decode(self, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write the blocks into these views."""


class Integers:
    """Unsigned integers of 8 or 4 bits: steps between the least and the greatest number of each group, scales in float16."""

    def __init__(self, bits: int) -> None:
        self._bits, self._most = bits, 2**bits - 1

    def encode(self, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        parts = [
            *self._encoded(torch.unflatten(keys, 2, (-1, KEY_GROUP)), 3),
            *self._encoded(torch.unflatten(values, 3, (-1, min(VALUE_GROUP, values.shape[3]))), 4),
        ]
        return torch.cat(parts, 1)

    def _encoded(self, grouped: torch.Tensor, along: int) -> Iterator[torch.Tensor]:
        wide = grouped.float()
        least = wide.amin(along, keepdim=True).half()
        step = ((wide.amax(along, keepdim=True) - least.float()) / self._most).clamp_(min=1e-7).half()
        # float16 rounds a step to zero only where a group has no spread
        steps = (wide - least.float()).div_(step.float().clamp_(min=1e-7)).round_().clamp_(0, self._most)
        packed = steps.to(torch.uint8).flatten(1)
        if self._bits == 4:
            half = packed.shape[1] // 2
            packed = packed[:, :half] | packed[:, half:] << 4
        yield packed
        yield least.flatten(1).view(torch.uint8)
        yield step.flatten(1).view(torch.uint8)

    def decode(self, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        group = min(VALUE_GROUP, values.shape[3])
        at = self._decoded(rows, 0, keys, (*keys.shape[:2], BLOCK // KEY_GROUP, KEY_GROUP, keys.shape[3]), 3)
        self._decoded(rows, at, values, (*values.shape[:3], values.shape[3] // group, group), 4)

    def _decoded(self, rows: torch.Tensor, at: int, out: torch.Tensor, shape: tuple[int, ...], along: int) -> int:
        scale_shape = [*shape]
        scale_shape[along] = 1
        count, scales = out[0].numel(), out[0].numel() // shape[along]
        middle = at + count * self._bits // 8
        steps = rows[:, at:middle]
        if self._bits == 4:
            steps = torch.cat([steps & 15, steps >> 4], 1)
        end = middle + 4 * scales
        least = torch.unflatten(rows[:, middle : middle + 2 * scales].view(torch.float16), 1, scale_shape[1:])
        step = torch.unflatten(rows[:, middle + 2 * scales : end].view(torch.float16), 1, scale_shape[1:])
        wide = torch.unflatten(steps, 1, shape[1:]).float().mul_(step).add_(least)
        out.copy_(wide.view(out.shape))
        return end


class Scratch:
    """A 16-bit buffer for one layer's keys and values, shared by all layers and sequences in turn."""

    def __init__(self) -> None:
        self._pair: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self._pair) if self._pair else 0

    def take(self, like: torch.Tensor, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Two buffers [1, heads, capacity, size] for at least this many tokens; the numbers beyond them are finite."""
        pair = self._pair
        if pair is None or pair[0].shape[2] < tokens or pair[0].dtype != like.dtype or pair[0].device != like.device:
            grown = 0 if pair is None else min(2 * pair[0].shape[2], pair[0].shape[2] + 8192)
            capacity = -(-max(tokens, grown) // KEY_BLOCK) * KEY_BLOCK
            shape = (*like.shape[:2], capacity, like.shape[3])
            self._pair = None
            self._pair = pair = (like.new_zeros(shape), like.new_zeros(shape))
        return pair

    def release(self) -> None:
        self._pair = None


class PackedLayer:
    """Blocks in the codec's bytes; the last two also in 16 bit, so that a draft can be rejected across a block boundary."""

    def __init__(self, codec: Codec, scratch: Scratch) -> None:
        self._codec, self._scratch = codec, scratch
        self._packed = torch.empty(0, 0, dtype=torch.uint8)
        self._recent = torch.empty(0)  # [2, heads, 2 * BLOCK, size]; block b is in half b % 2
        self._first_recent = 0  # the first block that is there
        self.length = self._reserved = 0

    @property
    def nbytes(self) -> int:
        return self._packed.nbytes + self._recent.nbytes

    @property
    def block_bytes(self) -> int:
        return self._packed.shape[1]

    def empty_copy(self) -> PackedLayer:
        other = PackedLayer(self._codec, self._scratch)
        other._packed, other._recent = self._packed.new_empty(0, self.block_bytes), torch.zeros_like(self._recent)
        return other

    def append_tokens(self, key: torch.Tensor, value: torch.Tensor) -> Iterator[Visible]:
        if not self._recent.numel():
            self._recent = key.new_zeros(2, key.shape[1], 2 * BLOCK, key.shape[3])
            self._learn_shape()
        begin, count = self.length, key.shape[2]
        keys, values = self._scratch.take(key, begin + count)
        self._unpack(keys, values, begin)
        keys[:, :, begin : begin + count] = key
        values[:, :, begin : begin + count] = value
        self._reserve_blocks((begin + count) // BLOCK)
        start = 0
        while start < count:
            stop = min(count, (self.length // BLOCK + 1) * BLOCK - begin)
            end = begin + stop
            yield start, stop, keys[:, :, :end], values[:, :, :end]
            self._store(keys, values, end)
            start = stop

    def _unpack(self, keys: torch.Tensor, values: torch.Tensor, stop: int) -> None:
        """Fill in everything up to `stop`: packed blocks, then the block being written."""
        whole = self.length // BLOCK
        left = stop - whole * BLOCK
        for first in range(0, whole, _SLICE):
            last = min(whole, first + _SLICE)
            self._codec.decode(self._packed[first:last], _blocks(keys, first, last), _blocks(values, first, last))
        if left:
            at = whole % 2 * BLOCK
            keys[0, :, stop - left : stop] = self._recent[0, :, at : at + left]
            values[0, :, stop - left : stop] = self._recent[1, :, at : at + left]

    def _begin(self) -> None:
        """The first token of a block overwrites the block before the last."""
        block, first = divmod(self.length, BLOCK)
        if first == 0:
            self._first_recent = min(max(self._first_recent, block - 1), block)

    def _store(self, keys: torch.Tensor, values: torch.Tensor, end: int) -> None:
        """Store the tokens up to `end`, all of one block; pack that block once it is whole."""
        self._begin()
        block, first = divmod(self.length, BLOCK)
        at = block % 2 * BLOCK + first
        new = slice(self.length, end)
        self._recent[0, :, at : at + end - self.length] = keys[0, :, new]
        self._recent[1, :, at : at + end - self.length] = values[0, :, new]
        if end % BLOCK == 0:
            pair = _blocks(keys, block, block + 1), _blocks(values, block, block + 1)
            self._packed[block] = self._codec.encode(*pair)[0]
            self._codec.decode(self._packed[block : block + 1], *pair)  # later tokens attend to it as stored
        self.length = end

    # ------------------------------------------------------------------------------------------ in place

    @property
    def empty(self) -> torch.Tensor:
        return self._recent[:1, :, :0]

    def can_write(self, count: int) -> bool:
        return self._recent.numel() > 0 and self.length % BLOCK + count <= BLOCK

    def prepare(self, count: int) -> None:
        self._begin()
        self._reserve_blocks((self.length + count) // BLOCK)

    def address(self) -> LayerAddress:
        half, size = self.length // BLOCK % 2, self._recent.element_size()
        keys = self._recent.data_ptr() + half * BLOCK * self._recent.shape[3] * size
        return LayerAddress(keys, keys + self._recent.stride(0) * size, self._recent.stride(1), self._packed.data_ptr())

    def write(self, key: torch.Tensor, value: torch.Tensor) -> None:
        at = self.length % (2 * BLOCK)
        self._recent[0, :, at : at + key.shape[1]] = key
        self._recent[1, :, at : at + key.shape[1]] = value

    def visible(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        stop = self.length + count
        keys, values = self._scratch.take(self.empty, stop)
        self._unpack(keys, values, stop)
        return keys[:, :, :stop], values[:, :, :stop]

    def advance(self, count: int, others: list[Layer]) -> None:
        """Pack a block that became whole in all layers at once: a few calls on the device instead of a few per layer."""
        layers = [self, *(layer for layer in others if isinstance(layer, PackedLayer))]
        stop = self.length + count
        if stop % BLOCK == 0:
            block = stop // BLOCK - 1
            at = block % 2 * BLOCK
            recent = torch.stack([layer._recent[:, :, at : at + BLOCK] for layer in layers], 1)
            for layer, row in zip(layers, self._codec.encode(recent[0], recent[1]), strict=True):
                layer._packed[block] = row
        for layer in layers:
            layer.length = stop

    # ------------------------------------------------------------------------------------------

    def _learn_shape(self) -> None:
        like = self._recent[:, None, :, :BLOCK]
        self._packed = self._codec.encode(like[0], like[1])[:0]

    def _reserve_blocks(self, blocks: int) -> None:
        if blocks <= self._packed.shape[0]:
            return
        capacity = max(blocks, -(-self._reserved // BLOCK), min(2 * len(self._packed), len(self._packed) + 128))
        grown = self._packed.new_zeros(capacity, self._packed.shape[1])
        grown[: self.length // BLOCK] = self._packed[: self.length // BLOCK]
        self._packed = grown

    def longest_cut(self, length: int) -> int:
        length = min(length, self.length)
        return length if length // BLOCK >= self._first_recent else length // BLOCK * BLOCK

    def cut(self, length: int) -> None:
        self.length = length
        self._first_recent = min(self._first_recent, length // BLOCK)

    def reserve(self, tokens: int) -> None:
        self._reserved = tokens

    def release(self) -> None:
        self._packed, self.length, self._first_recent = self._packed[:0].clone(), 0, 0
        self._scratch.release()

    def copy_out(self, block: int) -> torch.Tensor:
        return self._packed[block]

    def copy_in(self, flat: torch.Tensor) -> None:
        assert self.length % BLOCK == 0 and flat.numel() == self._packed.shape[1], "block of another shape"
        block = self.length // BLOCK
        self._reserve_blocks(block + 1)
        self._packed[block] = flat
        self.length += BLOCK
        self._first_recent = block + 1


def _blocks(buffer: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Blocks first to last of a buffer [1, heads, tokens, size] as a view [blocks, heads, BLOCK, size]."""
    return torch.unflatten(buffer[0, :, first * BLOCK : last * BLOCK], 1, (last - first, BLOCK)).transpose(0, 1)


def new_sequence(layers: int, kv: str) -> tuple[Sequence, Scratch]:
    """An empty sequence, and the buffer that it shares with its copies. kv: bf16, int8 or int4."""
    scratch = Scratch()
    codecs: dict[str, Codec] = {"int8": Integers(8), "int4": Integers(4)}
    codec = codecs.get(kv)
    stack: list[Layer] = [PackedLayer(codec, scratch) if codec else GrowingLayer() for _ in range(layers)]
    return Sequence(stack), scratch
