"""The audit log's hash chain: no record can be changed, removed or moved unnoticed."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.server.observe.audit_check import verify
from jupyter_mistral.server.observe.audit_log import START, AuditLog, folder

from .audit_records import all_records, command, verified, write_records


@pytest.fixture
def log_folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.mark.threat("T36")
def test_records_are_chained_and_private(log_folder: Path) -> None:
    path = write_records(log_folder)
    entries = all_records(log_folder)
    assert [r["n"] for r in entries] == [1, 2, 3, 4, 5]
    assert entries[0]["previous"] == START
    assert [r["previous"] for r in entries[1:]] == [r["hash"] for r in entries[:-1]]
    assert verified(log_folder) == (5, "") and verify(log_folder).last == entries[-1]["hash"]
    assert stat.S_IMODE(log_folder.stat().st_mode) == 0o700 and stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.threat("T36")
def test_any_changed_byte_is_located(log_folder: Path) -> None:
    path = write_records(log_folder)
    raw = path.read_bytes()
    for at in range(0, len(raw), 7):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        path.write_bytes(changed)
        count, fault = verified(log_folder)
        line = raw[:at].count(b"\n") + 1
        assert fault, at
        assert count <= line and f"{path.name}:" in fault


@pytest.mark.threat("T36")
@pytest.mark.parametrize("lines", [[0, 1, 3, 4], [0, 2, 1, 3, 4], [0, 1, 1, 2, 3, 4]], ids=["gone", "moved", "twice"])
def test_a_missing_moved_or_repeated_record_is_found(log_folder: Path, lines: list[int]) -> None:
    path = write_records(log_folder)
    raw = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(raw[i] for i in lines))
    count, fault = verified(log_folder)
    assert "does not follow" in fault and count < 5


def test_the_chain_spans_days_and_old_files_may_be_deleted(log_folder: Path) -> None:
    path = write_records(log_folder, 3)
    path.rename(log_folder / "audit-2020-01-01.jsonl")
    AuditLog(log_folder).add({"action": "load", "state": "done"})
    assert len(list(log_folder.glob("audit-*"))) == 2
    assert verified(log_folder) == (4, "")
    old = time.time() - 40 * 86400
    os.utime(log_folder / "audit-2020-01-01.jsonl", (old, old))
    AuditLog(log_folder, days=30).add({"action": "unload", "state": "done"})
    assert [r["n"] for r in all_records(log_folder)] == [4, 5]
    assert verified(log_folder) == (2, "") and verify(log_folder).first == 4


@pytest.mark.fault("F19")
def test_a_clock_that_is_set_back_keeps_the_order(log_folder: Path) -> None:
    path = write_records(log_folder, 2)
    path.rename(log_folder / "audit-2999-01-01.jsonl")
    AuditLog(log_folder).add({"action": "chat", "state": "asked"})
    assert [r["n"] for r in all_records(log_folder)] == [1, 2, 3]
    assert verified(log_folder) == (3, "")


@pytest.mark.fault("F14")
def test_two_servers_share_one_chain(log_folder: Path) -> None:
    write = "import sys; from pathlib import Path; from jupyter_mistral.server.observe.audit_log import AuditLog\n"
    write += "log = AuditLog(Path(sys.argv[1]))\nfor _ in range(25): log.add({'action': 'chat'})"
    writers = [subprocess.Popen([sys.executable, "-c", write, str(log_folder)]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert verified(log_folder) == (50, "")


@pytest.mark.fault("F9")
def test_a_full_disk_loses_only_counted_records(log_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AuditLog(log_folder)
    log.add({"action": "chat"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = next(log_folder.glob("audit-*")).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        log.add({"action": "chat"})
        log.add({"action": "chat"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.add({"action": "chat"})
    assert [(r["n"], r.get("lost_before")) for r in all_records(log_folder)] == [(1, None), (2, 2)]
    assert verified(log_folder) == (2, "") and verify(log_folder).lost == 2
    assert "2 audit records could not be written" in caplog.text


@pytest.mark.fault("F2")
def test_a_partial_line_of_a_power_cut_is_reported_and_the_log_continues(log_folder: Path) -> None:
    path = write_records(log_folder, 2)
    with path.open("ab") as out:
        out.write(b'{"n": 3, "ti')
    assert verified(log_folder) == (2, f"{path.name}:3 is no record")
    AuditLog(log_folder).add({"action": "chat"})
    assert [r["n"] for r in all_records(log_folder)] == [1, 2, 3]
    # the record after it follows the one before it: nothing is missing, and what comes later can still be checked
    assert verified(log_folder) == (3, "") and verify(log_folder).torn == 1
    path.write_bytes(path.read_bytes().replace(b'"action": "chat"', b'"action": "load"'))
    assert verified(log_folder)[1]


def test_the_last_record_of_a_long_day_is_found_from_its_end(log_folder: Path) -> None:
    path = write_records(log_folder)
    last = all_records(log_folder)[-1]
    older = path.with_name("audit-2020-01-01.jsonl")
    older.write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes() * 2_000)
    tracemalloc.start()
    try:
        AuditLog(log_folder).add({"action": "chat"})
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 8
    finally:
        tracemalloc.stop()
    with path.open("rb") as lines:
        lines.seek(-1000, os.SEEK_END)
        after = json.loads(lines.read().splitlines()[-1])
    assert (after["n"], after["previous"]) == (last["n"] + 1, last["hash"])
    # further back where the end holds none, in the file before where there is none at all
    for rest in (b"x" * 200 + b"\n", b"x" * 100_000 + b"\n", b"x" * 700_000):
        AuditLog(log_folder).add({"action": "chat"})
        count = all_records(log_folder)[-1]["n"]
        with path.open("ab") as out:
            out.write(rest)
        AuditLog(log_folder).add({"action": "load"})
        assert (all_records(log_folder)[-1]["n"], all_records(log_folder)[-1]["action"]) == (count + 1, "load")
    path.write_bytes(b"x" * 700_000)
    AuditLog(log_folder).add({"action": "load"})
    assert all_records(log_folder)[-1]["previous"] == last["hash"]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.threat("T36")
def test_a_record_made_unreadable_is_not_taken_for_a_power_cut(log_folder: Path) -> None:
    path = write_records(log_folder)
    lines = path.read_bytes().splitlines(keepends=True)
    for i in range(5):
        path.write_bytes(b"".join([*lines[:i], b'{"n": 3, "ti\n', *lines[i + 1 :]]))
        assert verified(log_folder) == (i, f"{path.name}:{i + 1} is no record")


@pytest.mark.threat("T36")
def test_a_truncated_or_rewritten_log_lacks_the_kept_hash(log_folder: Path) -> None:
    path = write_records(log_folder, 3)
    kept = verify(log_folder).last
    AuditLog(log_folder).add({"action": "load"})
    assert verify(log_folder, kept).kept == 3
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert verified(log_folder) == (2, "") and not verify(log_folder, kept).kept
    path.unlink()
    write_records(log_folder, 6)
    assert verified(log_folder) == (6, "") and not verify(log_folder, kept).kept


@pytest.mark.threat("T30")
def test_a_symlink_in_its_place_is_not_followed(log_folder: Path, tmp_path: Path, caplog: Any) -> None:
    path = write_records(log_folder, 1)
    target = tmp_path / "target"
    target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)
    before = target.read_bytes()
    AuditLog(log_folder).add({"action": "chat"})
    assert target.read_bytes() == before
    assert "could not be written" in caplog.text


def test_the_command_verifies_and_exports(mistral_home: Path) -> None:
    none = command("verify")
    assert none.returncode == 1 and "c.MistralExtension.audit_log = True" in none.stderr
    path = write_records(folder())
    intact = command("verify")
    assert intact.returncode == 0 and "5 records verified" in intact.stdout
    kept = command("verify", "--keeps", all_records(folder())[2]["hash"])
    assert kept.returncode == 0 and "the given hash is that of record 3" in kept.stdout
    cut = command("verify", "--keeps", START)
    assert cut.returncode == 1 and "cut off or rewritten" in cut.stdout
    assert [json.loads(line) for line in command("export").stdout.splitlines()] == all_records(folder())
    path.write_bytes(path.read_bytes().replace(b'"3"', b'"9"', 1))
    broken = command("verify")
    assert broken.returncode == 1 and "(record 4) was changed" in broken.stdout
