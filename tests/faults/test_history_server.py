"""The model host is killed while it answers: its worker dies with it, and another finds the question and the text so far."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.kernel.host.client import Client
from jupyter_mistral.kernel.host.connection import Connection
from jupyter_mistral.kernel.show.chats import AnswerStarted, Chats
from jupyter_mistral.protocol import HOME_ENV
from jupyter_mistral.protocol.events import Delta
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.server.chats.running_answer import SAVE_S

ASKED = "Count from 1 to 1000 in words."


class Host:
    """`jupyter_mistral.server.standalone` as a process of its own."""

    def __init__(self, home: Path, runtime: Path) -> None:
        self.home = home
        environ = {**os.environ, HOME_ENV: str(home), "JUPYTER_RUNTIME_DIR": str(runtime)}
        command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--model", "smollm2-135m"]
        self.process = subprocess.Popen(
            command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._file = runtime / f"mistral-{self.process.pid}.json"
        while not self._file.exists():
            assert self.process.poll() is None
            time.sleep(0.02)

    def client(self) -> Client:
        connection = Connection.of_file(self._file)
        assert connection is not None
        return Client(connection)

    def worker(self) -> int:
        return int(self.client().get("/mistral/api/status")["worker_pid"])

    def end(self, sign: signal.Signals) -> None:
        self.process.send_signal(sign)
        self.process.wait(120)


@pytest.fixture
def hosts(models_home: Path, tmp_path: Path) -> Iterator[Any]:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(models_home / "models")
    started: list[Host] = []

    def start() -> Host:
        started.append(Host(home, tmp_path))
        return started[-1]

    yield start
    for host in started:
        if host.process.poll() is None:
            host.end(signal.SIGTERM)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def stored(home: Path) -> str:
    """The answer as far as the disk has it."""
    db = sqlite3.connect(f"file:{home / 'chats' / 'chats.sqlite'}?mode=ro", uri=True)
    try:
        parts = db.execute(
            "SELECT text FROM parts JOIN messages ON message = id WHERE role = 'assistant' ORDER BY place"
        )
        return "".join(text for (text,) in parts)
    finally:
        db.close()


def begin(chats: Chats, characters: int) -> tuple[AnswerStarted, Iterator[Any], str]:
    """Ask, and read until so much text was shown: the stored turn, the stream, the text."""
    events = chats.ask(None, ASKED, sampling={"max_tokens": 3000, "temperature": 0})
    begun, shown = next(event for event in events if isinstance(event, AnswerStarted)), ""
    while len(shown) < characters:
        event = next(events)
        shown += event.text if isinstance(event, Delta) else ""
    return begun, events, shown


@pytest.mark.fault("F2", "F13")
def test_a_killed_host_loses_no_question_and_at_most_a_second_of_text(hosts: Any) -> None:
    first = hosts()
    begun, stream, shown = begin(Chats(first.client), 20)
    worker = first.worker()
    assert SAVE_S <= 0.5
    while not stored(first.home).startswith(shown):  # once a disk that others use too has it
        time.sleep(0.05)
    first.end(signal.SIGKILL)
    with pytest.raises(Failure) as failure:
        for _ in stream:
            pass
    assert failure.value.code == "engine_died"
    while is_alive(worker):  # pytest's own timeout ends a wait in vain
        time.sleep(0.01)

    second = Chats(hosts().client)
    question, answer = second.read(begun.chat)
    assert (question.id, question.text, question.state) == (begun.question.id, ASKED, "done")
    assert (answer.id, answer.state) == (begun.answer.id, "interrupted")
    assert answer.text.startswith(shown)
    assert second.list_titles() == [(begun.chat, ASKED)]
    again = [e for e in second.ask(begun.chat, "Go on.", sampling={"max_tokens": 3}) if isinstance(e, Delta)]
    assert again
    assert [turn.state for turn in second.read(begun.chat)] == ["done", "interrupted", "done", "done"]


@pytest.mark.fault("F13")
def test_a_host_that_is_terminated_keeps_all_text(hosts: Any) -> None:
    first = hosts()
    begun, stream, shown = begin(Chats(first.client), 20)
    first.end(signal.SIGTERM)
    stream.close()  # type: ignore[attr-defined]  # a generator
    answer = Chats(hosts().client).read(begun.chat)[1]
    assert answer.state == "interrupted"
    assert answer.text.startswith(shown)
