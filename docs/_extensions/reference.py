"""Sphinx extension: write the pages of docs/reference/ from the code, before each build."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_mistral.cli import all_parsers
from jupyter_mistral.kernel.line.manual import MANUAL
from jupyter_mistral.kernel.session import MistralKernelSettings
from jupyter_mistral.protocol.openapi import document
from jupyter_mistral.server.settings import MistralServerSettings
from traitlets import TraitType

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "extension" / "schema" / "plugin.json"
METHODS = ("get", "post")


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "reference"))
    return {"parallel_read_safe": True}


def write(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    pages = {"magics": magics(), "cli": command_line(), "settings": settings(), "api": api()}
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def magics() -> str:
    return f"# Magics\n\nAlso shown by `%mistral help` and `%%mistral?`.\n{MANUAL}"


# ---------------------------------------------------------------------------------------------- command line


def command_line() -> str:
    lines = ["# Command line", ""]
    for name, parser in sorted(_commands().items()):
        lines += [f"## jupyter mistral {name}", "", f"{parser.description or ''}".strip(), ""]
        lines += ["```text", parser.format_usage().strip(), "```", ""]
        actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
        formatter = parser._get_formatter()
        rows = [(_flags(action), formatter._expand_help(action) if action.help else "") for action in actions]
        lines += [*_table(("argument", "meaning"), rows), ""]
    return "\n".join(lines) + "\n"


def _commands() -> dict[str, argparse.ArgumentParser]:
    """Every command with its parser; a command of commands counts as each of them."""
    commands: dict[str, argparse.ArgumentParser] = {}
    for name, parser in all_parsers():
        nested = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
        inner = nested.choices if nested else {}
        commands |= {f"{name} {word}": command for word, command in inner.items()} or {name: parser}
    return commands


def _flags(action: argparse.Action) -> str:
    names = action.option_strings or [str(action.metavar or action.dest)]
    value = f" {action.metavar}" if action.option_strings and action.metavar else ""
    return ", ".join(f"`{name}{value}`" for name in names)


# ---------------------------------------------------------------------------------------------- settings


def settings() -> str:
    lines = ["# Settings", "", "## Server", ""]
    lines += [
        "For the server's admin, in `jupyter_server_config.py`: `c.MistralExtension.NAME = VALUE`. A notebook or its",
        "",
    ]
    lines[-2] += " folder cannot set them. The host without Jupyter (`jupyter mistral serve`) reads them too."
    lines += _table(("name", "default", "meaning"), list(_traits(MistralServerSettings)))
    lines += ["", "## Magics", "", "In a notebook: `%config MistralMagics.NAME = VALUE`.", ""]
    lines += _table(("name", "default", "meaning"), list(_traits(MistralKernelSettings)))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    lines += ["", "## JupyterLab", "", "In the Settings editor, under *Mistral*.", ""]
    rows = [
        (field["title"], f"`{json.dumps(field['default'])}`", field.get("description", ""))
        for field in schema["properties"].values()
    ]
    lines += _table(("setting", "default", "meaning"), rows)
    lines += ["", "## Keyboard shortcuts", ""]
    shortcuts = [(" ".join(s["keys"]), f"`{s['command']}`") for s in schema["jupyter.lab.shortcuts"]]
    lines += _table(("keys", "command"), shortcuts)
    return "\n".join(lines) + "\n"


def _traits(settings: Any) -> Iterator[tuple[str, str, str]]:
    traits: dict[str, TraitType[Any, Any]] = settings.class_own_traits(config=True)
    for name, trait in traits.items():
        yield f"`{name}`", f"`{trait.default()!r}`", str(trait.help)


# ---------------------------------------------------------------------------------------------- HTTP API


def api() -> str:
    description = document()
    lines = ["# HTTP API", "", description["info"]["description"], ""]
    lines += [
        "Addresses are relative to `/mistral/v1` of a Jupyter server or of `jupyter mistral serve`. The same as a file for other"
    ]
    lines[-1] += " programs: `GET /mistral/v1/openapi.json`."
    lines += [""]
    for path, operations in description["paths"].items():
        for method in METHODS:
            if method in operations:
                lines += _operation(method, path, operations[method])
    lines += ["## Bodies and answers", ""]
    for name, schema in description["components"]["schemas"].items():
        lines += [f"### {name}", "", _escape(schema.get("description", "")), ""]
        rows = [
            (
                f"`{field}`",
                _kind(kind),
                "yes" if field in schema.get("required", ()) else "",
                kind.get("description", ""),
            )
            for field, kind in schema.get("properties", {}).items()
        ]
        lines += [*_table(("field", "type", "required", "meaning"), rows), ""]
    return "\n".join(lines) + "\n"


def _operation(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    lines = [f"## {method.upper()} {path}", "", operation["summary"] + ".", "", operation.get("description", ""), ""]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answer = next(iter(operation["responses"]["200"]["content"].values()))["schema"]
    fails = ", ".join(code for code in operation["responses"] if code != "200")
    rows = [("body", _kind(body))] if body else []
    return [*lines, *_table(("", ""), [*rows, ("answer", _kind(answer)), ("errors", fails)]), ""]


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words, with a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}" + _bounds(schema, "minItems", "maxItems")
    text = _bounds(schema, "minLength", "maxLength") + _bounds(schema, "minimum", "maximum")
    return f"{schema.get('type', 'anything')}{text}"


def _bounds(schema: dict[str, Any], least: str, greatest: str) -> str:
    low, high = schema.get(least), schema.get(greatest)
    if low is None and high is None:
        return ""
    return f" ({low if low is not None else ''} to {high if high is not None else ''})".replace("( ", "(")


# ---------------------------------------------------------------------------------------------- tables


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    if not rows:
        return []
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| {' | '.join(_escape(cell) for cell in row)} |" for row in rows]


def _escape(text: Any) -> str:
    return str(text or "").replace("|", r"\|").replace("\n", " ").replace("*_s", r"\*_s")
