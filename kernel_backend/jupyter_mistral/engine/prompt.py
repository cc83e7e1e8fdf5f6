"""What the model reads: token ids, with images standing at some of them. The prefix memory compares prompts by their units."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Units = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PreparedImage:
    """Pixels [1, 3, height, width] and the ids that stand for them; each row of patches ends with a mark of its own."""

    pixels: torch.Tensor
    ids: tuple[int, ...]

    @property
    def digest(self) -> int:
        """61 bits of a hash of shape and pixels."""
        digest = hashlib.blake2b(str(tuple(self.pixels.shape)).encode(), digest_size=8)
        digest.update(self.pixels.contiguous().numpy().tobytes())
        return int.from_bytes(digest.digest(), "big") >> 3


@dataclass(frozen=True)
class Prompt:
    """All token ids, and (index of its first id, image) for each image in reading order."""

    ids: list[int]
    images: Sequence[tuple[int, PreparedImage]] = ()

    @property
    def units(self) -> Units:
        """One number per token for everything the model's state depends on: the id, or the content of the image."""
        units = np.array(self.ids, dtype=np.int64)
        for start, image in self.images:
            stop = start + len(image.ids)
            units[start:stop] = -1 - image.digest - np.arange(stop - start)
        return units
