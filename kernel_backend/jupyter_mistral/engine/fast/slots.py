"""What a step on the fast path needs to know of its sequences, at addresses that never change, so that a CUDA graph can be
replayed for other sequences and lengths. Knows no kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..kv import sequence as kv

Pack = Sequence[tuple[kv.Sequence, int]]
FIELDS = 4  # of a token in a layer: kv.Place


class Slots:
    """`most` tokens of up to `most` sequences. A token that none of these needs is the only one of a sequence of its own,
    at position 0, whose key and value stand in a spare place.

    On the device, int64: positions [most]; firsts and counts [most], of the n-th sequence its first token's place among
    these and how many it has, 0 where there is no such sequence; places [layers, FIELDS, most], each token's `kv.Place`.
    """

    def __init__(self, layers: int, most: int, kv: str, device: torch.device | str) -> None:
        self.layers, self.most, self.kind = layers, most, kv
        self.pack: Pack = []
        device = torch.device(device)
        sizes = [most, most, most, layers * FIELDS * most]
        is_cuda = device.type == "cuda"
        self._host = torch.zeros(sum(sizes), dtype=torch.int64, pin_memory=is_cuda)
        self._all = torch.zeros(sum(sizes), dtype=torch.int64, device=device)
        self._copied = torch.cuda.Event() if is_cuda else None  # type: ignore[no-untyped-call]  # torch is half typed
        self.positions, self.firsts, self.counts, places = torch.split(self._all, sizes)
        self.places = places.view(layers, FIELDS, most)
        self._host_tokens = self._host[: 3 * most].view(3, most).numpy()
        self._host_places = self._host[3 * most :].view(layers, FIELDS, most).numpy()
        self._spare: torch.Tensor | None = None

    @staticmethod
    def fits(pack: Pack) -> bool:
        """Whether these tokens can be written in place: the sequences' shape is known, and where they are packed, no
        sequence's tokens go on from one block of 64 into the next."""
        return all(sequence.takes(count) for sequence, count in pack)

    @property
    def heads(self) -> int:
        """Of keys and values. After the first `fill`."""
        return self._known.shape[2]

    @property
    def size(self) -> int:
        """Of a head. After the first `fill`."""
        return self._known.shape[3]

    @property
    def _known(self) -> torch.Tensor:
        assert self._spare is not None, "nothing was filled in yet"
        return self._spare

    def parts(self) -> Iterator[tuple[kv.Sequence, slice]]:
        """Each sequence with its tokens' places in the step."""
        start = 0
        for sequence, count in self.pack:
            yield sequence, slice(start, start + count)
            start += count

    def fill(self, pack: Pack) -> None:
        """Make room for these tokens, which follow what the sequences hold, and tell the device where it is. The pack
        `fits`, is not empty, and has at most `most` tokens; each of its sequences occurs once."""
        assert 0 < sum(count for _, count in pack) <= self.most, "a step of another size"
        self.pack = pack
        self._learn_size(pack[0][0].rows[0].like)
        if self._copied:
            self._copied.synchronize()  # the step before may not have read its own yet
        self._host_tokens[:] = 0
        start = slot = 0
        for slot, (sequence, count) in enumerate(pack):
            stop, length = start + count, sequence.length
            self._host_tokens[0, start:stop] = range(length, length + count)
            self._host_tokens[1:, slot] = start, count
            for layer in sequence.rows:
                layer.prepare(count)
            self._host_places[:, :, start:stop] = [[(field,) for field in layer.place()] for layer in sequence.rows]
            start = stop
        for token in range(start, self.most):
            slot += 1
            self._host_tokens[1:, slot] = token, 1
            self._host_places[:, :, token] = self._place_spare(token)
        self._all.copy_(self._host, non_blocking=True)
        if self._copied:
            self._copied.record()

    def advance(self) -> None:
        """Count the step's tokens; blocks that became whole are packed."""
        for sequence, count in self.pack:
            sequence.advance(count)

    def _learn_size(self, like: torch.Tensor) -> None:
        if self._spare is None:
            self._spare = like.new_zeros(2, self.most, like.shape[1], like.shape[3])

    def _place_spare(self, token: int) -> kv.Place:
        keys, values = self._known[:, token]
        return kv.Place(keys.data_ptr(), values.data_ptr(), keys.stride(0))
