"""`jupyter mistral alt NOTEBOOK`: shows alt text for a saved notebook as a diff; `--apply` writes it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..figures.questions import can_see
from ..host.client import Client
from .review import make_review


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "jupyter mistral alt",
        description="Generate alt text for the figures of a notebook and show it as a diff.",
    )
    parser.add_argument("notebook", type=Path, metavar="NOTEBOOK.ipynb")
    parser.add_argument("--apply", action="store_true", help="write the alt text into the notebook file")
    parser.add_argument("--overwrite", action="store_true", help="also replace alt text written by a person")
    parser.add_argument(
        "--model", metavar="NAME", help="model to ask (default: the loaded model, else the default one)"
    )
    return parser


def main(argv: list[str]) -> int:
    """Print the diff to standard output and progress to standard error. Raises `Failure`."""
    args = make_parser().parse_args(argv)
    client = Client.find()

    def show_progress(done: int, total: int, name: str) -> None:
        if done < total:
            print(f"Figure {done + 1} of {total}: {name}", file=sys.stderr, flush=True)

    has_vision = can_see(client, args.model)
    review = make_review(args.notebook, client, has_vision, show_progress, model=args.model, overwrite=args.overwrite)
    print(review.diff())
    print(review.summary(), file=sys.stderr)
    if args.apply:
        count = review.apply()
        print(f"Wrote {count} alt text{'' if count == 1 else 's'} to {args.notebook.name}.", file=sys.stderr)
    elif review.changes:
        print("Nothing was written. Use --apply to write it.", file=sys.stderr)
    return 0
