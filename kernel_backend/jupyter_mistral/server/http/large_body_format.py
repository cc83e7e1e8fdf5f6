"""Jobs, prompts and plans as plain JSON and bytes, to hand them to another process and back. Pictures stand in the bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from ...context.prompt.builder import Built
from ...context.prompt.inputs import Job
from ...context.prompt.ledger import Piece, Segment
from ...context.prompt.read_in_parts import Note, Plan, Window
from ...context.prompt.snapshot import Mark, Snapshot
from ...protocol.conversation import Message, ToolCall
from ...protocol.images import Image
from .large_body_jobs import Work


class Pictures:
    """The pictures of the messages packed so far."""

    def __init__(self) -> None:
        self.images: list[Image] = []

    @property
    def sizes(self) -> list[dict[str, Any]]:
        return [{"mime": image.mime, "size": len(image.data)} for image in self.images]

    @property
    def blob(self) -> bytes:
        return b"".join(image.data for image in self.images)

    def pack(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        return [
            {
                "role": m.role,
                "content": [self._part(part) for part in m.content],
                "calls": [asdict(call) for call in m.tool_calls],
                "call_id": m.tool_call_id,
            }
            for m in messages
        ]

    def _part(self, part: str | Image) -> str | dict[str, int]:
        if isinstance(part, str):
            return part
        self.images.append(part)
        return {"image": len(self.images) - 1}

    @classmethod
    def of(cls, sizes: Sequence[Mapping[str, Any]], blob: bytes) -> Pictures:
        found = cls()
        for told in sizes:
            found.images.append(Image(told["mime"], blob[: told["size"]]))
            blob = blob[told["size"] :]
        return found

    def unpack(self, messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
        return tuple(
            Message(
                m["role"],
                tuple(p if isinstance(p, str) else self.images[p["image"]] for p in m["content"]),
                tuple(ToolCall(**call) for call in m["calls"]),
                m["call_id"],
            )
            for m in messages
        )


def pack_job(job: Job) -> tuple[dict[str, Any], bytes]:
    pictures = Pictures()
    told = {f.name: getattr(job, f.name) for f in fields(Job)} | {"messages": pictures.pack(job.messages)}
    return {**told, "images": pictures.sizes}, pictures.blob


def unpack_job(told: Mapping[str, Any], blob: bytes) -> Job:
    rest = dict(told)
    pictures = Pictures.of(rest.pop("images"), blob)
    return Job(**{**rest, "messages": pictures.unpack(rest["messages"])})


def pack_built(built: Built) -> tuple[dict[str, Any], bytes]:
    pictures = Pictures()
    return {
        "messages": pictures.pack(built.messages),
        "images": pictures.sizes,
        "ledger": _rows(built.ledger),
        "left_out": built.left_out,
        "notes": built.notes,
        "snapshot": pack_snapshot(built.snapshot),
    }, pictures.blob


def unpack_built(told: Mapping[str, Any], blob: bytes) -> Built:
    ledger = tuple(Segment(*row) for row in told["ledger"])
    return Built(
        Pictures.of(told["images"], blob).unpack(told["messages"]),
        ledger,
        sum(s.tokens for s in ledger),
        tuple(told["left_out"]),
        unpack_snapshot(told["snapshot"]),
        tuple(told["notes"]),
    )


def pack_plan(plan: Plan | None) -> dict[str, Any] | None:
    if plan is None:
        return None
    pictures = Pictures()
    windows = [
        {"about": w.about, "messages": pictures.pack(w.messages), "ledger": _rows(w.ledger), "room": w.room}
        for w in plan.windows
    ]
    assert not pictures.images, "notes are written without pictures"
    return {"windows": windows, "left_out": plan.left_out}


def unpack_plan(told: Mapping[str, Any] | None) -> Plan | None:
    if told is None:
        return None
    windows = []
    for each in told["windows"]:
        ledger = tuple(Segment(*row) for row in each["ledger"])
        messages = Pictures().unpack(each["messages"])
        windows.append(Window(each["about"], messages, ledger, sum(s.tokens for s in ledger), each["room"]))
    return Plan(tuple(windows), tuple(told["left_out"]))


def pack_work(work: Work) -> dict[str, Any]:
    return {
        "name": work.name,
        "snapshot": pack_snapshot(work.snapshot),
        "notes": [asdict(note) for note in work.notes],
        "last": work.last,
    }


def unpack_work(told: Mapping[str, Any]) -> Work:
    notes = [Note(**each) for each in told["notes"]]
    return Work(told["name"], unpack_snapshot(told["snapshot"]), notes, told["last"])


def pack_snapshot(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None:
        return None
    return {
        "basis": snapshot.basis,
        "level": snapshot.level,
        "cells": _rows(snapshot.cells),
        "log": _rows(snapshot.log),
        "keys": snapshot.keys,
        "marks": _rows(snapshot.marks),
        "ran": snapshot.ran,
    }


def unpack_snapshot(told: Mapping[str, Any] | None) -> Snapshot | None:
    if told is None:
        return None
    return Snapshot(
        told["basis"],
        told["level"],
        tuple(Piece(*row) for row in told["cells"]),
        tuple(Piece(*row) for row in told["log"]),
        tuple(told["keys"]),
        tuple(Mark(*row) for row in told["marks"]),
        {key: (run, mark) for key, (run, mark) in told["ran"].items()},
    )


def _rows(things: Sequence[Piece] | Sequence[Segment] | Sequence[Mark]) -> list[list[Any]]:
    return [[getattr(thing, f.name) for f in fields(thing)] for thing in things]
