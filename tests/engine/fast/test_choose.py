"""The fast path is taken only where it is requested, supported and gives the right scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_llama
import tiny_plain
import torch
from fast_paths import fast_of
from jupyter_mistral.engine.decode.decoder import Decoder
from jupyter_mistral.engine.decode.prompt_lookup import Lookup
from jupyter_mistral.engine.fast import choose
from jupyter_mistral.engine.fast.choose import FastPath, draft_width, fast_path, find_difference
from jupyter_mistral.engine.fast.ops import Reference
from jupyter_mistral.engine.fast.step import FastModel


@pytest.fixture
def model() -> Any:
    return tiny_plain.build("llama")


def test_on_the_cpu_it_is_off_unless_requested(model: Any) -> None:
    assert fast_path(model, "bf16", "auto") == fast_path(model, "bf16", "off") == (None, "")
    fast, reason = fast_path(model, "bf16", "reference")
    assert fast is not None and not reason and fast.is_on and fast.recorded == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("kv", ["int8", "int4"])
def test_the_check_supports_every_kv_format(model: Any, kv: str) -> None:
    assert fast_path(model, kv, "reference")[0] is not None


def test_the_reason_against_it_is_reported(model: Any, tmp_path: Path) -> None:
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
def test_a_wrong_kernel_is_detected(
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


def test_appending_at_the_wrong_position_is_detected(model: Any) -> None:
    class Wrong(Reference):
        @staticmethod
        def rotate_and_append(qkv: torch.Tensor, *given: Any) -> torch.Tensor:
            half = qkv.shape[1] // 4
            swapped = torch.cat([qkv[:, : 2 * half], qkv[:, 3 * half :], qkv[:, 2 * half : 3 * half]], 1)
            return Reference.rotate_and_append(swapped, *given)

    assert "off by" in find_difference(Decoder(model, 64, None), fast_of(model, Wrong()))


# ---------------------------------------------------------------------------------------------- drafts


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
def test_drafts_are_as_long_as_step_times_allow(times: dict[int, float], width: int) -> None:
    assert draft_width(times) == width
    assert draft_width({count: time / 1000 for count, time in times.items()}) == width


@pytest.mark.parametrize("longest", [1, 3, 15])
def test_no_draft_is_longer_than_its_limit(longest: int) -> None:
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


def test_the_decoder_knows_the_longest_draft(model: Any) -> None:
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
