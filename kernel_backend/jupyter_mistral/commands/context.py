"""`jupyter mistral context NOTEBOOK --question TEXT`: print the prompt that a model would get. Needs no server and no torch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..context.notebook import cells
from ..context.prompt import read_in_parts
from ..context.prompt.builder import Built, build_prompt
from ..context.prompt.inputs import Job
from ..context.prompt.read_in_parts import Plan
from ..context.token_counts import TokenCounter
from ..protocol.conversation import Message
from ..protocol.failures import Failure
from ..protocol.requests import SCOPES


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 printed, 1 failed (one sentence on standard error), 2 wrong usage."""
    args = make_parser().parse_args(sys.argv[1:] if argv is None else argv)
    try:
        tokens, length, has_vision = _tokenizer(args.model)
        budget = args.budget or length
        job = Job((Message("user", (args.question,)),), budget, args.scope, args.focus, vision=has_vision)
        notebook = _notebook(args.notebook)
        if args.focus is not None:
            _refuse_beyond(len(cells.read(notebook)), args.focus)
        read = job.inputs(notebook, tokens.count, tokens.overhead, tokens.image)
        plan = read_in_parts.plan(read) if args.thorough else None
        report = to_dict_of_plan(plan) if plan else to_dict(build_prompt(read, None))
        text = _readable_plan(plan) if plan else _readable(report)
    except Failure as failure:
        print(f"jupyter mistral context: {failure}", file=sys.stderr)
        return 1
    print(json.dumps(report, ensure_ascii=False, indent=1) if args.json else text)
    return 0


def to_dict(built: Built) -> dict[str, Any]:
    """What `--json` prints for one prompt."""
    return {
        "messages": [message.to_dict() for message in built.messages],
        "ledger": [segment.to_dict() for segment in built.ledger],
        "total_tokens": built.total_tokens,
        "left_out": list(built.left_out),
        "notes": list(built.notes),
    }


def to_dict_of_plan(plan: Plan) -> dict[str, Any]:
    """What `--thorough --json` prints for a notebook that is read in parts."""
    windows = [
        {
            "about": window.about,
            "messages": [message.to_dict() for message in window.messages],
            "ledger": [segment.to_dict() for segment in window.ledger],
            "total_tokens": window.tokens,
            "note_tokens": window.note_tokens,
        }
        for window in plan.windows
    ]
    return {"windows": windows, "total_tokens": plan.tokens, "left_out": list(plan.left_out)}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "jupyter mistral context", description="Show the part of a notebook that the model would get."
    )
    parser.add_argument("notebook", metavar="NOTEBOOK", type=Path)
    parser.add_argument("--question", required=True, metavar="TEXT")
    parser.add_argument(
        "--focus", type=_focus, metavar="N", help="index of the cell the question is about (from 0), or none"
    )
    parser.add_argument(
        "--budget", type=_budget, metavar="TOKENS", help="maximum prompt tokens (default: the model's context length)"
    )
    parser.add_argument("--scope", choices=SCOPES, default="notebook", help="the part of the notebook that may be read")
    parser.add_argument("--model", metavar="NAME", help="model whose tokenizer counts (default: the default model)")
    parser.add_argument(
        "--thorough", action="store_true", help="show the parts in which a notebook that exceeds the budget is read"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _focus(text: str) -> int | None:
    return None if text == "none" else int(text)


def _budget(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _refuse_beyond(count: int, focus: int) -> None:
    if focus >= count:
        raise Failure("bad_request", f"The notebook has {count} cells, counted from 0.", "Choose another --focus.")


def _notebook(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise Failure("not_found", f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    except (ValueError, RecursionError):
        raise Failure(
            "bad_request", f"{path} is not a notebook: it is not valid JSON.", "Open and save it in Jupyter."
        ) from None
    if not isinstance(data, dict) or not ({"cells", "worksheets"} & data.keys()):
        raise Failure("bad_request", f"{path} is not a notebook: it has no cells.", "Name an .ipynb file.")
    return {**data, "path": path.name}


def _tokenizer(name: str | None) -> tuple[TokenCounter, int, bool]:
    """The tokenizer of a model on disk, its context length, and whether it has vision."""
    from .. import models
    from ..models import catalogue, store

    for each in [name] if name else dict.fromkeys((models.default_name(), models.EMBEDDED)):
        entry = catalogue.find(each)
        location = store.locate(entry)
        folder = location.path if location.path.is_dir() else location.path.parent
        if location.state != "absent" and (folder / "tokenizer.json").is_file():
            return TokenCounter(folder), entry.context_length or _length(folder), "image" in entry.can
    raise Failure(
        "model_not_on_disk",
        f"The tokenizer of {name or models.default_name()} is not downloaded, so tokens cannot be counted.",
        f"Run `jupyter mistral pull {name or models.default_name()}`.",
    )


def _length(folder: Path) -> int:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        length = (config.get("text_config") or config).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        length = None
    return length if isinstance(length, int) and length > 0 else 4096


def _readable(report: Mapping[str, Any]) -> str:
    lines = [f"──── {m['role']}\n{_words(m['content'])}" for m in report["messages"]]
    lines.append(f"──── {report['total_tokens']:,} tokens")
    lines += [_row(row) for row in report["ledger"] if row["kept"]]
    lines += [f"Left out: {text}" for text in report["left_out"]]
    return "\n".join(lines)


def _words(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "(image)\n") for part in content)


def _row(row: Mapping[str, Any]) -> str:
    of = f" of cell {row['cell']}" if row["cell"] is not None else ""
    state = ", ".join(x for x in (row["state"] if row["state"] != "whole" else "", row["why"]) if x)
    return f"{row['tokens']:7,}  {row['segment']}{of}" + (f"  ({state})" if state else "")


def _readable_plan(plan: Plan) -> str:
    lines = [f"Read in {len(plan.windows)} parts, then answered from their notes:"]
    lines += [f"{w.tokens:7,} tokens  {w.about}  (notes of up to {w.note_tokens} tokens)" for w in plan.windows]
    lines += [f"{plan.tokens:7,} tokens in total, plus the notes"]
    lines += [f"Left out: {text}" for text in plan.left_out]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
