"""Runs the subcommands of `%mistral`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..._version import __version__
from ..alt_text.magic import AltMagic
from ..ask.ask import Asker
from ..line.manual import MANUAL
from ..line.subcommands import Command
from ..session import Session
from . import alt, chats, documents, fix_explain, models
from .output import show_markdown


class Commands:
    """The subcommands for one session."""

    def __init__(self, session: Session, asker: Asker) -> None:
        self._functions: dict[str, Callable[[Command], None]] = {
            "help": lambda command: show_markdown(session, MANUAL),
            "version": lambda command: show_markdown(session, f"Jupyter Mistral {__version__}"),
            "status": partial(models.show_status, session),
            "list": partial(models.list_models, session),
            "load": partial(models.load, session),
            "unload": partial(models.unload, session),
            "park": partial(models.park, session),
            "alias": partial(models.alias, session),
            "dealias": partial(models.remove_alias, session),
            "history": partial(chats.show_history, session),
            "reset": partial(chats.reset, session),
            "chat": partial(chats.show_chat, session),
            "read": partial(documents.read, session),
            "alt": partial(alt.write_alt_text, session, AltMagic(session.shell)),
            "fix": partial(fix_explain.fix, asker),
            "explain": partial(fix_explain.explain, asker),
        }

    def run(self, command: Command) -> None:
        """Raises `UsageError`, `MistralError` or `Failure`; never prints an error."""
        self._functions[command.name](command)
