"""`jupyter mistral alt NOTEBOOK`: alt texts for a saved notebook, as a diff; `--apply` writes them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..figures.questions import can_see
from ..host.client import Client
from .review import review


def main(argv: list[str]) -> int:
    """Prints the diff on standard output, progress on standard error. Raises `Failure`."""
    parser = argparse.ArgumentParser(
        "jupyter mistral alt",
        description="Write alt text for the figures of a notebook into its outputs' metadata: shown as a diff first.",
    )
    parser.add_argument("notebook", type=Path, metavar="NOTEBOOK.ipynb")
    parser.add_argument("--apply", action="store_true", help="write what the diff shows into the file")
    parser.add_argument("--overwrite", action="store_true", help="also replace alt text that a person wrote")
    parser.add_argument("--model", metavar="NAME", help="the model to ask (the loaded or default one)")
    args = parser.parse_args(argv)
    client = Client.find()

    def tell(done: int, of: int, what: str) -> None:
        if done < of:
            print(f"Figure {done + 1} of {of}: {what}", file=sys.stderr, flush=True)

    found = review(args.notebook, client, can_see(client, args.model), tell, model=args.model, overwrite=args.overwrite)
    print(found.diff())
    print(found.summary(), file=sys.stderr)
    if args.apply:
        count = found.apply()
        print(f"Wrote {count} into {args.notebook.name}.", file=sys.stderr)
    elif found.changes:
        print("Nothing is written yet: --apply writes it.", file=sys.stderr)
    return 0
