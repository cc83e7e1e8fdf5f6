"""The queue of requests and the lock around the worker."""

from __future__ import annotations

import asyncio

import pytest
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.server.inference.read_write_lock import ReadWriteLock
from jupyter_mistral.server.inference.turn_queue import TurnQueue


async def test_turns_run_in_the_order_they_came() -> None:
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


async def test_several_run_at_once_and_owners_alternate() -> None:
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


async def test_background_turns_only_delay_each_other() -> None:
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


async def test_a_writer_waits_for_readers_and_later_readers_wait_for_it() -> None:
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
