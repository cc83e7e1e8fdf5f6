"""The audit log: what it records, that it never holds what was said, and that no record can be changed unseen."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import pwd
import resource
import shutil
import stat
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zygote
from jupyter_mistral import health
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import End, Usage
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, Extras, Sampling
from jupyter_mistral.server.assemble import join
from jupyter_mistral.server.http.tokens import Keys
from jupyter_mistral.server.inference.base import Options
from jupyter_mistral.server.inference.local import LocalEngine
from jupyter_mistral.server.observe.audit_log import START, AuditLog, audit_of, folder, records, verify

SMALL = "smollm2-135m"
CANARY = "the-canary-sentence-7431"
READ = "/mistral/api/read?ocr=off"
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>endobj 4 0 obj<</Title(TITLE)>>endobj "
    b"trailer<</Root 1 0 R/Info 4 0 R>>"
)
Make = Callable[..., Any]


def told(place: Path) -> list[dict[str, Any]]:
    return [record for _, record in records(place) if record is not None]


def held(place: Path) -> tuple[int, str]:
    found = verify(place)
    return found.count, found.fault


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "audit"


# ---------------------------------------------------------------------------------------------- what is recorded


@pytest.mark.threat("T36", "T28")
async def test_a_request_leaves_who_what_and_how_much_but_never_what_was_said(
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
    found = told(folder())
    assert [(r["action"], r["state"]) for r in found] == [
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
    found = found[1:]
    done = found[2]
    assert (done["model"], done["prompt_tokens"]) == (SMALL, usage.prompt_tokens)
    assert done["completion_tokens"] == usage.completion_tokens > 0
    assert found[1]["prompt_sha256"] == found[3]["prompt_sha256"]
    assert found[1]["request"] == done["request"] != found[3]["request"]
    assert found[6]["code"] == "unknown_model"
    # whoever has the server's own token has a name by chance: the account says who it was, whatever LOGNAME says
    assert {r["account"] for r in found} == {pwd.getpwuid(os.getuid()).pw_name}
    assert held(folder()) == (9, "")
    raw = b"".join(path.read_bytes() for path in folder().glob("*"))
    assert CANARY.encode() not in raw and CANARY not in caplog.text


@pytest.mark.threat("T36", "T28")
async def test_documents_that_are_read_and_chats_that_are_deleted_leave_a_record(own_host: Make) -> None:
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
    found = told(folder())
    assert [(r["action"], r["state"]) for r in found] == [
        ("read", "asked"),
        ("read", "done"),
        ("read", "asked"),
        ("read", "failed"),
        ("delete_messages", "asked"),
        ("delete_messages", "failed"),
        ("delete_chat", "asked"),
        ("delete_chat", "done"),
    ]
    assert (found[0]["bytes"], found[0]["document_sha256"]) == (len(pdf), hashlib.sha256(pdf).hexdigest())
    assert (found[1]["pages"], found[6]["chat"]) == (1, chat["id"])
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in folder().glob("*"))


@pytest.mark.threat("T36", "T35")
def test_tokens_that_are_made_and_revoked_leave_a_record(
    mistral_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/jupyter_server_config.json").write_text('{"MistralExtension": {"audit_log": true}}')
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    made = command("create", "editor", what="token")
    assert command("revoke", "editor", what="token").returncode == 0
    found = told(folder())
    assert [(r["action"], r["state"], r["token"]) for r in found] == [
        ("create_token", "asked", "editor"),
        ("create_token", "done", "editor"),
        ("revoke_token", "done", "editor"),
    ]
    assert {r["account"] for r in found} == {pwd.getpwuid(os.getuid()).pw_name}
    assert made.stdout.strip() and made.stdout.strip() not in json.dumps(found)
    log = audit_of({"audit_log": True})
    Keys(audit=log).create("other")
    shutil.rmtree(folder())
    folder().write_text("")
    with pytest.raises(Failure, match="audit log cannot be written"):
        Keys(audit=log).create("third")
    Keys(audit=log).revoke("other")  # closing a door is never refused
    assert Keys().rows() == []


async def test_without_the_setting_there_is_no_log(mistral_home: Path) -> None:
    assert audit_of({}) is None
    parts = join(Options(), logging.getLogger("jupyter_mistral"))
    assert isinstance(parts.engine, LocalEngine)
    await parts.close()
    assert not folder().exists()


@pytest.mark.threat("T36")
@pytest.mark.fault("F9")
async def test_what_cannot_be_recorded_is_refused_before_anything_runs(
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
        assert told(folder())[0]["lost_before"] == 5
    finally:
        await parts.close()


@pytest.mark.threat("T36")
@pytest.mark.fault("F9")
async def test_an_end_that_cannot_be_recorded_is_told_and_nothing_follows_it(
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
    assert held(folder()) == (3, "") and verify(folder()).lost == 2


# ---------------------------------------------------------------------------------------------- the chain


def filled(place: Path, count: int = 5) -> Path:
    log = AuditLog(place)
    for i in range(count):
        log.add({"action": "chat", "state": "asked", "request": f"{i}"})
    (path,) = place.glob("audit-*.jsonl")
    return path


@pytest.mark.threat("T36")
def test_records_are_chained_and_private(place: Path) -> None:
    path = filled(place)
    found = told(place)
    assert [r["n"] for r in found] == [1, 2, 3, 4, 5]
    assert found[0]["previous"] == START
    assert [r["previous"] for r in found[1:]] == [r["hash"] for r in found[:-1]]
    assert held(place) == (5, "") and verify(place).last == found[-1]["hash"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o700 and stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.threat("T36")
def test_any_changed_byte_is_found_and_named(place: Path) -> None:
    path = filled(place)
    raw = path.read_bytes()
    for at in range(0, len(raw), 7):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        path.write_bytes(changed)
        count, fault = held(place)
        line = raw[:at].count(b"\n") + 1
        assert fault, at
        assert count <= line and f"{path.name}:" in fault


@pytest.mark.threat("T36")
@pytest.mark.parametrize("lines", [[0, 1, 3, 4], [0, 2, 1, 3, 4], [0, 1, 1, 2, 3, 4]], ids=["gone", "moved", "twice"])
def test_a_record_that_is_gone_moved_or_doubled_is_found(place: Path, lines: list[int]) -> None:
    path = filled(place)
    raw = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(raw[i] for i in lines))
    count, fault = held(place)
    assert "does not follow" in fault and count < 5


def test_the_chain_goes_on_over_days_and_older_ones_may_be_deleted(place: Path) -> None:
    path = filled(place, 3)
    path.rename(place / "audit-2020-01-01.jsonl")
    AuditLog(place).add({"action": "load", "state": "done"})
    assert len(list(place.glob("audit-*"))) == 2
    assert held(place) == (4, "")
    old = time.time() - 40 * 86400
    os.utime(place / "audit-2020-01-01.jsonl", (old, old))
    AuditLog(place, days=30).add({"action": "unload", "state": "done"})
    assert [r["n"] for r in told(place)] == [4, 5]
    assert held(place) == (2, "") and verify(place).first == 4


@pytest.mark.fault("F19")
def test_a_clock_that_goes_back_keeps_the_order(place: Path) -> None:
    path = filled(place, 2)
    path.rename(place / "audit-2999-01-01.jsonl")
    AuditLog(place).add({"action": "chat", "state": "asked"})
    assert [r["n"] for r in told(place)] == [1, 2, 3]
    assert held(place) == (3, "")


@pytest.mark.fault("F14")
def test_two_servers_share_one_chain(place: Path) -> None:
    write = "import sys; from pathlib import Path; from jupyter_mistral.server.observe.audit_log import AuditLog\n"
    write += "log = AuditLog(Path(sys.argv[1]))\nfor _ in range(25): log.add({'action': 'chat'})"
    writers = [subprocess.Popen([sys.executable, "-c", write, str(place)]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert held(place) == (50, "")


@pytest.mark.fault("F9")
def test_a_full_disk_loses_no_more_than_it_says(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AuditLog(place)
    log.add({"action": "chat"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = next(place.glob("audit-*")).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        log.add({"action": "chat"})
        log.add({"action": "chat"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.add({"action": "chat"})
    assert [(r["n"], r.get("lost_before")) for r in told(place)] == [(1, None), (2, 2)]
    assert held(place) == (2, "") and verify(place).lost == 2
    assert "2 audit records could not be written" in caplog.text


@pytest.mark.fault("F2")
def test_half_a_line_of_a_power_cut_is_told_and_the_log_goes_on(place: Path) -> None:
    path = filled(place, 2)
    with path.open("ab") as out:
        out.write(b'{"n": 3, "ti')
    assert held(place) == (2, f"{path.name}:3 is no record")
    AuditLog(place).add({"action": "chat"})
    assert [r["n"] for r in told(place)] == [1, 2, 3]
    # the record after it follows the one before it: nothing is missing, and what comes later can still be checked
    assert held(place) == (3, "") and verify(place).torn == 1
    path.write_bytes(path.read_bytes().replace(b'"action": "chat"', b'"action": "load"'))
    assert held(place)[1]


def test_the_last_record_of_a_long_day_is_found_from_its_end(place: Path) -> None:
    path = filled(place)
    last = told(place)[-1]
    older = path.with_name("audit-2020-01-01.jsonl")
    older.write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes() * 2_000)
    tracemalloc.start()
    try:
        AuditLog(place).add({"action": "chat"})
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 8
    finally:
        tracemalloc.stop()
    with path.open("rb") as lines:
        lines.seek(-1000, os.SEEK_END)
        after = json.loads(lines.read().splitlines()[-1])
    assert (after["n"], after["previous"]) == (last["n"] + 1, last["hash"])
    # further back where the end holds none, in the file before where there is none at all
    for rest in (b"x" * 200 + b"\n", b"x" * 100_000 + b"\n", b"x" * 700_000):
        AuditLog(place).add({"action": "chat"})
        count = told(place)[-1]["n"]
        with path.open("ab") as out:
            out.write(rest)
        AuditLog(place).add({"action": "load"})
        assert (told(place)[-1]["n"], told(place)[-1]["action"]) == (count + 1, "load")
    path.write_bytes(b"x" * 700_000)
    AuditLog(place).add({"action": "load"})
    assert told(place)[-1]["previous"] == last["hash"]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.threat("T36")
def test_a_record_made_unreadable_is_not_taken_for_a_power_cut(place: Path) -> None:
    path = filled(place)
    lines = path.read_bytes().splitlines(keepends=True)
    for i in range(5):
        path.write_bytes(b"".join([*lines[:i], b'{"n": 3, "ti\n', *lines[i + 1 :]]))
        assert held(place) == (i, f"{path.name}:{i + 1} is no record")


@pytest.mark.threat("T36")
def test_a_log_that_was_cut_off_or_written_anew_lacks_the_hash_that_was_kept(place: Path) -> None:
    path = filled(place, 3)
    kept = verify(place).last
    AuditLog(place).add({"action": "load"})
    assert verify(place, kept).kept == 3
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert held(place) == (2, "") and not verify(place, kept).kept
    path.unlink()
    filled(place, 6)
    assert held(place) == (6, "") and not verify(place, kept).kept


@pytest.mark.threat("T30")
def test_a_link_put_in_its_place_is_not_written_through(place: Path, tmp_path: Path, caplog: Any) -> None:
    path = filled(place, 1)
    target = tmp_path / "target"
    target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)
    before = target.read_bytes()
    AuditLog(place).add({"action": "chat"})
    assert target.read_bytes() == before
    assert "could not be written" in caplog.text


# ---------------------------------------------------------------------------------------------- the command


def command(*words: str, what: str = "audit") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "jupyter_mistral.cli", what, *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_verifies_and_exports(mistral_home: Path) -> None:
    none = command("verify")
    assert none.returncode == 1 and "c.MistralExtension.audit_log = True" in none.stderr
    path = filled(folder())
    whole = command("verify")
    assert whole.returncode == 0 and "5 records hold together" in whole.stdout
    kept = command("verify", "--keeps", told(folder())[2]["hash"])
    assert kept.returncode == 0 and "the hash that you kept is that of record 3" in kept.stdout
    cut = command("verify", "--keeps", START)
    assert cut.returncode == 1 and "cut off or written anew" in cut.stdout
    assert [json.loads(line) for line in command("export").stdout.splitlines()] == told(folder())
    path.write_bytes(path.read_bytes().replace(b'"3"', b'"9"', 1))
    broken = command("verify")
    assert broken.returncode == 1 and "(record 4) was changed" in broken.stdout


def test_without_posix_modules_the_extension_can_still_be_imported() -> None:
    """As on Windows, where an engine elsewhere may be asked."""
    code = "import sys\nfor name in ('fcntl', 'pwd', 'resource', 'termios'): sys.modules[name] = None\n"
    code += "import jupyter_mistral.server.app, jupyter_mistral.server.standalone"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
