"""What the audit log records, and that it never records what was said."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zygote
from jupyter_mistral import health
from jupyter_mistral.documents.decoder import Decoder
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import End, Usage
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, Extras, Sampling
from jupyter_mistral.server.assemble import join
from jupyter_mistral.server.chats.service import Conversations
from jupyter_mistral.server.http.tokens import Tokens
from jupyter_mistral.server.inference.base import Options
from jupyter_mistral.server.observe.audit_check import verify
from jupyter_mistral.server.observe.audit_log import audit_of, folder
from jupyter_mistral.server.observe.recorder import Recorder

from .audit_records import all_records, command, verified

SMALL = "smollm2-135m"
CANARY = "the-canary-sentence-7431"
READ = "/mistral/api/read?ocr=off"
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>endobj 4 0 obj<</Title(TITLE)>>endobj "
    b"trailer<</Root 1 0 R/Info 4 0 R>>"
)
Make = Callable[..., Any]


@pytest.mark.threat("T36", "T28")
async def test_a_request_is_recorded_with_user_model_and_cost_but_never_its_text(
    mistral_home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    log = audit_of({"audit_log": True})
    assert log is not None
    parts = join(Options(), logging.getLogger("jupyter_mistral"), None, log, zygote.launch)
    try:
        async for _ in parts.engine.load(SMALL):
            pass
        question = ChatRequest((Message("user", (f"Say {CANARY}.",)),), model=SMALL)
        events = [event async for event in parts.engine.stream(question)]
        usage = events[-1].usage if isinstance(events[-1], End) else Usage()
        left = parts.engine.stream(question)
        async for _ in left:
            break
        await left.aclose()
        with pytest.raises(Failure):
            odd = Extras(notebook={"cells": [], "path": [CANARY]})
            await anext(parts.engine.stream(ChatRequest(question.messages, model="no-such-model", extras=odd)))
        await parts.engine.unload()
        assert (await parts.engine.status()).worker_pid is None
    finally:
        await parts.close()
    entries = all_records(folder())
    assert [(r["action"], r["state"]) for r in entries] == [
        ("load", "asked"),
        ("load", "done"),
        ("chat", "asked"),
        ("chat", usage and events[-1].reason),  # type: ignore[union-attr]
        ("chat", "asked"),
        ("chat", "left"),
        ("chat", "asked"),
        ("chat", "failed"),
        ("unload", "done"),
    ]
    entries = entries[1:]
    done = entries[2]
    assert (done["model"], done["prompt_tokens"]) == (SMALL, usage.prompt_tokens)
    assert done["completion_tokens"] == usage.completion_tokens > 0
    assert entries[1]["prompt_sha256"] == entries[3]["prompt_sha256"]
    assert entries[1]["request"] == done["request"] != entries[3]["request"]
    assert entries[6]["code"] == "unknown_model"
    # whoever has the server's own token has a name by chance: the account says who it was, whatever LOGNAME says
    assert {r["account"] for r in entries} == {pwd.getpwuid(os.getuid()).pw_name}
    assert verified(folder()) == (9, "")
    raw = b"".join(path.read_bytes() for path in folder().glob("*"))
    assert CANARY.encode() not in raw and CANARY not in caplog.text


@pytest.mark.threat("T36", "T28")
async def test_reading_documents_and_deleting_chats_is_recorded(own_host: Make) -> None:
    peer = own_host(Options(), None, audit_of({"audit_log": True})).peer
    pdf = PDF.replace(b"TITLE", CANARY.encode())

    kind = {"Content-Type": "application/pdf"}
    reply = await peer.send("POST", READ, raw=pdf, headers=kind)
    assert [chunk async for chunk in reply.chunks()][-1] == "[DONE]"
    assert (await peer.ask("POST", READ, raw=CANARY.encode(), headers=kind))[0] == 400
    _, chat = await peer.ask("POST", "/mistral/api/chats", {"title": CANARY})
    path, nobody = f"/mistral/api/chats/{chat['id']}", "0" * 32
    assert (await peer.ask("DELETE", f"{path}/messages/{nobody}"))[0] == 404
    folder().rename(folder().with_name("away"))
    folder().write_text("")
    assert (await peer.ask("DELETE", path))[1]["error"]["code"] == "not_recorded"
    assert (await peer.ask("POST", READ, raw=pdf, headers=kind))[1]["error"]["code"] == "not_recorded"
    folder().unlink()
    folder().with_name("away").rename(folder())
    assert (await peer.ask("DELETE", path))[0] == 200
    entries = all_records(folder())
    assert [(r["action"], r["state"]) for r in entries] == [
        ("read", "asked"),
        ("read", "done"),
        ("read", "asked"),
        ("read", "failed"),
        ("delete_messages", "asked"),
        ("delete_messages", "failed"),
        ("delete_chat", "asked"),
        ("delete_chat", "done"),
    ]
    assert (entries[0]["bytes"], entries[0]["document_sha256"]) == (len(pdf), hashlib.sha256(pdf).hexdigest())
    assert (entries[1]["pages"], entries[6]["chat"]) == (1, chat["id"])
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in folder().glob("*"))


@pytest.mark.threat("T36", "T35")
def test_creating_and_revoking_tokens_is_recorded(
    mistral_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/jupyter_server_config.json").write_text('{"MistralExtension": {"audit_log": true}}')
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    made = command("create", "editor", what="token")
    assert command("revoke", "editor", what="token").returncode == 0
    entries = all_records(folder())
    assert [(r["action"], r["state"], r["token"]) for r in entries] == [
        ("create_token", "asked", "editor"),
        ("create_token", "done", "editor"),
        ("revoke_token", "done", "editor"),
    ]
    assert {r["account"] for r in entries} == {pwd.getpwuid(os.getuid()).pw_name}
    assert made.stdout.strip() and made.stdout.strip() not in json.dumps(entries)
    log = audit_of({"audit_log": True})
    Tokens(audit=log).create("other")
    shutil.rmtree(folder())
    folder().write_text("")
    with pytest.raises(Failure, match="audit log cannot be written"):
        Tokens(audit=log).create("third")
    Tokens(audit=log).revoke("other")  # closing a door is never refused
    assert Tokens().rows() == []


async def test_without_the_setting_there_is_no_log(mistral_home: Path) -> None:
    assert audit_of({}) is None
    parts = join(Options(), logging.getLogger("jupyter_mistral"))
    assert not [observer for observer in parts.engine.observers if isinstance(observer, Recorder)]
    assert type(parts.decoder) is Decoder and type(parts.conversations) is Conversations
    await parts.close()
    assert not folder().exists()


@pytest.mark.threat("T36")
@pytest.mark.fault("F9")
async def test_a_request_that_cannot_be_recorded_is_refused_before_anything_runs(
    mistral_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    folder().write_text("where the log's folder should be")
    parts = join(Options(), logging.getLogger("jupyter_mistral"), None, audit_of({"audit_log": True}), zygote.launch)
    engine, asked = parts.engine, ChatRequest((Message("user", ("Hello.",)),), model=SMALL)
    try:
        for begun in (
            anext(engine.load(SMALL)),
            anext(engine.stream(asked)),
            anext(engine.complete(CompletionRequest("a", model=SMALL))),
            engine.embed(EmbeddingRequest(("a",), model=SMALL)),
        ):
            with pytest.raises(Failure) as caught:
                await begun
            assert caught.value.code == "not_recorded" and "(File exists)" in caught.value.message
        status = await engine.status()
        assert status.state == "unloaded" and status.worker_pid is None
        assert status.failure is not None and status.failure["code"] == "not_recorded"
        parts.channel.start()
        checks = await asyncio.to_thread(lambda: list(health._host()))
        assert [(check.name, check.state) for check in checks] == [("host", "ok"), ("audit", "blocked")]
        await engine.unload()  # gives back and is never refused
        folder().unlink()
        assert [event async for event in engine.load(SMALL)]
        assert (await engine.status()).failure is None
        assert all_records(folder())[0]["lost_before"] == 5
    finally:
        await parts.close()


@pytest.mark.threat("T36")
@pytest.mark.fault("F9")
async def test_an_end_that_cannot_be_recorded_is_reported_and_later_requests_are_refused(
    mistral_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = join(Options(), logging.getLogger("jupyter_mistral"), None, audit_of({"audit_log": True}), zygote.launch)
    engine, asked = parts.engine, ChatRequest((Message("user", ("Hello.",)),), Sampling(max_tokens=4), model=SMALL)
    away = folder().with_name("away")
    try:
        async for _ in engine.stream(asked):
            if not away.exists():
                folder().rename(away)
                folder().write_text("")
        assert "1 audit record could not be written" in caplog.text
        status = await engine.status()
        assert status.state == "ready" and status.failure is not None and status.failure["code"] == "not_recorded"
        with pytest.raises(Failure, match="audit log cannot be written"):
            await anext(engine.stream(asked))
        folder().unlink()
        away.rename(folder())
        assert isinstance([event async for event in engine.stream(asked)][-1], End)
        assert (await engine.status()).failure is None
    finally:
        await parts.close()
    assert verified(folder()) == (3, "") and verify(folder()).lost == 2


def test_without_posix_modules_the_extension_can_still_be_imported() -> None:
    """As on Windows, where an engine elsewhere may be asked."""
    code = "import sys\nfor name in ('fcntl', 'pwd', 'resource', 'termios'): sys.modules[name] = None\n"
    code += "import jupyter_mistral.server.app, jupyter_mistral.server.standalone"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
