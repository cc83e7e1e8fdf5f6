"""`%mistral history`, `reset` and `chat`."""

from __future__ import annotations

import textwrap

from ..errors import MistralError
from ..line.subcommands import Command
from ..session import Session
from .output import show_markdown


def show_history(session: Session, command: Command) -> None:
    parts = []
    for exchange in session.conversation.last(20):
        question = textwrap.shorten(exchange.question, 200, placeholder=" …")
        parts.append(f"**[{exchange.number}]** {question}\n\n> " + exchange.answer.strip().replace("\n", "\n> "))
    note = f"Exchanges sent with each question: {session.settings.max_history}."
    show_markdown(session, "\n\n".join([*parts, note]) if parts else "No questions yet.")


def reset(session: Session, command: Command) -> None:
    count, documents = len(session.conversation), len(session.conversation.documents)
    session.conversation.clear()
    more = f" and {documents} document{'' if documents == 1 else 's'}" if documents else ""
    show_markdown(session, f"Cleared {count} exchange{'' if count == 1 else 's'}{more}.")


def show_chat(session: Session, command: Command) -> None:
    if not session.is_notebook:
        raise MistralError("The chat needs a notebook. In a terminal, use `%mistral your question`.")
    from ..show.chat_widget import show  # importing ipywidgets takes a tenth of a second

    show()
