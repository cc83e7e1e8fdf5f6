"""Runs many clients against one model host for a long time and checks that memory, descriptors and threads do not grow.

    python tests/benchmarks/soak.py --minutes 20 --clients 50

A third of the clients disconnect early, and a tenth of the requests are malformed. Exits with 1 if something grew or broke.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
from jupyter_mistral.kernel.host.client import Client
from jupyter_mistral.kernel.host.connection import Connection
from jupyter_mistral.models import store
from jupyter_mistral.protocol import HOME_ENV
from jupyter_mistral.protocol.conversation import Message
from jupyter_mistral.protocol.events import End
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.protocol.requests import ChatRequest, Extras, Sampling

SMALL = "smollm2-135m"
MB = 2**20
# what may be more at rest after than at rest before (memory: than after the first quarter)
MOST = {"host MB": 50.0, "host descriptors": 5, "host threads": 8, "worker descriptors": 5, "worker threads": 4}


class Clients:
    """Threads that send requests until they are stopped."""

    def __init__(self, file: Path, count: int) -> None:
        connection = Connection.of_file(file)
        assert connection is not None
        self.client = Client(connection)
        self.outcomes: Counter[str] = Counter()
        self.firsts: list[float] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._live, args=(i,)) for i in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _live(self, number: int) -> None:
        chance = random.Random(number)
        while not self._over.is_set():
            try:
                outcome = self._ask(chance)
            except Failure as failure:
                outcome = failure.code
            except OSError as error:
                outcome = type(error).__name__
            self.outcomes[outcome] += 1
            self._over.wait(chance.random() if outcome == "busy" else 0)

    def _ask(self, chance: random.Random) -> str:
        if chance.random() < 0.1:
            self.client.post("/mistral/v1/chat/completions", {"messages": "nonsense"})
        text = f"{chance.random()} Name a colour." if chance.random() < 0.5 else "Name a colour."
        request = ChatRequest(
            (Message("user", (text,)),), Sampling(max_tokens=chance.randint(1, 12)), model=SMALL, stream=True,
            extras=Extras(events=True),
        )  # fmt: skip
        is_leaving, begun = chance.random() < 0.3, time.monotonic()
        with contextlib.closing(self.client.stream_chat(request)) as events:
            for event in events:
                if isinstance(event, End):
                    self.firsts.append(time.monotonic() - begun)
                    return "answered"
                if is_leaving and chance.random() < 0.3:
                    return "left"
        return "no end"


def sample(host: psutil.Process, worker: psutil.Process) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, process in (("host", host), ("worker", worker)):
        found[f"{name} MB"] = process.memory_info().rss / MB
        found[f"{name} descriptors"] = process.num_fds()
        found[f"{name} threads"] = process.num_threads()
    return found


def soak(home: Path, minutes: float, count: int) -> int:
    runtime = home / "runtime"
    runtime.mkdir(mode=0o700)
    (home / "models").symlink_to(store.home() / "models")
    environ = {**os.environ, HOME_ENV: str(home), "JUPYTER_RUNTIME_DIR": str(runtime)}
    command = [sys.executable, "-m", "jupyter_mistral.server.standalone", "--model", SMALL]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        file = runtime / f"mistral-{process.pid}.json"
        while not file.exists():
            time.sleep(0.05)
        clients = Clients(file, count)
        for _ in clients.client.load(SMALL, False):
            pass
        pid = clients.client.get("/mistral/api/status")["worker_pid"]
        host, worker = psutil.Process(process.pid), psutil.Process(pid)
        before = sample(host, worker)
        clients.start()
        samples, end = [], time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            time.sleep(min(1.0, 60 * minutes / 20))
            samples.append(sample(host, worker))
        clients.stop()
        while (status := clients.client.get("/mistral/api/status"))["running"]:
            time.sleep(0.1)
        restarts = int(status["worker_pid"] != pid)
        return told(samples, before, sample(host, worker), clients, restarts, minutes)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def told(
    samples: list[dict[str, float]],
    before: dict[str, float],
    last: dict[str, float],
    clients: Clients,
    restarts: int,
    minutes: float,
) -> int:
    quarter = samples[len(samples) // 4]
    broken = {
        name: n for name, n in clients.outcomes.items() if name not in ("answered", "left", "busy", "bad_request")
    }
    print(f"{sum(clients.outcomes.values())} requests in {minutes:g} minutes: {dict(clients.outcomes)}")
    if clients.firsts:
        print(f"an answer took {statistics.median(clients.firsts):.1f} s (median), {max(clients.firsts):.1f} s at most")
    print(f"{'':20} {'at rest before':>15} {'after a quarter':>16} {'most':>6} {'at rest after':>14}")
    for name, value in last.items():
        print(
            f"{name:20} {before[name]:15.0f} {quarter[name]:16.0f} {max(s[name] for s in samples):6.0f} {value:14.0f}"
        )
    # memory fills its pools at first; descriptors and threads must come back to what they were
    start = {name: quarter[name] if name.endswith("MB") else before[name] for name in MOST}
    grown = [name for name, most in MOST.items() if last[name] - start[name] > most]
    print(f"restarts: {restarts}; broken: {broken or 'none'}; grown: {grown or 'nothing'}")
    return int(bool(grown or broken or restarts or not clients.outcomes["answered"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        return soak(Path(home), args.minutes, args.clients)


if __name__ == "__main__":
    sys.exit(main())
