"""`python -m jupyter_mistral.kernel.figures`: a saved output's JSON on standard input, its facts as JSON on standard output.

For whoever has no kernel at hand. A process of its own, with limits, because the JSON may be anyone's.
"""

from __future__ import annotations

import contextlib
import json
import sys

from .describe import describe
from .words.headline import headline
from .words.summary import summarize

BYTES, SECONDS = 2 * 2**30, 6


def main() -> None:
    with contextlib.suppress(ImportError):  # Windows has none
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    facts = describe(json.loads(sys.stdin.buffer.read()))
    told = {"text": str(facts), "has_numbers": facts.has_numbers}
    told |= {"headline": headline(facts.figure), "summary": summarize(facts.figure)} if facts.has_numbers else {}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
