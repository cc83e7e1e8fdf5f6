"""Keys and values of one sequence: appended to, cut back, and copied out and in by blocks. In 16 bit here; see `packed.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from transformers.cache_utils import Cache, DynamicLayer

from .attention import KEY_BLOCK

BLOCK = 64  # tokens that are copied, hashed and quantized together

Stretch = tuple[int, int, torch.Tensor, torch.Tensor]


class Place(NamedTuple):
    """Where kernels find one layer: addresses on its device. A token's key of head h begins `h * stride` numbers after
    `keys`, and `size` numbers further for each token: of all tokens, or where the layer is packed, of the block that is
    being written; the packed blocks before it begin at `rows`."""

    keys: int
    values: int
    stride: int
    rows: int = 0


class Layer(Protocol):
    """What attention and the prefix memory know of one layer's keys and values."""

    length: int

    def twin(self) -> Layer:
        """An empty layer of the same shape; this one has been used before."""

    @property
    def nbytes(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    def stretches(self, key: torch.Tensor, value: torch.Tensor) -> Iterator[Stretch]:
        """Append new tokens [1, heads, tokens, size]; yields (start, stop, keys, values): what the queries of these new
        tokens look at. Must be run to its end."""

    def cuttable(self, length: int) -> int:
        """The longest length, at most this one, that can be cut back to."""

    def cut(self, length: int) -> None: ...
    def reserve(self, tokens: int) -> None:
        """Grow to this many tokens at the next growth, in one step."""

    def release(self) -> None:
        """Give the buffers back; the shape stays known."""

    def copy_out(self, block: int) -> torch.Tensor:
        """One block, flat; of a layer that holds it whole."""

    def copy_in(self, flat: torch.Tensor) -> None:
        """Append what `copy_out` gave; the length is a whole number of blocks."""

    # In place: room is made, the tokens are written at `place` or by `put`, and count once `Sequence.advance` was told.

    @property
    def like(self) -> torch.Tensor:
        """An empty tensor [1, heads, 0, size] of what tokens look like here; of a layer that has been used before."""

    def takes(self, count: int) -> bool:
        """Whether so many tokens can be written in place, all seeing the same blocks packed."""

    def prepare(self, count: int) -> None: ...
    def place(self) -> Place:
        """Holds until the next growth, and where the layer is packed, within a block."""

    def put(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write the next tokens [heads, tokens, size]."""

    def seen(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What the last of `count` tokens that were written looks at: keys and values [1, heads, tokens, size]."""

    def advance(self, count: int, beside: list[Layer]) -> None:
        """Count these tokens in this layer and in those beside it, which are of the same kind and length."""


class GrowingLayer(DynamicLayer):
    """Appends in place instead of copying everything for each token; the buffer's tail is zeros, never garbage."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers is half typed
        self._keys = self._values = torch.empty(0)
        self.length, self.capacity = 0, 0
        self._wanted = 0

    def twin(self) -> GrowingLayer:
        other = GrowingLayer()
        other._keys, other._values = self._like(0)
        other.dtype, other.device, other.is_initialized = self.dtype, self.device, True
        return other

    def stretches(self, key: torch.Tensor, value: torch.Tensor) -> Iterator[Stretch]:
        yield 0, key.shape[2], *self.update(key, value)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        stop = self.length + key_states.shape[2]
        if stop > self.capacity:
            self._grow(stop, key_states, value_states)
        self._keys[:, :, self.length : stop] = key_states
        self._values[:, :, self.length : stop] = value_states
        self.length = stop
        return self.seen(0)

    def _grow(self, stop: int, key: torch.Tensor, value: torch.Tensor) -> None:
        capacity = max(stop, self._wanted, min(self.capacity * 2, self.capacity + 8192))
        capacity = -(-capacity // KEY_BLOCK) * KEY_BLOCK
        new = [torch.zeros(*t.shape[:2], capacity, t.shape[3], dtype=t.dtype, device=t.device) for t in (key, value)]
        if self.length:
            new[0][:, :, : self.length] = self._keys[:, :, : self.length]
            new[1][:, :, : self.length] = self._values[:, :, : self.length]
        (self._keys, self._values), self.capacity = new, capacity
        self.dtype, self.device, self.is_initialized = key.dtype, key.device, True

    def get_seq_length(self) -> int:
        return self.length

    @property
    def like(self) -> torch.Tensor:
        return self._keys[:, :, :0]

    def takes(self, count: int) -> bool:
        return bool(self.is_initialized)

    def prepare(self, count: int) -> None:
        if self.length + count > self.capacity:
            self._grow(self.length + count, self._keys, self._values)

    def place(self) -> Place:
        return Place(self._keys.data_ptr(), self._values.data_ptr(), self._keys.stride(1))

    def put(self, key: torch.Tensor, value: torch.Tensor) -> None:
        stop = self.length + key.shape[1]
        self._keys[0, :, self.length : stop] = key
        self._values[0, :, self.length : stop] = value

    def seen(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        stop = self.length + count
        return self._keys[:, :, :stop], self._values[:, :, :stop]

    def advance(self, count: int, beside: list[Layer]) -> None:
        stop = self.length + count
        for layer in (self, *beside):
            layer.length = stop

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes + self._values.nbytes

    @property
    def block_bytes(self) -> int:
        return sum(t.nbytes for t in self._like(BLOCK))

    def cuttable(self, length: int) -> int:
        return min(length, self.length)

    def cut(self, length: int) -> None:
        self.length = length

    def reserve(self, tokens: int) -> None:
        self._wanted = tokens

    def release(self) -> None:
        self._keys, self._values = self._keys[:, :, :0].clone(), self._values[:, :, :0].clone()
        self.length, self.capacity = 0, 0

    def _like(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Empty keys and values of this layer's shape; the layer must have been used once (the warm-up does)."""
        return tuple(t.new_empty(*t.shape[:2], tokens, t.shape[3]) for t in (self._keys, self._values))  # type: ignore[return-value]

    def copy_out(self, block: int) -> torch.Tensor:
        start = block * BLOCK
        return torch.cat([t[:, :, start : start + BLOCK].reshape(-1) for t in (self._keys, self._values)])

    def copy_in(self, flat: torch.Tensor) -> None:
        key, value = self._like(BLOCK)
        assert flat.numel() == key.numel() + value.numel(), "block of another shape"
        flat = flat.to(self.device)
        self.update(flat[: key.numel()].view(key.shape), flat[key.numel() :].view(value.shape))


class Sequence:
    """One layer of keys and values for each of the model's."""

    def __init__(self, rows: list[Layer]) -> None:
        self.rows = rows

    def twin(self) -> Sequence:
        return Sequence([layer.twin() for layer in self.rows])

    @property
    def cache(self) -> Cache:
        """For a model whose attention is not ours; in 16 bit only."""
        return Cache(layers=list(self.rows))  # type: ignore[arg-type]  # they are GrowingLayers then

    @property
    def length(self) -> int:
        return self.rows[0].length

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.rows)

    @property
    def block_bytes(self) -> int:
        return sum(layer.block_bytes for layer in self.rows)

    def reserve(self, tokens: int) -> None:
        for layer in self.rows:
            layer.reserve(tokens)

    def cut(self, length: int) -> int:
        """Cut back to this length, or somewhat further where that is not possible. Gives the length.

        A forward that broke off leaves layers of different lengths: they are made equal.
        """
        for _ in range(2):  # the shortest layer's length may not be one that the others can be cut to
            length = min(layer.cuttable(length) for layer in self.rows)
        for layer in self.rows:
            layer.cut(length)
        return length

    def takes(self, count: int) -> bool:
        """Whether the next `count` tokens can be written in place."""
        return self.rows[0].takes(count)

    def advance(self, count: int) -> None:
        """Count tokens that were written in place in every layer."""
        self.rows[0].advance(count, self.rows[1:])

    def release(self) -> None:
        for layer in self.rows:
            layer.release()

    def copy_out(self, block: int) -> torch.Tensor:
        """A block of all layers as one flat tensor in host memory."""
        return torch.cat([layer.copy_out(block) for layer in self.rows]).cpu()

    def copy_in(self, flat: torch.Tensor) -> None:
        """Append what `copy_out` gave."""
        parts = flat.view(len(self.rows), -1)
        for layer, part in zip(self.rows, parts, strict=True):
            layer.copy_in(part)
