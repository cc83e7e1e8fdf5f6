"""Measures how long a huge notebook blocks the server for other clients. Run it by hand:

    python tests/benchmarks/context_lag.py [--cells 10000] [--model smollm2-135m]

The host runs in this process; a client in another process sends the notebook to the context route. Meanwhile, the lag of the
host's event loop is measured every 5 ms. The model must be on disk (JUPYTER_MISTRAL_HOME); it is not loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import logging
import os
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TICK_S = 0.005


def send(info_path: str, body_path: str) -> None:
    """The client: sends one request over the unix socket and prints status, seconds and tokens."""
    info = json.loads(Path(info_path).read_text())
    body = Path(body_path).read_bytes()
    connection = http.client.HTTPConnection("localhost", timeout=600)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(info["socket"])
    headers = {"Authorization": f"Bearer {info['token']}", "Content-Type": "application/json"}
    began = time.perf_counter()
    connection.request("POST", "/mistral/api/context", body, headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    print(
        json.dumps({"status": response.status, "seconds": time.perf_counter() - began, "tokens": answer.get("tokens")})
    )


async def lags(stop: asyncio.Event) -> list[float]:
    lags_s = []
    while not stop.is_set():
        began = time.perf_counter()
        await asyncio.sleep(TICK_S)
        lags_s.append(time.perf_counter() - began - TICK_S)
    return lags_s


async def measure(folder: Path, body: Path) -> tuple[dict[str, Any], list[float]]:
    from jupyter_mistral.server.assemble import join
    from jupyter_mistral.server.inference.base import Options

    parts = join(Options(), logging.getLogger("jupyter_mistral"))
    parts.channel.start()
    info = next(folder.glob("mistral-*.json"))
    stop = asyncio.Event()
    ticking = asyncio.create_task(lags(stop))
    command = [sys.executable, __file__, "--send", str(info), str(body)]
    client = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await client.communicate()
    stop.set()
    lags_s = await ticking
    await parts.close()
    return json.loads(out), lags_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--send", nargs=2)
    args = parser.parse_args()
    if args.send:
        send(*args.send)
        return
    from context_speed import notebook

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["JUPYTER_RUNTIME_DIR"] = name
        for cells in (300, args.cells):
            book = notebook(cells, 1_000, 9_000) if cells > 1000 else notebook(cells, 150, 250)
            asked = {"messages": [{"role": "user", "content": "What is printed at the end?"}], "model": args.model}
            body = folder / "body.json"
            body.write_text(json.dumps({**asked, "mistral": {"notebook": book}}))
            del book
            for turn in ("first", "again"):
                report, lags_s = asyncio.run(measure(folder, body))
                lags_s.sort()
                p50, p99 = (lags_s[int(len(lags_s) * share)] * 1000 for share in (0.5, 0.99))
                print(
                    f"{cells:6,} cells, {body.stat().st_size / 1e6:6.1f} MB, {turn:5}: {report['seconds']:5.2f} s, "
                    f"loop lag p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {lags_s[-1] * 1000:.0f} ms "
                    f"({report['tokens']:,} tokens)"
                )
    peak = [resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"peak memory: host {peak[0]} MB, its children {peak[1]} MB")


if __name__ == "__main__":
    main()
