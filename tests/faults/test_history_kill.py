"""The history is killed with kill -9 at any moment: acknowledged writes are stored, in order, once, and nothing half."""

from __future__ import annotations

import asyncio
import copy
import fcntl
import json
import os
import signal
import sqlite3
import struct
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.server.chats.store import History

Op = list[Any]
# title -> messages; what a chat is, as far as a user can tell
Model = dict[str, list[dict[str, Any]]]


# ---------------------------------------------------------------------------------------------- the process that dies


async def perform(history: History, ids: dict[str, str], op: Op) -> None:
    """Titles are given once; `ids` maps them to the chats' ids."""
    kind, title, *rest = op
    if kind == "create":
        ids[title] = await history.create(title)
        return
    chat = ids.get(title, "none")
    if kind == "turn":
        name, text, replaces = rest
        await history.add_turn(chat, (f"u{name}", (text,)), f"a{name}", time.time(), replaces)
    elif kind == "append":
        await history.append(chat, rest[0], rest[1], rest[2])
    elif kind == "finish":
        await history.finish(chat, rest[0], "done", {"prompt_tokens": 1})
    elif kind == "drop":
        await history.drop_messages(chat, rest[0])
    elif kind == "delete":
        await history.delete(chat)


async def obey(path: Path, orders: int, acks: int) -> None:
    history = History(path, busy_s=30)
    ids = {chat["title"]: chat["id"] for chat in await history.chats()}
    os.write(acks, b"open\n")
    with os.fdopen(orders) as lines:
        for line in lines:
            result = "ok"
            try:
                await perform(history, ids, json.loads(line))
            except Failure as failure:
                result = failure.code
            os.write(acks, f"{result}\n".encode())
    await history.close()


@contextmanager
def child(path: Path, ops: list[Op]) -> Iterator[tuple[int, int]]:
    """A forked process that performs `ops`; gives its pid and the pipe of its acknowledgements."""
    orders, give = os.pipe()
    acks, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(give)
        os.close(acks)
        status = 1
        try:
            asyncio.run(obey(path, orders, tell))
            status = 0
        finally:
            os._exit(status)
    os.close(orders)
    os.close(tell)
    os.write(give, "".join(json.dumps(op) + "\n" for op in ops).encode())
    os.close(give)
    try:
        yield pid, acks
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(acks)


def run(path: Path, ops: list[Op], kill_after: int | None, delay_s: float) -> list[str]:
    """The acknowledgements of a child that was killed `delay_s` after acknowledgement `kill_after`, or left to end."""
    with child(path, ops) as (pid, acks):
        heard = b""
        while piece := os.read(acks, 65536):
            heard += piece
            if kill_after is not None and heard.count(b"\n") > kill_after:
                time.sleep(delay_s)
                os.kill(pid, signal.SIGKILL)
                kill_after = None
    lines = heard.decode().splitlines()
    assert lines[:1] == ["open"]
    return lines[1:]


# ---------------------------------------------------------------------------------------------- what must be so


def apply(model: Model, op: Op) -> str:
    """The same operation on a plain dictionary; says what a child must answer."""
    kind, title, *rest = op
    if kind == "create":
        model[title] = []
        return "ok"
    if kind == "delete":
        return "ok" if model.pop(title, None) is not None else "not_found"
    messages = model.get(title)
    if kind == "append":
        message = next((m for chat in model.values() for m in chat if m["id"] == rest[0]), None)
        if message is None or message["state"] != "streaming":
            return "not_found"
        message["text"] += rest[2]
        return "ok"
    if kind == "finish":
        for m in (m for chat in model.values() for m in chat if m["id"] == rest[0] and m["state"] == "streaming"):
            m["state"] = "done"
        return "ok"
    index = next((i for i, m in enumerate(messages or []) if m["id"] == rest[0 if kind == "drop" else 2]), None)
    if kind == "drop":
        if messages is None or index is None:
            return "not_found"
        del messages[index:]
        return "ok"
    name, text, replaces = rest
    if messages is not None and any(m["state"] == "streaming" for m in messages):
        return "busy"
    if messages is None or (replaces is not None and index is None):
        return "not_found"
    if index is not None:
        del messages[index:]
    messages.append({"id": f"u{name}", "role": "user", "state": "done", "text": text})
    messages.append({"id": f"a{name}", "role": "assistant", "state": "streaming", "text": ""})
    return "ok"


def recovered(model: Model) -> Model:
    """What a new server must find: answers that nobody writes any more are interrupted."""
    model = copy.deepcopy(model)
    for message in (m for messages in model.values() for m in messages if m["state"] == "streaming"):
        message["state"] = "interrupted"
    return model


async def read(path: Path) -> Model:
    history = History(path)
    chats_by_title: Model = {}
    for chat in await history.chats():
        assert chat["saved"] and chat["title"] not in chats_by_title
        chats_by_title[chat["title"]] = [
            {"id": m["id"], "role": m["role"], "state": m["state"], "text": "".join(m["content"])}
            for m in (await history.chat(chat["id"]))["messages"]
        ]
    await history.close()
    return chats_by_title


