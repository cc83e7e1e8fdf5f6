"""Embeddings from an external engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...protocol.events import Embeddings
from ...protocol.failures import Failure
from ...protocol.requests import EmbeddingRequest
from .failures import failure_of
from .http import ErrorReply, Unreachable, Upstream

PATH = "/v1/embeddings"
# texts per request: the reply stays far below the limit of its size
BATCH = 64
TIMEOUT_S = 300.0
MAX_FLOAT = 3.4e38  # of 32 bits; NaN fails the comparison too
# from servers without this address, or started without embeddings
UNSUPPORTED = (404, 405, 501)


async def embed(upstream: Upstream, request: EmbeddingRequest, model: str) -> Embeddings:
    """Embed the texts, in batches. Raises `Failure`."""
    vectors: list[tuple[float, ...]] = []
    tokens = 0
    for start in range(0, len(request.texts), BATCH):
        texts = request.texts[start : start + BATCH]
        reply = await _ask(upstream, request, texts, model)
        try:
            vectors += _vectors(reply, len(texts))
            tokens += int((reply.get("usage") or {}).get("prompt_tokens") or 0)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise failure_of(ErrorReply(200, "its reply has no vectors"), upstream.address.host) from None
    return Embeddings(tuple(vectors), model, tokens)


async def _ask(upstream: Upstream, request: EmbeddingRequest, texts: Sequence[str], model: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": "float"}
    body |= {"dimensions": request.dimensions} if request.dimensions else {}
    try:
        return await upstream.ask("POST", PATH, body, within_s=TIMEOUT_S)
    except ErrorReply as error:
        if error.status in UNSUPPORTED:
            words = f" It replied: {error.words}" if error.words else ""
            raise Failure(
                "unsupported",
                f"{model} at {upstream.address.host} does not support embeddings.{words}",
                "Choose an embedding model of that engine.",
                "model",
            ) from None
        raise failure_of(error, upstream.address.host) from None
    except Unreachable as error:
        raise failure_of(error, upstream.address.host) from None


def _vectors(reply: dict[str, Any], count: int) -> list[tuple[float, ...]]:
    rows = sorted(reply["data"], key=lambda row: int(row["index"]))
    vectors = [tuple(float(number) for number in row["embedding"]) for row in rows]
    if len(vectors) != count or not all(
        vector and all(abs(number) <= MAX_FLOAT for number in vector) for vector in vectors
    ):
        raise ValueError("not one vector for each text")
    return vectors
