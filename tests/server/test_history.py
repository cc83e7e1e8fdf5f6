"""Chats on disk survive restarts, are private, and may be shared by two servers."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.images import Image
from jupyter_mistral.server.chats.schema import MIGRATIONS
from jupyter_mistral.server.chats.store import History, default_path

PICTURE = Image("image/png", b"\x89PNG\x00\xff")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mistral" / "chats" / "chats.sqlite"


@pytest.fixture
def history(path: Path, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[History]:
    history = History(path, retry_s=0.05)
    yield history
    jp_asyncio_loop.run_until_complete(history.close())


async def ask(history: History, chat: str, name: str, text: str = "why?", replaces: str | None = None) -> None:
    await history.add_turn(chat, (f"u{name}", (text,)), f"a{name}", time.time(), replaces, text)


async def answer(history: History, chat: str, name: str, *pieces: str) -> None:
    for place, piece in enumerate(pieces):
        await history.append(chat, f"a{name}", place, piece)
    await history.finish(chat, f"a{name}", "done", {"prompt_tokens": 3})


def texts(chat: dict) -> list[str]:
    return ["".join(part for part in m["content"] if isinstance(part, str)) for m in chat["messages"]]


async def test_everything_survives_a_restart(history: History, path: Path) -> None:
    chat = await history.create(notebook="plots/سلام.ipynb")
    await history.add_turn(chat, ("u1", ("see ", PICTURE, " and say")), "a1", time.time(), None, "see")
    await answer(history, chat, "1", "It ", "is ", "blue.")
    before = await history.chat(chat)
    await history.close()
    again = History(path)
    assert await again.chat(chat) == before
    await again.close()
    question, reply = before["messages"]
    assert question["content"] == ["see ", PICTURE, " and say"]
    assert (reply["content"], reply["state"], reply["usage"]) == (["It is blue."], "done", {"prompt_tokens": 3})
    assert (before["title"], before["notebook"], before["saved"]) == ("see", "plots/سلام.ipynb", True)


async def test_the_title_of_the_first_question_stays(history: History) -> None:
    chat = await history.create()
    for name in ("1", "2"):
        await ask(history, chat, name, f"question {name}")
        await answer(history, chat, name, "ok")
    assert (await history.chat(chat))["title"] == "question 1"
    await history.rename(chat, "mine")
    assert [c["title"] for c in await history.chats()] == ["mine"]


async def test_the_newest_chat_is_listed_first(history: History) -> None:
    first, second = await history.create("first"), await history.create("second")
    assert [c["id"] for c in await history.chats()] == [second, first]
    await ask(history, first, "1")
    assert [(c["id"], c["messages"]) for c in await history.chats()] == [(first, 2), (second, 0)]


@pytest.mark.parametrize("query", ["STRASSE", "straße 7", "überall", "across", "100%", "a_b", "TITLE"])
async def test_search_finds_titles_and_texts(history: History, query: str) -> None:
    other = await history.create("other")
    await ask(history, other, "0", "nothing of it")
    chat = await history.create("my title")
    await ask(history, chat, "1", "Straße 7, Überall, 100%, a_b")
    await history.append(chat, "a1", 0, "acr")
    await history.append(chat, "a1", 1, "oss")
    assert [c["id"] for c in await history.chats(query)] == [chat]


async def test_an_edited_question_drops_all_later_messages(history: History) -> None:
    chat = await history.create()
    for name in ("1", "2", "3"):
        await ask(history, chat, name, f"q{name}")
        await answer(history, chat, name, f"r{name}")
    await ask(history, chat, "4", "q2, better", replaces="u2")
    assert texts(await history.chat(chat)) == ["q1", "r1", "q2, better", ""]


async def test_a_regenerated_answer_keeps_its_question(history: History) -> None:
    chat = await history.create()
    await ask(history, chat, "1", "q1")
    await answer(history, chat, "1", "r1")
    await history.add_turn(chat, None, "a2", time.time(), "a1")
    await history.append(chat, "a2", 0, "better")
    assert texts(await history.chat(chat)) == ["q1", "better"]


async def test_a_second_question_while_answering_is_refused_and_changes_nothing(history: History) -> None:
    chat = await history.create()
    await ask(history, chat, "1")
    before = await history.chat(chat)
    with pytest.raises(Failure) as failure:
        await ask(history, chat, "2", replaces="u1")
    assert failure.value.code == "busy"
    assert await history.chat(chat) == before


async def test_a_message_of_another_chat_is_not_replaced(history: History) -> None:
    first, second = await history.create(), await history.create()
    await ask(history, first, "1")
    with pytest.raises(Failure) as failure:
        await ask(history, second, "2", replaces="u1")
    assert failure.value.code == "not_found"
    assert (await history.chat(second))["messages"] == []
    assert len((await history.chat(first))["messages"]) == 2


async def test_appending_the_same_piece_twice_stores_it_once(history: History) -> None:
    chat = await history.create()
    await ask(history, chat, "1")
    for _ in range(2):
        await history.append(chat, "a1", 0, "once")
    await history.finish(chat, "a1", "done")
    await history.finish(chat, "a1", "failed")
    reply = (await history.chat(chat))["messages"][1]
    assert (reply["content"], reply["state"]) == (["once"], "done")


async def test_calls_on_a_deleted_chat_report_not_found(history: History) -> None:
    chat = await history.create()
    await ask(history, chat, "1")
    await history.delete(chat)
    for call in (
        history.chat(chat),
        history.delete(chat),
        history.rename(chat, "x"),
        ask(history, chat, "2"),
        history.append(chat, "a1", 0, "x"),
        history.drop_messages(chat, "u1"),
    ):
        with pytest.raises(Failure) as failure:
            await call
        assert failure.value.code == "not_found"
    assert await history.chats() == []


async def test_deleted_text_is_erased_from_the_file(history: History, path: Path) -> None:
    kept, dropped = await history.create(), await history.create()
    await ask(history, kept, "1", "a kept word")
    await ask(history, dropped, "2", "my secret word " * 500)
    await history.delete(dropped)
    await history.close()
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"a kept word" in stored
    assert b"secret" not in stored


@pytest.mark.threat("T30")
async def test_only_the_owner_may_read_the_files(history: History, path: Path) -> None:
    await history.create()
    files = list(path.parent.iterdir())
    assert {path.name, f"{path.name}-wal", f"{path.name}-shm"} <= {file.name for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)} == {0o700}


async def test_closing_leaves_only_the_database(history: History, path: Path) -> None:
    await history.create()
    await history.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.threat("T30")
@pytest.mark.parametrize("trap", ["open folder", "linked folder", "linked file", "newer version"])
async def test_an_untrusted_path_is_not_written(tmp_path: Path, path: Path, trap: str) -> None:
    path.parent.parent.mkdir(mode=0o700)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if trap == "linked folder":
        path.parent.symlink_to(elsewhere)
    else:
        path.parent.mkdir(mode=0o755 if trap == "open folder" else 0o700)
    if trap == "linked file":
        path.symlink_to(elsewhere / "stolen")
    if trap == "newer version":
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    history = History(path, retry_s=0.01)
    chat = await history.create("goes on")
    assert not history.is_saved(chat)
    assert history.problem
    assert [(c["title"], c["saved"]) for c in await history.chats()] == [("goes on", False)]
    await history.close()
    assert list(elsewhere.iterdir()) == []


async def test_chats_in_memory_are_saved_once_the_folder_is_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True)
    path.parent.chmod(0o755)
    history = History(path, retry_s=0.01)
    chat = await history.create()
    await ask(history, chat, "1", "typed while it could not be saved")
    path.parent.chmod(0o700)
    while not history.is_saved(chat):
        await asyncio.sleep(0.01)
    assert history.problem == ""
    state = (await history.chat(chat))["messages"][1]["state"]
    assert state == "streaming", "the answer lives on; it is nobody's orphan"
    await answer(history, chat, "1", "saved")
    await history.close()
    again = History(path)
    assert texts(await again.chat(chat)) == ["typed while it could not be saved", "saved"]
    await again.close()


async def test_a_damaged_file_is_moved_aside_and_kept(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_bytes(b"this was a database once " * 200)
    history = History(path)
    chat = await history.create()
    assert history.is_saved(chat)
    await history.close()
    kept = [file for file in path.parent.iterdir() if "broken" in file.name]
    assert [file.read_bytes()[:4] for file in kept] == [b"this"]


@pytest.mark.fault("F14")
async def test_two_servers_share_the_file(history: History, path: Path) -> None:
    other = History(path)
    chats = [await history.create(), await other.create()]

    async def talk(server: History, chat: str, name: str) -> None:
        for i in range(20):
            await ask(server, chat, f"{name}{i}", f"q{i}")
            await answer(server, chat, f"{name}{i}", f"r{i}")

    await asyncio.gather(talk(history, chats[0], "x"), talk(other, chats[1], "y"))
    expected = [f"{kind}{i}" for i in range(20) for kind in "qr"]
    for server in (history, other):
        for chat in chats:
            assert texts(await server.chat(chat)) == expected
    await other.close()


async def test_the_answer_of_another_live_server_is_not_interrupted(history: History, path: Path) -> None:
    chat = await history.create()
    await ask(history, chat, "1")
    other = History(path)
    assert (await other.chat(chat))["messages"][1]["state"] == "streaming"
    with pytest.raises(Failure) as failure:
        await ask(other, chat, "2")
    assert failure.value.code == "busy"
    await other.delete(chat)
    with pytest.raises(Failure):
        await history.append(chat, "a1", 0, "too late")
    await other.close()


async def test_a_write_lock_held_elsewhere_blocks_neither_loop_nor_chat(path: Path) -> None:
    history = History(path, retry_s=0.01, busy_s=0.2)
    chat = await history.create()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asking = asyncio.create_task(history.rename(chat, "new"))
    turns = 0
    while not asking.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert turns > 3, "the event loop stood still"
    assert await asking is False
    assert (await history.chat(chat))["title"] == "new"
    other.execute("ROLLBACK")
    other.close()
    while not history.is_saved(chat):
        await asyncio.sleep(0.01)
    assert [(c["title"], c["saved"]) for c in await history.chats()] == [("new", True)]
    await history.close()


def test_the_default_path_is_below_jupyter_or_set_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    assert default_path() == tmp_path / "data" / "mistral" / "chats" / "chats.sqlite"
    monkeypatch.setenv("JUPYTER_MISTRAL_HOME", str(tmp_path / "home"))
    assert default_path() == tmp_path / "home" / "chats" / "chats.sqlite"
