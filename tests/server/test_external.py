"""An engine elsewhere that is busy, slow, broken or gone: what comes of it, and what is never told."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import Delta, End, Event, Loading
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.images import Image
from jupyter_mistral.protocol.requests import ChatRequest, CompletionRequest, Extras, Form, Sampling
from jupyter_mistral.server.assemble import Parts, join
from jupyter_mistral.server.external.answer import Patience
from jupyter_mistral.server.external.config import elsewhere_of
from jupyter_mistral.server.external.engine import Elsewhere, ExternalEngine
from jupyter_mistral.server.external.http import KEY_ENV, Address, Key, Upstream
from jupyter_mistral.server.external.token_counts import Counts, estimate
from jupyter_mistral.server.inference.base import Options

_spec = importlib.util.spec_from_file_location("broken_engine", Path(__file__).with_name("broken_engine.py"))
assert _spec is not None and _spec.loader is not None
broken = importlib.util.module_from_spec(_spec)
sys.modules["broken_engine"] = broken
_spec.loader.exec_module(broken)

CHAT = broken.CHAT
# short, so that a test is; which of the waits comes first is what a test looks at, not how long it takes. A healthy engine
# has seconds to answer: a busy machine takes them
QUICK = Patience(told_s=0.05, checked_s=0.15, alive_s=3, tail_s=3, first_wait_s=0.01, tries=4, wait_s=30)
KEY = "sk-very-secret-0123456789"
ASK = ChatRequest((Message("user", ("hello there",)),), Sampling(0.0))
Make = Callable[..., Parts]


@pytest.fixture
def peer(jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    engine = broken.BrokenEngine()
    jp_asyncio_loop.run_until_complete(engine.start())
    yield engine
    jp_asyncio_loop.run_until_complete(engine.stop())


@pytest.fixture
def make(
    peer: Any, mistral_home: Path, monkeypatch: pytest.MonkeyPatch, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[Make]:
    made: list[Parts] = []

    def parts(**told: Any) -> Parts:
        elsewhere = replace(Elsewhere(peer.url, patience=QUICK, key=Key(text=KEY)), **told)
        made.append(join(Options(), logging.getLogger("jupyter_mistral"), elsewhere))
        return made[-1]

    yield parts
    for one in made:
        jp_asyncio_loop.run_until_complete(one.close())


async def gathered(events: AsyncIterator[Event]) -> tuple[list[Event], Failure | None]:
    found: list[Event] = []
    try:
        async for event in events:
            found.append(event)
    except Failure as failure:
        return found, failure
    return found, None


def words(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


# ---------------------------------------------------------------------------------------------- answers


async def test_an_answer_carries_the_engines_own_counts(peer: Any, make: Make) -> None:
    peer.always[CHAT] = broken.stream(broken.text("hel"), broken.text("lo"), broken.END, broken.USAGE)
    engine = make().engine
    events, failure = await gathered(engine.stream(ASK))
    assert failure is None
    assert words(events) == "hello"
    end = events[-1]
    assert isinstance(end, End)
    assert (end.usage.prompt_tokens, end.usage.completion_tokens, end.usage.cached_tokens) == (40, 2, 30)
    figures = [value for value in asdict(end.usage).values() if isinstance(value, float)]
    assert figures == [round(figure, 4) for figure in figures] and end.usage.seconds > 0
    status = await engine.status()
    assert status.state == "ready"
    assert status.engine is not None
    assert (status.engine["program"], status.engine["prefix"], status.engine["tokens"]) == ("vLLM", "told", "estimated")
    asked = peer.of(CHAT)[-1]
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (asked.body["model"], asked.body["stream_options"]) == ("big", {"include_usage": True})
    assert not {"mistral", "top_k", "min_p"} & asked.body.keys()


async def test_text_call_and_end_may_come_in_one_chunk(peer: Any, make: Make) -> None:
    call = {"index": 0, "id": "a1b2c3d4e", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    delta = {"content": "so:", "tool_calls": [call, {**call, "index": 1}]}
    peer.always[CHAT] = broken.stream(
        {"choices": [{"delta": delta, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 1}}
    )
    events, failure = await gathered(make().engine.stream(ASK))
    assert failure is None
    told = [type(event).__name__ for event in events if not isinstance(event, Loading)]  # a busy machine is told of
    assert told == ["Delta", "CallPiece", "CallPiece", "End"]
    assert events[-1].reason == "tool_calls"  # type: ignore[union-attr]


async def test_another_host_of_ours_tells_title_licence_and_seed(peer: Any, make: Make) -> None:
    card = {"name": "big", "title": "Big 7B", "licence": "Apache-2.0", "can": ["text"], "context_length": 9000}
    peer.always["/v1/models"] = broken.say(200, {"data": [{"id": "big", "owned_by": "local", "mistral": card}]})
    told = {**broken.USAGE["usage"], "mistral": {"model": "big", "seed": 7}}
    peer.always[CHAT] = broken.stream(broken.text("hi"), broken.END, {"choices": [], "usage": told})
    engine = make().engine
    events, _ = await gathered(engine.stream(ASK))
    assert events[-1].usage.seed == 7
    (known,) = await engine.cards()
    assert (known.title, known.licence) == ("Big 7B", "Apache-2.0")


async def test_an_answer_without_usage_or_done_is_whole_and_its_tokens_estimated(peer: Any, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    peer.always[CHAT] = broken.stream(broken.text("some words of an answer"), broken.END, then="hold")
    events, failure = await gathered(engine.stream(ASK))
    assert failure is None
    assert isinstance(events[-1], End)
    assert events[-1].usage.completion_tokens == estimate("some words of an answer")
    status = await engine.status()
    assert status.engine is not None and status.engine["prefix"] is None


@pytest.mark.parametrize(
    "told", [{"prompt_tokens": "many"}, {"prompt_tokens_details": 5}, {"mistral": "x"}, {"completion_tokens": 1e999}]
)
async def test_counts_that_are_none_do_not_spoil_an_answer(peer: Any, make: Make, told: dict[str, Any]) -> None:
    peer.always[CHAT] = broken.stream(broken.text("words"), broken.END, {"choices": [], "usage": told})
    events, failure = await gathered(make().engine.stream(ASK))
    assert failure is None
    assert isinstance(events[-1], End)
    assert events[-1].usage.completion_tokens == estimate("words")


# ---------------------------------------------------------------------------------------------- busy


async def test_a_busy_engine_is_asked_again_when_it_said(peer: Any, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    peer.script[CHAT].append(broken.say(429, {"error": {"message": "slow down"}}, Retry_After="1"))
    peer.script[CHAT].append(broken.say(503, b"<html>"))
    peer.always[CHAT] = broken.stream(broken.text("at last"), broken.END)
    events, failure = await gathered(engine.stream(ASK))
    assert failure is None
    assert words(events) == "at last"
    waits = [event.eta_s for event in events if isinstance(event, Loading) and event.eta_s is not None]
    assert len(waits) == 2
    assert waits[0] >= 1


async def test_who_does_not_want_to_wait_is_told_at_once(peer: Any, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    peer.asked.clear()
    peer.always[CHAT] = broken.say(429, {"error": {"message": "slow down"}})
    events, failure = await gathered(engine.stream(replace(ASK, extras=Extras(if_busy="refuse"))))
    assert not [event for event in events if not isinstance(event, Loading) or event.eta_s is not None]
    assert failure is not None and failure.code == "busy"
    assert len(peer.of(CHAT)) == 1


async def test_an_hour_is_not_waited_for(peer: Any, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    peer.asked.clear()
    peer.always[CHAT] = broken.say(429, {}, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT")
    _, failure = await gathered(engine.stream(ASK))
    assert failure is not None and failure.code == "busy"
    assert len(peer.of(CHAT)) == 1


async def test_patience_ends(peer: Any, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    peer.asked.clear()
    peer.always[CHAT] = broken.say(502, b"bad gateway")
    events, failure = await gathered(engine.stream(ASK))
    assert failure is not None and failure.code == "engine_refused"
    assert len(peer.of(CHAT)) == QUICK.tries
    assert all(isinstance(event, Loading) for event in events)


async def test_what_cannot_be_mended_is_not_asked_again(peer: Any, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    peer.asked.clear()
    peer.always[CHAT] = broken.say(400, {"error": {"message": "maximum context length is 9000 tokens"}})
    _, failure = await gathered(engine.stream(ASK))
    assert failure is not None and failure.code == "context_too_long"
    assert len(peer.of(CHAT)) == 1


async def test_no_more_are_under_way_than_an_admin_allows(peer: Any, make: Make) -> None:
    engine = make(max_queue=0).engine
    await engine.target(None)
    peer.always[CHAT] = broken.stream(broken.text("one"), then="hold")
    async with contextlib.aclosing(engine.stream(ASK)) as first:
        await anext(first)
        assert engine.is_busy
        _, failure = await gathered(engine.stream(ASK))
        assert failure is not None and failure.code == "busy"
    assert not engine.is_busy


# ---------------------------------------------------------------------------------------------- broken


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: not json\n\n"],
        [b"data: [1, 2]\n\n"],
        [{"choices": 7}],
        [{"choices": [{"delta": {"content": "x"}, "finish_reason": None}, "no"]}],
        [{"choices": [{"delta": {"tool_calls": [{"index": "x"}]}}]}],
        [b"data: " + b"[" * 100_000 + b"\n\n"],
        [b"x" * 5_000_000],
        [{"error": {"message": "the worker fell over", "code": 500}}],
    ],
    ids=["text", "list", "number", "choice", "call", "depth", "line", "error"],
)
@pytest.mark.parametrize("begun", [True, False])
async def test_garbage_ends_in_one_failure_and_what_came_is_kept(
    peer: Any, make: Make, pieces: list[Any], begun: bool
) -> None:
    peer.always[CHAT] = broken.stream(*([broken.text("so far")] if begun else []), *pieces)
    events, failure = await gathered(make().engine.stream(ASK))
    assert failure is not None
    assert failure.code in ("engine_died", "engine_unreachable", "engine_refused")
    assert words(events).startswith("so far" if begun else "")
    assert not any(isinstance(event, End) for event in events)


@pytest.mark.parametrize("then", ["cut", "end", "done"])
async def test_an_answer_that_breaks_off_keeps_its_text(peer: Any, make: Make, then: str) -> None:
    engine = make().engine
    await engine.target(None)
    peer.always[CHAT] = broken.stream(broken.text("so far"), then=then)
    events, failure = await gathered(engine.stream(ASK))
    assert words(events) == "so far"
    assert failure is not None and failure.code == "engine_died"


async def test_a_half_open_connection_is_found_out(peer: Any, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    peer.always[CHAT] = broken.be_silent
    peer.always["/v1/models"] = broken.be_silent
    events, failure = await gathered(engine.stream(replace(ASK, extras=Extras(if_busy="refuse"))))
    assert events and all(isinstance(event, Loading) for event in events)
    assert failure is not None and failure.code == "engine_unreachable"
    assert (await engine.status()).state == "failed"


async def test_a_slow_engine_that_answers_other_questions_is_waited_for(peer: Any, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    go = asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter, asked: Any) -> None:
        await go.wait()
        await broken.stream(broken.text("thought about it"), broken.END)(writer, asked)

    peer.always[CHAT] = slowly
    before = len(peer.of("/v1/models"))
    events: list[Event] = []
    async for event in engine.stream(ASK):
        events.append(event)
        if len(peer.of("/v1/models")) > before + 1:
            go.set()
    assert words(events) == "thought about it"


async def test_leaving_closes_the_connection(peer: Any, make: Make) -> None:
    engine = make().engine
    await engine.target(None)
    peer.always[CHAT] = broken.stream(broken.text("one"), then="hold")
    async with contextlib.aclosing(engine.stream(ASK)) as events:
        await anext(events)
    await peer.of(CHAT)[-1].left.wait()


async def test_an_engine_that_comes_back_is_used_again(peer: Any, make: Make) -> None:
    peer.always[CHAT] = broken.stream(broken.text("here"), broken.END)
    engine = make().engine
    await peer.stop()
    _, failure = await gathered(engine.stream(replace(ASK, extras=Extras(if_busy="refuse"))))
    assert failure is not None and failure.code == "engine_unreachable"
    status = await engine.status()
    assert status.state == "failed"
    assert status.failure is not None and f"127.0.0.1:{peer.port}" in status.failure["message"]
    await peer.start()
    events, failure = await gathered(engine.stream(ASK))
    assert failure is None
    assert words(events) == "here"
    assert (await engine.status()).state == "ready"


async def test_an_engine_that_starts_just_now_is_waited_for(peer: Any, make: Make) -> None:
    peer.script["/v1/models"].extend([broken.hang_up, broken.hang_up])
    peer.always[CHAT] = broken.stream(broken.text("here"), broken.END)
    events, failure = await gathered(make().engine.stream(ASK))
    assert failure is None
    assert words(events) == "here"


# ---------------------------------------------------------------------------------------------- found out, not assumed


async def test_a_schema_that_the_engine_ignores_is_refused(peer: Any, make: Make) -> None:
    peer.always[CHAT] = broken.say(200, broken.WHOLE)
    engine = make().engine
    form = Form("json", {"type": "object"})
    _, failure = await gathered(engine.stream(replace(ASK, form=form)))
    assert failure is not None and failure.code == "unsupported"
    status = await engine.status()
    assert status.engine is not None and status.engine["json_schema"] is False


async def test_pictures_go_only_to_an_engine_that_takes_them(peer: Any, make: Make) -> None:
    from jupyter_mistral.server.external.capabilities import PICTURE

    picture = replace(ASK, messages=(Message("user", ("see", Image.of_url(f"data:image/png;base64,{PICTURE}", "x"))),))
    peer.script[CHAT].append(broken.say(400, {"error": {"message": "is not a multimodal model"}}))
    engine = make().engine
    _, failure = await gathered(engine.stream(picture))
    assert failure is not None and failure.code == "unsupported"
    peer.script[CHAT].append(broken.say(200, broken.WHOLE))
    async for _ in engine.load(None):
        pass
    peer.always[CHAT] = broken.stream(broken.text("white"), broken.END)
    events, failure = await gathered(engine.stream(picture))
    assert failure is None
    assert words(events) == "white"


@pytest.mark.parametrize(("with_suffix", "can"), [(3, False), (17, True)])
async def test_a_suffix_that_is_read_over_is_no_filling_in(peer: Any, make: Make, with_suffix: int, can: bool) -> None:
    for tokens in (3, with_suffix):
        whole = {"choices": [{"text": "x", "finish_reason": "stop"}], "usage": {"prompt_tokens": tokens}}
        peer.script["/v1/completions"].append(broken.say(200, whole))
    peer.always["/v1/completions"] = broken.stream({"choices": [{"text": "a + b", "finish_reason": "stop"}]})
    events, failure = await gathered(make().engine.complete(CompletionRequest("return ", "\n")))
    assert words(events) == ("a + b" if can else "")
    assert (failure is None) == can


async def test_ghost_text_goes_on_without_what_follows_where_nothing_can_be_filled_in(peer: Any, make: Make) -> None:
    whole = {"choices": [{"text": "x", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    peer.script["/v1/completions"] += [broken.say(200, whole)] * 2
    peer.always["/v1/completions"] = broken.stream({"choices": [{"text": "a + b", "finish_reason": "stop"}]})
    events, failure = await gathered(make().engine.complete(CompletionRequest("return ", "\n", if_busy="refuse")))
    assert (words(events), failure) == ("a + b", None)
    assert "suffix" not in peer.of("/v1/completions")[-1].body


async def test_ollamas_context_is_what_it_runs_with(peer: Any, make: Make) -> None:
    peer.always["/v1/models"] = broken.say(200, {"data": [{"id": "tiny", "owned_by": "library"}]})
    peer.always["/api/version"] = broken.say(200, {"version": "0.12"})
    shown = {"capabilities": ["completion", "insert"], "parameters": "num_ctx                        8192\nstop  x"}
    peer.always["/api/show"] = broken.say(200, {**shown, "model_info": {"llama.context_length": 131072}})
    engine = make().engine
    card = (await engine.target(None)).card
    assert (card.context_length, card.can) == (8192, ("text", "fim"))
    status = await engine.status()
    assert status.engine is not None and status.engine["program"] == "Ollama"


@pytest.mark.threat("T2")
async def test_text_that_is_only_counted_stays_on_this_machine(peer: Any, make: Make, mistral_home: Path) -> None:
    peer.always["/tokenize"] = broken.say(200, {"count": 5, "tokens": [1] * 5})
    here = make().engine.engine
    assert isinstance(here, ExternalEngine)
    target = await here.target(None)
    assert target.is_exact
    assert await target.count(["words"]) == [5]
    known = await here._known(None)
    away = Upstream(Address(f"http://127.0.0.1:{peer.port}", "gpu.example", False, True), Key())
    peer.asked.clear()
    remote = Counts(away, "").target(known)
    assert not remote.is_exact
    assert await remote.count(["words of a notebook"]) == [estimate("words of a notebook")]
    assert not peer.asked
    local = Counts(away, str(mistral_home / "models" / "smollm2-135m" / "nf4" / "tokenizer.json")).target(known)
    assert local.is_exact and local.tokenizer is not None
    await away.close()


async def test_names_that_the_engine_has_not_are_told_with_those_that_it_has(peer: Any, make: Make) -> None:
    parts = make()
    _, failure = await gathered(parts.engine.stream(replace(ASK, model="huge")))
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


# ---------------------------------------------------------------------------------------------- where it goes, and the key


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://localhost:8000/v1", "this machine, another program: localhost:8000"),
        ("http://[::1]:8000/v1/", "this machine, another program: [::1]:8000"),
        ("http://127.8.0.1", "this machine, another program: 127.8.0.1"),
        ("https://gpu.example/llm/v1", "leaves this machine: gpu.example"),
        ("http://10.0.0.7:8000", "leaves this machine: 10.0.0.7:8000 (not encrypted)"),
        ("http://localhost.example:80/v1", "leaves this machine: localhost.example:80 (not encrypted)"),
    ],
)
def test_the_seal_says_where_text_goes(url: str, words: str) -> None:
    assert Address.of_url(url).words == words


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://x/v1",
        "http://",
        "http://x:99999",
        f"http://me:{KEY}@x/v1",
        f"http://x/v1?key={KEY}",
    ],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(Failure) as caught:
        Address.of_url(url)
    assert KEY not in str(caught.value)


@pytest.mark.threat("T28")
@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_the_key_is_in_nothing_that_is_told(
    peer: Any, make: Make, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    peer.always[CHAT] = broken.say(status, {"error": {"message": f"bad key {KEY}"}})
    engine = make().engine
    _, failure = await gathered(engine.stream(ASK))
    assert failure is not None
    peer.always[CHAT] = broken.stream(broken.text("x"), {"error": {"message": f"bad key {KEY}"}})
    _, second = await gathered(engine.stream(ASK))
    assert second is not None
    told = json.dumps([failure.to_dict(), second.to_dict(), (await engine.status()).to_dict(), repr(Key(text=KEY))])
    assert KEY not in told
    assert KEY not in caplog.text


async def test_a_key_file_is_read_anew_and_its_absence_told(peer: Any, make: Make, tmp_path: Path) -> None:
    peer.always[CHAT] = broken.stream(broken.text("x"), broken.END)
    file = tmp_path / "key"
    file.write_text("first\n")
    engine = make(key=Key(str(file))).engine
    await gathered(engine.stream(ASK))
    assert peer.of(CHAT)[-1].headers["authorization"] == "Bearer first"
    file.write_text("second\n")
    await gathered(engine.stream(ASK))
    assert peer.of(CHAT)[-1].headers["authorization"] == "Bearer second"
    file.unlink()
    _, failure = await gathered(engine.stream(ASK))
    assert failure is not None and failure.code == "engine_refused"


def test_the_key_leaves_the_environment_that_kernels_inherit() -> None:
    environ = {KEY_ENV: KEY, "HOME": "/home/me"}
    found = elsewhere_of({"engine_url": "http://localhost:1/v1"}, environ)
    assert found is not None and found.key.read() == KEY
    assert environ == {"HOME": "/home/me"}
    assert elsewhere_of({}, {KEY_ENV: KEY}) is None


@pytest.mark.threat("T2")
async def test_neither_a_proxy_nor_a_redirect_takes_a_prompt_elsewhere(
    peer: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = broken.BrokenEngine()
    await third.start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{third.port}")
    peer.always[CHAT] = broken.say(307, b"", Location=f"http://127.0.0.1:{third.port}{CHAT}")
    _, failure = await gathered(make().engine.stream(ASK))
    assert failure is not None
    assert peer.of(CHAT)
    assert not third.asked
    await third.stop()
