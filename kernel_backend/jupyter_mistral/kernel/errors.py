"""The errors that a magic raises: the output shows one sentence instead of our stack frames, and Run All stops."""

from __future__ import annotations

from ..protocol.failures import Failure


class MistralError(RuntimeError):
    """The message says what happened and what to do. `code` is a code of `protocol.FAILURES` or "no_answer"."""

    def __init__(self, message: str, code: str = "no_answer") -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def of_failure(cls, failure: Failure) -> MistralError:
        return cls(str(failure), failure.code)

    def _render_traceback_(self) -> list[str]:
        """IPython shows these lines in place of a traceback."""
        return [f"MistralError: {self}"]


class Stopped(KeyboardInterrupt):
    """The user interrupted an answer. The output keeps the partial answer, and Run All stops."""

    def _render_traceback_(self) -> list[str]:
        return ["Stopped: the answer was interrupted."]
