"""The fast path is taken only where it was asked for, fits, and gives the right scores; what goes wrong costs nobody an answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_llama
import tiny_plain
import torch
from engine_host import Host
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.prompt_lookup import Lookup
from jupyter_mistral.engine.decode.row import Row
from jupyter_mistral.engine.fast import choose
from jupyter_mistral.engine.fast.choose import FastPath, draft_width, fast_path, find_difference
from jupyter_mistral.engine.fast.nf4 import Nested, Nf4
from jupyter_mistral.engine.fast.nf4_plan import Plan
from jupyter_mistral.engine.fast.ops import Reference
from jupyter_mistral.engine.fast.step import FastModel
from jupyter_mistral.engine.fast.tuning import tuned
from jupyter_mistral.engine.load.adapters import Adapters
from jupyter_mistral.engine.load.placement import Placement
from row_driver import answer
from tiny_llama import ids

PROMPT = ids(70)


class Broken(Reference):
    """Fails at the n-th product of gate and up; 0 never."""

    def __init__(self, at: int = 0, error: type[Exception] = RuntimeError) -> None:
        self.calls, self.at, self.error = 0, at, error

    def silu_mul(self, gate_up: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        self.calls += 1
        if self.calls == self.at:
            raise self.error("-".join(["what", "was", "asked"]))
        return Reference.silu_mul(gate_up)


@pytest.fixture
def model() -> Any:
    return tiny_plain.build("llama")


def fast_of(model: Any, ops: Any = None, kv: str = "bf16") -> FastPath:
    return FastPath(lambda: FastModel(model, ops or Reference()), kv)


def rows_of(decoder: Decoder, *lengths: int) -> list[Row]:
    rows = [decoder.take(np.zeros(0, dtype=np.int64), "") for _ in lengths]
    for row, length in zip(rows, lengths, strict=True):
        decoder.forward([row.step(PROMPT[:length])])
    return rows


# ---------------------------------------------------------------------------------------------- at load


def test_on_the_cpu_it_is_off_unless_asked_for(model: Any) -> None:
    assert fast_path(model, "bf16", "auto") == fast_path(model, "bf16", "off") == (None, "")
    fast, reason = fast_path(model, "bf16", "reference")
    assert fast is not None and not reason and fast.is_on and fast.recorded == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_the_check_serves_every_kind_of_keys_and_values(model: Any, kv: str) -> None:
    assert fast_path(model, kv, "reference")[0] is not None


def test_what_speaks_against_it_is_told(model: Any, tmp_path: Path) -> None:
    assert fast_path(model, "bf16", "fastest")[1].startswith("JUPYTER_MISTRAL_DECODE=fastest is none of auto, triton")
    mixtral = tiny_llama.build()
    mixtral.config.model_type = "mixtral"
    assert fast_path(mixtral, "bf16", "reference") == (None, "mixtral is not supported")
    foreign = tiny_llama.build()
    foreign.config._attn_implementation = "sdpa"
    assert fast_path(foreign, "bf16", "reference") == (None, "the model has its own attention")


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("silu_mul", lambda found: found * 3, "its scores are off by"),
        ("attend", lambda found: found * torch.nan, "its scores are off by nan"),
        ("attend", lambda found: torch.zeros_like(found), "its scores are off by"),
        ("linear", lambda found: found.roll(1, 1), "its scores are off by"),
        ("linear", lambda found: found[:, 1:], "RuntimeError"),
    ],
)
def test_a_kernel_that_computes_something_else_is_found_out(
    model: Any, name: str, wrong: Any, reason: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Wrong(Reference):
        pass

    right = getattr(Reference, name)
    setattr(Wrong, name, staticmethod(lambda *given: wrong(right(*given))))
    monkeypatch.setattr(choose.ops, "Reference", Wrong)
    fast, told = fast_path(model, "bf16", "reference")
    assert fast is None and told.startswith(reason)
    if reason == "RuntimeError":
        assert "fast path off: RuntimeError" in capfd.readouterr().err


def test_appending_in_the_wrong_place_is_found_out(model: Any) -> None:
    class Wrong(Reference):
        @staticmethod
        def rotate_and_append(qkv: torch.Tensor, *given: Any) -> torch.Tensor:
            half = qkv.shape[1] // 4
            swapped = torch.cat([qkv[:, : 2 * half], qkv[:, 3 * half :], qkv[:, 2 * half : 3 * half]], 1)
            return Reference.rotate_and_append(swapped, *given)

    assert "off by" in find_difference(Decoder(model, 64, None), fast_of(model, Wrong()))


# ---------------------------------------------------------------------------------------------- cuts


class Tuning:
    """Stands for the timing on a GPU. Notes what it is given, and that no product had been made by then."""

    def __init__(self, fails_at: int = 0) -> None:
        self.given: list[tuple[Nf4, list[Nf4], float]] = []
        self.products, self.products_before, self._fails_at = 0, -1, fails_at

    def __call__(self, weight: Nf4, others: Sequence[Nf4], until: float) -> Plan:
        self.given.append((weight, list(others), until))
        self.products_before = self.products
        if len(self.given) == self._fails_at:
            raise RuntimeError("-".join(["no", "such", "cut"]))
        return Plan(splits=len(self.given))

    def counting(self) -> type[Reference]:
        class Counting(Reference):
            @staticmethod
            def linear(*given: Any) -> torch.Tensor:
                self.products += 1
                return Reference.linear(*given)

        return Counting


def test_cuts_are_chosen_once_for_each_shape_before_the_first_step(
    model: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Queries, keys and values are one matrix, and so are gate and up; the others of a shape are the other layers'."""
    tuning, begin = Tuning(), time.monotonic()
    monkeypatch.setattr(choose.ops, "Reference", tuning.counting())
    fast, reason = fast_path(model, "bf16", "reference", tuning)
    assert fast is not None and not reason and fast._model is not None
    parts = [(layer.gate_up, layer.qkv, layer.down, layer.out) for layer in fast._model.layers]
    expected = [[linear.matrices[0] for linear in alike] for alike in zip(*parts, strict=True)]
    given = [[weight, *others] for weight, others, _ in tuning.given]
    assert [(alike[0].rows, alike[0].columns) for alike in given] == [(384, 128), (256, 128), (128, 192), (128, 128)]
    assert [[id(weight) for weight in alike] for alike in given] == [
        [id(weight) for weight in alike] for alike in expected
    ]
    assert tuning.products_before == 0 < tuning.products, "the check at load is of what was chosen"
    untils = [until - begin for _, _, until in tuning.given]
    assert untils == sorted(untils) and 0.5 <= untils[0] < 1.5 < untils[-1] < 2.5, "two seconds, shared"
    told = capfd.readouterr().err
    assert "engine: 384 x 128 in 4 bit: Plan(halves=2, groups=2, splits=1, stages=4)" in told and "128 x 192" in told


