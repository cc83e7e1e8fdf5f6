"""A worker answers through the fast path, and says why it is off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_host import Host


def _load(host: Host, folder: Path, **fields: Any) -> list[str]:
    """The details of the loading events."""
    host.send("load", path=str(folder), out=None, name="test", device="cpu", quantization="nf4", **fields)
    told = []
    for frame in host.frames():
        if frame["type"] in ("ready", "failed"):
            assert frame["type"] == "ready", frame
            break
        told.append(frame.get("detail"))
    return told


@pytest.fixture(scope="module", params=["bf16", "int8"])
def fast_host(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A worker with the tiny Mistral3 on the fast path, where it stays."""
    host = Host(tmp_path_factory.mktemp("home"), JUPYTER_MISTRAL_DECODE="reference")
    assert "first steps; fast path on" in _load(host, tiny, kv=request.param)
    yield host
    host.socket.close()
    assert host.process.wait(20) == 0 and "fast path off" not in host.stderr()
    host.close()


def test_a_worker_answers_one_and_several_requests_with_it(fast_host: Any) -> None:
    questions = ["What is a list?", "Count to ten. " * 12, "Explain import os."]
    alone = [fast_host.ask(question) for question in questions]
    assert all(end["type"] == "end" and end["text"] for end in alone)
    names = [
        fast_host.send(
            "generate",
            messages=[{"role": "user", "content": [question]}],
            sampling={"temperature": 0.0, "max_tokens": 32},
        )
        for question in questions
    ]
    order, ends = [], {}
    for frame in fast_host.frames():
        if frame["type"] == "delta":
            order.append(frame["id"])
        elif frame["type"] in ("end", "error"):
            ends[frame["id"]] = frame
            if len(ends) == len(names):
                break
    assert [ends[name]["type"] for name in names] == ["end"] * 3
    assert {ends[name]["reason"] for name in names} <= {"length", "stop"}
    assert order != sorted(order, key=names.index), "their texts came in turns"


def test_a_worker_stops_within_a_token_and_keeps_its_cache(fast_host: Any) -> None:
    question = "word " * 150
    asked = fast_host.send(
        "generate",
        messages=[{"role": "user", "content": [question]}],
        sampling={"temperature": 1.0, "seed": 1, "max_tokens": 2000},
    )
    next(frame for frame in fast_host.frames() if frame["type"] == "delta")
    fast_host.send("cancel", id=asked)
    end = fast_host.finish(asked)
    assert end["reason"] == "cancelled" and end["usage"]["completion_tokens"] < 1900
    again = fast_host.ask(question, sampling={"max_tokens": 4})
    assert again["usage"]["cached_tokens"] >= again["usage"]["prompt_tokens"] // 64 * 64 - 64
    fast_host.send("park")
    assert fast_host.next("moved", "error")["type"] == "moved"
    assert fast_host.ask(question, sampling={"max_tokens": 4})["text"] == again["text"]


def test_a_worker_reports_why_it_is_off(tiny: Path, tmp_path: Path) -> None:
    host = Host(tmp_path, JUPYTER_MISTRAL_DECODE="soon")
    told = _load(host, tiny)[-1]
    assert told.startswith("first steps; fast path off: JUPYTER_MISTRAL_DECODE=soon is none of")
    assert host.ask("Hi.")["type"] == "end"
    assert host.close() == 0
