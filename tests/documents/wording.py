"""What a message about a file may say, and what none of them may hold."""

from __future__ import annotations

import re

from jupyter_mistral.protocol.failures import Failure

LEAK = re.compile(r"0x[0-9a-f]{4,}|(?:^|\s)[/~]\w|[A-Z]:\\|Traceback|site-packages|Error\b|Exception|\n")


def check(failure: Failure) -> None:
    """One sentence of what happened, what to do, and nothing of ours or of the file's."""
    assert re.fullmatch(r"[A-Z][^.!?]*(?:\.\d[^.!?]*)*[.]", failure.message), failure.message
    assert failure.todo
    assert not LEAK.search(str(failure)), str(failure)
    assert failure.status in (400, 413)
