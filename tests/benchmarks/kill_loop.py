"""Kills a model host repeatedly while it stores chats; everything it acknowledged must survive each restart.

    python tests/benchmarks/kill_loop.py --kills 1000

Tests the chat history behind the real server; no model is loaded.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from jupyter_mistral.kernel.host.client import Client
from jupyter_mistral.kernel.host.connection import Connection
from jupyter_mistral.protocol import HOME_ENV
from jupyter_mistral.protocol.failures import Failure


class Writer(threading.Thread):
    """Creates chats as fast as the host acknowledges them, until the host is killed."""

    def __init__(self, client: Client, number: int) -> None:
        super().__init__()
        self._client, self._number = client, number
        self.acknowledged: list[str] = []

    def run(self) -> None:
        count = 0
        while True:
            title = f"{self._number}.{count}"
            try:
                self._client.post("/mistral/api/chats", {"title": title})
            except (Failure, OSError):
                return
            self.acknowledged.append(title)
            count += 1


def host(home: Path) -> tuple[subprocess.Popen[bytes], Client]:
    environ = {**os.environ, HOME_ENV: str(home), "JUPYTER_RUNTIME_DIR": str(home / "runtime")}
    command = [sys.executable, "-m", "jupyter_mistral.server.standalone"]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    file = home / "runtime" / f"mistral-{process.pid}.json"
    while not file.exists():
        assert process.poll() is None, "the host did not start"
        time.sleep(0.005)
    connection = Connection.of_file(file)
    assert connection is not None
    return process, Client(connection)


def check(home: Path, acknowledged: set[str]) -> tuple[int, int]:
    """The number of acknowledged chats that are missing, and of those that exist twice."""
    db = sqlite3.connect(home / "chats" / "chats.sqlite")
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        there = [title for (title,) in db.execute("SELECT title FROM chats")]
    finally:
        db.close()
    return len(acknowledged - set(there)), len(there) - len(set(there))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    args = parser.parse_args()
    chance, acknowledged = random.Random(1), set[str]()
    lost = twice = 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for number in range(args.kills):
            process, client = host(home)
            writer = Writer(client, number)
            writer.start()
            # a part of the kills comes with a write under way for sure
            while not writer.acknowledged and writer.is_alive():
                time.sleep(0.001)
            time.sleep(chance.random() * 0.05)
            process.kill()
            process.wait()
            writer.join()
            acknowledged |= set(writer.acknowledged)
            lost, twice = check(home, acknowledged)
            if lost or twice:
                break
    print(f"{number + 1} kills, {len(acknowledged)} acknowledged chats, {lost} lost, {twice} doubled")
    return int(bool(lost or twice or not acknowledged))


if __name__ == "__main__":
    sys.exit(main())
