"""What an external engine supports is found out, not assumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import broken_engine as broken
import pytest
from broken_engine import CHAT, BrokenEngine
from external_engine import ASK, Make, collect, words
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.images import Image
from jupyter_mistral.protocol.requests import CompletionRequest, Form
from jupyter_mistral.server.external.engine import ExternalEngine
from jupyter_mistral.server.external.engine_token_counts import ExternalCounts, estimate
from jupyter_mistral.server.external.http import Address, Key, Upstream
from jupyter_mistral.server.external.probes import IMAGE


async def test_a_schema_that_the_engine_ignores_is_refused(broken_engine: BrokenEngine, make: Make) -> None:
    broken_engine.always[CHAT] = broken.say(200, broken.WHOLE)
    engine = make().engine
    form = Form("json", {"type": "object"})
    _, failure = await collect(engine.stream(replace(ASK, form=form)))
    assert failure is not None and failure.code == "unsupported"
    status = await engine.status()
    assert status.engine is not None and status.engine["json_schema"] is False


async def test_images_are_sent_only_to_an_engine_that_accepts_them(broken_engine: BrokenEngine, make: Make) -> None:
    picture = replace(ASK, messages=(Message("user", ("see", Image.of_url(f"data:image/png;base64,{IMAGE}", "x"))),))
    broken_engine.script[CHAT].append(broken.say(400, {"error": {"message": "is not a multimodal model"}}))
    engine = make().engine
    _, failure = await collect(engine.stream(picture))
    assert failure is not None and failure.code == "unsupported"
    broken_engine.script[CHAT].append(broken.say(200, broken.WHOLE))
    async for _ in engine.load(None):
        pass
    broken_engine.always[CHAT] = broken.stream(broken.text("white"), broken.END)
    events, failure = await collect(engine.stream(picture))
    assert failure is None
    assert words(events) == "white"


@pytest.mark.parametrize(("with_suffix", "can"), [(3, False), (17, True)])
async def test_an_engine_that_ignores_the_suffix_has_no_fill_in_the_middle(
    broken_engine: BrokenEngine, make: Make, with_suffix: int, can: bool
) -> None:
    for tokens in (3, with_suffix):
        whole = {"choices": [{"text": "x", "finish_reason": "stop"}], "usage": {"prompt_tokens": tokens}}
        broken_engine.script["/v1/completions"].append(broken.say(200, whole))
    broken_engine.always["/v1/completions"] = broken.stream({"choices": [{"text": "a + b", "finish_reason": "stop"}]})
    events, failure = await collect(make().engine.complete(CompletionRequest("return ", "\n")))
    assert words(events) == ("a + b" if can else "")
    assert (failure is None) == can


async def test_inline_suggestions_work_without_the_suffix_if_the_engine_has_no_fill_in_the_middle(
    broken_engine: BrokenEngine, make: Make
) -> None:
    whole = {"choices": [{"text": "x", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    broken_engine.script["/v1/completions"] += [broken.say(200, whole)] * 2
    broken_engine.always["/v1/completions"] = broken.stream({"choices": [{"text": "a + b", "finish_reason": "stop"}]})
    events, failure = await collect(make().engine.complete(CompletionRequest("return ", "\n", if_busy="refuse")))
    assert (words(events), failure) == ("a + b", None)
    assert "suffix" not in broken_engine.of("/v1/completions")[-1].body


async def test_ollamas_context_is_the_one_it_runs_with(broken_engine: BrokenEngine, make: Make) -> None:
    broken_engine.always["/v1/models"] = broken.say(200, {"data": [{"id": "tiny", "owned_by": "library"}]})
    broken_engine.always["/api/version"] = broken.say(200, {"version": "0.12"})
    shown = {"capabilities": ["completion", "insert"], "parameters": "num_ctx                        8192\nstop  x"}
    broken_engine.always["/api/show"] = broken.say(200, {**shown, "model_info": {"llama.context_length": 131072}})
    engine = make().engine
    card = (await engine.target(None)).card
    assert (card.context_length, card.can) == (8192, ("text", "fim"))
    status = await engine.status()
    assert status.engine is not None and status.engine["program"] == "Ollama"


@pytest.mark.threat("T2")
async def test_text_that_is_only_counted_stays_on_this_machine(
    broken_engine: BrokenEngine, make: Make, mistral_home: Path
) -> None:
    broken_engine.always["/tokenize"] = broken.say(200, {"count": 5, "tokens": [1] * 5})
    here = make().engine.engine
    assert isinstance(here, ExternalEngine)
    target = await here.target(None)
    assert target.is_exact
    assert await target.count(["words"]) == [5]
    served = await here.served(None)
    away = Upstream(Address(f"http://127.0.0.1:{broken_engine.port}", "gpu.example", False, True), Key())
    broken_engine.asked.clear()
    remote = ExternalCounts(away, "").target(served)
    assert not remote.is_exact
    assert await remote.count(["words of a notebook"]) == [estimate("words of a notebook")]
    assert not broken_engine.asked
    local = ExternalCounts(away, str(mistral_home / "models" / "smollm2-135m" / "nf4" / "tokenizer.json")).target(
        served
    )
    assert local.is_exact and local.tokenizer is not None
    await away.close()


async def test_the_error_for_an_unknown_model_lists_the_known_ones(broken_engine: BrokenEngine, make: Make) -> None:
    parts = make()
    _, failure = await collect(parts.engine.stream(replace(ASK, model="huge")))
    assert failure is not None and failure.code == "unknown_model"
    assert "big, small" in failure.todo
    rows = await parts.engine.rows()
    assert [row["name"] for row in rows] == ["big", "small"]
    async for _ in parts.engine.load("small"):
        pass
    assert parts.engine.model == "small"
    with pytest.raises(Failure) as caught:
        await parts.engine.unload()
    assert caught.value.code == "unsupported"
