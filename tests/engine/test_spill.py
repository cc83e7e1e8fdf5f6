"""A model larger than its device: which layers stay in host memory, and that the answers are the same bits."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_llama
import torch
from engine_host import Host
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.device import memory
from jupyter_mistral.engine.kv import attention
from jupyter_mistral.engine.load.loader import load
from jupyter_mistral.engine.load.park import Placement
from jupyter_mistral.engine.load.spill import CONTEXT, Plan, Spill, layer_sizes, plan_spill
from jupyter_mistral.protocol.failures import Failure
from row_driver import answer

GB = 10**9
LAYERS = [GB] * 10


# ---------------------------------------------------------------------------------------------- plan_spill in bytes


@pytest.mark.parametrize(
    ("room", "count", "device"),
    [(13, 0, 12), (12, 0, 12), (11, 3, 11), (10, 4, 10), (4, 10, 4)],
)
def test_only_as_many_layers_are_spilled_as_necessary(room: int, count: int, device: int) -> None:
    """Two buffers take the room of two layers, so fewer than three would win nothing."""
    plan = Plan.within(LAYERS, 2 * GB, room * GB)
    assert plan == Plan(count, device * GB, count * GB)


def test_there_is_no_plan_if_even_all_layers_are_not_enough() -> None:
    assert Plan.within(LAYERS, 2 * GB, 4 * GB - 1) is None


def test_buffers_are_as_large_as_the_largest_layer_that_uses_them() -> None:
    assert Plan.of([9, 1, 2, 5], 100, 3) == Plan(3, 100 + 9 + 2 * 5, 8)
    assert Plan.of([9, 1], 0, 1) == Plan(1, 9 + 1, 1)
    assert Plan.of([9, 1], 0, 7) == Plan(2, 18, 10)


def _shard(path: Path, tensors: dict[str, int]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, size in tensors.items():
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def test_layers_are_found_in_the_headers_without_those_of_vision(tmp_path: Path) -> None:
    _shard(tmp_path / "a.safetensors", {"model.layers.0.mlp.weight": 5, "model.embed_tokens.weight": 100})
    _shard(
        tmp_path / "b.safetensors",
        {
            "language_model.model.layers.1.self_attn.q_proj.weight.absmax": 7,
            "model.layers.0.3.gate_up": 11,
            "model.vision_tower.transformer.layers.0.q.weight": 1000,
        },
    )
    assert layer_sizes(tmp_path) == ([16, 7], 1100)


def _plan(folder: Path, device: str = "cuda", per_token: int = 1000, host: int = 40, **order: Any) -> Plan | None:
    """For a GPU with 12 GB free in a host with so many."""
    free = {"cuda": (12 * GB, 24 * GB), "cpu": (host * GB, 64 * GB)}
    return plan_spill(order, folder, 32768, per_token, device, free.__getitem__)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Ten layers of a GB and two GB beside them; the headers alone."""
    named = {f"model.layers.{n}.w": GB for n in range(10)}
    _shard(tmp_path / "m.safetensors", named | {"lm_head.weight": 2 * GB})
    return tmp_path


def test_a_plan_leaves_room_for_the_context_and_the_margin(large: Path) -> None:
    assert _plan(large) is None, "nobody has asked for it"
    usual = _plan(large, spill=True)
    assert usual is not None and usual.device + memory.margin("cuda") + 1000 * CONTEXT <= 12 * GB
    longer = _plan(large, spill=True, context_length=32000, per_token=100_000)
    assert longer is not None and usual.count < longer.count
    assert longer.device + memory.margin("cuda") + 100_000 * 32000 <= 12 * GB
    forced = _plan(large, spill_layers=1)
    assert forced is not None and forced.count == 1
    assert _plan(large, "cpu", spill=True) is None, "its memory is the host's"


