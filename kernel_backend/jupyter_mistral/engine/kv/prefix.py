"""Prefix memory: the KV cache of earlier prompts in blocks of 64 tokens, looked up by a chain of hashes over the tokens.

Blocks are kept in host memory and, unless switched off, on disk (`prefix_disk.py`). A block's key hashes all tokens up to
its end, the model and the user's salt: equal keys mean equal state, and no user gets another user's blocks. Knows no text.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
import torch

from ..prompt import Units
from .prefix_disk import PrefixDisk
from .sequence import BLOCK, Sequence


def common_length(a: Units, b: Units) -> int:
    """How many leading units are equal."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n


class PrefixMemory:
    """`root` identifies the model. `budget`: bytes of host memory; the least recently used blocks are evicted first."""

    def __init__(self, root: str, budget: int, disk: PrefixDisk | None) -> None:
        self._root, self._budget, self._disk = root, budget, disk
        self._variant = ""
        self._blocks: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.nbytes = 0

    def use_variant(self, variant: str) -> None:
        """Keep blocks of this variant of the model (an adapter's hash) apart from now on; "" is the model alone."""
        self._variant = variant

    def keys(self, units: Units, salt: str) -> list[str]:
        """One key for each whole block."""
        root = f"{self._root}+{self._variant}" if self._variant else self._root
        chain = hashlib.blake2b(f"{root}\0{salt}".encode("utf-8", "replace"), digest_size=16)
        keys = []
        for start in range(0, len(units) - BLOCK + 1, BLOCK):
            chain.update(units[start : start + BLOCK].tobytes())
            keys.append(chain.hexdigest())
        return keys

    def count_cached(self, keys: list[str]) -> int:
        """How many leading blocks are in memory or on disk."""
        return next((n for n, key in enumerate(keys) if key not in self), len(keys))

    def __contains__(self, key: str) -> bool:
        return key in self._blocks or (self._disk is not None and key in self._disk)

    def restore(self, keys: list[str], sequence: Sequence) -> int:
        """Append these blocks to the sequence up to the first that cannot be read. Returns how many were appended."""
        count = 0
        for key in keys:
            block = self._blocks.get(key)
            if block is None:
                block = self._disk.read(key) if self._disk else None
                if block is None:
                    break
                self._put(key, block)
            sequence.copy_in(block)
            count += 1
        self._evict(keys[:count])
        return count

    def store(self, keys: list[str], sequence: Sequence) -> None:
        """Copy the sequence's whole blocks that are not stored yet, as many from its start as fit the budget."""
        keys = keys[: sequence.length // BLOCK][: self._budget // max(1, sequence.block_bytes)]
        new = {}
        for n, key in enumerate(keys):
            if key not in self:
                new[key] = sequence.copy_out(n)
                self._put(key, new[key])
        self._evict(keys)
        if new and self._disk:
            self._disk.write(new)

    def _put(self, key: str, block: torch.Tensor) -> None:
        self._blocks[key] = block
        self.nbytes += block.nbytes

    def _evict(self, used: list[str]) -> None:
        """A block is useless without those before it, so the first block of a sequence counts as the last one used."""
        for key in reversed(used):
            if key in self._blocks:
                self._blocks.move_to_end(key)
        while self.nbytes > self._budget:
            self.nbytes -= self._blocks.popitem(last=False)[1].nbytes

    def close(self) -> None:
        if self._disk:
            self._disk.close()
