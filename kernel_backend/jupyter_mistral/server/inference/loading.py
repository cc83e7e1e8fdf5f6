"""A model on its way from disk (or the hub) into the worker: what it needs, how far it is, and everybody who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...protocol.events import Loading
from ...protocol.failures import Failure
from ...protocol.status import ModelCard

if TYPE_CHECKING:
    from ...models.catalogue import Entry
    from ...models.store import Located

EXTRA = ("torch", "transformers", "accelerate", "bitsandbytes", "safetensors", "tokenizers")


class Load:
    """One load that any number of requests wait for; it goes on when all of them have left."""

    def __init__(self, name: str, work: Callable[[Callable[[Loading], None]], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        self.latest: Loading | None = None
        self._watchers: set[asyncio.Event] = set()
        self.task = asyncio.create_task(work(self._tell))
        self.task.add_done_callback(self._finished)

    def _tell(self, progress: Loading) -> None:
        self.latest = progress
        self._ring()

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # whoever waits raises it; with nobody left it is no news
        self._ring()

    def _ring(self) -> None:
        for news in self._watchers:
            news.set()

    async def watch(self) -> AsyncGenerator[Loading, None]:
        """Yield progress until the model is ready. Raises the load's `Failure`, `cancelled` when it was called off."""
        seen: Loading | None = None
        news = asyncio.Event()
        self._watchers.add(news)
        try:
            while not self.task.done():
                if self.latest is not None and self.latest is not seen:
                    seen = self.latest
                    yield seen
                    continue
                news.clear()
                await news.wait()
        finally:
            self._watchers.discard(news)
        if self.task.cancelled():
            raise Failure("cancelled", f"Loading {self.name} was called off.", "Load it again with `%mistral load`.")
        self.task.result()


# ---------------------------------------------------------------------------------------------- on disk


@dataclass(frozen=True)
class Found:
    """A model of the catalogue (or the hub, or a folder) and what of it lies on disk."""

    entry: Entry
    located: Located

    @property
    def is_absent(self) -> bool:
        return self.located.state == "absent"

    @property
    def tokenizer(self) -> str | None:
        """Path of the tokenizer that counts text as text, control tokens too, once the model is 4 bit."""
        path = self.located.path / "text_tokenizer.json"
        return str(path) if self.located.state == "ready" and path.is_file() else None

    def card(self, context_length: int | None) -> ModelCard:
        entry = self.entry
        length = min(context_length or entry.context_length, entry.context_length or 10**9)
        return ModelCard(entry.name, entry.title, entry.licence, entry.parameters, "nf4", length, entry.can)

    def named(self, card: ModelCard) -> ModelCard:
        """The loaded model's card with what only the catalogue knows."""
        entry = self.entry
        return replace(
            card,
            title=entry.title or card.title,
            licence=entry.licence or card.licence,
            parameters=entry.parameters or card.parameters,
        )

    def refuse_absent(self) -> None:
        if self.is_absent:
            name = self.entry.name
            raise Failure(
                "model_not_on_disk",
                f"{self.entry.title or name} is not on this machine, and nothing is downloaded unasked.",
                f"Run `%mistral load {name}` or `jupyter mistral pull {name}`.",
                "model",
            )

    def order(self, context_length: int | None, device: str) -> dict[str, Any]:
        """What the worker is told to load."""
        entry, located = self.entry, self.located
        return {
            "path": str(located.path),
            "out": str(located.out) if located.out else None,
            "name": entry.name,
            "fim": asdict(entry.fim) if entry.fim else None,
            "context_length": context_length,
            "device": device,
            "quantization": "nf4",
        }


def find(name: str) -> Found:
    """Look a model up and see what is on disk; reads files. Raises `Failure`: unknown_model, corrupt_model, unsupported."""
    from ...models import catalogue, store

    if "\0" in name:
        raise Failure("unknown_model", "A model's name has no NUL in it.", "Change it.", "model")
    entry = catalogue.find(name)
    if entry.engine == "external":
        raise Failure(
            "unsupported", f"{entry.title} is too large to be loaded here.", "Choose a smaller model.", "model"
        )
    return Found(entry, store.locate(entry))


def find_adapter(name: str) -> Path:
    """The folder of a LoRA adapter; they lie under `adapters` of our home. Reads files. Raises `Failure("unknown_model")`."""
    from ...models import store

    home = store.home() / "adapters"
    names = sorted(path.parent.name for path in home.glob("*/adapter_config.json"))
    if name not in names:
        there = f"There are: {', '.join(names)}." if names else "There is none yet."
        raise Failure(
            "unknown_model",
            f"There is no adapter {name[:80]} in {home}. {there}",
            "Put its folder there, with adapter_config.json and adapter_model.safetensors.",
            "adapter",
        )
    return home / name


def on_disk(context_length: int | None) -> list[ModelCard]:
    """Cards of all models that are here; reads files."""
    from ...models.listing import rows

    found = [find(row["name"]) for row in rows() if row["state"] in ("ready", "on disk")]
    return [model.card(context_length) for model in found]


def refuse_missing_engine() -> None:
    """Raise `Failure("engine_missing")` unless what the worker imports is installed; looks, imports nothing."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise Failure(
            "engine_missing",
            f"The model cannot run here: {', '.join(missing)} is not installed.",
            "Run `pip install 'jupyter-mistral[engine]'`, then restart the Jupyter server.",
        )


def private_folder() -> Path:
    """Where child processes stand: a folder of ours, so that nothing beside a notebook can pass for a module."""
    from ...models import store

    return store.home()


async def download(name: str, folder: Path) -> AsyncGenerator[Loading, None]:
    """Fetch a model in a child process, the only one that uses the network. Leaving ends it. Raises `Failure`."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jupyter_mistral.models.fetch",
        name,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
        cwd=folder,
        start_new_session=True,
    )
    assert child.stdout is not None
    is_done = False
    try:
        async for line in child.stdout:
            data = json.loads(line)
            if data.get("error"):
                raise Failure.of_dict(data["error"])
            if data.get("event") == "done":
                is_done = True
                continue
            yield Loading(data["stage"], data.get("fraction"), data.get("detail", ""), data.get("eta_s"))
        if not is_done:
            raise Failure(
                "download_failed", f"The download of {name} ended early.", "Try again; it goes on where it was."
            )
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        await child.wait()
