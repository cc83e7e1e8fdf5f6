"""The catalogue as rows: what each model can do, what it needs, and whether it fits this machine."""

from __future__ import annotations

from typing import Any, Literal

from ..protocol.failures import Failure
from . import default_name, store
from .catalogue import ENTRIES, Entry, Hub, find
from .memory import Machine, fits, machine, need, weight_bytes

CONTEXTS = (4096, 32_768, 131_072)


def rows(kv: str = "bf16") -> list[dict[str, Any]]:
    """One dict for each model of the catalogue, then for each other model on disk. Bytes and tokens are plain numbers.

    state: ready (4-bit weights on disk), on disk (downloaded), damaged, absent, external. memory and fits_by_context are keyed
    by tokens of context, with a KV cache in the format `kv`; None beyond the model's context length. fits: gpu, cpu or no.
    """
    here, default = machine(), default_name()
    return [_row(entry, here, entry.name == default, kv) for entry in [*ENTRIES, *_others()]]


def _others() -> list[Entry]:
    """Downloaded hub models that are not in the catalogue."""
    root = store.home() / "models"
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        name = folder.name.replace("--", "/", 1)
        if "/" in name and any((folder / half).is_dir() for half in (store.SOURCE, store.NF4)):
            try:
                found.append(find(name))
            except Failure:  # not a model's folder
                continue
    return found


def _row(entry: Entry, here: Machine, is_default: bool, kv: str) -> dict[str, Any]:
    within = [context for context in CONTEXTS if context <= entry.context_length]
    fit = fits(entry, CONTEXTS[0], here, kv)
    device: Literal["gpu", "cpu"] = "gpu" if fit.where == "gpu" or (fit.where == "no" and here.gpu_total) else "cpu"
    return {
        "name": entry.name,
        "title": entry.title,
        "licence": entry.licence,
        "parameters": entry.parameters,
        "can": list(entry.can),
        "context_length": entry.context_length,
        "disk": {
            "download": entry.download_bytes,
            "ready": weight_bytes(entry),
            "now": store.disk_bytes(entry.name),
        },
        "memory": {str(c): need(entry, c, device=device, kv=kv) or None if c in within else None for c in CONTEXTS},
        "memory_device": device,
        "fits": fit.where,
        "fits_by_context": {str(c): fits(entry, c, here, kv).where if c in within else None for c in CONTEXTS},
        "fits_reason": fit.reason,
        "state": state_of(entry),
        "default": is_default,
        "gated": entry.gated,
        "source": next((source.repo for source in entry.sources if isinstance(source, Hub)), ""),
        "note": entry.note,
    }


def state_of(entry: Entry) -> str:
    """The state of a model on this machine; see `rows`."""
    if entry.engine == "external":
        return "external"
    try:
        state = store.locate(entry).state
    except Failure as failure:
        return "damaged" if failure.code == "corrupt_model" else "refused"
    return "on disk" if state == "source" else state
