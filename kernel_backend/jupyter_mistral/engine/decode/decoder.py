"""Prefills prompts in chunks and decodes token after token, several requests in one forward. Knows no text.

A request is a generator (`row.py`) that yields a `Need` where it cannot continue without scores. The schedule puts the needs
of several requests into one `Decoder.forward`.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ..kv.attention import NAME
from ..kv.packed import new_sequence
from ..kv.prefix import PrefixMemory, common_length
from ..prompt import Units
from . import float32_linear
from .row import Need, Row

_DRAFT = 16  # longest draft on the CPU, in tokens
_IDLE = 2  # sequences that stay on the device between requests


class FastSteps(Protocol):
    """A faster way to decode (`fast.choose.FastPath`)."""

    draft: int

    @property
    def is_on(self) -> bool: ...
    def run(self, needs: Sequence[Need]) -> dict[int, torch.Tensor]:
        """The scores of those needs that it can serve, by their index."""

    def pause(self, why: str, keeps_weights: bool = True) -> None: ...
    def resume(self, why: str) -> None: ...


class Decoder:
    """Owns the model and its sequences.

    chunk: prompt tokens prefilled in one forward; shared_chunk: the same while other requests are being answered.
    fast: used for decode steps where it can serve them.
    """

    def __init__(
        self,
        model: Any,
        chunk: int,
        memory: PrefixMemory | None,
        kv: str = "bf16",
        shared_chunk: int = 0,
        fast: FastSteps | None = None,
    ) -> None:
        float32_linear.install()
        self.fast = fast
        self._model, self._chunk, self._shared_chunk, self.memory = model, chunk, shared_chunk or chunk, memory
        self.device: torch.device = model.device
        text = model.config.get_text_config()
        self.vocabulary_size = int(text.vocab_size)
        self.is_packing = text._attn_implementation == NAME
        assert self.is_packing or kv == "bf16", "only our own attention reads other formats"
        self._empty, self._scratch = new_sequence(int(text.num_hidden_layers), kv)
        self._is_warm = False
        self._idle: list[Row] = []
        self._active: list[Row] = []
        self.speed = 0.0  # recent prefill tokens per second, with everything that shared the forwards
        self.is_shared = False  # set by the schedule: other requests are being answered during a prefill

    @property
    def chunk(self) -> int:
        return self._shared_chunk if self.is_shared else self._chunk

    @property
    def kv_bytes(self) -> int:
        rows = sum(row.sequence.nbytes for row in [*self._idle, *self._active])
        return rows + self._scratch.nbytes + (self.memory.nbytes if self.memory else 0)

    @property
    def idle_tokens(self) -> int:
        """Tokens in sequences that no request uses."""
        return sum(row.sequence.length for row in self._idle)

    # ------------------------------------------------------------------------------------------ rows

    def take(self, units: Units, salt: str) -> Row:
        """The idle row with the longest common prefix, or a new one. Return it with `give_back`."""
        if not self._is_warm:
            self.warm()
        best = max(self._idle, key=lambda row: common_length(row.units, units) if row.salt == salt else 0, default=None)
        if best is None:
            best = Row(self, self._empty.empty_copy())
        else:
            self._idle.remove(best)
        self._active.append(best)
        return best

    def give_back(self, row: Row) -> None:
        """Store the row's prefix, however its request ended. Call it after the answer: it copies. Never raises."""
        self._active.remove(row)
        try:
            row.store_prefix()
        except Exception as error:  # the answer is out: a full memory only makes the next prefill slower
            traceback.print_tb(error.__traceback__)
            row.free()
        self._idle.append(row)
        while len(self._idle) > _IDLE:
            self._idle.pop(0)

    def free_idle(self) -> None:
        """Free the memory of idle sequences, after running out of memory or before the model is parked."""
        for row in self._idle:
            row.free()
        if not self._active:
            self._scratch.release()

    # ------------------------------------------------------------------------------------------ the model

    @torch.inference_mode()
    def forward(self, needs: Sequence[Need]) -> list[torch.Tensor]:
        """For each need, the scores [keep, vocabulary] of its last tokens."""
        scores = self.fast.run(needs) if self.fast else {}
        others = [n for n in range(len(needs)) if n not in scores]
        if others:
            scores |= zip(others, self._run_model([needs[n] for n in others]), strict=True)
        return [scores[n] for n in range(len(needs))]

    def _run_model(self, needs: Sequence[Need]) -> list[torch.Tensor]:
        """One forward of transformers' model. Without packing, one for each need."""
        if not self.is_packing and len(needs) > 1:
            return [self._run_model([need])[0] for need in needs]
        embedded = torch.cat([need.embedded() for need in needs], 1)
        counts = [need.count for need in needs]
        starts = [need.row.sequence.length for need in needs]
        positions = [torch.arange(a, a + n, device=self.device) for a, n in zip(starts, counts, strict=True)]
        ends = torch.tensor(counts).cumsum(0).tolist()
        kept = [torch.arange(end - need.keep, end) for end, need in zip(ends, needs, strict=True)]
        cache: dict[str, Any] = {"pack": [(need.row.sequence, n) for need, n in zip(needs, counts, strict=True)]}
        if not self.is_packing:
            cache = {"past_key_values": needs[0].row.sequence.cache}
        output = self._model(
            inputs_embeds=embedded,
            position_ids=torch.cat(positions)[None],
            use_cache=not self.is_packing,
            logits_to_keep=torch.cat(kept).to(self.device),
            **cache,
        )
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # else progress and cancellation would run chunks ahead of the GPU
        return list(output.logits[0].split([need.keep for need in needs]))

    @property
    def draft(self) -> int:
        """Longest draft in tokens; 0 where drafting does not pay."""
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

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """One embedding for each image token."""
        sizes = torch.tensor([pixels.shape[-2:]], device=self.device)
        dtype = self._model.get_input_embeddings().weight.dtype
        features = self._model.get_image_features(pixels.to(self.device, dtype), sizes)
        return torch.cat(list(features.pooler_output))

    def warm(self) -> None:
        """One small prefill and one step: repacks weights on a CPU, loads kernels on a GPU, fixes the cache's shapes."""
        row = Row(self, self._empty)
        for tokens in ([0] * 16, [0]):
            self.forward([row.step(tokens)])
        row.free()
        self._is_warm = True

    def close(self) -> None:
        if self.memory:
            self.memory.close()