def test_nested_and_plain_scales_and_a_head_in_4_bit_are_shapes_of_their_own(model: Any) -> None:
    plain = tiny_plain.build("llama", is_nested=False)
    model.model.layers[1] = plain.model.layers[1]
    model.lm_head = plain.model.layers[2].mlp.gate_proj
    tuning = Tuning()
    fast_of(model).tune(tuning)
    counts = [(w.rows, w.columns, isinstance(w.scales, Nested), len(others)) for w, others, _ in tuning.given]
    assert sorted(counts) == [
        *((128, 128, False, 0), (128, 128, True, 1), (128, 192, False, 0), (128, 192, True, 1)),
        *((192, 128, False, 0), (256, 128, False, 0), (256, 128, True, 1), (384, 128, False, 0), (384, 128, True, 1)),
    ]


def test_a_timing_that_fails_leaves_the_rules_cuts_and_the_fast_path(
    model: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    tuning = Tuning(fails_at=2)
    fast, reason = fast_path(model, "bf16", "reference", tuning)
    assert fast is not None and fast.is_on and not reason and len(tuning.given) == 2
    told = capfd.readouterr().err
    assert "engine: tiles by rule: RuntimeError" in told and "384 x 128" in told and "no-such-cut" not in told


def test_no_shape_is_begun_when_the_time_is_over(model: Any) -> None:
    tuning = Tuning()
    assert list(tuned(FastModel(model, Reference()).matrices, tuning, seconds=0.0)) == [] == tuning.given


def test_cuts_are_timed_only_where_kernels_are_compiled() -> None:
    pytest.importorskip("triton")
    from jupyter_mistral.engine.fast import nf4_triton

    assert choose.ops.tuner(torch.device("cuda", 0)) is nf4_triton.tune
    assert choose.ops.tuner(torch.device("cpu")) is None


# ---------------------------------------------------------------------------------------------- guesses


@pytest.mark.parametrize(
    ("times", "width"),
    [
        ({1: 10.0, 2: 10.0, 4: 10.0, 8: 10.0, 16: 10.0}, 15),  # reading the weights is all
        ({1: 10.0, 2: 10.0, 4: 10.5, 8: 11.5, 16: 17.0}, 7),
        ({1: 10.0, 2: 13.0, 4: 17.0, 8: 30.0, 16: 29.0}, 3),
        ({1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0, 16: 160.0}, 0),  # each token costs the same
        ({1: 10.0, 2: 16.5, 4: 30.0, 8: 60.0, 16: 120.0}, 0),  # what it promises is not worth it
        ({1: 10.0, 2: 15.0, 4: 30.0, 8: 60.0, 16: 120.0}, 1),
    ],
)
def test_guesses_are_as_long_as_the_steps_times_allow(times: dict[int, float], width: int) -> None:
    assert draft_width(times) == width
    assert draft_width({count: time / 1000 for count, time in times.items()}) == width


@pytest.mark.parametrize("longest", [1, 3, 15])
def test_no_guess_is_longer_than_that(longest: int) -> None:
    lookup, drafted = Lookup(list(range(40)) * 4, longest), set()
    for n in range(60):
        draft = lookup.draft()
        drafted.add(len(draft))
        lookup.add(n % 40)
        if draft:
            lookup.learn(len(draft), (len(draft), 0, len(draft) // 2)[n % 3])
    assert max(drafted) <= longest and len(drafted) > 1
    for _ in range(8):
        lookup.learn(longest, longest)
    lookup._pause = 0
    assert len(lookup.draft()) == longest


def test_the_decoder_tells_how_long_guesses_are(model: Any) -> None:
    decoder = Decoder(model, 64, None)
    assert decoder.draft == 16
    decoder.fast = FastPath(lambda: FastModel(model, Reference()), "bf16", draft=7)
    assert decoder.draft == 7
    decoder.fast.pause("adapter")
    assert decoder.draft == 16
    decoder.device = torch.device("cuda")
    assert decoder.draft == 0
    decoder.fast.resume("adapter")
    assert decoder.draft == 7


# ---------------------------------------------------------------------------------------------- at run time


class Guessing(Lookup):
    """Has a guess at every step, whatever the model says."""

    def draft(self) -> list[int]:
        return [7, 8, 9]


def test_answers_come_through_it(model: Any) -> None:
    counting = Broken()
    fast = fast_of(model, counting)
    found = answer(Decoder(model, 32, None, fast=fast), PROMPT, tokens=40)[0]
    assert counting.calls == (1 + 39) * 3 and len(found) == 40 and fast.recorded == [1], "one step warms up"
    assert answer(Decoder(model, 32, None, fast=fast), PROMPT, lookup=Guessing(PROMPT), tokens=40)[0] == found
    assert max(fast.recorded) > 1, "guesses are verified by it"


@pytest.mark.parametrize("kv", ["bf16", "int8"])
def test_a_step_that_fails_is_done_again_the_ordinary_way(
    model: Any, kv: str, capfd: pytest.CaptureFixture[str]
) -> None:
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


def test_an_answer_goes_on_where_it_failed(model: Any) -> None:
    fast = fast_of(model, Broken(at=3 + 1))
    want = answer(Decoder(model, 64, None), PROMPT, tokens=30)[0]
    assert answer(Decoder(model, 64, None, fast=fast), PROMPT, tokens=30)[0] == want and not fast.is_on


def test_out_of_memory_is_not_its_fault(model: Any) -> None:
    broken = Broken(error=torch.OutOfMemoryError)
    fast = fast_of(model, broken)
    decoder = Decoder(model, 64, None, fast=fast)
    [row] = rows_of(decoder, 40)
    broken.at = broken.calls + 2
    with pytest.raises(torch.OutOfMemoryError):
        decoder.forward([row.step([1, 2])])
    assert row.sequence.cut(40) == 40 and fast.is_on
    assert len(decoder.forward([row.step([1, 2])])[0]) == 2


class Counted(Decoder):
    """Notes the tokens of each ordinary forward."""

    def _run_model(self, needs: Any) -> list[torch.Tensor]:
        self.counts = [*getattr(self, "counts", []), [need.count for need in needs]]
        return super()._run_model(needs)


def test_steps_go_in_groups_of_sixteen_and_the_rest_the_ordinary_way(model: Any) -> None:
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


def test_who_reads_a_prompt_takes_the_others_along(model: Any) -> None:
    from jupyter_mistral.engine.prompt import Prompt

    decoder = Counted(model, 64, None, fast=fast_of(model))
    [row] = rows_of(decoder, 20)
    reader = decoder.take(np.zeros(0, dtype=np.int64), "")
    decoder.counts = []
    decoder.forward([row.step([3]), reader._chunk(Prompt(PROMPT), 0, 5)])
    assert decoder.counts == [[1, 5]]


# ---------------------------------------------------------------------------------------------- pauses


def test_an_adapter_in_use_pauses_it(model: Any) -> None:
    decoder = Counted(model, 64, None, fast=fast_of(model))
    adapters = Adapters(model, decoder, "cpu")
    adapters._digests["ours"] = "x"
    [row] = rows_of(decoder, 20)
    decoder.forward([row.step([1])])
    fast = decoder.fast
    assert fast is not None and fast.recorded == [1]
    adapters.use("ours")
    assert not fast.is_on and fast.recorded == [], "what was recorded is given back"
    [row] = rows_of(decoder, 20)
    before = len(decoder.counts)
    decoder.forward([row.step([1])])
    assert len(decoder.counts) == before + 1
    adapters.use("")
    decoder.forward([row.step([1])])
    assert len(decoder.counts) == before + 1 and fast.is_on and fast.recorded == [1]


def test_parking_lets_go_of_it_and_an_adapter_still_pauses_it_after(monkeypatch: pytest.MonkeyPatch) -> None:
    model, built = tiny_plain.build("llama", is_dense=True), []

    def build() -> FastModel:
        built.append(True)
        return FastModel(model, Reference())

    decoder = Counted(model, 64, None, fast=FastPath(build, "bf16"))
    fast = decoder.fast
    assert fast is not None
    adapters, placement = Adapters(model, decoder, "cpu"), Placement(model, decoder, "cpu", 1)
    adapters._digests["ours"] = "x"
    decoder.warm()
    placement.park()
    assert not fast.is_on and fast.recorded == [] and fast._model is not None, "on the CPU nothing moves"
    adapters.use("ours")
    placement.wake()
    assert not fast.is_on
    adapters.use("")
    assert fast.is_on and len(built) == 1
    monkeypatch.setattr(placement, "_device", "cuda")
    monkeypatch.setattr(placement, "_require_room", lambda *args: None)
    moved: list[str] = []
    monkeypatch.setattr(placement, "_move", moved.append)
    placement.park()
    assert fast._model is None, "it holds no weights that the device is to be rid of"
    placement.wake()
    assert moved == ["cpu", "cuda"] and fast.is_on and len(built) == 2
    [row] = rows_of(decoder, 20)
    decoder.counts = []
    decoder.forward([row.step([1])])
    assert not decoder.counts and fast.recorded == [1]


def test_weights_that_no_longer_fit_after_parking_switch_it_off(model: Any) -> None:
    fast = fast_of(model)
    fast.pause("parked", keeps_weights=False)
    model.config.hidden_act = "gelu"
    fast.resume("parked")
    assert not fast.is_on and fast.failure == "its activation is gelu"


# ---------------------------------------------------------------------------------------------- in the worker


def _load(host: Host, folder: Path, **fields: Any) -> list[str]:
    """What was told on the way."""
    host.send("load", path=str(folder), out=None, name="test", device="cpu", quantization="nf4", **fields)
    told = []
    for frame in host.frames():
        if frame["type"] in ("ready", "failed"):
            assert frame["type"] == "ready", frame
            break
        told.append(frame.get("detail"))
    return told


@pytest.fixture(scope="module", params=["bf16", "int8"])
def fast_host(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A worker with the tiny Mistral3 on the fast path, where it stays."""
    host = Host(tmp_path_factory.mktemp("home"), JUPYTER_MISTRAL_DECODE="reference")
    assert "first steps; fast path on" in _load(host, tiny, kv=request.param)
    yield host
    host.socket.close()
    assert host.process.wait(20) == 0 and "fast path off" not in host.stderr()
    host.close()


def test_a_worker_answers_through_it_alone_and_together(fast_host: Any) -> None:
    questions = ["What is a list?", "Count to ten. " * 12, "Explain import os."]
    alone = [fast_host.ask(question) for question in questions]
    assert all(end["type"] == "end" and end["text"] for end in alone)
    names = [
        fast_host.send(
            "generate",
            messages=[{"role": "user", "content": [question]}],
            sampling={"temperature": 0.0, "max_tokens": 32},
        )
        for question in questions
    ]
    order, ends = [], {}
    for frame in fast_host.frames():
        if frame["type"] == "delta":
            order.append(frame["id"])
        elif frame["type"] in ("end", "error"):
            ends[frame["id"]] = frame
            if len(ends) == len(names):
                break
    assert [ends[name]["type"] for name in names] == ["end"] * 3
    assert {ends[name]["reason"] for name in names} <= {"length", "stop"}
    assert order != sorted(order, key=names.index), "their texts came in turns"


def test_a_worker_stops_within_a_token_and_knows_what_it_has_read(fast_host: Any) -> None:
    question = "word " * 150
    asked = fast_host.send(
        "generate",
        messages=[{"role": "user", "content": [question]}],
        sampling={"temperature": 1.0, "seed": 1, "max_tokens": 2000},
    )
    next(frame for frame in fast_host.frames() if frame["type"] == "delta")
    fast_host.send("cancel", id=asked)
    end = fast_host.finish(asked)
    assert end["reason"] == "cancelled" and end["usage"]["completion_tokens"] < 1900
    again = fast_host.ask(question, sampling={"max_tokens": 4})
    assert again["usage"]["cached_tokens"] >= again["usage"]["prompt_tokens"] // 64 * 64 - 64
    fast_host.send("park")
    assert fast_host.next("moved", "error")["type"] == "moved"
    assert fast_host.ask(question, sampling={"max_tokens": 4})["text"] == again["text"]


def test_a_worker_tells_why_it_is_off(tiny: Path, tmp_path: Path) -> None:
    host = Host(tmp_path, JUPYTER_MISTRAL_DECODE="soon")
    told = _load(host, tiny)[-1]
    assert told.startswith("first steps; fast path off: JUPYTER_MISTRAL_DECODE=soon is none of")
    assert host.ask("Hi.")["type"] == "end"
    assert host.close() == 0
