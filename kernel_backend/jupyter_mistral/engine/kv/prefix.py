"""Prefix memory: keys and values of what was read, in blocks of 64 tokens, found again by a hash chain over the tokens.

Blocks lie in host memory and, unless switched off, on disk (`parking.py`). A block's key folds in all before it, the
model, and the salt of the user, so equal keys mean equal state and one user never finds another's. Knows no text.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
import torch

from ..decode.prompt import Units
from .prefix_disk import Parking
from .sequence import BLOCK, Sequence


def common(a: Units, b: Units) -> int:
    """How many leading units two sequences share."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n


class PrefixMemory:
    """`root` tells the model apart from others; `budget` bytes of host memory; least recently used blocks go first."""

    def __init__(self, root: str, budget: int, parking: Parking | None) -> None:
        self._root, self._budget, self._parking = root, budget, parking
        self._variant = ""
        self._blocks: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.nbytes = 0

    def tell_apart(self, variant: str) -> None:
        """From now on keep what this variant of the model reads for itself; "" is the model alone."""
        self._variant = variant

    def keys(self, units: Units, salt: str) -> list[str]:
        """One key for each whole block of the sequence."""
        root = f"{self._root}+{self._variant}" if self._variant else self._root
        chain = hashlib.blake2b(f"{root}\0{salt}".encode("utf-8", "replace"), digest_size=16)
        keys = []
        for start in range(0, len(units) - BLOCK + 1, BLOCK):
            chain.update(units[start : start + BLOCK].tobytes())
            keys.append(chain.hexdigest())
        return keys

    def known(self, keys: list[str]) -> int:
        """How many leading blocks are here, in memory or on disk."""
        for n, key in enumerate(keys):
            if key not in self._blocks and not (self._parking and key in self._parking):
                return n
        return len(keys)

    def restore(self, keys: list[str], sequence: Sequence) -> int:
        """Append these blocks to the sequence; stops at the first that cannot be read. Returns how many came."""
        came = 0
        for key in keys:
            block = self._blocks.get(key)
            if block is None:
                block = self._parking.take(key) if self._parking else None
                if block is None:
                    break
                self._put(key, block)
            sequence.copy_in(block)
            came += 1
        self._make_room(keys[:came])
        return came

    def keep(self, keys: list[str], sequence: Sequence) -> None:
        """Take over the sequence's whole blocks that are not here yet, as many from its start as the budget holds."""
        keys = keys[: sequence.length // BLOCK][: self._budget // max(1, sequence.block_bytes)]
        new = {}
        for n, key in enumerate(keys):
            if key not in self._blocks and not (self._parking and key in self._parking):
                new[key] = sequence.copy_out(n)
                self._put(key, new[key])
        self._make_room(keys)
        if new and self._parking:
            self._parking.park(new)

    def _put(self, key: str, block: torch.Tensor) -> None:
        self._blocks[key] = block
        self.nbytes += block.nbytes

    def _make_room(self, used: list[str]) -> None:
        """A block is of no use without those before it: the first of a sequence counts as used last."""
        for key in reversed(used):
            if key in self._blocks:
                self._blocks.move_to_end(key)
        while self.nbytes > self._budget:
            self.nbytes -= self._blocks.popitem(last=False)[1].nbytes

    def close(self) -> None:
        if self._parking:
            self._parking.close()
