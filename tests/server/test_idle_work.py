"""Work in idle time: a changed notebook is prefilled again, and a question interrupts that. Salts of prefix caches."""

from __future__ import annotations

import asyncio
import copy
import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_mistral.server.http.identity import CALLER
from jupyter_mistral.server.inference.base import Options
from jupyter_mistral.server.inference.idle_work import IdleWork
from jupyter_mistral.server.inference.prefix_salt import salt_of

from .api.test_context import notebook
from .conftest import SMALL, Own

LONG = 16


def asked(book: dict[str, Any], question: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    mine = {"client": "test", "notebook": book, **more}
    return {"messages": messages, "model": SMALL, "max_tokens": 2, "temperature": 0, "mistral": mine}


def edited() -> dict[str, Any]:
    book = copy.deepcopy(notebook(LONG))
    book["cells"][11]["source"] = "value_5 = 123456"
    return book


async def costs(own: Own, body: dict[str, Any]) -> tuple[int, int]:
    """Prompt tokens of an answer, and how many of them were not cached."""
    status, answer = await own.peer.ask("POST", "/mistral/v1/chat/completions", body)
    assert status == 200, answer
    usage = answer["usage"]
    return usage["prompt_tokens"], usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]


async def until_snapshot_is_fresh(own: Own, body: dict[str, Any], with_log: int) -> None:
    """The token meter shows the next prompt: without the log of changes it is shorter."""
    while True:
        _, meter = await own.peer.ask("POST", "/mistral/api/context", body)
        if meter["tokens"] < with_log:
            return
        await asyncio.sleep(0.1)


async def test_a_changed_notebook_is_prefilled_again_in_idle_time(own_host: Callable[[Options], Own]) -> None:
    own = own_host(Options(default_model=SMALL, idle_work_after_s=0.2))
    await costs(own, asked(notebook(LONG), "What is value_3?"))
    with_log, read = await costs(own, asked(edited(), "What changed?"))
    assert read < with_log // 2  # only the change, appended to the cached prompt
    await until_snapshot_is_fresh(own, asked(edited(), "What changed?"), with_log)
    fresh, read = await costs(own, asked(edited(), "And what is value_9?"))
    assert fresh < with_log
    assert read < fresh // 4  # cached, although the changed cell is in the middle


async def test_a_follow_up_on_a_notebook_larger_than_the_budget_reads_its_own_cells_only(
    own_host: Callable[[Options], Own],
) -> None:
    own = own_host(Options(default_model=SMALL, idle_work_after_s=0))
    book, budget = notebook(40), 2400
    _, cold = await costs(own, asked(book, "What is value_3?", budget=budget))
    for number in (35, 12):
        prompt, read = await costs(own, asked(book, f"What is value_{number}?", budget=budget))
        assert 0.8 * budget < prompt <= budget
        assert read < 0.75 * cold


async def test_idle_work_runs_as_the_caller_who_offered_it() -> None:
    seen: list[str] = []
    done = asyncio.Event()

    async def work() -> None:
        seen.append(CALLER.get())
        done.set()

    idle_work = IdleWork(0.01, logging.getLogger())
    CALLER.set("ann")
    idle_work.offer(work)
    CALLER.set("bob")  # the caller whose request ended last
    idle_work.idle()
    await done.wait()
    await idle_work.close()
    assert seen == ["ann"]


async def test_a_question_interrupts_idle_work(own_host: Callable[[Options], Own]) -> None:
    own = own_host(Options(default_model=SMALL, idle_work_after_s=0.05))
    await costs(own, asked(notebook(LONG), "What is value_3?"))
    for turn in range(2):  # each arrives during the idle time after the one before
        await costs(own, asked(edited(), f"What changed, part {turn}?"))
        await asyncio.sleep(0.1)
    reply = await own.peer.chat("Something else.", max_tokens=2)
    assert [chunk async for chunk in reply.chunks()][-1] == "[DONE]"
    await own.engine.unload()


async def test_without_idle_work_nothing_is_prefilled_again(own_host: Callable[[Options], Own]) -> None:
    own = own_host(Options(default_model=SMALL, idle_work_after_s=0))
    await costs(own, asked(notebook(4), "What is value_3?"))
    book = notebook(4)
    book["cells"][1]["source"] = "value_0 = 1"
    with_log, _ = await costs(own, asked(book, "What changed?"))
    await asyncio.sleep(0.5)
    _, meter = await own.peer.ask("POST", "/mistral/api/context", asked(book, "What changed?"))
    assert meter["tokens"] == with_log


def test_each_user_has_a_stable_private_salt(tmp_path: Path) -> None:
    mine = salt_of("me", tmp_path)
    assert mine == salt_of("me", tmp_path)
    assert len({mine, salt_of("you", tmp_path), salt_of("me", tmp_path / "elsewhere")}) == 3
    assert stat.S_IMODE((tmp_path / "salt").stat().st_mode) == 0o600
    (tmp_path / "salt").write_bytes(b"cut")  # a disk that was full
    again = salt_of("me", tmp_path)
    assert again not in (mine, "")
    assert again == salt_of("me", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["salt"]
