"""What a fast step needs to know about its sequences, at fixed addresses, so that a CUDA graph can be replayed for other
sequences and lengths. Knows no kernel."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..kv.sequence import LayerAddress, Pack, Sequence

FIELDS = len(LayerAddress._fields)


class Slots:
    """`most` tokens of up to `most` sequences. A padding token is alone in a sequence of its own, at position 0, whose key and
    value are written to a spare buffer.

    On the device, int64: positions [most]; firsts and counts [most], the first token and the number of tokens of the n-th
    sequence, a count of 0 if there is none; addresses [layers, FIELDS, most], each token's `LayerAddress`.
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
        self.positions, self.firsts, self.counts, addresses = torch.split(self._all, sizes)
        self.addresses = addresses.view(layers, FIELDS, most)
        self._host_tokens = self._host[: 3 * most].view(3, most).numpy()
        self._host_addresses = self._host[3 * most :].view(layers, FIELDS, most).numpy()
        self._spare: torch.Tensor | None = None

    @staticmethod
    def fits(pack: Pack) -> bool:
        """Whether these tokens can be written in place: the sequences' shape is known and, if they are packed, no sequence's
        tokens cross the end of a block of 64."""
        return all(sequence.can_write(count) for sequence, count in pack)

    @property
    def heads(self) -> int:
        """Heads of keys and values. Known after the first `fill`."""
        return self._padding.shape[2]

    @property
    def size(self) -> int:
        """Size of a head. Known after the first `fill`."""
        return self._padding.shape[3]

    @property
    def _padding(self) -> torch.Tensor:
        assert self._spare is not None, "not filled yet"
        return self._spare

    def parts(self) -> Iterator[tuple[Sequence, slice]]:
        """Each sequence with the slice of its tokens in the step."""
        start = 0
        for sequence, count in self.pack:
            yield sequence, slice(start, start + count)
            start += count

    def fill(self, pack: Pack) -> None:
        """Make room for these tokens at the end of their sequences, and copy the addresses to the device. The pack `fits`, is
        not empty and has at most `most` tokens; each sequence occurs once."""
        assert 0 < sum(count for _, count in pack) <= self.most, "a step of another size"
        self.pack = pack
        self._learn_shape(pack[0][0].layers[0].empty)
        if self._copied:
            self._copied.synchronize()  # the previous step may not have been copied yet
        self._host_tokens[:] = 0
        start = slot = 0
        for slot, (sequence, count) in enumerate(pack):
            stop, length = start + count, sequence.length
            self._host_tokens[0, start:stop] = range(length, length + count)
            self._host_tokens[1:, slot] = start, count
            for layer in sequence.layers:
                layer.prepare(count)
            self._host_addresses[:, :, start:stop] = [
                [(field,) for field in layer.address()] for layer in sequence.layers
            ]
            start = stop
        for token in range(start, self.most):
            slot += 1
            self._host_tokens[1:, slot] = token, 1
            self._host_addresses[:, :, token] = self._spare_address(token)
        self._all.copy_(self._host, non_blocking=True)
        if self._copied:
            self._copied.record()

    def advance(self) -> None:
        """Count the step's tokens, and pack blocks that became whole."""
        for sequence, count in self.pack:
            sequence.advance(count)

    def _learn_shape(self, like: torch.Tensor) -> None:
        if self._spare is None:
            self._spare = like.new_zeros(2, self.most, like.shape[1], like.shape[3])

    def _spare_address(self, token: int) -> LayerAddress:
        keys, values = self._padding[:, token]
        return LayerAddress(keys.data_ptr(), values.data_ptr(), keys.stride(0))
