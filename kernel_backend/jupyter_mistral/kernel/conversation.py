"""The questions and answers of this kernel, and the messages of the next request. Knows no displays and no IPython."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..protocol.conversation import Message
from .documents import ReadDocument

SYSTEM = (
    "You are the assistant inside a Jupyter notebook. Answer the question precisely and briefly, in the language it is asked in. "
    "Write Markdown; put code into fenced blocks. Code is Python for a notebook cell unless another language is asked for."
)


@dataclass(frozen=True)
class Exchange:
    """One question and its answer, with the prompt number of the question."""

    number: int
    question: str
    answer: str


class Conversation:
    """The exchanges of one kernel, in order, and the documents that were read."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []
        self.documents: list[ReadDocument] = []

    def __len__(self) -> int:
        return len(self._exchanges)

    def add(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)

    def last(self, count: int) -> list[Exchange]:
        return self._exchanges[-count:] if count > 0 else []

    def add_document(self, document: ReadDocument) -> None:
        """Send `document` with all later questions. It replaces one of the same name."""
        self.documents = [*(other for other in self.documents if other.name != document.name), document]

    def clear(self) -> None:
        self._exchanges.clear()
        self.documents.clear()

    def to_messages(
        self, question: str, system: str, count: int, document_messages: Sequence[Message] = ()
    ) -> tuple[Message, ...]:
        """System prompt, documents, the last `count` exchanges, the question."""
        messages = [Message("system", (system,))] if system else []
        messages += document_messages
        for past in self.last(count):
            messages += [Message("user", (past.question,)), Message("assistant", (past.answer,))]
        return (*messages, Message("user", (question,)))
