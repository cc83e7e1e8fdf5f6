"""Answers through the fast path; a step that it cannot serve, or that fails, is served by the model itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_plain
import torch
from fast_paths import PROMPT, Broken, Counted, fast_of, rows_of
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.prompt_lookup import Lookup
from jupyter_mistral.engine.fast import choose
from row_driver import answer


@pytest.fixture
def model() -> Any:
    return tiny_plain.build("llama")


class AlwaysDrafting(Lookup):
    """Drafts the same tokens at every step."""

    def draft(self) -> list[int]:
        return [7, 8, 9]


def test_answers_use_the_fast_path(model: Any) -> None:
    counting = Broken()
    fast = fast_of(model, counting)
    found = answer(Decoder(model, 32, None, fast=fast), PROMPT, tokens=40)[0]
    assert counting.calls == (1 + 39) * 3 and len(found) == 40 and fast.recorded == [1], "one step warms up"
    assert answer(Decoder(model, 32, None, fast=fast), PROMPT, lookup=AlwaysDrafting(PROMPT), tokens=40)[0] == found
    assert max(fast.recorded) > 1, "guesses are verified by it"


@pytest.mark.parametrize("kv", ["bf16", "int8"])
def test_a_failed_step_is_repeated_by_the_model(model: Any, kv: str, capfd: pytest.CaptureFixture[str]) -> None:
    broken = Broken()
    decoder = Decoder(model, 64, None, kv, fast=fast_of(model, broken, kv))
    rows = rows_of(decoder, 60, 30)
    broken.at = broken.calls + 3 + 2  # in the second layer of the second step
    for n in range(2):
        needs = [row.step([40 + n, 50]) for row in rows]
        found = decoder.forward(needs)
    assert (
        decoder.fast is not None
        and decoder.fast.failure == "RuntimeError"
        and not decoder.fast.is_on
        and decoder.fast.recorded == []
    )
    assert [row.sequence.length for row in rows] == [64, 34]
    fast, decoder.fast = decoder.fast, None
    known = rows_of(decoder, 60, 30)
    for n in range(2):
        want = decoder.forward([row.step([40 + n, 50]) for row in known])
    assert all(choose.relative_error(a, b) < 0.05 for a, b in zip(found, want, strict=True))
    told = capfd.readouterr().err
    assert "fast path off: RuntimeError" in told and "silu_mul" in told and "what-was-asked" not in told
    decoder.fast, calls = fast, broken.calls
    decoder.forward([rows[0].step([1])])
    assert broken.calls == calls, "off for good"


def test_an_answer_continues_after_the_fast_path_failed(model: Any) -> None:
    fast = fast_of(model, Broken(at=3 + 1))
    want = answer(Decoder(model, 64, None), PROMPT, tokens=30)[0]
    assert answer(Decoder(model, 64, None, fast=fast), PROMPT, tokens=30)[0] == want and not fast.is_on


def test_running_out_of_memory_does_not_switch_it_off(model: Any) -> None:
    broken = Broken(error=torch.OutOfMemoryError)
    fast = fast_of(model, broken)
    decoder = Decoder(model, 64, None, fast=fast)
    [row] = rows_of(decoder, 40)
    broken.at = broken.calls + 2
    with pytest.raises(torch.OutOfMemoryError):
        decoder.forward([row.step([1, 2])])
    assert row.sequence.cut(40) == 40 and fast.is_on
    assert len(decoder.forward([row.step([1, 2])])[0]) == 2


def test_steps_are_grouped_by_sixteen_tokens_and_the_rest_uses_the_model(model: Any) -> None:
    decoder = Counted(model, 64, None, "int8", fast=fast_of(model, kv="int8"))
    rows = rows_of(decoder, 20, 30, 40, 50, 60)
    decoder.counts = []
    counts = [10, 6, 12, 17, 8]  # the fourth is too long, the last would go on in the next block
    found = decoder.forward([row.step(PROMPT[:count]) for row, count in zip(rows, counts, strict=True)])
    assert decoder.counts == [[17, 8]] and decoder.fast is not None and decoder.fast.recorded == [1, 16]
    assert [len(scores) for scores in found] == counts
    assert [row.sequence.length for row in rows] == [30, 36, 52, 67, 68]
    known = Decoder(model, 64, None, "int8")
    twins = rows_of(known, 20, 30, 40, 50, 60)
    for scores, twin, count in zip(found, twins, counts, strict=True):
        [want] = known.forward([twin.step(PROMPT[:count])])
        assert choose.relative_error(scores, want) < 0.06


def test_a_prefill_takes_the_others_into_its_forward(model: Any) -> None:
    from jupyter_mistral.engine.prompt import Prompt

    decoder = Counted(model, 64, None, fast=fast_of(model))
    [row] = rows_of(decoder, 20)
    reader = decoder.take(np.zeros(0, dtype=np.int64), "")
    decoder.counts = []
    decoder.forward([row.step([3]), reader._chunk(Prompt(PROMPT), 0, 5)])
    assert decoder.counts == [[1, 5]]
