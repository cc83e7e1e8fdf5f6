"""Bytes: strict JSON, frames of the worker's socket, server-sent events."""

from __future__ import annotations

import contextlib
import json
import struct

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyter_mistral.protocol.events import Delta, End, Event, Loading, Queued, Reading, Usage
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.wire import (
    DONE,
    KEEP_ALIVE,
    MAX_FRAME,
    FrameReader,
    events_of_sse,
    of_chunk,
    read_json,
    to_chunk,
    to_frame,
    to_sse,
)

EVENTS: list[Event] = [
    Queued(2),
    Loading("quantize", 0.25, "layer 6 of 24", 12.5),
    Reading(256, 4096, 128, 3.0),
    Delta("سلام \u2028 {x}"),
    End("stop", Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=3, seed=1, model="m", left_out=("cell 2",))),
]
BASE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_an_event_survives_the_way_to_a_chunk_and_back(event: Event) -> None:
    chunk = json.loads(to_sse(to_chunk(event, BASE))[6:])
    assert of_chunk(chunk) == event
    assert chunk["object"] == "chat.completion.chunk"


def test_a_stock_client_sees_progress_as_chunks_without_choices() -> None:
    assert to_chunk(Queued(1), BASE)["choices"] == []


def test_a_stream_is_read_to_its_end() -> None:
    body = KEEP_ALIVE + b"".join(to_sse(to_chunk(e, BASE)) for e in EVENTS) + DONE
    assert list(events_of_sse(iter(body.splitlines()))) == EVENTS


def test_a_stream_that_breaks_off_is_a_failure() -> None:
    body = to_sse(to_chunk(Delta("half"), BASE))
    events = events_of_sse(iter(body.splitlines()))
    assert next(events) == Delta("half")
    with pytest.raises(Failure, match="interrupted"):
        next(events)


def test_an_error_chunk_raises_what_it_tells() -> None:
    told = Failure("no_memory", "The model needs 14 GiB.", "Load a smaller one.")
    with pytest.raises(Failure) as caught:
        of_chunk(json.loads(json.dumps({"error": told.to_dict()})))
    assert (caught.value.code, caught.value.message, caught.value.todo) == (told.code, told.message, told.todo)


@pytest.mark.threat("T22")
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        '{"a": 1}'.encode("utf-16"),
        b"[" * 70 + b"]" * 70,
        b"[" * 200_000,
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 9007199254740993}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1, "a": 2}',
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_json_that_others_let_through_is_refused(raw: bytes) -> None:
    with pytest.raises(Failure) as caught:
        read_json(raw)
    assert caught.value.status == 400


@pytest.mark.threat("T22")
def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    value = read_json(b'{"a\\ud800": "x\\udfffy\\u0000"}')
    assert value == {"a\ufffd": "x\ufffdy\x00"}
    json.dumps(value, ensure_ascii=False).encode()


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(st.dictionaries(st.text(), st.text()), st.binary(max_size=300)), max_size=5), st.integers(1, 50)
)
def test_frames_come_back_whole_however_the_bytes_are_cut(
    frames: list[tuple[dict[str, str], bytes]], step: int
) -> None:
    frames = [({**header, "type": "t"}, blob) for header, blob in frames]
    raw = b"".join(to_frame(*frame) for frame in frames)
    reader, found = FrameReader(), []
    for i in range(0, len(raw), step):
        found += list(reader.feed(raw[i : i + step]))
    assert [blob for _, blob in found] == [blob for _, blob in frames]
    assert all(
        h == json.loads(json.dumps(g, ensure_ascii=False).encode("utf-8", "replace"))
        for (h, _), (g, _) in zip(found, frames, strict=True)
    )


@pytest.mark.threat("T31")
@pytest.mark.parametrize(
    "raw", [b"\xff" * 64, struct.pack(">II", MAX_FRAME, 1), to_frame({"no": "type"}), struct.pack(">II", 2, 0) + b"[]"]
)
def test_garbage_frames_are_refused_before_they_are_held(raw: bytes) -> None:
    with pytest.raises(ValueError):
        list(FrameReader().feed(raw))


@pytest.mark.threat("T31")
@pytest.mark.fault("F20")
@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        list(FrameReader().feed(raw))
    with contextlib.suppress(Failure):
        read_json(raw)