def check_file(path: Path) -> None:
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert db.execute("SELECT count(*) FROM messages WHERE state = 'streaming'").fetchone() == (0,)
    db.close()


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=30)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[list[Op], int | None, float]]:
    """Lives of servers: what each is asked, after which acknowledgement and how much later it is killed (None: never)."""
    lives, titles, answers, places = [], [], [], 0
    for _ in range(draw(st.integers(1, 3))):
        ops: list[Op] = []
        for _ in range(draw(st.integers(1, 14))):
            kinds = ["turn", "append", "append", "finish", "turn", "edit", "drop", "delete"] if titles else []
            kind = draw(st.sampled_from(["create", *kinds]))
            if kind == "create":
                titles.append(f"c{len(titles)}")
                ops.append(["create", titles[-1]])
                continue
            title = draw(st.sampled_from(titles[-3:]))
            known = [name for name, chat in answers if chat == title][-4:]
            if kind == "turn" or not known:
                answers.append((f"{len(answers)}", title))
                ops.append(["turn", title, answers[-1][0], draw(TEXTS), None])
            elif kind == "edit":
                replaced = draw(st.sampled_from("ua")) + draw(st.sampled_from(known))
                answers.append((f"{len(answers)}", title))
                ops.append(["turn", title, answers[-1][0], draw(TEXTS), replaced])
            elif kind == "append":
                places += 1
                ops.append(["append", title, f"a{known[-1]}", places, draw(TEXTS) * draw(st.sampled_from([1, 1, 400]))])
            elif kind == "finish":
                ops.append(["finish", title, f"a{known[-1]}"])
            elif kind == "drop":
                ops.append(["drop", title, draw(st.sampled_from("ua")) + draw(st.sampled_from(known))])
            else:
                ops.append(["delete", title])
        kill_after = draw(st.none() | st.integers(0, len(ops)))
        lives.append((ops, kill_after, draw(st.sampled_from([0.0, 0.0, 0.0001, 0.0005, 0.002]))))
    return lives


@pytest.mark.fault("F25", "F2")
@settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
@given(histories())
def test_acknowledged_writes_survive_kill_9(lives: list[tuple[list[Op], int | None, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chats" / "chats.sqlite"
        model: Model = {}
        for ops, kill_after, delay_s in lives:
            acks = run(path, ops, kill_after, delay_s)
            assert kill_after is not None or len(acks) == len(ops)
            for op, ack in zip(ops, acks, strict=False):
                assert apply(model, op) == ack, op
            allowed = [recovered(model)]
            if len(acks) < len(ops):  # the one that was under way is there whole or not at all
                apply(model, ops[len(acks)])
                allowed.append(recovered(model))
            stored_chats = asyncio.run(read(path))
            assert stored_chats in allowed
            model = stored_chats
            check_file(path)


def waiting(pipe: int) -> int:
    """Bytes that lie in a pipe unread."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0])


@pytest.mark.fault("F2", "F14")
def test_a_thousand_writes_of_two_killed_servers_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """Two tabs on two servers, both killed again and again: each one's acknowledged questions are there, in its order."""
    path = tmp_path / "chats" / "chats.sqlite"
    asyncio.run(_create(path))
    sure: dict[str, list[str]] = {"x": [], "y": []}
    for life in range(12):
        both = [(w, [["turn", w, f"{w}{life}.{i}", f"{w}{life}.{i}", None] for i in range(40)]) for w in "xy"]
        for _, ops in both:
            for i in reversed(range(len(ops))):
                ops.insert(i + 1, ["finish", ops[i][1], f"a{ops[i][2]}"])
        with child(path, both[0][1]) as (first, first_acks), child(path, both[1][1]) as (second, second_acks):
            # on a busy machine either may need a while to begin: the blow is to fall while both write
            until = time.monotonic() + 30
            while min(waiting(first_acks), waiting(second_acks)) < 30 and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(0.004 + life * 0.004)
            for pid in (first, second):
                os.kill(pid, signal.SIGKILL)
            for (who, ops), pipe in zip(both, (first_acks, second_acks), strict=True):
                heard = b""
                while piece := os.read(pipe, 65536):
                    heard += piece
                acks = heard.decode().splitlines()[1:]
                sure[who] += [
                    f"u{op[2]}" for op, ack in zip(ops, acks, strict=False) if op[0] == "turn" and ack == "ok"
                ]
        stored_chats = asyncio.run(read(path))
        for who, acknowledged in sure.items():
            stored = [m["id"] for m in stored_chats[who] if m["role"] == "user"]
            assert len(set(stored)) == len(stored)
            assert [name for name in stored if name in set(acknowledged)] == acknowledged
        check_file(path)
    assert min(len(acknowledged) for acknowledged in sure.values()) > 20, "too few writes to mean anything"


async def _create(path: Path) -> None:
    history = History(path)
    for title in "xy":
        await history.create(title)
    await history.close()
