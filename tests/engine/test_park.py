"""Parking frees the device; the next request brings the model back unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_llama
import torch
from engine_host import Host
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.load.park import Placement
from jupyter_mistral.protocol.failures import Failure
from row_driver import answer


def test_a_parked_worker_answers_the_next_request_as_before(tiny: Path, tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.load(tiny)["type"] == "ready"
    first = host.ask("word " * 500, sampling={"max_tokens": 8})
    held = host.next("memory")["kv"]
    for _ in range(2):  # parking twice does nothing more
        host.send("park")
        freed = host.next("memory")["kv"]
        assert host.next("moved", "error")["is_parked"]
        assert 0 < freed < held, "the blocks of the prefix memory stay, in host memory; the live sequence goes"
    ghost = host.finish(host.send("complete", prompt="word", is_background=True, sampling={"max_tokens": 4}))
    assert ghost["failure"]["code"] == "busy", "ghost text does not take back what was lent"
    again = host.ask("word " * 500, sampling={"max_tokens": 8})
    assert again["text"] == first["text"]
    assert again["usage"]["cached_tokens"] >= (first["usage"]["prompt_tokens"] - 1) // 64 * 64
    host.send("wake")
    assert host.next("moved", "error")["is_parked"] is False
    assert host.close() == 0


def test_parking_waits_for_running_answers(tiny: Path, tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.load(tiny)["type"] == "ready"
    messages = [{"role": "user", "content": ["word"]}]
    asked = host.send("generate", messages=messages, sampling={"temperature": 1.0, "seed": 1, "max_tokens": 40})
    host.send("park")
    assert [host.next("end", "error", "moved")["type"] for _ in range(2)] == ["end", "moved"] and asked
    assert host.close() == 0


def test_an_empty_worker_has_nothing_to_park(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.send("park")
    assert host.next("moved", "error")["failure"]["code"] == "engine_stopped"
    assert host.close() == 0


def test_moving_weights_does_not_change_their_bits(talker: Path) -> None:
    """Also 4-bit ones, which bitsandbytes would unpack with a loss if they were moved its way."""
    from jupyter_mistral.engine.kv import attention
    from transformers import AutoModelForCausalLM

    attention.register()
    model = AutoModelForCausalLM.from_pretrained(talker, dtype=torch.bfloat16).eval()
    model.config._attn_implementation = attention.NAME
    decoder = Decoder(model, 64, None)
    before = answer(decoder, list(range(300, 340)), tokens=4)
    weights = [weight.data_ptr() for weight in model.parameters()]
    placement = Placement(model, decoder, "cpu", 1)
    placement.park()
    assert decoder.idle_tokens == 0 and placement.is_parked and placement.device_bytes == 1
    placement.wake()
    after = answer(decoder, list(range(300, 340)), tokens=4)
    assert torch.equal(before[1], after[1]) and before[0] == after[0] and after[2] == 0
    assert weights == [weight.data_ptr() for weight in model.parameters()], "nothing was copied for nothing"


def test_a_host_without_room_is_refused_with_numbers_when_parking() -> None:
    model = tiny_llama.build()
    placement = Placement(model, Decoder(model, 64, None), "cuda", 10**15)
    with pytest.raises(Failure, match=r"The weights need 1000000\.5 GB on cpu, but only [\d.]+ GB are free") as refused:
        placement.park()
    assert refused.value.code == "no_memory" and "Unload" in refused.value.todo
    assert not placement.is_parked and placement.device_bytes == 10**15
