"""The nth disk call fails, for n = 1, 2, 3 … until a run in which none failed (as SQLite tests itself).

With --all each n is tried, else ever fewer of them. strace makes the calls fail, in a real process.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from effort import IS_ALL
from jupyter_mistral.server.chats.store import History

TURNS = 6
CHILD = f"""
import asyncio, sys, time
from pathlib import Path
from jupyter_mistral.server.chats.store import History

async def main():
    history = History(Path(sys.argv[1]), retry_s=0.01)
    chat = await history.create("c")
    for i in range({TURNS}):
        saved = await history.add_turn(chat, (f"u{{i}}", (f"question {{i}} " * 200,)), f"a{{i}}", time.time())
        print(f"u{{i}} {{int(saved)}}", flush=True)
        await history.append(chat, f"a{{i}}", 0, f"answer {{i}} " * 100)
        print(f"a{{i}} {{int(await history.finish(chat, f'a{{i}}', 'done'))}}", flush=True)
    await history.close()

asyncio.run(main())
"""


def numbers() -> Iterator[int]:
    n = 1
    while True:
        yield n
        n += 1 if IS_ALL else n


def run(path: Path, call: str, error: str, n: int) -> tuple[list[tuple[str, bool]], bool]:
    """What the child said was saved, and whether a call failed."""
    trace = path.with_name("trace")
    line = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(trace),
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:error={error}:when={n}",
    ]
    # our own database alone: Python and its modules are not what is tested
    line += ["-P", str(path), "-P", f"{path}-wal", "-P", f"{path}-shm", "-P", f"{path}-journal", "-P", str(path.parent)]
    done = subprocess.run([*line, sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    acknowledged = [(name, saved == "1") for name, saved in map(str.split, done.stdout.splitlines())]
    assert [name for name, _ in acknowledged] == [f"{who}{i}" for i in range(TURNS) for who in "ua"]
    return acknowledged, "INJECTED" in trace.read_text()


async def stored(path: Path) -> dict[str, str]:
    history = History(path)
    chats = await history.chats()
    messages = (await history.chat(chats[0]["id"]))["messages"] if chats else []
    await history.close()
    assert history.problem == ""
    return {m["id"]: m["state"] for m in messages}


@pytest.mark.fault("F24", "F9")
@pytest.mark.parametrize(
    ("call", "error"), [("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("unlink", "EIO"), ("ftruncate", "ENOSPC")]
)
def test_whichever_disk_call_fails_acknowledged_writes_are_stored(tmp_path: Path, call: str, error: str) -> None:
    assert shutil.which("strace"), "strace is not installed: apt-get install strace"
    clean_runs, tried = 0, 0
    for n in numbers():
        path = tmp_path / f"{n}" / "chats.sqlite"
        path.parent.mkdir(mode=0o700)
        acknowledged, failed = run(path, call, error, n)
        states = asyncio.run(stored(path))
        files = [path, *path.parent.glob("*.broken-*")]
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall() == [("ok",)], files
        assert [name for name, saved in acknowledged if saved and states.get(name) != "done"] == [], n
        assert list(states) == [name for name, _ in acknowledged][: len(states)], "in order, without a gap"
        tried, clean_runs = tried + failed, 0 if failed else clean_runs + 1
        if clean_runs == 2:
            break
    assert tried > 0, "nothing ever failed: the test is blind"
