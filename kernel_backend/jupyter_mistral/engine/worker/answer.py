"""Answers: messages in, events out. Joins template, decoder, grammar and detokenizer; each request ends in one `Finish`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar

import torch

from ...protocol.events import CallPiece, Delta, Reading, TokenLogprob, Usage
from ...protocol.failures import Failure
from ...protocol.requests import Calling, Form, Sampling
from ..decode.decoder import Decoder
from ..decode.prompt import Prompt
from ..decode.prompt_lookup import Lookup
from ..decode.row import Cancelled, Need, Row
from ..decode.sampling import Chooser
from ..text.dialect import Dialect
from ..text.grammar import CallGrammar, Grammars, JsonGrammar
from ..text.output_stream import Speaker
from ..text.vocabulary import Vocabulary

DEFAULT_MAX_TOKENS = 1024
CLOSING = 512  # tokens that JSON may take beyond its limit so that it can be closed


@dataclass(frozen=True)
class Finish:
    """The one end of a request."""

    reason: Literal["stop", "length", "tool_calls", "cancelled"]
    usage: Usage


@dataclass(frozen=True)
class Job:
    """One request, tokenized. ends: the ids that end it. starts_anew: its text starts a turn, rather than going on. dialect: how
    the model writes the calls that it may make, None where it may make none."""

    prompt: Prompt
    sampling: Sampling
    ends: frozenset[int]
    form: Form = field(default_factory=Form)
    salt: str = ""
    starts_anew: bool = True
    calling: Calling = field(default_factory=Calling)
    dialect: Dialect | None = None
    top_logprobs: int | None = None


Answering: TypeAlias = Generator[Reading | Delta | CallPiece | Finish | Need, torch.Tensor, None]
T = TypeVar("T")
_Part: TypeAlias = Generator[Reading | Delta | CallPiece | Need, torch.Tensor, T]


class Answerer:
    """Runs jobs on one model. `usage` holds what does not change: model, quantization, context length."""

    def __init__(self, decoder: Decoder, vocabulary: Vocabulary, grammars: Grammars, usage: Usage) -> None:
        self._decoder, self._vocabulary, self._grammars, self._usage = decoder, vocabulary, grammars, usage

    def answer(self, job: Job, is_cancelled: Callable[[], bool]) -> Answering:
        """Events of one request; where it yields a `Need`, it is sent that need's scores. Raises `Failure` instead of
        `Finish`; what was read is kept either way. To be run to its end: what was learnt is noted after the `Finish`."""
        clock = _Clock(len(job.prompt.ids))
        limit, hard = self._limits(job)
        grammar = self._grammar(job)
        chooser = Chooser(job.sampling, self._decoder.device, job.top_logprobs)
        row: Row | None = None

        def check() -> None:
            if is_cancelled():
                raise Cancelled

        reason: Literal["stop", "length", "tool_calls", "cancelled"] = "cancelled"
        try:
            try:
                check()
                row = self._decoder.take(job.prompt.units, job.salt)
                yield from row.read(job.prompt, job.salt, hard, check)
                clock.has_read()
                reason = yield from self._texts(row, job, chooser, grammar, limit, hard, clock, check)
            except Cancelled:
                pass
            yield Finish(reason, clock.usage(self._usage, chooser.seed, row.reused if row else 0))
        finally:
            if row is not None:
                self._decoder.give_back(row)

    def room(self, job: Job) -> int:
        """Tokens that a job may come to hold, for whoever admits it."""
        return len(job.prompt.ids) + self._limits(job)[1]

    def _grammar(self, job: Job) -> JsonGrammar | CallGrammar | None:
        if job.dialect is not None:
            schema = (job.form.schema or {"type": "object"}) if job.form.kind == "json" else None
            return self._grammars.of_calls(job.dialect, job.calling, schema)
        return self._grammars.of_schema(job.form.schema) if job.form.kind == "json" else None

    def _logprob(self, chooser: Chooser) -> TokenLogprob | None:
        if not chooser.told:
            return None
        said, rivals = chooser.told.popleft()
        return self._named(*said, tuple(self._named(*rival) for rival in rivals))

    def _named(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        piece = self._vocabulary.piece(token)
        return TokenLogprob(piece.decode("utf-8", "replace"), tuple(piece), max(logprob, -9999.0), top)

    def _limits(self, job: Job) -> tuple[int, int]:
        """Tokens after which the answer is cut, and after which even closing JSON must be done."""
        window, used = self._usage.context_length, len(job.prompt.ids)
        if used >= window:
            raise Failure(
                "context_too_long",
                f"The prompt has {used:,} tokens, the model holds {window:,}.",
                "Ask about fewer cells, or shorten the question.",
            )
        limit = min(job.sampling.max_tokens or DEFAULT_MAX_TOKENS, window - used)
        is_closed = job.form.kind == "json" and job.dialect is None
        return limit, min(limit + CLOSING, window - used) if is_closed else limit

    def _texts(
        self,
        row: Row,
        job: Job,
        chooser: Chooser,
        grammar: JsonGrammar | CallGrammar | None,
        limit: int,
        hard: int,
        clock: _Clock,
        check: Callable[[], None],
    ) -> _Part[Literal["stop", "length", "tool_calls"]]:
        device = self._decoder.device
        stops = job.sampling.stop if job.form.kind == "text" else ()
        names = [tool.name for tool in job.calling.tools] if grammar is not None and grammar.is_free else []
        speaker = Speaker(self._vocabulary, stops, job.dialect, names, job.starts_anew)
        lookup = Lookup(job.prompt.ids, self._decoder.draft) if self._decoder.draft else None
        reason: Literal["stop", "length"] = "length"

        def allowed() -> torch.Tensor | None:
            return grammar.allowed(device) if grammar else None

        stream = row.tokens(chooser, allowed, lookup, check)
        token = next(stream)
        while True:
            while isinstance(token, Need):
                token = stream.send((yield token))
            if token in job.ends:
                reason = "stop"
                break
            clock.has_token()
            yield from speaker.add(token, self._logprob(chooser))
            if speaker.is_stopped:
                reason = "stop"
                break
            if grammar:
                grammar.take(token)
                if grammar.is_finished or (grammar.is_closing and grammar.is_whole):
                    reason = "length" if grammar.is_closing else "stop"
                    break
                # room for the closing must lie inside the window: close early rather than break off
                grammar.is_closing = grammar.can_close and clock.tokens >= min(limit, max(1, hard - CLOSING))
            if clock.tokens >= (hard if grammar else limit):
                break
            token = next(stream)
        if grammar and not grammar.is_whole:
            raise Failure(
                "context_too_long",
                f"The JSON could not be closed within {hard:,} tokens.",
                "Raise max_tokens, or ask for a simpler schema.",
            )
        yield from speaker.finish()
        return "tool_calls" if speaker.has_calls and reason == "stop" else reason


class _Clock:
    def __init__(self, prompt_tokens: int) -> None:
        self._prompt, self.tokens = prompt_tokens, 0
        self._start = self._read = self._first = self._last = time.monotonic()

    def has_read(self) -> None:
        self._read = time.monotonic()

    def has_token(self) -> None:
        self._last = time.monotonic()
        self._first = self._first if self.tokens else self._last
        self.tokens += 1

    def usage(self, base: Usage, seed: int, reused: int) -> Usage:
        reading, saying = self._read - self._start, self._last - self._first
        return replace(
            base,
            prompt_tokens=self._prompt,
            completion_tokens=self.tokens,
            cached_tokens=reused,
            time_to_first_token_s=round(self._first - self._start, 4),
            tokens_per_second=round((self.tokens - 1) / saying, 2) if saying > 0 else 0.0,
            prefill_tokens_per_second=round((self._prompt - reused) / reading, 1) if reading > 0 else 0.0,
            seconds=round(time.monotonic() - self._start, 4),
            seed=seed,
        )


def fill_in_the_middle(
    vocabulary: Vocabulary, fim: Mapping[str, Any] | None, prompt: str, suffix: str | None
) -> tuple[list[int], frozenset[int]]:
    """Ids of a completion, and the ids that end it. Without `fim` tokens, or without a suffix (None; "" is one), it is a plain
    continuation.

    fim: names of the tokens `prefix`, `suffix` and, for the families that write prefix first, `middle`. Mistral's writes
    the suffix first and has no `middle`.
    """
    ends = frozenset(vocabulary.control.values())
    if not fim or suffix is None:
        return vocabulary.first_ids + vocabulary.ids(prompt), ends
    before = [vocabulary.control_id(fim["prefix"]), *vocabulary.ids(prompt)]
    after = [vocabulary.control_id(fim["suffix"]), *vocabulary.ids(suffix)]
    if fim.get("middle"):
        return [*vocabulary.first_ids, *before, *after, vocabulary.control_id(fim["middle"])], ends
    return [*vocabulary.first_ids, *after, *before], ends
