"""Answers known in advance: streamed by the test instead of the server, or forced on the real model by a grammar."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route

ASK = re.compile(r"/mistral/api/chats/[^/]+/ask")


class Script:
    """Answers the page's questions with given texts, streamed as the server would."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._answers: list[list[str]] = []
        self._user: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}
        self.finish_reason = "stop"
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, *answers: list[str]) -> None:
        """Set the pieces of the next answers; the last answer repeats."""
        if not self._answers:
            self._page.route(ASK, self._fulfil)
        self._answers = list(answers)

    def _fulfil(self, route: Route) -> None:
        body = route.request.post_data_json or {}
        self.bodies.append(body)
        pieces = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        chunks = self._chunks(body["content"], pieces)
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        route.fulfill(status=200, content_type="text/event-stream", body=text)

    def _chunks(self, content: list[Any], pieces: list[str]) -> list[dict[str, Any]]:
        if content:  # empty when regenerating
            self._user = {"id": uuid.uuid4().hex, "role": "user", "content": content, "state": "done", "created": 1}
        base: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
        first = {
            "event": "message",
            "user": self._user,
            "assistant": {"id": uuid.uuid4().hex},
            "title": "?",
            "saved": True,
        }
        texts = [{"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in pieces]
        end = {"index": 0, "delta": {}, "finish_reason": self.finish_reason}
        return [
            {**base, "mistral": first},
            *({**base, "choices": [choice]} for choice in texts),
            {**base, "choices": [end], "usage": self.usage},
        ]


def numbers(count: int) -> dict[str, Any]:
    """Request fields that force the answer to be a list of this many numbers."""
    item = {"type": "integer", "minimum": 0, "maximum": 99}
    schema = {"type": "array", "items": item, "minItems": count, "maxItems": count}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    return {"max_tokens": 30_000, "response_format": form}


ENDLESS = numbers(15_000)  # takes minutes, even with the fastest model


@pytest.fixture
def reshaped(page: Page) -> Callable[[dict[str, Any]], None]:
    """Add fields to the page's next questions, for answers of a fixed length."""

    def reshape(more: dict[str, Any]) -> None:
        def pass_on(route: Route) -> None:
            route.continue_(post_data=json.dumps({**(route.request.post_data_json or {}), **more}))

        page.unroute(ASK)
        page.route(ASK, pass_on)

    return reshape


@pytest.fixture
def endless(reshaped: Callable[[dict[str, Any]], None]) -> None:
    """Answers do not end: a grammar prevents it."""
    reshaped(ENDLESS)


@pytest.fixture
def scripted(page: Page) -> Script:
    return Script(page)
