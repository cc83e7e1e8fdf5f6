"""`python -m jupyter_mistral.server.standalone`: the model host without a Jupyter server, for scripts, terminals and other editors."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from jupyter_core.paths import jupyter_config_path
from traitlets import TraitError

from .. import discovery
from ..protocol.failures import Failure
from .assemble import Parts, join
from .settings import MistralServerSettings, read_settings

log = logging.getLogger("jupyter_mistral")


async def serve(parts: Parts, *, port: int | None, is_loading: bool, idle_exit_s: float) -> None:
    """Serve until a signal arrives, or until there was no request for `idle_exit_s` seconds (0: never)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop.set)
    parts.channel.start(port=port)
    parts.metrics.start(parts.engine)
    if port is not None:
        print(f"{parts.channel.url}/mistral/v1\ntoken: {parts.channel.token}", flush=True)
    tasks = [asyncio.create_task(_load(parts))] if is_loading else []
    if idle_exit_s:
        tasks.append(asyncio.create_task(_stop_when_idle(parts, idle_exit_s, stop)))
    try:
        await stop.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await parts.close()


async def _load(parts: Parts) -> None:
    try:
        async for progress in parts.engine.load(None):
            log.info("mistral: %s %s", progress.stage, progress.detail)
    except Failure as failure:
        log.error("mistral: %s", failure)


async def _stop_when_idle(parts: Parts, idle_exit_s: float, stop: asyncio.Event) -> None:
    while parts.channel.idle_s < idle_exit_s or parts.engine.is_busy:  # noqa: ASYNC110  # passing time sets no event
        await asyncio.sleep(min(5.0, max(0.1, idle_exit_s - parts.channel.idle_s)))
    log.info("mistral: stopping after %.0f s without a request", idle_exit_s)
    stop.set()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jupyter mistral serve", description="Host the model for this user's kernels and tools, without Jupyter."
    )
    parser.add_argument(
        "--port", type=int, help="also listen on this loopback port (0: any free one), and print the URL and a token"
    )
    parser.add_argument("--model", default="", help="load this model now and use it for requests that name none")
    parser.add_argument(
        "--spill", action="store_true", help="keep layers that do not fit on the GPU in host memory (slower)"
    )
    parser.add_argument(
        "--idle-exit", type=float, default=0, metavar="SECONDS", help="exit after this long without a request"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    os.umask(0o077)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # logs a line for each request to an external engine
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    try:
        settings = read_settings(jupyter_config_path())
    except TraitError as error:
        print(f"jupyter mistral: invalid setting in Jupyter's configuration: {error}", file=sys.stderr)
        return 1
    _warn_of_other_hosts()
    asyncio.run(_host(settings, args))
    return 0


async def _host(settings: MistralServerSettings, args: argparse.Namespace) -> None:
    options = settings.options()
    options = replace(options, default_model=args.model or options.default_model, spill=args.spill or options.spill)
    parts = join(options, log, settings.external_engine(), settings.open_audit_log())
    await serve(parts, port=args.port, is_loading=bool(args.model), idle_exit_s=args.idle_exit)


def _warn_of_other_hosts() -> None:
    for pid in discovery.running(discovery.runtime_dir()):
        print(
            f"jupyter mistral: a model host is already running (pid {pid}). A second model needs memory of its own; "
            "`jupyter mistral status` shows the first.",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
