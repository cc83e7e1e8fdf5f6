"""Checks that a message about a file is one sentence and reveals nothing of the file or the machine."""

from __future__ import annotations

import re

from jupyter_mistral.protocol.failures import Failure

LEAK = re.compile(r"0x[0-9a-f]{4,}|(?:^|\s)[/~]\w|[A-Z]:\\|Traceback|site-packages|Error\b|Exception|\n")


def check(failure: Failure) -> None:
    """One sentence for what happened, one for what to do, no internals and no text of the file."""
    assert re.fullmatch(r"[A-Z][^.!?]*(?:\.\d[^.!?]*)*[.]", failure.message), failure.message
    assert failure.todo
    assert not LEAK.search(str(failure)), str(failure)
    assert failure.status in (400, 413)
