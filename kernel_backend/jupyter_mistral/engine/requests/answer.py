"""Answers one request: token ids in, events out. Each request ends in one `Finish`.

Joins decoder, grammar and detokenizer. Knows neither frames nor other requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch

from ...protocol.events import CallPiece, Delta, Reading, TokenLogprob, Usage
from ...protocol.failures import Failure
from ...protocol.requests import Calling, Form, Sampling
from ..decode.decoder import Decoder
from ..decode.prompt_lookup import Lookup
from ..decode.row import Cancelled, Need, Row
from ..decode.sampling import Sampler
from ..prompt import Prompt
from ..text.dialect import Dialect
from ..text.grammar import CallGrammar, Grammars, JsonGrammar
from ..text.output_stream import OutputStream
from ..text.vocabulary import Vocabulary

DEFAULT_MAX_TOKENS = 1024
CLOSING = 512  # tokens that JSON may use beyond its limit to be closed

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


@dataclass(frozen=True)
class Finish:
    """The end of a request."""

    reason: FinishReason
    usage: Usage


@dataclass(frozen=True)
class Job:
    """One tokenized request.

    ends: the ids that end the answer. is_new_turn: the answer starts a turn rather than continuing a text. dialect: how the
    model writes function calls, None if it may make none.
    """

    prompt: Prompt
    sampling: Sampling
    ends: frozenset[int]
    form: Form = field(default_factory=Form)
    salt: str = ""
    is_new_turn: bool = True
    calling: Calling = field(default_factory=Calling)
    dialect: Dialect | None = None
    top_logprobs: int | None = None


AnswerEvents: TypeAlias = Generator[Reading | Delta | CallPiece | Finish | Need, torch.Tensor, None]
_Generated: TypeAlias = Generator[Delta | CallPiece | Need, torch.Tensor, FinishReason]
Grammar: TypeAlias = JsonGrammar | CallGrammar


@dataclass(frozen=True)
class _Limits:
    """Tokens after which the answer is cut, and after which even JSON that is being closed must end."""

    soft: int
    hard: int

    @property
    def closing(self) -> int:
        """Tokens after which JSON is closed. Early enough, so that the closing fits into the context."""
        return min(self.soft, max(1, self.hard - CLOSING))


class Answerer:
    """Answers jobs with one model. `usage` has what never changes: model, quantization, context length."""

    def __init__(self, decoder: Decoder, vocabulary: Vocabulary, grammars: Grammars, usage: Usage) -> None:
        self._decoder, self._vocabulary, self._grammars, self._usage = decoder, vocabulary, grammars, usage

    def answer(self, job: Job, is_cancelled: Callable[[], bool]) -> AnswerEvents:
        """Events of one request; each `Need` that it yields is answered with its scores.

        Raises `Failure` in place of `Finish`; the prefill is kept either way. Must be run to its end: the prefix is stored
        after the `Finish`.
        """
        clock = _Clock(len(job.prompt.ids))
        limits = self._limits(job)
        grammar = self._grammar(job)
        sampler = Sampler(job.sampling, self._decoder.device, job.top_logprobs)
        row: Row | None = None

        def check() -> None:
            if is_cancelled():
                raise Cancelled

        reason: FinishReason = "cancelled"
        try:
            try:
                check()
                row = self._decoder.take(job.prompt.units, job.salt)
                yield from row.prefill(job.prompt, job.salt, limits.hard, check)
                clock.end_prefill()
                tokens = row.tokens(sampler, self._allowed(grammar), self._lookup(job), check)
                reason = yield from self._generate(tokens, job, sampler, grammar, limits, clock)
            except Cancelled:
                pass
            yield Finish(reason, clock.usage(self._usage, sampler.seed, row.reused if row else 0))
        finally:
            if row is not None:
                self._decoder.give_back(row)

    def room(self, job: Job) -> int:
        """Tokens that a job may use."""
        return len(job.prompt.ids) + self._limits(job).hard

    def _grammar(self, job: Job) -> Grammar | None:
        if job.dialect is not None:
            schema = (job.form.schema or {"type": "object"}) if job.form.kind == "json" else None
            return self._grammars.of_calls(job.dialect, job.calling, schema)
        return self._grammars.of_schema(job.form.schema) if job.form.kind == "json" else None

    def _allowed(self, grammar: Grammar | None) -> Callable[[], torch.Tensor | None]:
        device = self._decoder.device
        return lambda: grammar.allowed(device) if grammar else None

    def _lookup(self, job: Job) -> Lookup | None:
        draft = self._decoder.draft
        return Lookup(job.prompt.ids, draft) if draft else None

    def _output(self, job: Job, grammar: Grammar | None) -> OutputStream:
        stops = job.sampling.stop if job.form.kind == "text" else ()
        names = [tool.name for tool in job.calling.tools] if grammar is not None and grammar.is_free else []
        return OutputStream(self._vocabulary, stops, job.dialect, names, job.is_new_turn)

    def _logprob(self, sampler: Sampler) -> TokenLogprob | None:
        if not sampler.logprobs:
            return None
        sampled, others = sampler.logprobs.popleft()
        return self._token_logprob(*sampled, tuple(self._token_logprob(*other) for other in others))

    def _token_logprob(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        piece = self._vocabulary.piece(token)
        return TokenLogprob(piece.decode("utf-8", "replace"), tuple(piece), max(logprob, -9999.0), top)

    def _limits(self, job: Job) -> _Limits:
        context, used = self._usage.context_length, len(job.prompt.ids)
        if used >= context:
            raise Failure(
                "context_too_long",
                f"The prompt has {used:,} tokens, but the model's context is {context:,} tokens long.",
                "Ask about fewer cells, or shorten the question.",
            )
        limit = min(job.sampling.max_tokens or DEFAULT_MAX_TOKENS, context - used)
        is_closed = job.form.kind == "json" and job.dialect is None
        return _Limits(limit, min(limit + CLOSING, context - used) if is_closed else limit)

    def _generate(
        self,
        tokens: Generator[int | Need, torch.Tensor],
        job: Job,
        sampler: Sampler,
        grammar: Grammar | None,
        limits: _Limits,
        clock: _Clock,
    ) -> _Generated:
        """The loop over tokens: send their text, follow the grammar, and find the end."""
        output = self._output(job, grammar)
        reason: FinishReason = "length"
        most, closing = limits.hard if grammar else limits.soft, limits.closing
        token = next(tokens)
        while True:
            while isinstance(token, Need):
                token = tokens.send((yield token))
            if token in job.ends:
                reason = "stop"
                break
            clock.count_token()
            yield from output.add(token, self._logprob(sampler))
            if output.is_stopped:
                reason = "stop"
                break
            if grammar:
                grammar.take(token)
                if grammar.is_finished or (grammar.is_closing and grammar.is_whole):
                    reason = "length" if grammar.is_closing else "stop"
                    break
                grammar.is_closing = grammar.can_close and clock.tokens >= closing
            if clock.tokens >= most:
                break
            token = next(tokens)
        if grammar and not grammar.is_whole:
            raise Failure(
                "context_too_long",
                f"The JSON could not be completed within {limits.hard:,} tokens.",
                "Raise max_tokens, or ask for a simpler schema.",
            )
        yield from output.finish()
        return "tool_calls" if output.has_calls and reason == "stop" else reason


class _Clock:
    """Times one request: its prefill, its first token and its last."""

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt, self.tokens = prompt_tokens, 0
        self._start = self._prefilled = self._first = self._last = time.monotonic()

    def end_prefill(self) -> None:
        self._prefilled = time.monotonic()

    def count_token(self) -> None:
        self._last = time.monotonic()
        self._first = self._first if self.tokens else self._last
        self.tokens += 1

    def usage(self, base: Usage, seed: int, reused: int) -> Usage:
        prefill, decode = self._prefilled - self._start, self._last - self._first
        return replace(
            base,
            prompt_tokens=self._prompt,
            completion_tokens=self.tokens,
            cached_tokens=reused,
            time_to_first_token_s=round(self._first - self._start, 4),
            tokens_per_second=round((self.tokens - 1) / decode, 2) if decode > 0 else 0.0,
            prefill_tokens_per_second=round((self._prompt - reused) / prefill, 1) if prefill > 0 else 0.0,
            seconds=round(time.monotonic() - self._start, 4),
            seed=seed,
        )


def fill_in_the_middle(
    vocabulary: Vocabulary, fim: Mapping[str, Any] | None, prompt: str, suffix: str | None
) -> tuple[list[int], frozenset[int]]:
    """Ids of a completion, and the ids that end it. Without `fim` tokens or a suffix, it continues the prompt ("" is a suffix).

    fim: names of the tokens `prefix`, `suffix` and, for families that write the prefix first, `middle`. Mistral's write the
    suffix first and have no `middle`.
    """
    ends = frozenset(vocabulary.control.values())
    if not fim or suffix is None:
        return vocabulary.first_ids + vocabulary.ids(prompt), ends
    before = [vocabulary.control_id(fim["prefix"]), *vocabulary.ids(prompt)]
    after = [vocabulary.control_id(fim["suffix"]), *vocabulary.ids(suffix)]
    if fim.get("middle"):
        return [*vocabulary.first_ids, *before, *after, vocabulary.control_id(fim["middle"])], ends
    return [*vocabulary.first_ids, *after, *before], ends
