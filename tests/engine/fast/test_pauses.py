"""The fast path pauses while an adapter is in use or the model is parked."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_plain
from fast_paths import Counted, fast_of, rows_of
from jupyter_mistral.engine.fast.choose import FastPath
from jupyter_mistral.engine.fast.ops import Reference
from jupyter_mistral.engine.fast.step import FastModel
from jupyter_mistral.engine.load.adapters import Adapters
from jupyter_mistral.engine.load.park import Placement


@pytest.fixture
def model() -> Any:
    return tiny_plain.build("llama")


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


def test_parking_drops_the_weights_and_an_adapter_still_pauses_it(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_weights_that_are_unsupported_after_parking_switch_it_off(model: Any) -> None:
    fast = fast_of(model)
    fast.pause("parked", keeps_weights=False)
    model.config.hidden_act = "gelu"
    fast.resume("parked")
    assert not fast.is_on and fast.failure == "its activation is gelu"
