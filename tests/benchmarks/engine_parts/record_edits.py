"""Records how cells changed in the history of public notebooks: `python record_edits.py CLONE WEB-ADDRESS > edits.json`.

Of each edit only the pattern of its tokens is kept: every token is replaced by the number of its first appearance. Prompt
lookup sees nothing else, and nobody's code is copied.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

WANTED = 24
SHORTEST, LONGEST = 60, 400  # tokens
NEAREST, FARTHEST = 0.99, 0.6  # share of words that stay: an edit of this cell rather than another cell


def main(clone: str, address: str) -> None:
    found = list(edits(Path(clone)))
    chosen = [found[n * len(found) // WANTED] for n in range(WANTED)]
    head = git(Path(clone), "rev-parse", "HEAD").strip()
    how = f"cells of its notebooks before and after a commit; {WANTED} of {len(found)}, evenly spaced; Tekken tokens"
    print(json.dumps({"source": f"{address} at {head}", "how": how})[:-1] + ', "edits": [')
    print(",\n".join(json.dumps(edit, separators=(",", ":")) for edit in chosen) + "\n]}")


def edits(clone: Path) -> Iterator[dict[str, object]]:
    """In the order of the history, oldest first."""
    import mistral_common
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tokenizer = Tekkenizer.from_file(Path(mistral_common.__file__).parent / "data" / "tekken_240911.json")
    log = git(
        clone, "log", "--reverse", "--no-merges", "--format=:%H", "--name-only", "--diff-filter=M", "--", "*.ipynb"
    )
    commit, seen = "", set()
    for line in filter(None, log.splitlines()):
        if line.startswith(":"):
            commit = line[1:]
            continue
        for before, after in changed(cells(clone, f"{commit}^", line), cells(clone, commit, line)):
            pair = tokenizer.encode(before, False, False), tokenizer.encode(after, False, False)
            if all(SHORTEST <= len(ids) <= LONGEST for ids in pair) and (before, after) not in seen:
                seen.add((before, after))
                numbers: dict[int, int] = {}
                old, new = ([numbers.setdefault(token, len(numbers)) for token in ids] for ids in pair)
                yield {"commit": commit[:12], "path": line, "before": old, "after": new}


def changed(before: list[str], after: list[str]) -> Iterator[tuple[str, str]]:
    """Removed cells, each with the new cell that it most likely became."""
    gone, new = [c for c in before if c not in after], [c for c in after if c not in before]
    for old in gone if len(gone) <= 20 else []:  # more means that the notebook was rewritten
        likeness, best = max(
            ((SequenceMatcher(None, old.split(), c.split()).ratio(), c) for c in new), default=(0.0, "")
        )
        if FARTHEST <= likeness <= NEAREST:
            new.remove(best)
            yield old, best


def cells(clone: Path, commit: str, path: str) -> list[str]:
    text = git(clone, "show", f"{commit}:{path}")
    try:
        notebook = json.loads(text)
    except ValueError:  # one commit contains merge conflict markers
        return []
    sheets = notebook.get("worksheets") or [notebook]
    code = [cell for sheet in sheets for cell in sheet["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell.get("source", cell.get("input", ""))) for cell in code]


def git(clone: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", clone, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
