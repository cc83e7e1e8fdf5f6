"""`jupyter mistral token create|list|revoke`: tokens for other programs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from jupyter_core.paths import jupyter_config_path

from ..server.http.tokens import Tokens
from ..server.settings import read_settings


def main(argv: Sequence[str]) -> int:
    """Raises `Failure`."""
    args = make_parser().parse_args(argv)
    if args.command == "list":
        return _list(Tokens(), args.json)
    tokens = Tokens(audit=read_settings(jupyter_config_path()).open_audit_log())
    if args.command == "create":
        print(tokens.create(args.name))
        print("Keep it: it is not shown again. It only grants access to /mistral/v1.", file=sys.stderr)
    else:
        tokens.revoke(args.name)
        print(f"Token {args.name} revoked.")
    return 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "jupyter mistral token",
        description="Tokens for other programs: each grants access to /mistral/v1 on this machine and nothing else.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    create = commands.add_parser("create", help="create a token and print it once")
    revoke = commands.add_parser("revoke", help="revoke a token immediately")
    for command in (create, revoke):
        command.add_argument("name", metavar="NAME", help="what the token is for, such as an editor's name")
    commands.add_parser("list", help="list names").add_argument("--json", action="store_true", help="print JSON")
    return parser


def _list(tokens: Tokens, as_json: bool) -> int:
    rows = [{k: v for k, v in row.items() if k != "sha256"} for row in tokens.rows()]
    days = [time.strftime("%Y-%m-%d", time.localtime(row["created"])) for row in rows]
    lines = [f"{row['name']:24} {day}" for row, day in zip(rows, days, strict=True)]
    print(json.dumps(rows, indent=1) if as_json else "\n".join(lines) or "No tokens.")
    return 0
