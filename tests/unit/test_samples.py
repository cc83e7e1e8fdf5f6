"""The JSON samples that the Python and the TypeScript tests both read, so that the twins of the protocol cannot drift."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.protocol.events import Delta, End, Loading, Queued, Reading, Usage
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.parsing import parse_ask, parse_chat, parse_completion
from jupyter_mistral.protocol.status import Memory, ModelCard, Seal, Status
from jupyter_mistral.protocol.wire import events_of_sse, of_chunk, to_chunk, to_sse

SAMPLES = Path(__file__).parent.parent / "samples"
BASE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}
USAGE = Usage(
    prompt_tokens=1204,
    completion_tokens=88,
    cached_tokens=1100,
    time_to_first_token_s=0.25,
    tokens_per_second=31.5,
    prefill_tokens_per_second=650.0,
    seconds=3.0,
    model="qwen2.5-coder-0.5b",
    quantization="nf4",
    seed=7,
    context_length=32768,
    energy_j=None,
    left_out=("cells 3-5",),
)
EVENTS = {
    "queued": Queued(2),
    "loading": Loading("download", 0.5, "part 3 of 6", 12.5),
    "loading_unknown": Loading("warm"),
    "reading": Reading(512, 1204, 100, 1.5),
    "delta": Delta('print("é, سلام, 🌬")\n'),
    "end": End("stop", USAGE),
    "end_length": End("length"),
}
FAILURE = Failure("busy", "The model is answering somebody else.", "Wait a moment.")
STATUS = Status(
    version="0.1.0",
    state="ready",
    default_model="qwen2.5-coder-0.5b",
    model=ModelCard("qwen2.5-coder-0.5b", "Qwen2.5 Coder", "Apache-2.0", 494_032_768, "nf4", 32768, ("text", "image")),
    progress=Loading("load", 0.25),
    running=1,
    queued=2,
    memory=Memory("cuda", 457, 12, 1000, 2000, 500, "NVIDIA L4", 31.5, 48, 90),
    seal=Seal("seccomp", True, "no namespaces here"),
    last=USAGE,
    failure=FAILURE.to_dict(),
    worker_pid=42,
    idle_unload_s=1800.0,
    engine={"host": "localhost:8000", "tokens": "exact"},
)


def _made() -> dict[str, Any]:
    """What this side writes today."""
    return {
        "chunks": {name: to_chunk(event, BASE) for name, event in EVENTS.items()},
        "error": {"error": FAILURE.to_dict()},
        "status": STATUS.to_dict(),
    }


def _read(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["chunks", "error", "status"])
def test_samples_are_what_the_server_writes(name: str) -> None:
    assert _read(name) == json.loads(json.dumps(_made()[name])), (
        "run `python tests/unit/test_samples.py` and look at the difference"
    )


@pytest.mark.parametrize("name", EVENTS)
def test_each_chunk_reads_back_as_its_event(name: str) -> None:
    event = of_chunk(_read("chunks")[name])
    if isinstance(event, End):  # JSON has no tuples
        assert asdict(event) | {"usage": None} == asdict(EVENTS[name]) | {"usage": None}
        assert event.usage.to_dict() == EVENTS[name].usage.to_dict()  # type: ignore[union-attr]
    else:
        assert event == EVENTS[name]


def test_the_error_chunk_is_the_failure() -> None:
    with pytest.raises(Failure) as caught:
        of_chunk(_read("error"))
    assert (caught.value.code, caught.value.message, caught.value.todo) == (FAILURE.code, FAILURE.message, FAILURE.todo)


def test_a_stream_of_samples_reads_as_its_events() -> None:
    body = b"".join(to_sse(chunk) for chunk in _read("chunks").values()) + b"data: [DONE]\n\n"
    assert len(list(events_of_sse(iter(body.splitlines(keepends=True))))) == len(EVENTS)


def test_what_the_panel_asks_is_understood() -> None:
    """requests.json is written by the TypeScript side's own test, from the code that the panel sends with."""
    requests = _read("requests")
    ask = parse_ask(requests["ask"])
    assert ask.content[0] == "Fix [cell 3]"
    assert ask.content[2].mime == "image/png"  # type: ignore[union-attr]
    assert ask.extras.focus == 3
    assert ask.extras.events
    assert ask.extras.client == "panel"
    assert ask.replaces == "m1"
    assert parse_ask(requests["regenerate"]).content == ()
    assert parse_completion(requests["complete"]).if_busy == "refuse"
    count = parse_chat(requests["count"])
    assert count.extras.notebook is not None
    assert [m.role for m in count.messages] == ["user", "assistant", "user"]


if __name__ == "__main__":
    SAMPLES.mkdir(exist_ok=True)
    for name, data in _made().items():
        (SAMPLES / f"{name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
