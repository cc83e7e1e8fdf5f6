"""What the model reads: token ids, with pictures standing at some of them. Also what the prefix memory compares."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Units = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Picture:
    """Prepared pixels [1, 3, height, width] and the ids that stand for them, rows closed by their own marks."""

    pixels: torch.Tensor
    ids: tuple[int, ...]

    @property
    def digest(self) -> int:
        """61 bits of the content: equal pixels of equal shape, equal number."""
        raw = hashlib.blake2b(str(tuple(self.pixels.shape)).encode(), digest_size=8)
        raw.update(self.pixels.contiguous().numpy().tobytes())
        return int.from_bytes(raw.digest(), "big") >> 3


@dataclass(frozen=True)
class Prompt:
    """ids: all of them. pictures: (index of the first id, picture) in reading order."""

    ids: list[int]
    pictures: Sequence[tuple[int, Picture]] = ()

    @property
    def units(self) -> Units:
        """One number a token that tells all that the model's state depends on: the id, or the picture's content."""
        units = np.array(self.ids, dtype=np.int64)
        for start, picture in self.pictures:
            stop = start + len(picture.ids)
            units[start:stop] = -1 - picture.digest - np.arange(stop - start)
        return units
