"""`python -m jupyter_mistral.engine --fd N`: the worker process. It is sealed before anything heavy is imported."""

from __future__ import annotations

import argparse
import os
import signal
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from ..protocol import PROTOCOL
from ..seal import die_with_parent, seal
from .worker.faults import make_link
from .worker.worker import Worker

_LIBRARIES = ("torch", "transformers", "accelerate", "bitsandbytes", "llguidance")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jupyter_mistral.engine", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="file descriptor of the socket to the server")
    link = make_link(parser.parse_args().fd, os.environ)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the server, which asks before it stops
    sealed = seal()
    die_with_parent()
    # belt and braces: the libraries should not even try
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    hello = {"type": "hello", "pid": os.getpid(), "protocol": PROTOCOL, "seal": asdict(sealed), "versions": _versions()}
    link.send(hello)
    worker = Worker(link)
    link.start(worker.take)
    worker.run()


def _versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = ""
    return versions


if __name__ == "__main__":
    main()
