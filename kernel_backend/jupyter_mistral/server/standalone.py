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
from typing import Any

from jupyter_core.paths import jupyter_config_path
from traitlets.config.loader import Config, ConfigFileNotFound, JSONFileConfigLoader, PyFileConfigLoader

from .. import discovery
from ..protocol.failures import Failure
from .assemble import Parts, join
from .external.config import elsewhere_of
from .external.engine import Elsewhere
from .inference.base import Options
from .observe.audit_log import AuditLog, audit_of

log = logging.getLogger("jupyter_mistral")
FILES = ("jupyter_config", "jupyter_server_config", "jupyter_mistral_config")


def settings_of(folders: Sequence[str]) -> dict[str, Any]:
    """What the admin set for the Jupyter extension holds here too. Reads Jupyter's config folders, never the current one."""
    config = Config()
    for folder in reversed(folders):
        for name in FILES:
            for loader in (JSONFileConfigLoader, PyFileConfigLoader):
                suffix = ".json" if loader is JSONFileConfigLoader else ".py"
                with contextlib.suppress(ConfigFileNotFound):
                    config.merge(loader(name + suffix, path=folder).load_config())
    return dict(config.get("MistralExtension", {}))


def configured(folders: Sequence[str]) -> Options:
    """The settings of a model that runs here."""
    told, default = settings_of(folders), Options()
    return Options(
        default_model=str(told.get("default_model", "")),
        context_length=int(told.get("context_length", 0)) or None,
        device=str(told.get("device", "auto")),
        idle_unload_s=60.0 * int(told.get("idle_unload_minutes", default.idle_unload_s / 60)),
        max_queue=int(told.get("max_queue", default.max_queue)),
        kv=str(told.get("kv", default.kv)),
        parallel=int(told.get("parallel", default.parallel)),
        spill=bool(told.get("spill", default.spill)),
    )


async def serve(
    options: Options,
    elsewhere: Elsewhere | None = None,
    audit: AuditLog | None = None,
    *,
    port: int | None,
    is_loading: bool,
    idle_exit_s: float,
) -> None:
    """Host until a signal comes, or until nobody has asked for anything for `idle_exit_s` seconds (0: never)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop.set)
    parts = join(options, log, elsewhere, audit)
    parts.channel.start(port=port)
    parts.meter.start(parts.engine)
    if port is not None:
        print(f"{parts.channel.url}/mistral/v1\ntoken: {parts.channel.token}", flush=True)
    tasks = [asyncio.create_task(_load(parts))] if is_loading else []
    if idle_exit_s:
        tasks.append(asyncio.create_task(_leave_when_idle(parts, idle_exit_s, stop)))
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


async def _leave_when_idle(parts: Parts, idle_exit_s: float, stop: asyncio.Event) -> None:
    while parts.channel.idle_s < idle_exit_s or parts.engine.is_busy:  # noqa: ASYNC110  # time that passes sets no event
        await asyncio.sleep(min(5.0, max(0.1, idle_exit_s - parts.channel.idle_s)))
    log.info("mistral: ending after %.0f s without a request", idle_exit_s)
    stop.set()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="jupyter mistral serve", description="Host the model for this user's kernels and tools, without Jupyter."
    )
    parser.add_argument(
        "--port", type=int, help="listen on this loopback port too (0: any), and print address and token"
    )
    parser.add_argument("--model", default="", help="load this model now, and answer requests that name none with it")
    parser.add_argument(
        "--spill", action="store_true", help="keep in host memory the layers that do not fit on the GPU"
    )
    parser.add_argument(
        "--idle-exit", type=float, default=0, metavar="SECONDS", help="end after so long without a request"
    )
    args = parser.parse_args(argv)
    os.umask(0o077)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request to an engine elsewhere
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    settings = settings_of(jupyter_config_path())
    options, elsewhere, audit = configured(jupyter_config_path()), elsewhere_of(settings), audit_of(settings)
    if args.model:
        options = replace(options, default_model=args.model)
    if args.spill:
        options = replace(options, spill=True)
    for pid in discovery.running(discovery.runtime_dir()):
        print(
            f"jupyter mistral: a model host runs already (process {pid}). A second model needs memory of its own; "
            "`jupyter mistral status` shows the first.",
            file=sys.stderr,
        )
    asyncio.run(
        serve(options, elsewhere, audit, port=args.port, is_loading=bool(args.model), idle_exit_s=args.idle_exit)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
