"""The events of an answer: any number of progress and text events, then exactly one `End` or `Failure`. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True)
class Queued:
    """`position` requests (1 or more) are ahead of this one."""

    position: int


@dataclass(frozen=True)
class Loading:
    """Progress of loading the model. stage: download, quantize, load, warm. fraction: 0 to 1, None if unknown."""

    stage: Literal["download", "quantize", "load", "warm"]
    fraction: float | None = None
    detail: str = ""
    eta_s: float | None = None


@dataclass(frozen=True)
class Reading:
    """Progress of prefill: `done` of `total` prompt tokens, `reused` of them from the prefix cache.

    part: the one of `parts` that is being read, 0 if the prompt is not split; `done` and `total` count all parts.
    """

    done: int
    total: int
    reused: int = 0
    eta_s: float | None = None
    part: int = 0
    parts: int = 0


@dataclass(frozen=True)
class TokenLogprob:
    """A token, its bytes, the natural logarithm of its probability, and the likeliest alternatives, which may include it."""

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top: tuple[TokenLogprob, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's entry of `logprobs.content`."""
        own: dict[str, Any] = {"token": self.token, "logprob": self.logprob, "bytes": list(self.bytes)}
        return own | {"top_logprobs": [{k: v for k, v in c.to_dict().items() if k != "top_logprobs"} for c in self.top]}

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> TokenLogprob:
        top = tuple(cls.of_dict(rival) for rival in data.get("top_logprobs") or ())
        return cls(str(data["token"]), tuple(data.get("bytes") or ()), float(data["logprob"]), top)


@dataclass(frozen=True)
class Delta:
    """The next piece of the answer, with the logprobs of its tokens if they were requested."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class CallPiece:
    """The next piece of the call number `index`: the first piece has `id` and `name`, the later ones continue `arguments`."""

    index: int
    arguments: str = ""
    id: str = ""
    name: str = ""


@dataclass(frozen=True)
class Usage:
    """The cost of an answer. Token counts are exact, *_s are seconds, speeds tokens per second, energy joules (None: not measured).

    parts: for a notebook read in parts, `{"cells", "notes", "prompt_tokens", "cached_tokens"}` each; the counts above include them.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    time_to_first_token_s: float = 0.0
    tokens_per_second: float = 0.0
    prefill_tokens_per_second: float = 0.0
    seconds: float = 0.0
    model: str = ""
    quantization: str = ""
    seed: int | None = None
    context_length: int = 0
    energy_j: float | None = None
    left_out: tuple[str, ...] = ()
    parts: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """OpenAI's usage object, with what it has no field for under `mistral`."""
        mine = asdict(self)
        prompt, completion, cached = (mine.pop(k) for k in ("prompt_tokens", "completion_tokens", "cached_tokens"))
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "mistral": mine,
        }

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Usage:
        """Read an object of `to_dict`, or of another server, which has no `mistral` field."""
        known = {f.name for f in fields(cls)}
        mine = {k: v for k, v in (data.get("mistral") or {}).items() if k in known}
        mine["left_out"] = tuple(mine.get("left_out") or ())
        mine["parts"] = tuple(mine.get("parts") or ())
        details = data.get("prompt_tokens_details") or {}
        return cls(
            prompt_tokens=int(data.get("prompt_tokens") or 0),
            completion_tokens=int(data.get("completion_tokens") or 0),
            cached_tokens=int(details.get("cached_tokens") or 0),
            **mine,
        )


@dataclass(frozen=True)
class End:
    """The answer is complete (`stop`), reached the length limit (`length`), or calls functions (`tool_calls`)."""

    reason: Literal["stop", "length", "tool_calls"]
    usage: Usage = field(default_factory=Usage)


Event: TypeAlias = Queued | Loading | Reading | Delta | CallPiece | End
PROGRESS: dict[str, type[Queued] | type[Loading] | type[Reading]] = {
    "queued": Queued,
    "loading": Loading,
    "reading": Reading,
}


@dataclass(frozen=True)
class Embeddings:
    """One vector for each text, in the order of the texts."""

    vectors: tuple[tuple[float, ...], ...]
    model: str
    prompt_tokens: int = 0
