"""Reading a whole notebook in parts with a real host and worker: each part is announced, counted and cached, and can be cancelled."""

from __future__ import annotations

from typing import Any

from .api.test_context import notebook
from .conftest import SMALL, Peer

# small, so that notes are short
BUDGET = 500


def asked(question: str = "Which value is the largest?", **more: Any) -> dict[str, Any]:
    mine = {"client": "test", "events": True, "thorough": True, "budget": BUDGET, "notebook": notebook(7), **more}
    messages = [{"role": "user", "content": question}]
    return {"messages": messages, "model": SMALL, "stream": True, "max_tokens": 4, "temperature": 0, "mistral": mine}


async def answered(peer: Peer, body: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Progress of reading, usage and text of an answer."""
    reply = await peer.send("POST", "/mistral/v1/chat/completions", body)
    chunks = [chunk async for chunk in reply.chunks()]
    assert chunks[-1] == "[DONE]", chunks[-1]
    data = [c for c in chunks if isinstance(c, dict)]
    reading = [c["mistral"] for c in data if c.get("mistral", {}).get("event") == "reading"]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in data if c["choices"])
    return reading, next(c["usage"] for c in data if c.get("usage")), text


async def test_each_part_is_announced_and_counted_before_it_is_read(peer: Peer) -> None:
    status, meter = await peer.ask("POST", "/mistral/api/context", {**asked(), "stream": False})
    assert status == 200, meter
    planned = meter["parts"]
    assert len(planned) > 1
    assert meter["tokens"] == sum(part["tokens"] for part in planned) == sum(row["tokens"] for row in meter["ledger"])
    reading, usage, text = await answered(peer, asked())
    parts = [event["part"] for event in reading if event["part"]]
    assert sorted(set(parts)) == list(range(1, len(planned) + 1))
    assert parts == sorted(parts)
    done = [event["done"] for event in reading if event["part"]]
    assert done == sorted(done)
    assert {event["total"] for event in reading if event["part"]} == {meter["tokens"]}
    noted = usage["mistral"]["parts"]
    # exactly what was announced, part by part; the rest is the last prompt
    assert [(row["cells"], row["prompt_tokens"]) for row in noted] == [(p["cells"], p["tokens"]) for p in planned]
    assert all(isinstance(row["notes"], str) for row in noted)
    last = usage["prompt_tokens"] - meter["tokens"]
    assert 0 < last <= BUDGET
    assert usage["completion_tokens"] >= 4
    assert text
    _, again, _ = await answered(peer, asked("And the smallest?"))
    assert again["prompt_tokens_details"]["cached_tokens"] > usage["prompt_tokens"] // 2


async def test_a_notebook_that_fits_is_read_in_one_prompt(peer: Peer) -> None:
    reading, usage, _ = await answered(peer, asked(notebook=notebook(2), budget=2000))
    assert {event["part"] for event in reading} <= {0}
    assert usage["mistral"]["parts"] == []


async def test_disconnecting_cancels_all_parts(peer: Peer) -> None:
    reply = await peer.send("POST", "/mistral/v1/chat/completions", asked("Leave me."))
    async for chunk in reply.chunks():
        if isinstance(chunk, dict) and chunk.get("mistral", {}).get("part") == 1:
            break
    reply.leave()
    await peer.until(lambda status: not status["running"])
    status, answer = await peer.ask("POST", "/mistral/v1/chat/completions", {**asked(thorough=False), "stream": False})
    assert status == 200, answer
