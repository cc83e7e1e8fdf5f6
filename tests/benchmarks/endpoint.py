"""Measures the endpoint under load, with clients of which some disconnect: `python tests/benchmarks/endpoint.py`

A model host with the small model runs in its own process and reports, at its end, the lag of its event loop and the tasks it left
behind. The model home is JUPYTER_MISTRAL_TEST_MODELS or JUPYTER_MISTRAL_HOME. `--engine URL` measures our overhead over an external
engine instead: the same requests directly and through us, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from jupyter_mistral.protocol import HOME_ENV
from jupyter_mistral.server.assemble import join
from jupyter_mistral.server.external.config import ExternalConfig
from jupyter_mistral.server.http.tokens import Tokens
from jupyter_mistral.server.inference.base import Options

SMALL = "smollm2-135m"
CHAT = "/mistral/v1/chat/completions"
TICK_S = 0.01


@dataclass(frozen=True)
class Host:
    """A running host: its address without /v1, its owner's token, its process."""

    address: str
    token: str
    process: asyncio.subprocess.Process

    async def end(self) -> dict[str, Any]:
        """Its own report after all clients are gone."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        told = json.loads(await self.process.stdout.readline())
        await self.process.wait()
        return dict(told)


async def start(folder: str, engine: str = "") -> Host:
    models = os.environ.get("JUPYTER_MISTRAL_TEST_MODELS") or os.environ[HOME_ENV]
    home = Path(folder, "home")
    home.mkdir(mode=0o700)
    (home / "models").symlink_to(Path(models, "models"))
    os.environ[HOME_ENV] = str(home)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        *(["--engine", engine] if engine else []),
        env={**os.environ, "JUPYTER_RUNTIME_DIR": folder},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    told = json.loads(await process.stdout.readline())
    return Host(told["address"], told["token"], process)


async def serve(engine: str) -> None:
    """The process of the host: serves until SIGTERM, then prints its figures."""
    log = logging.getLogger("benchmark")
    parts = join(Options(default_model=SMALL, max_queue=200), log, ExternalConfig(engine) if engine else None)
    parts.channel.start(port=0)
    async for _ in parts.engine.load(None):
        pass
    stop, late = asyncio.Event(), list[float]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    before = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    print(json.dumps({"address": f"{parts.channel.url}/mistral", "token": parts.channel.token}), flush=True)
    while not stop.is_set():
        begin = time.perf_counter()
        await asyncio.sleep(TICK_S)
        late.append(time.perf_counter() - begin - TICK_S)
    await asyncio.sleep(1)
    mine = asyncio.current_task()
    leaked = [task for task in asyncio.all_tasks() if task not in before and task is not mine]
    status = await parts.engine.status()
    told = {
        "late_p99_ms": 1000 * quantile(late, 0.99),
        "late_max_ms": 1000 * max(late),
        "leaked_tasks": [task.get_coro().__qualname__ for task in leaked],
        "running": status.running,
        "queued": status.queued,
    }
    print(json.dumps(told), flush=True)
    await parts.close()


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else 0.0


# ---------------------------------------------------------------------------------------------- load


@dataclass
class Seen:
    """The result of one client. first_s: seconds to its first event (progress or text)."""

    owner: str
    status: int = 0
    first_s: float = 0.0
    text_s: float = 0.0
    done_s: float = 0.0
    vanished: bool = False


async def client(host: Host, owner: str, token: str, vanishes: bool, tokens: int, seen: list[Seen]) -> None:
    body = {
        "messages": [{"role": "user", "content": f"Write number {random.randrange(1000)}."}],
        "max_tokens": tokens,
        "stream": True,
        "mistral": {"events": True, "client": owner},
    }
    found = Seen(owner)
    seen.append(found)
    begin = time.perf_counter()
    leave_after = random.randrange(4) if vanishes else -1
    limit = httpx.Timeout(600)
    async with httpx.AsyncClient(timeout=limit, trust_env=False) as http:
        with contextlib.suppress(httpx.HTTPError):
            told = {"Authorization": f"Bearer {token}"}
            async with http.stream("POST", host.address + "/v1/chat/completions", json=body, headers=told) as reply:
                found.status = reply.status_code
                events = 0
                async for line in reply.aiter_lines():
                    if not line.startswith("data:"):
                        continue
                    found.first_s = found.first_s or time.perf_counter() - begin
                    if '"content": ' in line:
                        found.text_s = found.text_s or time.perf_counter() - begin
                    events += 1
                    if events > leave_after >= 0:
                        found.vanished = True
                        return
                found.done_s = time.perf_counter() - begin


async def load(clients: int, vanishing: float, rounds: int, tokens: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        host = await start(folder)
        owners = {name: Tokens().create(name) for name in ("ann", "bob", "eve")}
        seen: list[Seen] = []

        async def one(number: int) -> None:
            # ann has as many clients as the two others together
            owner = ("ann", "bob", "ann", "eve")[number % 4]
            for _ in range(rounds):
                await client(host, owner, owners[owner], random.random() < vanishing, tokens, seen)

        begin = time.perf_counter()
        try:
            await asyncio.gather(*(one(number) for number in range(clients)))
            seconds = time.perf_counter() - begin
        finally:
            told = await host.end()
    report(seen, seconds, told, clients)
    bad = sum(found.status >= 500 for found in seen) + len(told["leaked_tasks"]) + told["running"] + told["queued"]
    return 1 if bad else 0


def report(seen: list[Seen], seconds: float, told: dict[str, Any], clients: int) -> None:
    statuses = Counter(found.status for found in seen)
    firsts = [found.first_s for found in seen if found.first_s]
    print(f"{clients} clients, {len(seen)} requests in {seconds:.0f} s, {sum(f.vanished for f in seen)} vanished")
    print(f"  statuses: {dict(statuses)}; 5xx: {sum(found.status >= 500 for found in seen)}")
    print(
        f"  first event: median {1000 * statistics.median(firsts):.0f} ms, p99 {1000 * quantile(firsts, 0.99):.0f} ms"
    )
    print(f"  event loop late: p99 {told['late_p99_ms']:.1f} ms, most {told['late_max_ms']:.1f} ms")
    print(
        f"  left behind: {len(told['leaked_tasks'])} tasks {told['leaked_tasks']}, {told['running']} running, {told['queued']} queued"
    )
    for owner in ("ann", "bob", "eve"):
        waits = [found.text_s for found in seen if found.owner == owner and found.text_s]
        number = len({id(found) for found in seen if found.owner == owner})
        print(
            f"  {owner}: {number} requests, first text median {statistics.median(waits):.1f} s, p90 {quantile(waits, 0.9):.1f} s"
        )


# ---------------------------------------------------------------------------------------------- overhead over an external engine


async def overhead(engine: str, runs: int, tokens: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = await start(folder, engine)
        root = engine.rstrip("/").removesuffix("/v1")
        pairs = []
        try:
            for number in range(runs + 1):
                # texts as long as each other, neither of which the engine has read before; in turns, who comes first
                texts = [f"Write {1000 + 2 * number + i}." for i in range(2)]
                one = timed(root, "none", texts[0], tokens), timed(host.address, host.token, texts[1], tokens)
                if number % 2:
                    ours, alone = await one[1], await one[0]
                else:
                    alone, ours = await one[0], await one[1]
                pairs.append((alone, ours))
        finally:
            await host.end()
    for i, what in enumerate(("first text", "whole answer")):
        direct, ours = ([1000 * pair[j][i] for pair in pairs[1:]] for j in (0, 1))
        added = statistics.median(o - d for d, o in zip(direct, ours, strict=True))
        print(
            f"{what}: engine alone {statistics.median(direct):.1f} ms, through us {statistics.median(ours):.1f} ms, "
            f"added (median of pairs) {added:+.1f} ms"
        )


async def timed(address: str, token: str, text: str, tokens: int) -> tuple[float, float]:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens, "stream": True, "temperature": 0}
    begin, first = time.perf_counter(), 0.0
    async with (
        httpx.AsyncClient(timeout=600, trust_env=False) as http,
        http.stream(
            "POST", address + "/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {token}"}
        ) as reply,
    ):
        async for line in reply.aiter_lines():
            if '"content"' in line and not first and '"content":""' not in line and '"content":null' not in line:
                first = time.perf_counter() - begin
    return first, time.perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--vanishing", type=float, default=0.3, help="share of requests whose client goes away")
    parser.add_argument("--rounds", type=int, default=2, help="requests of each client, one after the other")
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--runs", type=int, default=15, help="pairs of requests for --engine")
    parser.add_argument("--engine", default="", help="URL of an external engine: measure what we add to it")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.engine))
        return 0
    if args.engine:
        asyncio.run(overhead(args.engine, args.runs, args.tokens))
        return 0
    return asyncio.run(load(args.clients, args.vanishing, args.rounds, args.tokens))


if __name__ == "__main__":
    sys.exit(main())
