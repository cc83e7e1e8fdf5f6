"""Jobs, prompts and plans as JSON and bytes, for the child process of a large body. The bytes are the images."""

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


class Images:
    """Packs messages and collects their images; unpacks them again."""

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
    def of(cls, sizes: Sequence[Mapping[str, Any]], blob: bytes) -> Images:
        images = cls()
        for row in sizes:
            images.images.append(Image(row["mime"], blob[: row["size"]]))
            blob = blob[row["size"] :]
        return images

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
    images = Images()
    packed = {f.name: getattr(job, f.name) for f in fields(Job)} | {"messages": images.pack(job.messages)}
    return {**packed, "images": images.sizes}, images.blob


def unpack_job(packed: Mapping[str, Any], blob: bytes) -> Job:
    values = dict(packed)
    images = Images.of(values.pop("images"), blob)
    return Job(**{**values, "messages": images.unpack(values["messages"])})


def pack_built(built: Built) -> tuple[dict[str, Any], bytes]:
    images = Images()
    return {
        "messages": images.pack(built.messages),
        "images": images.sizes,
        "ledger": _rows(built.ledger),
        "left_out": built.left_out,
        "notes": built.notes,
        "snapshot": pack_snapshot(built.snapshot),
    }, images.blob


def unpack_built(packed: Mapping[str, Any], blob: bytes) -> Built:
    ledger = tuple(Segment(*row) for row in packed["ledger"])
    return Built(
        Images.of(packed["images"], blob).unpack(packed["messages"]),
        ledger,
        sum(s.tokens for s in ledger),
        tuple(packed["left_out"]),
        unpack_snapshot(packed["snapshot"]),
        tuple(packed["notes"]),
    )


def pack_plan(plan: Plan | None) -> dict[str, Any] | None:
    if plan is None:
        return None
    images = Images()
    windows = [
        {"about": w.about, "messages": images.pack(w.messages), "ledger": _rows(w.ledger), "note_tokens": w.note_tokens}
        for w in plan.windows
    ]
    assert not images.images, "notes are written without images"
    return {"windows": windows, "left_out": plan.left_out}


def unpack_plan(packed: Mapping[str, Any] | None) -> Plan | None:
    if packed is None:
        return None
    windows = []
    for window in packed["windows"]:
        ledger = tuple(Segment(*row) for row in window["ledger"])
        messages = Images().unpack(window["messages"])
        windows.append(Window(window["about"], messages, ledger, sum(s.tokens for s in ledger), window["note_tokens"]))
    return Plan(tuple(windows), tuple(packed["left_out"]))


def pack_work(work: Work) -> dict[str, Any]:
    return {
        "name": work.name,
        "snapshot": pack_snapshot(work.snapshot),
        "notes": [asdict(note) for note in work.notes],
        "last": work.last,
    }


def unpack_work(packed: Mapping[str, Any]) -> Work:
    notes = [Note(**note) for note in packed["notes"]]
    return Work(packed["name"], unpack_snapshot(packed["snapshot"]), notes, packed["last"])


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


def unpack_snapshot(packed: Mapping[str, Any] | None) -> Snapshot | None:
    if packed is None:
        return None
    return Snapshot(
        packed["basis"],
        packed["level"],
        tuple(Piece(*row) for row in packed["cells"]),
        tuple(Piece(*row) for row in packed["log"]),
        tuple(packed["keys"]),
        tuple(Mark(*row) for row in packed["marks"]),
        {key: (run, mark) for key, (run, mark) in packed["ran"].items()},
    )


def _rows(records: Sequence[Piece] | Sequence[Segment] | Sequence[Mark]) -> list[list[Any]]:
    return [[getattr(record, f.name) for f in fields(record)] for record in records]
