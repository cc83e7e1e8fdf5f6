"""What was said in this kernel, and the messages of the next request. Knows no displays and no IPython."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...protocol.conversation import Message
from ..documents import Paper

SYSTEM = (
    "You are the assistant inside a Jupyter notebook. Answer the question precisely and briefly, in the language it is asked in. "
    "Write Markdown; put code into fenced blocks. Code is Python for a notebook cell unless another language is asked for."
)


@dataclass(frozen=True)
class Exchange:
    """One question and its answer, with the prompt number that it was asked at."""

    number: int
    question: str
    answer: str


class Conversation:
    """The exchanges of one kernel, in order."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []
        self.papers: list[Paper] = []

    def __len__(self) -> int:
        return len(self._exchanges)

    def add(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)

    def last(self, count: int) -> list[Exchange]:
        return self._exchanges[-count:] if count > 0 else []

    def add_paper(self, paper: Paper) -> None:
        """A document for all questions that follow; one of the same name is replaced."""
        self.papers = [*(one for one in self.papers if one.name != paper.name), paper]

    def clear(self) -> None:
        self._exchanges.clear()
        self.papers.clear()

    def to_messages(self, question: str, system: str, count: int, held: Sequence[Message] = ()) -> tuple[Message, ...]:
        """System, what is `held` before the talk, the last `count` exchanges, the question."""
        messages = [Message("system", (system,))] if system else []
        messages += held
        for past in self.last(count):
            messages += [Message("user", (past.question,)), Message("assistant", (past.answer,))]
        return (*messages, Message("user", (question,)))
