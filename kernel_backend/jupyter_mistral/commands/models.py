"""`jupyter mistral pull`, `models` and `rm`: the models on this machine's disk."""

from __future__ import annotations

import argparse
import json
import os

from .. import models
from ..models import catalogue, fetch, memory, store
from ..models.entry import Entry
from ..models.listing import rows
from ..models.memory import gib
from ..protocol.failures import Failure
from .running_host import find_client
from .terminal import Progress, models_table


def pull(args: argparse.Namespace) -> int:
    os.umask(0o077)
    entry = catalogue.find(args.name or models.default_name())
    progress = Progress()
    obstacle = ""
    try:
        fetch.pull(entry, progress, force=args.force)
        if store.locate(entry).state == "source" and not args.download_only:
            obstacle = _obstacle_to_quantizing(entry)
            if not obstacle:
                from .prepare import prepare

                prepare(entry.name, progress)
    except OSError as error:
        raise Failure("download_failed", f"{entry.title} could not be written: {error}.", "Check the disk.") from error
    finally:
        progress.close()
    location = store.locate(entry)
    print(f"{entry.name} is {'ready in 4-bit' if location.state == 'ready' else 'downloaded'}: {location.path}")
    if obstacle:
        print(f"It was not quantized: {obstacle}")
    return 0


def _obstacle_to_quantizing(entry: Entry) -> str:
    """Why the model cannot be quantized on this machine, "" if it can."""
    from ..server.inference.disk_models import refuse_missing_engine

    try:
        refuse_missing_engine()
    except Failure as failure:
        return str(failure)
    fit = memory.fits(entry, 4096)
    return fit.reason if fit.where == "no" and entry.parameters else ""


def show(args: argparse.Namespace) -> int:
    listed = rows(args.kv)
    if args.json:
        print(json.dumps(listed, indent=1))
        return 0
    print(models_table(listed) + "\n")
    for row in listed:
        if row["note"]:
            print(f"{row['name']}: {row['note']}.")
    machine = memory.machine()
    gpu = f"{machine.gpu_name} with {gib(machine.gpu_total)}" if machine.gpu_total else "no GPU"
    print(
        f"This machine: {gpu}, {gib(machine.ram_total)} of memory. Sizes are in GiB and include 4-bit weights, KV cache and a margin."
    )
    print("* default model. `jupyter mistral pull NAME` downloads one, also a Hugging Face id (org/name) or a folder.")
    return 0


def remove(args: argparse.Namespace) -> int:
    for name in args.name:
        entry = catalogue.find(name)
        if not store.disk_bytes(entry.name):
            message = f"{entry.name} is not downloaded."
            raise Failure("model_not_on_disk", message, "Run `jupyter mistral models` to see what is.")
        _refuse_loaded(entry.name)
        freed = store.remove(entry.name, only_source=args.source)
        print(f"Deleted {'the download of ' if args.source else ''}{entry.name}: {gib(freed)} freed.")
    return 0


def _refuse_loaded(name: str) -> None:
    """Raise `Failure("busy")` for a model that a running host has in memory."""
    try:
        client = find_client()
        loaded = client.get("/mistral/api/status").get("model") or {}
    except Failure:  # no host, or one that does not answer
        return
    if loaded.get("name") == name:
        message = f"{name} is loaded by process {client.pid}."
        raise Failure("busy", message, "Run `jupyter mistral unload` first.")
