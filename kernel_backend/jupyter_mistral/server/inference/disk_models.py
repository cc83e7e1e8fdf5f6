"""Models and adapters as they lie on disk: which exist, what they can do and what the worker needs to load them. Reads files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...protocol.failures import Failure
from ...protocol.status import ModelCard

if TYPE_CHECKING:
    from ...models.catalogue import Entry
    from ...models.store import Located

EXTRA = ("torch", "transformers", "accelerate", "bitsandbytes", "safetensors", "tokenizers")


@dataclass(frozen=True)
class DiskModel:
    """A model of the catalogue, the hub or a folder, and which of its files are on disk."""

    entry: Entry
    located: Located

    @property
    def is_absent(self) -> bool:
        return self.located.state == "absent"

    @property
    def tokenizer(self) -> str | None:
        """Path of the tokenizer that counts control tokens as plain text; exists once the model is quantized."""
        path = self.located.path / "text_tokenizer.json"
        return str(path) if self.located.state == "ready" and path.is_file() else None

    def card(self, context_length: int | None) -> ModelCard:
        entry = self.entry
        length = min(context_length or entry.context_length, entry.context_length or 10**9)
        return ModelCard(entry.name, entry.title, entry.licence, entry.parameters, "nf4", length, entry.can)

    def completed(self, card: ModelCard) -> ModelCard:
        """The loaded model's card with the facts that only the catalogue has."""
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
                f"{self.entry.title or name} is not downloaded yet.",
                f"Run `%mistral load {name}` or `jupyter mistral pull {name}`.",
                "model",
            )

    def order(self, context_length: int | None, device: str) -> dict[str, Any]:
        """The worker's `load` message."""
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


def find(name: str) -> DiskModel:
    """Look a model up. Raises `Failure`: unknown_model, corrupt_model, unsupported."""
    from ...models import catalogue, store

    if "\0" in name:
        raise Failure("unknown_model", "A model name cannot contain NUL.", "Change it.", "model")
    entry = catalogue.find(name)
    if entry.engine == "external":
        raise Failure(
            "unsupported", f"{entry.title} is too large to run on this machine.", "Choose a smaller model.", "model"
        )
    return DiskModel(entry, store.locate(entry))


def find_adapter(name: str) -> Path:
    """The folder of a LoRA adapter, under `adapters` of our home. Raises `Failure("unknown_model")`."""
    from ...models import store

    home = store.home() / "adapters"
    names = sorted(path.parent.name for path in home.glob("*/adapter_config.json"))
    if name not in names:
        available = f"Available: {', '.join(names)}." if names else "None is installed yet."
        raise Failure(
            "unknown_model",
            f"{home} has no adapter {name[:80]}. {available}",
            "Put its folder there, with adapter_config.json and adapter_model.safetensors.",
            "adapter",
        )
    return home / name


def on_disk(context_length: int | None) -> list[ModelCard]:
    """Cards of all downloaded models."""
    from ...models.listing import rows

    names = [row["name"] for row in rows() if row["state"] in ("ready", "on disk")]
    return [find(name).card(context_length) for name in names]


def refuse_missing_engine() -> None:
    """Raise `Failure("engine_missing")` unless the worker's packages are installed; imports none of them."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        packages = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'}"
        raise Failure(
            "engine_missing",
            f"The model cannot run here: {packages} not installed.",
            "Run `pip install 'jupyter-mistral[engine]'`, then restart the Jupyter server.",
        )


def private_folder() -> Path:
    """The working directory of child processes: a folder of ours, so that no file beside a notebook is imported as a module."""
    from ...models import store

    return store.home()
