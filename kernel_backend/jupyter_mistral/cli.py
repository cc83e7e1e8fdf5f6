"""`jupyter mistral …`: the commands, their arguments and what they print. Imports nothing heavy until a command needs it."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from ._version import __version__
from .protocol.failures import Failure
from .protocol.status import KV, Seal, Status

Command = Callable[[argparse.Namespace], int]
_HANDED_ON = ("demo", "serve", "token", "context", "alt", "audit")  # they read their own arguments


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed (one sentence on standard error), 2 misused."""
    words = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # lines and bars on a terminal that has only ASCII
    try:
        if words and words[0] in _HANDED_ON:
            return _hand_on(words[0], words[1:])
        args = _parser().parse_args(words)
        command: Command = args.command
        return command(args)
    except Failure as failure:
        print(f"jupyter mistral: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\njupyter mistral: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `jupyter mistral models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if not error.filename:
            raise
        todo = "Look whose it is: JUPYTER_MISTRAL_HOME names the folder that is used."
        print(f"jupyter mistral: {error.filename}: {error.strerror}. {todo}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "jupyter mistral", description="A 4-bit Mistral on this machine, for JupyterLab and IPython."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, run: Command, about: str, *, asks_name: str = "", can_json: bool = False
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(command=run)
        if asks_name:
            command.add_argument("name", nargs=asks_name, metavar="NAME", help="a model: see `jupyter mistral models`")
        if can_json:
            command.add_argument("--json", action="store_true", help="print one JSON value")
        return command

    commands.add_parser("demo", help="run the first example notebook, then open JupyterLab on it (--no-lab: do not)")
    pull = add("pull", _pull, "Fetch a model (the default one), check it, make its 4-bit weights.", asks_name="?")
    pull.add_argument("--force", action="store_true", help="fetch it anew although it is here")
    pull.add_argument("--download-only", action="store_true", help="leave the 4-bit weights to the first load")
    models = add("models", _models, "List models: what they can do, take, and whether they fit here.", can_json=True)
    models.add_argument("--kv", choices=KV, default="bf16", help="how keys and values of what is read would be stored")
    add("status", _status, "Tell what the running model host does.", can_json=True)
    load = add("load", _load, "Load a model (the default one) in the running model host.", asks_name="?")
    load.add_argument("--download", action="store_true", help="fetch it first where it is absent")
    load.add_argument("--adapter", metavar="NAME", help="use this LoRA adapter from now on; '' uses none")
    load.add_argument(
        "--spill",
        action=argparse.BooleanOptionalAction,
        help="from now on, keep in host memory the layers that do not fit on the GPU (slower), or do not",
    )
    load.add_argument("--kv", choices=KV, help="store keys and values of what is read so from now on")
    add("unload", _unload, "Take the model out of memory.")
    add("park", _park, "Lend the GPU: the weights wait in host memory and come back with the next request.")
    commands.add_parser("serve", help="host the model without a Jupyter server (see `serve --help`)")
    doctor_parser = add(
        "doctor", _doctor, "Check this machine: each line ok, warn or blocked, with what to do.", can_json=True
    )
    doctor_parser.add_argument(
        "--egress", action="store_true", help="measure what leaves this machine on a whole journey"
    )
    doctor_parser.add_argument(
        "--model", metavar="NAME", help="with --egress: the model that goes along (the default one)"
    )
    commands.add_parser("token", help="make, list and revoke tokens for other programs (see `token --help`)")
    commands.add_parser("context", help="show what of a notebook the model would read (see `context --help`)")
    commands.add_parser("audit", help="check or print the audit log (see `audit --help`)")
    commands.add_parser("alt", help="write alt text for a notebook's figures (see `alt --help`)")
    rm = add("rm", _rm, "Delete a model from this machine.", asks_name="+")
    rm.add_argument("--source", action="store_true", help="delete only the download, keep the 4-bit weights")
    return parser


def _hand_on(command: str, argv: list[str]) -> int:
    if command == "demo":
        from .commands.demo import main as demo

        return demo(argv)
    if command == "alt":
        from .kernel.alt.cli import main as alt

        return alt(argv)
    if command == "token":
        from .commands.token import main as token

        return token(argv)
    if command == "context":
        from .commands.context import main as context

        return context(argv)
    if command == "audit":
        from .commands.audit import main as audit

        return audit(argv)
    # a process that is the host and nothing else
    line = [sys.executable, "-m", "jupyter_mistral.server.standalone", *argv]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(sys.executable, line)  # noqa: S606  # our own interpreter, a list
    return subprocess.run(line, check=False).returncode


# ---------------------------------------------------------------------------------------------- models on disk


def _pull(args: argparse.Namespace) -> int:
    from . import models
    from .commands.terminal import Progress
    from .models import catalogue, fetch, store

    os.umask(0o077)
    entry = catalogue.find(args.name or models.default_name())
    progress = Progress()
    try:
        fetch.pull(entry, progress, force=args.force)
        why_not = _why_unprepared(entry) if store.locate(entry).state == "source" and not args.download_only else ""
        if store.locate(entry).state == "source" and not args.download_only and not why_not:
            from .commands.prepare import prepare

            prepare(entry.name, progress)
    except OSError as error:
        raise Failure("download_failed", f"{entry.title} could not be written: {error}.", "Check the disk.") from error
    finally:
        progress.close()
    found = store.locate(entry)
    print(f"{entry.name} is {'ready in 4 bit' if found.state == 'ready' else 'on disk'}: {found.path}")
    if why_not:
        print(f"Its 4-bit weights were not made: {why_not}")
    return 0


def _why_unprepared(entry: Any) -> str:
    """Why the 4-bit weights cannot be made here, empty when they can."""
    from .models import memory
    from .server.inference.disk_models import refuse_missing_engine

    try:
        refuse_missing_engine()
    except Failure as failure:
        return str(failure)
    fit = memory.fits(entry, 4096)
    return fit.reason if fit.where == "no" and entry.parameters else ""


def _models(args: argparse.Namespace) -> int:
    from .commands.terminal import models_table
    from .models.listing import rows
    from .models.memory import gib, machine

    found = rows(args.kv)
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    print(models_table(found) + "\n")
    for row in found:
        if row["note"]:
            print(f"{row['name']}: {row['note']}.")
    here = machine()
    card = f"{here.gpu_name} with {gib(here.gpu_total)}" if here.gpu_total else "no GPU"
    print(
        f"This machine: {card}, {gib(here.ram_total)} of memory. Sizes in GiB; memory is weights in 4 bit, cache and margin."
    )
    print("* the default. `jupyter mistral pull NAME` fetches one; a Hugging Face id (org/name) or a folder works too.")
    return 0


def _rm(args: argparse.Namespace) -> int:
    from .models import catalogue, store
    from .models.memory import gib

    for name in args.name:
        entry = catalogue.find(name)
        if not store.disk_bytes(entry.name):
            raise Failure(
                "model_not_on_disk", f"{entry.name} is not on this machine.", "`jupyter mistral models` tells."
            )
        _refuse_loaded(entry.name)
        freed = store.remove(entry.name, only_source=args.source)
        print(f"Deleted {'the download of ' if args.source else ''}{entry.name}: {gib(freed)} freed.")
    return 0


def _refuse_loaded(name: str) -> None:
    """Raise `Failure("busy")` for a model that a running host has in memory."""
    try:
        client = _client()
        loaded = client.get("/mistral/api/status").get("model") or {}
    except Failure:  # no host, or one that does not answer
        return
    if loaded.get("name") == name:
        raise Failure(
            "busy",
            f"{name} is loaded right now, by process {client.pid}.",
            "Run `jupyter mistral unload` first.",
        )


# ---------------------------------------------------------------------------------------------- the running host


def _client() -> Any:
    from .kernel.host.client import Client

    return Client.find(start=False)


def _status(args: argparse.Namespace) -> int:
    try:
        client = _client()
        told = {"host": {"pid": client.pid}, **client.get("/mistral/api/status")}
    except Failure as failure:
        if failure.code != "engine_stopped":
            raise
        told = {"host": None, **_resting().to_dict()}
    from .commands.terminal import status_text
    from .models.listing import rows

    told["on_disk"] = [row["name"] for row in rows() if row["state"] in ("ready", "on disk")]
    print(json.dumps(told, indent=1) if args.json else status_text(told))
    return 0


def _resting() -> Status:
    """The status of a machine on which no host runs."""
    from . import models
    from .models import catalogue
    from .models.listing import state_of

    name = models.default_name()
    is_here = state_of(catalogue.find(name)) in ("ready", "on disk")
    seal = Seal(reason="no model host is running")
    return Status(__version__, "unloaded" if is_here else "absent", name, seal=seal)


def _load(args: argparse.Namespace) -> int:
    from .commands.terminal import Progress

    client = _client()
    progress = Progress()
    try:
        for event in client.load(args.name, args.download, args.kv, args.adapter, args.spill):
            progress(event)
    finally:
        progress.close()
    model = client.get("/mistral/api/status")["model"]
    kv = f", keys and values in {model['kv']}" if model.get("kv") not in (None, "", "bf16") else ""
    print(f"{model['name']} is ready ({model['quantization']}{kv}, context {model['context_length']:,} tokens).")
    return 0


def _unload(args: argparse.Namespace) -> int:
    _client().post("/mistral/api/unload")
    print("No model is loaded now: its memory is free.")
    return 0


def _park(args: argparse.Namespace) -> int:
    _client().post("/mistral/api/park")
    print("The weights are in host memory: the next request brings them back.")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    if args.egress:
        from .egress import report

        return report.main(as_json=args.json, model=args.model)
    from .commands import doctor

    return doctor.main(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
