"""The line before the engine, and the link to a process that does not keep to the protocol."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import pytest
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.server.inference.mailbox import Mailbox
from jupyter_mistral.server.inference.read_write_lock import ReadWriteLock
from jupyter_mistral.server.inference.turns import TurnQueue
from jupyter_mistral.server.inference.worker import Worker
from jupyter_mistral.server.inference.worker_process import by_command, environment

HELLO = (
    "import json, os, socket, struct, sys, time\n"
    "s = socket.socket(fileno=int(sys.argv[2]))\n"
    "def send(**header):\n"
    "    text = json.dumps(header).encode()\n"
    "    s.sendall(struct.pack('>II', len(text), 0) + text)\n"
    "seal = {'kind': 'none', 'measured': False, 'reason': ''}\n"
    "send(type='hello', pid=os.getpid(), protocol=1, seal=seal)\n"
)


async def test_places_are_served_in_the_order_they_came() -> None:
    queue = TurnQueue(max_waiting=2)
    first, second, third = queue.join(), queue.join(), queue.join()
    assert (queue.running, queue.waiting) == (1, 2)
    with pytest.raises(Failure, match="queue is full"):
        queue.join()
    seen: list[int] = []

    async def wait() -> None:
        async for ahead in third.wait():
            seen.append(ahead)
        seen.append(0)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    second.leave()
    second.leave()
    await asyncio.sleep(0)
    assert [ahead async for ahead in first.wait()] == []
    first.leave()
    await waiting
    assert seen == [2, 1, 0]
    with pytest.raises(Failure, match="busy"):
        queue.join(refuse_if_busy=True)
    third.leave()
    queue.join(refuse_if_busy=True).leave()
    assert (queue.running, queue.waiting) == (0, 0)


async def test_several_run_at_once_and_owners_take_turns() -> None:
    queue = TurnQueue(width=2)
    busy = [queue.join("ann") for _ in range(5)]
    bob = queue.join("bob")
    assert (queue.running, queue.waiting) == (2, 4)
    assert [queue.position(turn) for turn in [*busy, bob]] == [0, 0, 3, 4, 5, 2], "one of bob's before more of ann's"
    busy[0].leave()
    assert queue.position(bob) == 0 and [queue.position(turn) for turn in busy[2:]] == [2, 3, 4]
    queue.set_width(4)
    assert queue.running == 4 and queue.waiting == 1
    queue.set_width(1)
    busy[1].leave()
    assert queue.running == 3 and queue.position(busy[4]) == 3, "who runs is not stopped, who waits goes on waiting"
    for turn in [*busy, bob]:
        turn.leave()
    assert (queue.running, queue.waiting) == (0, 0)


async def test_ghost_text_waits_for_its_like_alone_and_a_question_never_for_it() -> None:
    queue = TurnQueue(width=1)
    old = queue.join(refuse_if_busy=True, is_background=True)
    new = queue.join(refuse_if_busy=True, is_background=True)
    assert (queue.running, queue.position(new)) == (1, 1), (
        "the newest key press is not refused because of the one before"
    )
    question = queue.join("ann", refuse_if_busy=True)
    assert queue.position(question) == 0 and queue.position(new) == 2
    with pytest.raises(Failure, match="busy"):
        queue.join(refuse_if_busy=True, is_background=True)
    old.leave()
    assert queue.position(new) == 1
    question.leave()
    assert queue.position(new) == 0
    new.leave()
    queue = TurnQueue(max_waiting=0)
    queue.join(is_background=True)
    assert queue.position(queue.join()) == 0, "a line that nobody may wait in is not full of ghost text"


async def test_the_floor_is_changed_when_nobody_stands_on_it() -> None:
    lock, log = ReadWriteLock(), []
    gates = {name: asyncio.Event() for name in ("a", "b", "change")}

    async def stand(name: str) -> None:
        async with lock.shared():
            log.append(name)
            await gates[name].wait()
            log.append(f"{name} left")

    async def change() -> None:
        async with lock.exclusive():
            log.append("change")
            await gates["change"].wait()
            log.append("changed")

    tasks = [asyncio.create_task(stand("a"))]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(change()), asyncio.create_task(change())]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(stand("b"))]
    for _ in range(5):
        await asyncio.sleep(0)
    assert log == ["a"], "who comes after a change was asked for waits for it"
    tasks[2].cancel()
    gates["a"].set()
    while "change" not in log:
        await asyncio.sleep(0)
    assert log == ["a", "a left", "change"]
    gates["change"].set()
    gates["b"].set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert log == ["a", "a left", "change", "changed", "b", "b left"]


async def _deaths_of(script: str, folder: Path) -> Worker:
    died = asyncio.Event()
    worker = await Worker.start(
        lambda _: died.set(),
        logging.getLogger("test"),
        folder=folder,
        launch=by_command(sys.executable, "-c", HELLO + script),
    )
    await died.wait()
    await worker.reap()
    return worker


@pytest.mark.threat("T31")
@pytest.mark.fault("F20")
@pytest.mark.parametrize(
    "script",
    [
        "s.sendall(b'garbage that is no frame at all, but long enough')\ntime.sleep(60)",
        "s.sendall(struct.pack('>II', 2**30, 0))\ntime.sleep(60)",
        "s.sendall(struct.pack('>II', 4, 0) + b'[1]!')\ntime.sleep(60)",
        "s.sendall(struct.pack('>II', 100, 0) + b'{')\nsys.exit(3)",
        "send(type='ready')\ntime.sleep(60)",
        "send(type='delta')\ntime.sleep(60)",
    ],
)
async def test_a_worker_that_sends_garbage_is_ended(tmp_path: Path, script: str) -> None:
    worker = await _deaths_of(script, tmp_path)
    assert worker.gone.is_set()


@pytest.mark.fault("F20")
async def test_only_the_end_of_a_flood_of_complaints_is_kept(tmp_path: Path) -> None:
    script = f"sys.stderr.write('hf_secret123 {Path.home()}/x ' + 'x' * 3_000_000 + ' the end')\nsys.stderr.flush()\nsys.exit(3)"
    worker = await _deaths_of(script, tmp_path)
    assert worker.last_words().endswith(" the end")
    assert len(worker.last_words()) <= 2000
    assert "exit code 3" in await worker.exit_message()


@pytest.mark.threat("T28")
async def test_last_words_hold_no_secrets_and_no_home(tmp_path: Path) -> None:
    worker = await _deaths_of("sys.stderr.write('hf_secret123 in %s' % os.path.expanduser('~'))\nsys.exit(1)", tmp_path)
    assert worker.last_words() == "hf_… in ~"


async def test_a_worker_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    launch = by_command(sys.executable, "-c", "import sys; sys.exit(1)")
    with pytest.raises(Failure, match="did not start"):
        await Worker.start(lambda _: None, logging.getLogger("test"), folder=tmp_path, launch=launch)


@pytest.mark.threat("T27")
def test_a_worker_inherits_no_secrets() -> None:
    told = environment({"PATH": "/bin", "HF_TOKEN": "x", "JUPYTERHUB_API_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x"})
    assert told["PATH"] == "/bin"
    assert told["HF_HUB_OFFLINE"] == "1"
    assert not [name for name in told if "TOKEN" in name or "SECRET" in name]


@pytest.mark.threat("T27")
def test_a_worker_inherits_neither_addresses_with_passwords_nor_the_sockets_of_agents() -> None:
    given = {
        "OPENAI_KEY": "x",
        "PGPASS": "x",
        "SENTRY_DSN": "x",
        "MY_COOKIE": "x",
        "DATABASE_URL": "postgres://ann:pw@db/x",
        "https_proxy": "http://ann:pw@proxy:3128",
        "SSH_AUTH_SOCK": "/run/agent",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1/bus",
        "DOCKER_HOST": "unix:///var/run/docker.sock",
    }
    kept = {"PATH": "/bin", "LD_LIBRARY_PATH": "/l", "CUDA_VISIBLE_DEVICES": "0", "HOME": "/h", "KEYBOARD": "de"}
    told = environment(given | kept | {"SITE": "https://example.org/a@b"})
    assert not given.keys() & told.keys()
    assert kept.items() <= told.items() and "SITE" in told


async def test_a_cancellation_that_meets_a_word_is_not_lost() -> None:
    """`asyncio.wait_for` before Python 3.12 gives the word instead, and the answer that was to stop goes on."""
    mail = Mailbox()
    waiting = asyncio.ensure_future(mail.receive(60))
    await asyncio.sleep(0)
    mail.put_nowait({"type": "delta"})
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_word_that_comes_too_late_is_kept_for_who_asks_next() -> None:
    mail = Mailbox()
    with pytest.raises(asyncio.TimeoutError):
        await mail.receive(0.01)
    mail.put_nowait({"type": "delta"})
    assert await mail.receive(60) == {"type": "delta"}
