"""Restricts the model to JSON or function calls: which tokens may come next, and how to close JSON that must end now.

By llguidance, over the model's own vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from ...protocol.failures import Failure
from ...protocol.requests import Calling
from .dialect import MARKS, Dialect, grammar
from .vocabulary import Vocabulary

ANY_JSON: Mapping[str, Any] = {"type": ["object", "array"]}
# tried in this order they close any JSON: a string first, before a bracket could become part of it
_CLOSERS = ('"', "}", "]", ":", ",", "0", " ")
_MAX_SCHEMA = 256 * 2**10


class Grammars:
    """Makes grammars for one vocabulary. Reading it takes a second, so that is done once, at the first use."""

    def __init__(self, vocabulary: Vocabulary, scores: int, ends: list[int]) -> None:
        self._vocabulary, self._scores, self._ends = vocabulary, scores, ends
        self._tokenizer: LLTokenizer | None = None

    def of_schema(self, schema: Mapping[str, Any] | None) -> JsonGrammar:
        """Raises `Failure("bad_request")` for a schema that is invalid or cannot be enforced."""
        text = json.dumps(schema if schema is not None else ANY_JSON)
        if len(text) > _MAX_SCHEMA:
            raise _bad_schema(f"is larger than {_MAX_SCHEMA >> 10} KB")
        try:
            rules = LLMatcher.grammar_from_json_schema(text, defaults={"whitespace_flexible": False})
        except ValueError as error:
            raise _bad_schema(str(error).splitlines()[0]) from None
        closers = [ids[0] for ids in map(self._vocabulary.ids, _CLOSERS) if len(ids) == 1]
        return JsonGrammar(self._matcher(rules, "response_format"), self._scores, closers, set(self._ends))

    def of_calls(self, dialect: Dialect, calling: Calling, form: Mapping[str, Any] | None) -> CallGrammar:
        """Raises `Failure("bad_request")` for parameters that cannot be enforced. form: the schema of an answer without calls."""
        ids = {name: self._vocabulary.control[name] for name in MARKS if name in self._vocabulary.control}

        def start(is_begun: bool) -> GrammarState:
            rules = grammar(dialect, calling, ids, None if is_begun else form, is_begun)
            matcher = self._matcher(LLMatcher.grammar_from_lark(rules), "tools")
            return GrammarState(matcher, self._scores, set(self._ends))

        must = calling.choice == "required" or form is not None
        if not must:
            start(True)  # so that a schema that cannot be enforced fails before the answer begins
        return CallGrammar(start, ids.get(dialect.opening), must, calling.parallel)

    def _matcher(self, rules: str, param: str) -> LLMatcher:
        if self._tokenizer is None:
            self._tokenizer = LLTokenizer(self._vocabulary.whole_json, n_vocab=self._scores, eos_token=self._ends)
        matcher = LLMatcher(self._tokenizer, rules, log_level=0)
        if matcher.is_error():
            raise _bad_schema(matcher.get_error().splitlines()[0], param)
        return matcher


def _bad_schema(why: str, param: str = "response_format") -> Failure:
    return Failure("bad_request", f"The JSON schema cannot be used: {why}.", "Correct the schema.", param)


class GrammarState:
    """The state of one answer in its grammar."""

    def __init__(self, matcher: LLMatcher, scores: int, ends: set[int]) -> None:
        self._matcher, self._size, self._ends = matcher, scores, ends
        self._bits = allocate_token_bitmask(1, scores)

    def allowed(self, device: torch.device) -> torch.Tensor:
        """Boolean [vocabulary]: the tokens that may come next."""
        return torch.from_numpy(self._next()).to(device)

    def _next(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        fill_next_token_bitmask(self._matcher, self._bits)
        return np.unpackbits(self._bits[0].view(np.uint8), bitorder="little")[: self._size].astype(bool)

    def take(self, token: int) -> None:
        if token not in self._ends and not self._matcher.consume_token(token):
            raise Failure(
                "internal", "The answer did not follow its grammar.", "Try again, and report it if it happens again."
            )

    @property
    def is_finished(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())

    @property
    def is_whole(self) -> bool:
        """Whether it could end here, as valid JSON of the schema. More may follow, such as digits after a number."""
        return bool(self._matcher.is_stopped() or self._matcher.is_accepting())


class JsonGrammar(GrammarState):
    """JSON, which can be closed early."""

    can_close = True
    is_free = False

    def __init__(self, matcher: LLMatcher, scores: int, closers: list[int], ends: set[int]) -> None:
        super().__init__(matcher, scores, ends)
        self._closers = closers
        self.is_closing = False

    def _next(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """While closing, only the first closer that is allowed."""
        bits = super()._next()
        if self.is_closing:
            for token in self._closers:
                if bits[token]:
                    bits[:] = False
                    bits[token] = True
                    break
        return bits


class CallGrammar:
    """Function calls: the whole answer if it `must` be, otherwise each call after its opening mark."""

    can_close = False
    is_closing = False
    is_whole = True

    def __init__(self, start: Callable[[bool], GrammarState], opening: int | None, must: bool, parallel: bool) -> None:
        self._start, self._opening, self._must, self._parallel = start, opening, must, parallel
        self._current = start(False) if must else None
        self.is_free = not must
        self.is_finished = False

    def allowed(self, device: torch.device) -> torch.Tensor | None:
        return self._current.allowed(device) if self._current is not None else None

    def take(self, token: int) -> None:
        if self._current is None:
            if token == self._opening:
                self._current = self._start(True)
            return
        self._current.take(token)
        if self._current.is_finished:
            self._current = None
            self.is_finished = self._must or not self._parallel