def test_a_model_too_large_even_with_spilling_is_refused_with_numbers(large: Path) -> None:
    with pytest.raises(
        Failure, match=r"Even with all 10 layers in host memory, .* needs 2\d\.\d GB with 20,000 tokens"
    ) as no:
        _plan(large, spill=True, context_length=20_000, per_token=GB // 1000)
    assert no.value.code == "no_memory" and "only 12.0 GB are free on cuda" in no.value.message


def test_a_host_without_room_is_refused_with_numbers(large: Path) -> None:
    with pytest.raises(
        Failure, match=r"of 10 layers would stay in host memory.* needs 12\.0 GB, but only 3\.0 GB are free"
    ):
        _plan(large, spill=True, host=3)


def test_a_refusal_for_lack_of_gpu_memory_suggests_spilling() -> None:
    with pytest.raises(Failure) as refused:
        memory.admit(20 * GB, 1000, None, 4096, 12 * GB, "cuda")
    assert "--spill" in refused.value.todo
    with pytest.raises(Failure) as refused:
        memory.admit(20 * GB, 1000, None, 4096, 12 * GB, "cpu")
    assert "--spill" not in refused.value.todo


# ---------------------------------------------------------------------------------------------- the same bits


def _spilled(model: Any, count: int) -> Spill:
    spill = Spill(model, count, "cpu")
    assert model.spilled_layers == count
    return spill


@pytest.mark.parametrize("count", [1, 2, 3])
def test_answers_of_a_spilled_model_are_the_same_bits(count: int) -> None:
    model = tiny_llama.build()
    before = answer(Decoder(model, 16, None), tiny_llama.ids(40))
    spill = _spilled(model, count)
    decoder = Decoder(model, 16, None)
    after = answer(decoder, tiny_llama.ids(40))
    assert before[0] == after[0] and torch.equal(before[1], after[1])
    assert spill.device_bytes == spill.host_bytes // count * min(2, count)
    # each layer reads what lies in its buffer: without the copies nothing would be right
    for buffer in spill._buffers:
        buffer.zero_()
    spill._fetch = lambda number: None  # type: ignore[method-assign]
    assert not torch.equal(answer(Decoder(model, 16, None), tiny_llama.ids(40))[1], before[1])


def test_a_failed_step_leaves_no_wrong_state() -> None:
    model = tiny_llama.build()
    before = answer(Decoder(model, 16, None), tiny_llama.ids(40))
    _spilled(model, 3)

    def breaks(*_: Any) -> None:
        raise ZeroDivisionError

    hook = model.model.layers[1].mlp.register_forward_hook(breaks)
    with pytest.raises(ZeroDivisionError):
        answer(Decoder(model, 16, None), tiny_llama.ids(40))
    hook.remove()
    after = answer(Decoder(model, 16, None), tiny_llama.ids(40))
    assert before[0] == after[0] and torch.equal(before[1], after[1])


def test_a_spilled_model_can_be_parked_and_restored(talker: Path) -> None:
    """In 4 bit: what belongs to the weights is copied with them."""
    from transformers import AutoModelForCausalLM

    attention.register()
    model = AutoModelForCausalLM.from_pretrained(talker, dtype=torch.bfloat16).eval()
    model.config._attn_implementation = attention.NAME
    before = answer(Decoder(model, 64, None), list(range(300, 340)), tokens=4)
    spill = _spilled(model, 2)
    assert spill.host_bytes > 2 * sum(w.nbytes for w in model.model.layers[0].parameters()) > 0
    decoder = Decoder(model, 64, None)
    placement = Placement(model, decoder, "cpu", 1, spill)
    for _ in range(2):
        placement.park()
        assert spill.device_bytes == 0 and placement.host_bytes == spill.host_bytes
        placement.wake()
        after = answer(decoder, list(range(300, 340)), tokens=4)
        assert before[0] == after[0] and torch.equal(before[1], after[1])
        decoder.free_idle()


def test_an_adapter_adds_the_same_to_a_spilled_model(talker: Path, tmp_path: Path) -> None:
    folder = _adapter(talker, tmp_path / "lora")
    scores = []
    for order in ({}, {"spill_layers": 2}):
        engine = load({"path": str(talker), "device": "cpu", "prefix_disk": False, **order}, lambda *told: None)
        plain = answer(engine.decoder, tiny_llama.ids(40), tokens=1)[1]
        engine.adapters.load("ours", folder)
        engine.adapters.use("ours")
        adapted = answer(engine.decoder, tiny_llama.ids(40), tokens=1)[1]
        assert not torch.equal(plain, adapted)
        engine.adapters.unload("ours")
        assert torch.equal(answer(engine.decoder, tiny_llama.ids(40), tokens=1)[1], plain)
        scores.append(adapted)
    assert torch.equal(*scores)


def _adapter(model: Path, out: Path) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.05)
    adapted.save_pretrained(out)
    return out


# ---------------------------------------------------------------------------------------------- in a worker


@pytest.fixture(scope="module")
def spilling(talker: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("home"))
    host.send("load", path=str(talker), out=None, name="test", device="cpu", quantization="nf4", spill_layers=2)
    details = []
    for frame in host.frames():
        if frame["type"] != "loading":
            break
        details.append(frame["detail"])
    assert frame["type"] == "ready", frame
    assert any("2 layers stay in host memory" in detail for detail in details), details
    assert frame["memory"]["spilled"] > 0
    yield host
    assert host.close() == 0


QUESTION = "Count: " + " ".join(map(str, range(60)))


def test_a_worker_answers_as_without_spilling(host: Host, spilling: Host) -> None:
    """Greedy and drawn, and two requests at once."""
    for sampling in ({"temperature": 0.0}, {"temperature": 1.0, "seed": 3}):
        asked = {"sampling": {"max_tokens": 24, **sampling}, "top_logprobs": 2}
        found = [_logprobs(one, **asked) for one in (host, spilling)]
        assert found[0] == found[1] and found[0]
    messages = [{"role": "user", "content": [QUESTION]}]
    first = spilling.send("generate", messages=messages, sampling={"temperature": 0.0, "max_tokens": 24})
    second = spilling.send("generate", messages=messages, sampling={"temperature": 0.0, "max_tokens": 24})
    ends = {spilling.next("end")["id"], spilling.next("end")["id"]}
    assert ends == {first, second}


def _logprobs(host: Host, **asked: Any) -> list[Any]:
    """Each token with its log probability and alternatives."""
    messages = [{"role": "user", "content": [QUESTION]}]
    identity = host.send("generate", messages=messages, **asked)
    found: list[Any] = []
    for frame in host.frames():
        if frame.get("id") == identity and frame["type"] == "delta":
            found += frame.get("logprobs", [])
        if frame.get("id") == identity and frame["type"] in ("end", "error"):
            assert frame["type"] == "end", frame
            break
    return found


def test_cancelling_and_parking_work_while_layers_are_spilled(spilling: Host) -> None:
    first = spilling.ask(QUESTION)
    messages = [{"role": "user", "content": ["Tell me a long story."]}]
    told = spilling.send("generate", messages=messages, sampling={"temperature": 1.0, "seed": 1, "max_tokens": 2000})
    spilling.next("delta")
    spilling.send("cancel", id=told)
    assert spilling.next("end", "error")["reason"] == "cancelled"
    spilling.send("park")
    assert spilling.next("moved", "error")["is_parked"]
    again = spilling.ask(QUESTION)
    assert again["text"] == first["text"]
