"""`jupyter mistral …`: parses the command line and runs one module of `commands/`. Imports nothing heavy before that."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

from . import child
from ._version import __version__
from .protocol.failures import Failure
from .protocol.status import KV

Command = Callable[[argparse.Namespace], int]
# command -> the module with its `make_parser()` and `main(argv)`, and its line in the list of commands
DELEGATED = {
    "demo": ("commands.demo", "run the first example notebook, then open JupyterLab on it"),
    "serve": ("server.standalone", "host the model without a Jupyter server"),
    "token": ("commands.token", "create, list and revoke tokens for other programs"),
    "context": ("commands.context", "show the part of a notebook that the model would get"),
    "audit": ("commands.audit", "check or print the audit log"),
    "alt": ("kernel.alt_text.cli", "write alt text for the figures of a notebook"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed (one sentence on standard error), 2 wrong usage."""
    words = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # lines and bars on a terminal that has only ASCII
    try:
        if words and words[0] in DELEGATED:
            return _delegate(words[0], words[1:])
        args = make_parser().parse_args(words)
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
        todo = "Check the owner and permissions; JUPYTER_MISTRAL_HOME sets the folder."
        print(f"jupyter mistral: {error.filename}: {error.strerror}. {todo}", file=sys.stderr)
        return 1


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "jupyter mistral", description="A 4-bit Mistral on this machine, for JupyterLab and IPython."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Command, about: str, *, model: str = "", can_json: bool = False) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(command=run)
        if model:
            command.add_argument("name", nargs=model, metavar="NAME", help="a model of `jupyter mistral models`")
        if can_json:
            command.add_argument("--json", action="store_true", help="print JSON")
        return command

    pull = add("pull", _models("pull"), "Download a model (the default one), verify and quantize it.", model="?")
    pull.add_argument("--force", action="store_true", help="download again")
    pull.add_argument("--download-only", action="store_true", help="quantize later, at the first load")
    models = add("models", _models("show"), "List models: abilities, size, and whether they fit here.", can_json=True)
    models.add_argument("--kv", choices=KV, default="bf16", help="number format of the KV cache to calculate with")
    rm = add("rm", _models("remove"), "Delete models from this machine.", model="+")
    rm.add_argument("--source", action="store_true", help="delete only the download and keep the 4-bit weights")
    add("status", _host("status"), "Show the state of the running model host.", can_json=True)
    load = add("load", _host("load"), "Load a model (the default one) in the running model host.", model="?")
    load.add_argument("--download", action="store_true", help="download it first if needed")
    load.add_argument("--adapter", metavar="NAME", help="use this LoRA adapter; '' uses none")
    spill = "keep layers that do not fit on the GPU in host memory (slower)"
    load.add_argument("--spill", action=argparse.BooleanOptionalAction, help=spill)
    load.add_argument("--kv", choices=KV, help="number format of the KV cache")
    add("unload", _host("unload"), "Unload the model and free its memory.")
    add("park", _host("park"), "Release the GPU. The weights wait in host memory until the next request.")
    doctor = add("doctor", _doctor, "Check this machine: one line for each check, with what to do.", can_json=True)
    doctor.add_argument("--egress", action="store_true", help="measure what leaves this machine during a whole session")
    doctor.add_argument("--model", metavar="NAME", help="model for --egress (the default one)")
    for name, (_, about) in DELEGATED.items():
        commands.add_parser(name, help=f"{about} (see `{name} --help`)", add_help=False)
    return parser


def all_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each command with the parser of its arguments, for the documentation."""
    commands = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        yield name, _module(name).make_parser() if name in DELEGATED else parser


def _module(command: str) -> ModuleType:
    return importlib.import_module(f".{DELEGATED[command][0]}", __package__)


def _delegate(command: str, argv: list[str]) -> int:
    if command == "serve":  # in a process that is the host and nothing else
        child.become(child.python("jupyter_mistral.server.standalone", *argv), env=child.full_environment(os.environ))
    return int(_module(command).main(argv))


def _models(function: str) -> Command:
    return lambda args: int(getattr(importlib.import_module(".commands.models", __package__), function)(args))


def _host(function: str) -> Command:
    return lambda args: int(getattr(importlib.import_module(".commands.host", __package__), function)(args))


def _doctor(args: argparse.Namespace) -> int:
    if args.egress:
        from .egress import report

        return report.main(as_json=args.json, model=args.model)
    from .commands import doctor

    return doctor.main(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
