"""Vectors of texts from an engine elsewhere that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...protocol.events import Embeddings
from ...protocol.failures import Failure
from ...protocol.requests import EmbeddingRequest
from .answer import failure_of
from .http import Gone, Refused, Upstream

PATH = "/v1/embeddings"
# an answer in JSON stays far below what is read of one
AT_ONCE = 64
LONGEST_S = 300.0
MOST = 3.4e38  # what a 32-bit float holds; not so NaN
# what servers say who have no such address, or were started without it
ABSENT = (404, 405, 501)


async def embedded(upstream: Upstream, request: EmbeddingRequest, model: str) -> Embeddings:
    """Asks for some texts after the other. Raises `Failure`."""
    vectors: list[tuple[float, ...]] = []
    tokens = 0
    for start in range(0, len(request.texts), AT_ONCE):
        texts = request.texts[start : start + AT_ONCE]
        told = await _asked(upstream, request, texts, model)
        try:
            vectors += _vectors(told, len(texts))
            tokens += int((told.get("usage") or {}).get("prompt_tokens") or 0)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise failure_of(Refused(200, "it sent no vectors"), upstream.address.host) from None
    return Embeddings(tuple(vectors), model, tokens)


async def _asked(upstream: Upstream, request: EmbeddingRequest, texts: Sequence[str], model: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": "float"}
    body |= {"dimensions": request.dimensions} if request.dimensions else {}
    try:
        return await upstream.ask("POST", PATH, body, within_s=LONGEST_S)
    except Refused as error:
        if error.status in ABSENT:
            words = f" It said: {error.words}" if error.words else ""
            raise Failure(
                "unsupported",
                f"{model} at {upstream.address.host} makes no embeddings.{words}",
                "Name a model of that engine that was made for embeddings.",
                "model",
            ) from None
        raise failure_of(error, upstream.address.host) from None
    except Gone as error:
        raise failure_of(error, upstream.address.host) from None


def _vectors(told: dict[str, Any], count: int) -> list[tuple[float, ...]]:
    rows = sorted(told["data"], key=lambda row: int(row["index"]))
    vectors = [tuple(float(number) for number in row["embedding"]) for row in rows]
    if len(vectors) != count or not all(vector and all(abs(number) <= MOST for number in vector) for vector in vectors):
        raise ValueError("not one vector for each text")
    return vectors
