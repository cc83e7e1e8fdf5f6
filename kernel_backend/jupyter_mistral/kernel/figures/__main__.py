"""`python -m jupyter_mistral.kernel.figures`: reads a saved output as JSON from stdin, writes its facts as JSON to stdout.

For pages without a kernel. Runs in a process of its own with resource limits, because the JSON may come from anyone.
"""

from __future__ import annotations

import contextlib
import json
import sys

from .describe import describe
from .words.headline import headline
from .words.summary import summarize

MEMORY_BYTES, CPU_SECONDS = 2 * 2**30, 6


def main() -> None:
    with contextlib.suppress(ImportError):  # not available on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    facts = describe(json.loads(sys.stdin.buffer.read()))
    answer = {"text": str(facts), "has_numbers": facts.has_numbers}
    if facts.has_numbers:
        answer |= {"headline": headline(facts.figure), "summary": summarize(facts.figure)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
