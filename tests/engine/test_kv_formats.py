"""KV caches in fewer bits: as small as computed, close to the original numbers, and the same bits with any chunking."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_llama
import torch
from effort import IS_ALL
from engine_host import Host
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.kv.packed import PackedLayer, new_sequence
from jupyter_mistral.engine.kv.prefix import PrefixMemory
from jupyter_mistral.engine.kv.prefix_disk import PrefixDisk
from jupyter_mistral.engine.kv.sequence import BLOCK
from jupyter_mistral.engine.load.loader import refuse_kv
from jupyter_mistral.models.memory import KV_KINDS, kv_bytes_per_head
from jupyter_mistral.protocol.failures import Failure
from row_driver import Answer, answer
from tiny_llama import ids

KINDS = [kind for kind in KV_KINDS if kind != "bf16"]
LONG = ids(700)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_llama.build()


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cold(model: Any, kind: str) -> Answer:
    return answer(Decoder(model, 256, None, kind), LONG)


# ---------------------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("chunk", [1000, 512, 100, 37])
def test_every_chunk_size_gives_the_same_bits(model: Any, kind: str, cold: Answer, chunk: int) -> None:
    tokens, scores, _ = answer(Decoder(model, chunk, None, kind), LONG)
    assert torch.equal(scores, cold[1]) and tokens == cold[0]


@pytest.mark.parametrize("known", [1, 64, 255, 256, 300, 640, 699])
def test_a_reused_prefix_gives_the_same_bits(model: Any, kind: str, cold: Answer, known: int) -> None:
    """What is behind the 16-bit tokens is read again from the start of its block."""
    decoder = Decoder(model, 256, None, kind)
    answer(decoder, [*LONG[:known], 5, 6, 7], tokens=2)
    tokens, scores, reused = answer(decoder, LONG)
    assert reused == known
    answer(decoder, LONG[:200], tokens=2)
    tokens, scores, reused = answer(decoder, LONG)
    assert reused == 200
    answer(decoder, [*LONG[:150], 9], tokens=2)
    again = answer(decoder, LONG)
    assert torch.equal(scores, cold[1]) and tokens == cold[0] == again[0] and torch.equal(again[1], cold[1])


def test_drafts_are_rejected_across_blocks(model: Any, kind: str) -> None:
    for length in range(380, 390) if IS_ALL else (383, 385):
        repeating = (LONG[:50] * 8)[:length]
        plain = answer(Decoder(model, 256, None, kind), repeating, tokens=40)[0]
        assert answer(Decoder(model, 256, None, kind), repeating, lookup=True, tokens=40)[0] == plain


def test_blocks_are_restored_from_memory_and_disk_with_the_same_bits(
    model: Any, kind: str, cold: Answer, tmp_path: Path
) -> None:
    parking = PrefixDisk(tmp_path / "prefix" / "model", 1 << 30)
    kept = PrefixMemory("model", 1 << 30, parking)
    decoder = Decoder(model, 256, kept, kind)
    answer(decoder, LONG)
    blocks = (len(LONG) + 23) // BLOCK
    assert kept.nbytes == blocks * decoder._empty.block_bytes, "what is kept is as small as on the device"
    answer(decoder, LONG[::-1])
    answer(decoder, ids(300, 11))
    tokens, scores, reused = answer(decoder, LONG)
    assert reused == (len(LONG) - 1) // BLOCK * BLOCK
    assert torch.equal(scores, cold[1]) and tokens == cold[0]
    parking.close()
    fresh = Decoder(
        model, 256, PrefixMemory("model", 1 << 30, PrefixDisk(tmp_path / "prefix" / "model", 1 << 30)), kind
    )
    tokens, scores, reused = answer(fresh, LONG)
    assert reused == (len(LONG) - 1) // BLOCK * BLOCK
    assert torch.equal(scores, cold[1]) and tokens == cold[0]
    fresh.close()


# ---------------------------------------------------------------------------------------------- how small, how near


def test_each_format_needs_the_computed_bytes(model: Any, kind: str) -> None:
    decoder = Decoder(model, 256, None, kind)
    decoder.warm()
    config = model.config
    heads = config.num_hidden_layers * config.num_key_value_heads
    assert decoder._empty.block_bytes == heads * kv_bytes_per_head(config.head_dim, kind) * BLOCK
    whole = Decoder(model, 256, None)
    whole.warm()
    assert decoder._empty.block_bytes < 0.7 * whole._empty.block_bytes


# relative to the spread of a group
@pytest.mark.parametrize(("of", "most"), [("int8", 1 / 255), ("int4", 1 / 15)])
def test_numbers_are_restored_within_half_a_step(of: str, most: float) -> None:
    torch.manual_seed(0)
    key, value = (torch.randn(1, 2, 3 * BLOCK, 64) * torch.linspace(0.1, 40, 64) for _ in range(2))
    sequence, _ = new_sequence(1, of)
    layer = sequence.layers[0]
    assert isinstance(layer, PackedLayer)
    for _ in layer.append_tokens(key, value):
        pass
    for _, _, keys, values in layer.append_tokens(torch.zeros(1, 2, 1, 64), torch.zeros(1, 2, 1, 64)):
        for found, given, along in ((keys, key, 2), (values, value, 3)):
            found = found[:, :, : 3 * BLOCK]
            allowed = 0.55 * most * (given.amax(along, keepdim=True) - given.amin(along, keepdim=True)) + 0.03
            assert ((found - given).abs() <= allowed).all()
            assert not torch.equal(found, given)


def test_numbers_without_spread_or_beyond_the_range_stay_finite() -> None:
    for of in KINDS:
        sequence, _ = new_sequence(1, of)
        for number in (0.0, 3.0, 1e4, -6e4):
            key = torch.full((1, 1, BLOCK, 64), number)
            for _ in sequence.layers[0].append_tokens(key, key):
                pass
        one = torch.zeros(1, 1, 1, 64)
        for _, _, keys, _ in sequence.layers[0].append_tokens(one, one):
            assert keys.isfinite().all()
            assert torch.allclose(keys[0, 0, BLOCK, :], torch.tensor(3.0), rtol=0.01)


# ---------------------------------------------------------------------------------------------- in the worker


def test_a_loaded_model_reports_its_kv_format(tiny: Path, tmp_path: Path) -> None:
    host = Host(tmp_path)
    used = {}
    for kind in ("bf16", "int4"):
        card = host.load(tiny, kv=kind)["card"]
        assert card["kv"] == kind
        end = host.ask("word " * 1500, sampling={"max_tokens": 4})
        assert end["type"] == "end", end
        used[kind] = host.next("memory")["kv"]
    assert used["int4"] < used["bf16"]
    assert "int4" in host.load(tiny, kv="int3")["failure"]["todo"]
    assert host.close() == 0


@pytest.mark.parametrize("size", [80, 96])
def test_a_head_that_cannot_be_packed_is_refused_before_loading(kind: str, size: int) -> None:
    text = SimpleNamespace(model_type="llama", hidden_size=2 * size, num_attention_heads=2)
    with pytest.raises(
        Failure, match=f"heads of {size} channels, which cannot be packed as {kind}. Load it with `--kv bf16`"
    ):
        refuse_kv(kind, text)
    refuse_kv("bf16", text)
    for fits in (32, 64, 128):
        refuse_kv(kind, SimpleNamespace(model_type="llama", hidden_size=2 * fits, num_attention_heads=2))
