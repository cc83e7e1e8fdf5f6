"""Token ids from token ids: reads prompts in chunks, then decodes token after token, several requests in one forward.

A request's side of it is a generator (`row.py`) that yields a `Need` where it cannot go on without scores; whoever drives
it puts the needs of several requests into one `Decoder.forward`. Knows no text.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..kv.attention import NAME
from ..kv.packed import new_sequence
from ..kv.prefix import PrefixMemory, common
from . import wide
from .prompt import Units
from .row import Need, Row

if TYPE_CHECKING:
    from ..fast.choose import Fast

_DRAFT = 16  # tokens of a guess on the CPU
_IDLE = 2  # sequences that stay on the device between requests


class Decoder:
    """Owns the model and its sequences. chunk: prompt tokens read at once; shared_chunk: while others are being answered.
    fast: what steps are taken with where it can."""

    def __init__(
        self,
        model: Any,
        chunk: int,
        memory: PrefixMemory | None,
        kv: str = "bf16",
        shared_chunk: int = 0,
        fast: Fast | None = None,
    ) -> None:
        wide.install()
        self.fast = fast
        self._model, self._chunk, self._shared_chunk, self.memory = model, chunk, shared_chunk or chunk, memory
        self.device: torch.device = model.device
        text = model.config.get_text_config()
        self.words = int(text.vocab_size)
        self.is_packing = text._attn_implementation == NAME
        assert self.is_packing or kv == "bf16", "only our own attention reads other kinds"
        self._empty, self._scratch = new_sequence(int(text.num_hidden_layers), kv)
        self._is_warm = False
        self._idle: list[Row] = []
        self._taken: list[Row] = []
        self.speed = 0.0  # prompt tokens a second, lately, with all that was done beside
        self.is_shared = False  # set by whoever drives: requests are being answered while another reads

    @property
    def chunk(self) -> int:
        return self._shared_chunk if self.is_shared else self._chunk

    @property
    def kv_bytes(self) -> int:
        rows = sum(row.sequence.nbytes for row in [*self._idle, *self._taken])
        return rows + self._scratch.nbytes + (self.memory.nbytes if self.memory else 0)

    @property
    def idle_tokens(self) -> int:
        """What sequences hold that no request uses."""
        return sum(row.sequence.length for row in self._idle)

    # ------------------------------------------------------------------------------------------ rows

    def take(self, units: Units, salt: str) -> Row:
        """The idle row that shares most with this prompt, else a new one. To be given back."""
        if not self._is_warm:
            self.warm()
        best = max(self._idle, key=lambda row: common(row.units, units) if row.salt == salt else 0, default=None)
        if best is None:
            best = Row(self, self._empty.twin())
        else:
            self._idle.remove(best)
        self._taken.append(best)
        return best

    def give_back(self, row: Row) -> None:
        """Note what the row knows now, however its request ended. Call when the answer is out: it copies. Never raises."""
        self._taken.remove(row)
        try:
            row.settle()
        except Exception as error:  # the answer is out: a memory that is full costs time at the next one, no more
            traceback.print_tb(error.__traceback__)
            row.drop()
        self._idle.append(row)
        while len(self._idle) > _IDLE:
            self._idle.pop(0)

    def drop(self) -> None:
        """Give the memory of idle sequences back, after running out of it or before lending it."""
        for row in self._idle:
            row.drop()
        if not self._taken:
            self._scratch.release()

    # ------------------------------------------------------------------------------------------ the model

    @torch.inference_mode()
    def forward(self, needs: Sequence[Need]) -> list[torch.Tensor]:
        """For each need, the scores [keep, vocabulary] of its last tokens."""
        found = self.fast.run(needs) if self.fast else {}
        rest = [place for place in range(len(needs)) if place not in found]
        if rest:
            found |= zip(rest, self._ordinary([needs[place] for place in rest]), strict=True)
        return [found[place] for place in range(len(needs))]

    def _ordinary(self, needs: Sequence[Need]) -> list[torch.Tensor]:
        """One forward of transformers' model. Without packing, needs go one by one."""
        if not self.is_packing and len(needs) > 1:
            return [self._ordinary([need])[0] for need in needs]
        given = torch.cat([need.embedded() for need in needs], 1)
        counts = [need.count for need in needs]
        starts = [need.row.sequence.length for need in needs]
        spans = [torch.arange(a, a + n, device=self.device) for a, n in zip(starts, counts, strict=True)]
        ends = torch.tensor(counts).cumsum(0).tolist()
        kept = [torch.arange(end - need.keep, end) for end, need in zip(ends, needs, strict=True)]
        named: dict[str, Any] = {"pack": [(need.row.sequence, n) for need, n in zip(needs, counts, strict=True)]}
        if not self.is_packing:
            named = {"past_key_values": needs[0].row.sequence.cache}
        found = self._model(
            inputs_embeds=given,
            position_ids=torch.cat(spans)[None],
            use_cache=not self.is_packing,
            logits_to_keep=torch.cat(kept).to(self.device),
            **named,
        )
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # else reading would be told, and a cancel seen, chunks too early
        return list(found.logits[0].split([need.keep for need in needs]))

    @property
    def draft(self) -> int:
        """Tokens that a guess may have, 0 where guessing does not pay."""
        if self.fast is not None and self.fast.is_on:
            return self.fast.draft
        # verifying a draft costs a batch-1 kernel nothing on the CPU; on a GPU it leaves bitsandbytes' fast path (6 rows)
        return _DRAFT if self.device.type == "cpu" else 0

    def note_speed(self, speed: float) -> None:
        self.speed = speed if not self.speed else 0.5 * (self.speed + speed)

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        embedded: torch.Tensor = self._model.get_input_embeddings()(torch.tensor([ids], device=self.device))
        return embedded

    @property
    def image_token(self) -> int:
        return int(self._model.config.image_token_id)

    def look(self, pixels: torch.Tensor) -> torch.Tensor:
        """One row for each picture token."""
        sizes = torch.tensor([pixels.shape[-2:]], device=self.device)
        dtype = self._model.get_input_embeddings().weight.dtype
        found = self._model.get_image_features(pixels.to(self.device, dtype), sizes)
        return torch.cat(list(found.pooler_output))

    def warm(self) -> None:
        """One small forward each way: repacks the weights on the CPU, loads the kernels on a GPU, fixes the cache's shapes."""
        row = Row(self, self._empty)
        for tokens in ([0] * 16, [0]):
            self.forward([row.step(tokens)])
        row.drop()
        self._is_warm = True

    def close(self) -> None:
        if self.memory:
            self.memory.close()
