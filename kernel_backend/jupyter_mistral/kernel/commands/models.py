"""`%mistral status`, `list`, `load`, `unload`, `park`, and the aliases of models."""

from __future__ import annotations

from IPython.core.error import UsageError

from ...protocol.failures import Failure
from ..host.client import Client
from ..line.subcommands import COMMANDS, Command, parse_load_words
from ..session import Session
from ..show.tables import models_table, status_table
from .output import Progress, show_markdown


def show_status(session: Session, command: Command) -> None:
    try:
        client = Client.find(start=False)
    except Failure as failure:
        if failure.code != "engine_stopped":
            raise
        show_markdown(session, "No model host is running. Your first question or `%mistral load` starts one.")
        return
    show_markdown(session, status_table(client.get("/mistral/api/status")))


def list_models(session: Session, command: Command) -> None:
    client = session.find_client()
    rows, default = client.get("/mistral/api/models"), client.get("/mistral/api/status").get("default_model")
    rows = rows.get("models", rows) if isinstance(rows, dict) else rows
    if command.words == ("local",):
        rows = [row for row in rows if row.get("state") in ("ready", "on disk")]
    empty = "No models are downloaded. `%mistral load` downloads the default model."
    show_markdown(session, models_table(rows, str(default or "")) if rows else empty)


def load(session: Session, command: Command) -> None:
    arguments = parse_load_words(command.words)
    assert arguments is not None, "the grammar accepts only valid words"
    name = session.model_for(arguments.model)
    client = session.find_client()
    progress = Progress(session.is_notebook)
    with progress.ending_with("Loading stopped.", "The model was not loaded."):
        for event in client.load(
            name,
            download=arguments.may_download,
            kv=arguments.kv,
            adapter=arguments.adapter,
            spill=arguments.spill,
        ):
            progress.show_loading(event)
    card = client.get("/mistral/api/status").get("model") or {}
    progress.end(f"{card.get('title') or card.get('name') or name} is ready.")


def unload(session: Session, command: Command) -> None:
    Client.find(start=False).post("/mistral/api/unload")
    show_markdown(session, "Model unloaded. Its memory is free.")


def park(session: Session, command: Command) -> None:
    Client.find(start=False).post("/mistral/api/park")
    show_markdown(session, "GPU released. The next question reloads the model.")


def alias(session: Session, command: Command) -> None:
    """List the aliases, or add one."""
    if not command.words:
        rows = "\n".join(f"| `{name}` | {target} |" for name, target in session.aliases.items())
        empty = "No aliases are defined. `%mistral alias NAME MODEL` adds one."
        show_markdown(session, f"| alias | model |\n|---|---|\n{rows}" if rows else empty)
        return
    name, target = command.words
    if name in COMMANDS:
        raise UsageError(f"{name} is a command of %mistral. Choose another name.")
    session.aliases = {**session.aliases, name: session.resolve_alias(target)}
    show_markdown(session, f"`{name}` now means `{session.aliases[name]}`. `%%mistral {name}` asks it.")


def remove_alias(session: Session, command: Command) -> None:
    name = command.words[0]
    if name not in session.aliases:
        known = f"Aliases: {', '.join(session.aliases)}." if session.aliases else "No aliases are defined."
        raise UsageError(f"There is no alias {name!r}. {known} (To ask it as a question: %mistral -- …)")
    session.aliases = {other: target for other, target in session.aliases.items() if other != name}
    show_markdown(session, f"Removed the alias `{name}`.")
