"""`jupyter mistral status`, `load`, `unload` and `park`: the running model host."""

from __future__ import annotations

import argparse
import json

from .. import models
from .._version import __version__
from ..models import catalogue
from ..models.listing import rows, state_of
from ..protocol.failures import Failure
from ..protocol.status import Seal, Status
from .running_host import find_client
from .terminal import Progress, status_text

ON_DISK = ("ready", "on disk")


def status(args: argparse.Namespace) -> int:
    try:
        client = find_client()
        report = {"host": {"pid": client.pid}, **client.get("/mistral/api/status")}
    except Failure as failure:
        if failure.code != "engine_stopped":
            raise
        report = {"host": None, **_status_without_host().to_dict()}
    report["on_disk"] = [row["name"] for row in rows() if row["state"] in ON_DISK]
    print(json.dumps(report, indent=1) if args.json else status_text(report))
    return 0


def _status_without_host() -> Status:
    name = models.default_name()
    is_on_disk = state_of(catalogue.find(name)) in ON_DISK
    seal = Seal(reason="no model host is running")
    return Status(__version__, "unloaded" if is_on_disk else "absent", name, seal=seal)


def load(args: argparse.Namespace) -> int:
    client = find_client()
    progress = Progress()
    try:
        for event in client.load(args.name, args.download, args.kv, args.adapter, args.spill):
            progress(event)
    finally:
        progress.close()
    model = client.get("/mistral/api/status")["model"]
    kv = f", KV cache in {model['kv']}" if model.get("kv") not in (None, "", "bf16") else ""
    print(f"{model['name']} is ready ({model['quantization']}{kv}, context {model['context_length']:,} tokens).")
    return 0


def unload(args: argparse.Namespace) -> int:
    find_client().post("/mistral/api/unload")
    print("Model unloaded; its memory is free.")
    return 0


def park(args: argparse.Namespace) -> int:
    find_client().post("/mistral/api/park")
    print("GPU released. The next request reloads the model from host memory.")
    return 0
