"""Running answers with readers that come and go, from the real engine with the test model."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest
import zygote
from jupyter_core.utils import ensure_event_loop
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import Delta, End
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.parsing import parse_ask
from jupyter_mistral.protocol.requests import ChatRequest, Extras
from jupyter_mistral.server.chats.running_answer import AnswerEvent
from jupyter_mistral.server.chats.service import Conversations, Exchange, title_of
from jupyter_mistral.server.chats.store import History
from jupyter_mistral.server.inference.base import Options
from jupyter_mistral.server.inference.local import LocalEngine
from jupyter_mistral.server.prompts.builder import PromptBuilder, instructed

LONG = {"content": ["Count from 1 to 1000 in words."], "max_tokens": 3000, "temperature": 0, "seed": 1}
SHORT = {**LONG, "max_tokens": 3}
GRACE_S = 0.2


@pytest.fixture(scope="module", autouse=True)
def jp_asyncio_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One event loop for all tests here instead of one for each: the engine runs on it."""
    loop = ensure_event_loop(prefer_selector_loop=True)
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def engine(
    models_home: Path, tmp_path_factory: pytest.TempPathFactory, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[LocalEngine]:
    """Loaded once; if a test ends it, the next request restarts it."""
    home = tmp_path_factory.mktemp("home", numbered=True)
    home.chmod(0o700)
    (home / "models").symlink_to(models_home / "models")
    options = Options(default_model="smollm2-135m", context_length=4096)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_MISTRAL_HOME", str(home))
        engine = LocalEngine(options, PromptBuilder(), logging.getLogger(__name__), zygote.launch)
        yield engine
        jp_asyncio_loop.run_until_complete(engine.close())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats" / "chats.sqlite"


@pytest.fixture
def talk(engine: LocalEngine, path: Path, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[Conversations]:
    conversations = Conversations(History(path), engine, grace_s=GRACE_S)
    yield conversations
    jp_asyncio_loop.run_until_complete(conversations.close())


async def ask(talk: Conversations, chat: str, body: dict) -> Exchange:
    return await talk.ask(chat, parse_ask(body))


async def text_of(events: AsyncGenerator[AnswerEvent, None]) -> str:
    return "".join([event.text async for event in events if isinstance(event, Delta)])


async def until_text(events: AsyncGenerator[AnswerEvent, None], characters: int = 1) -> str:
    text = ""
    async for event in events:
        if isinstance(event, Delta):
            text += event.text
        if len(text) >= characters:
            return text
    raise AssertionError("the answer ended too early")


async def kept(talk: Conversations, chat: str, index: int = -1) -> tuple[str, str]:
    message = (await talk.history.chat(chat))["messages"][index]
    return message["state"], "".join(message["content"])


async def until_ended(talk: Conversations, chat: str) -> None:
    while (await kept(talk, chat))[0] == "streaming":
        await asyncio.sleep(0.02)


async def test_every_reader_gets_the_whole_answer(talk: Conversations) -> None:
    chat = (await talk.create())["id"]
    asked = await ask(talk, chat, {**LONG, "max_tokens": 40})
    early = asyncio.create_task(text_of(asked.answer.read()))
    await until_text(asked.answer.read(), 20)
    late = asked.answer.read()
    so_far = await anext(late)
    while not isinstance(so_far, Delta):
        so_far = await anext(late)
    assert len(so_far.text) >= 20, "the text so far comes first, in one piece"
    complete = so_far.text + await text_of(late)
    assert await early == complete
    assert await kept(talk, chat) == ("done", complete)
    usage = (await talk.history.chat(chat))["messages"][-1]["usage"]
    assert usage["completion_tokens"] == 40
    assert (await talk.history.chat(chat))["title"] == "Count from 1 to 1000 in words."


async def test_an_answer_without_readers_ends_and_frees_the_engine(talk: Conversations, engine: LocalEngine) -> None:
    chat = (await talk.create())["id"]
    asked = await ask(talk, chat, LONG)
    reader = asked.answer.read()
    shown = await until_text(reader)
    await reader.aclose()
    await until_ended(talk, chat)
    state, text = await kept(talk, chat)
    assert state == "interrupted"
    assert text.startswith(shown)
    assert (await engine.status()).running == 0
    assert await text_of((await ask(talk, chat, SHORT)).answer.read())


async def test_an_answer_that_never_had_a_reader_ends_too(talk: Conversations) -> None:
    chat = (await talk.create())["id"]
    await ask(talk, chat, LONG)
    await until_ended(talk, chat)
    assert (await kept(talk, chat))[0] == "interrupted"


@pytest.mark.fault("F13")
async def test_a_reader_that_comes_back_in_time_keeps_the_answer_going(talk: Conversations) -> None:
    chat = (await talk.create())["id"]
    asked = await ask(talk, chat, {**LONG, "max_tokens": 150})
    reader = asked.answer.read()
    await until_text(reader)
    await reader.aclose()
    back = talk.answer(chat, asked.assistant["id"]).read()
    assert isinstance([event async for event in back][-1], End)
    assert (await kept(talk, chat))[0] == "done"


async def test_stop_keeps_the_text_and_reaches_every_reader(talk: Conversations, engine: LocalEngine) -> None:
    chat = (await talk.create())["id"]
    asked = await ask(talk, chat, LONG)
    reader = asked.answer.read()
    shown = await until_text(reader, 10)
    message = await talk.stop(chat, asked.assistant["id"])
    assert message["state"] == "interrupted"
    assert "".join(message["content"]).startswith(shown)
    with pytest.raises(Failure) as failure:
        async for _ in reader:
            pass
    assert failure.value.code == "cancelled"
    assert (await engine.status()).running == 0
    assert await talk.stop(chat, asked.assistant["id"]) == message, "a second stop changes nothing"
    with pytest.raises(Failure) as failure:
        talk.answer(chat, asked.assistant["id"])
    assert failure.value.code == "not_found"


async def test_stop_before_the_first_step_ends_the_answer(talk: Conversations) -> None:
    chat = (await talk.create())["id"]
    asked = await ask(talk, chat, LONG)
    assert (await talk.stop(chat, asked.assistant["id"]))["state"] == "interrupted"


async def test_an_answer_is_saved_while_it_grows(talk: Conversations, path: Path) -> None:
    chat = (await talk.create())["id"]
    asked = await ask(talk, chat, LONG)
    reader = asked.answer.read()
    shown = await until_text(reader, 5)
    other = History(path)  # another server's look at the file
    while not "".join((await other.chat(chat))["messages"][-1]["content"]).startswith(shown):
        await anext(reader)
    assert (await other.chat(chat))["messages"][-1]["state"] == "streaming"
    await other.close()
    await reader.aclose()


async def test_two_tabs_ask_one_after_the_other(talk: Conversations) -> None:
    chat = (await talk.create())["id"]
    tries = await asyncio.gather(ask(talk, chat, LONG), ask(talk, chat, LONG), return_exceptions=True)
    asked = [t for t in tries if isinstance(t, Exchange)]
    refused = [t for t in tries if isinstance(t, Failure)]
    assert (len(asked), [f.code for f in refused]) == (1, ["busy"])
    with pytest.raises(Failure) as failure:
        await ask(talk, chat, SHORT)
    assert failure.value.code == "busy"
    assert len((await talk.history.chat(chat))["messages"]) == 2
    other = (await talk.create())["id"]
    waiting = await ask(talk, other, SHORT)
    await talk.stop(chat, asked[0].assistant["id"])
    assert await text_of(waiting.answer.read()), "another chat waits its turn"


async def test_regenerate_edit_and_delete(talk: Conversations) -> None:
    chat = (await talk.create())["id"]
    first = await ask(talk, chat, {**SHORT, "content": ["one"]})
    await text_of(first.answer.read())
    again = await ask(talk, chat, {**SHORT, "content": [], "replaces": first.assistant["id"]})
    assert again.user["id"] == first.user["id"]
    await text_of(again.answer.read())
    edited = await ask(talk, chat, {**SHORT, "content": ["two"], "replaces": first.user["id"]})
    await text_of(edited.answer.read())
    messages = (await talk.history.chat(chat))["messages"]
    assert [m["id"] for m in messages] == [edited.user["id"], edited.assistant["id"]]
    with pytest.raises(Failure) as failure:
        await ask(talk, chat, {**SHORT, "content": ["three"], "replaces": first.user["id"]})
    assert failure.value.code == "not_found"
    await ask(talk, chat, LONG)
    left = await talk.drop_messages(chat, edited.assistant["id"])
    assert [m["id"] for m in left["messages"]] == [edited.user["id"]]
    await ask(talk, chat, LONG)
    await talk.delete(chat)
    assert await talk.history.chats() == []


@pytest.mark.fault("F1")
async def test_a_dead_worker_leaves_the_text_so_far_and_the_next_answer_works(
    talk: Conversations, engine: LocalEngine
) -> None:
    chat = (await talk.create())["id"]
    asked = await ask(talk, chat, LONG)
    reader = asked.answer.read()
    shown = await until_text(reader, 10)
    pid = (await engine.status()).worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Failure) as failure:
        async for event in reader:
            shown += event.text if isinstance(event, Delta) else ""
    assert failure.value.code == "engine_died"
    state, text = await kept(talk, chat)
    assert (state, text) == ("interrupted", shown)
    assert (await talk.history.chat(chat))["messages"][-1]["failure"]["code"] == "engine_died"
    again = await ask(talk, chat, {**SHORT, "content": [], "replaces": asked.assistant["id"]})
    assert await text_of(again.answer.read())


async def test_a_failure_before_any_text_is_a_failed_answer(talk: Conversations) -> None:
    chat = (await talk.create())["id"]
    asked = await ask(talk, chat, {**SHORT, "model": "no-such-model"})
    with pytest.raises(Failure) as failure:
        await text_of(asked.answer.read())
    assert failure.value.code == "unknown_model"
    assert await kept(talk, chat) == ("failed", "")


async def test_a_chat_longer_than_the_context_drops_its_oldest_turns_and_says_so(talk: Conversations) -> None:
    chat = (await talk.create())["id"]
    for _ in range(6):
        long = {**SHORT, "content": ["word " * 1000]}
        events = [event async for event in (await ask(talk, chat, long)).answer.read()]
    end = events[-1]
    assert isinstance(end, End)
    assert any("oldest messages" in what for what in end.usage.left_out)
    assert len((await talk.history.chat(chat))["messages"]) == 12, "they are forgotten by the model only"


async def test_standing_instructions_are_sent_but_not_stored(talk: Conversations) -> None:
    chat = (await talk.create())["id"]
    read = []
    for instructions in ("", "Answer in rhymes. " * 20):
        asked = await ask(talk, chat, {**SHORT, "mistral": {"instructions": instructions}})
        end = [event async for event in asked.answer.read()][-1]
        assert isinstance(end, End)
        read.append(end.usage.prompt_tokens)
        await talk.drop_messages(chat, asked.user["id"])
    assert read[1] > read[0] + 60
    assert instructed(ChatRequest((Message("user", ("hi",)),), extras=Extras(instructions=" Be kind. "))).messages == (
        Message("system", ("The user's standing instructions:\nBe kind.",)),
        Message("user", ("hi",)),
    )
    asked = await ask(talk, chat, {**SHORT, "mistral": {"instructions": "Answer in rhymes."}})
    await talk.stop(chat, asked.assistant["id"])
    assert "rhymes" not in str((await talk.history.chat(chat))["messages"])


@pytest.mark.fault("F13")
async def test_closing_stores_the_text_so_far(talk: Conversations, path: Path) -> None:
    chat = (await talk.create())["id"]
    reader = (await ask(talk, chat, LONG)).answer.read()
    shown = await until_text(reader, 10)
    await talk.close()
    with contextlib.suppress(Failure):
        shown += await text_of(reader)
    again = History(path)
    message = (await again.chat(chat))["messages"][-1]
    assert (message["state"], "".join(message["content"])) == ("interrupted", shown)
    await again.close()


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("  why?\nmore", "why?"),
        ("word " * 40, "word " * 11 + "word…"),
        ("", "Image"),
        ("x" * 100, "x" * 60 + "…"),
        ("ما هذا؟", "ما هذا؟"),
    ],
)
def test_the_title_is_the_first_line(question: str, title: str) -> None:
    assert title_of((question,)) == title
