"""The disk fills up during a chat: the chat continues, is marked as not saved, and is saved when space returns."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.server.chats.store import History

TURNS = 25
KB = 1024


async def talk(history: History, chat: str, limit: int) -> list[list[Any]]:
    """(id, whether it was said to be saved) of each question, once the disk holds no file longer than `limit` bytes."""
    acknowledged = []
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    for i in range(TURNS):
        saved = await history.add_turn(chat, (f"u{i}", (f"question {i} " * 200,)), f"a{i}", time.time())
        acknowledged.append([f"u{i}", saved])
        await history.append(chat, f"a{i}", 0, f"answer {i} " * 100)
        acknowledged.append([f"a{i}", await history.finish(chat, f"a{i}", "done")])
        assert len((await history.chat(chat))["messages"]) == 2 * i + 2, "the chat goes on"
    return acknowledged


async def life(path: Path, limit: int, returns: bool, early: bool) -> list[list[Any]]:
    history = History(path, retry_s=0.01)
    if early:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    chat = await history.create("full")
    acknowledged = await talk(history, chat, limit)
    assert history.is_saved(chat) == acknowledged[-1][1]
    listed = await history.chats("question 24")
    assert [c["saved"] for c in listed] == [acknowledged[-1][1]]
    assert bool(history.problem) is not acknowledged[-1][1]
    if returns:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while not history.is_saved(chat):
            await asyncio.sleep(0.01)
        assert history.problem == ""
    return acknowledged


def in_child(path: Path, limit: int, returns: bool, early: bool) -> list[list[Any]]:
    """What the child was told. It ends as if killed, nothing closed."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        acknowledged: Any = "crashed"
        try:
            acknowledged = asyncio.run(life(path, limit, returns, early))
        except BaseException as error:
            acknowledged = repr(error)
        finally:
            os.write(write, json.dumps(acknowledged).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        acknowledged = json.loads(pipe.read())
    os.waitpid(pid, 0)
    assert isinstance(acknowledged, list), acknowledged
    return acknowledged


async def stored(path: Path) -> list[tuple[str, str, int]]:
    history = History(path)
    chats = await history.chats()
    messages = (await history.chat(chats[0]["id"]))["messages"] if chats else []
    await history.close()
    assert history.problem == ""
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    return [(m["id"], m["state"], len("".join(m["content"]))) for m in messages]


def everything() -> list[tuple[str, str, int]]:
    pairs = [
        (("u", "done", len(f"question {i} ") * 200), ("a", "done", len(f"answer {i} ") * 100)) for i in range(TURNS)
    ]
    return [(f"{role}{i}", state, size) for i, pair in enumerate(pairs) for role, state, size in pair]


@pytest.mark.fault("F9")
@pytest.mark.parametrize("limit", [0, 5 * KB, 33 * KB, 61 * KB, 98 * KB, 150 * KB, 220 * KB])
async def test_everything_is_saved_when_space_returns(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "chats" / "chats.sqlite"
    acknowledged = in_child(path, limit, returns=True, early=False)
    assert not acknowledged[-1][1], "the disk did not fill"
    assert await stored(path) == everything()


@pytest.mark.fault("F9")
@pytest.mark.parametrize("limit", [0, 3 * KB, 9 * KB, 30 * KB])
async def test_everything_is_saved_even_if_the_disk_was_full_from_the_start(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "chats" / "chats.sqlite"
    acknowledged = in_child(path, limit, returns=True, early=True)
    assert not acknowledged[-1][1]
    assert await stored(path) == everything()


@pytest.mark.fault("F9")
@pytest.mark.parametrize("limit", [5 * KB, 61 * KB, 98 * KB, 131 * KB, 220 * KB])
async def test_acknowledged_writes_survive_a_crash_on_a_full_disk(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "chats" / "chats.sqlite"
    acknowledged = in_child(path, limit, returns=False, early=False)
    states = {name: state for name, state, _ in await stored(path)}
    for name, saved in acknowledged:
        if saved:
            assert states.get(name) == "done"
    assert states.keys() == {name for name, _ in acknowledged[: len(states)]}, "in order, without a gap"
