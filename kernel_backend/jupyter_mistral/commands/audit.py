"""`jupyter mistral audit verify|export`: checks or prints the audit log."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from ..protocol.failures import Failure
from ..server.observe.audit_check import Verdict, records, verify
from ..server.observe.audit_log import files, folder


def main(argv: list[str]) -> int:
    """Returns 1 if the chain is broken. Raises `Failure`."""
    args = make_parser().parse_args(argv)
    if not files(args.folder):
        todo = "An admin can enable it with c.MistralExtension.audit_log = True."
        raise Failure("not_found", f"No audit log in {args.folder}.", todo)
    return _export(args.folder) if args.what == "export" else _verify(args.folder, args.keeps)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("jupyter mistral audit", description="Check or print the audit log.")
    parser.add_argument("what", choices=("verify", "export"))
    parser.add_argument("--folder", type=Path, default=folder(), help="folder of the log (default: %(default)s)")
    parser.add_argument(
        "--keeps",
        metavar="HASH",
        default="",
        help="check that the log still contains this hash, the last one that an earlier `verify` printed",
    )
    return parser


def _export(path: Path) -> int:
    for _, record in records(path):
        if record is not None:
            print(json.dumps(record))
    return 0


def _verify(path: Path, kept_hash: str) -> int:
    verdict = verify(path, kept_hash)
    print("\n".join(_report(verdict)))
    is_cut = bool(kept_hash) and not verdict.kept
    if is_cut:
        older = ", or that record was deleted for its age" if verdict.first > 1 else ""
        print(f"broken: no record has the hash {kept_hash}: the log was cut off or rewritten{older}")
    return int(is_cut or bool(verdict.fault))


def _report(verdict: Verdict) -> Iterator[str]:
    if verdict.fault:
        yield f"broken: {verdict.fault}; verified before it: {_count(verdict.count, 'record')}"
    else:
        yield f"{_count(verdict.count, 'record')} verified; the last hash is {verdict.last}"
    if verdict.count:
        yield f"record {verdict.first} of {verdict.since} to record {verdict.number} of {verdict.until}"
    if verdict.first > 1:
        yield f"missing before them: {_count(verdict.first - 1, 'record')}, deleted for their age or by someone"
    if verdict.lost:
        yield f"could not be written at the time, according to later records: {_count(verdict.lost, 'record')}"
    if verdict.torn:
        yield f"incomplete, probably because of a power cut, with no record missing: {_count(verdict.torn, 'line')}"
    if verdict.kept:
        yield f"the given hash is that of record {verdict.kept}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
