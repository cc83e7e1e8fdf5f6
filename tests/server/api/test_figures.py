"""Descriptions of plots from their saved JSON, without a kernel; everything else is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest
from jupyter_mistral.server.inference.base import Options

from ..conftest import SMALL, Own, Peer

ADDRESS = "/mistral/api/figure"
PLOTLY = {
    "data": [{"type": "bar", "x": ["a", "b"], "y": [3, 8], "name": "sales"}],
    "layout": {"title": {"text": "Shop"}},
}
VEGA = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "mark": "line",
    "data": {"values": [{"t": 1, "v": 4}, {"t": 2, "v": 9}]},
    "encoding": {"x": {"field": "t", "type": "quantitative"}, "y": {"field": "v", "type": "quantitative"}},
}


@pytest.fixture
def host(own_host: Callable[..., Own]) -> Own:
    return own_host(Options())


@pytest.mark.parametrize(
    ("mime", "spec", "said"),
    [
        ("application/vnd.plotly.v1+json", PLOTLY, 'all: "a" 3, "b" 8'),
        ("application/vnd.vegalite.v5+json", VEGA, "max 9 at x 2"),
    ],
)
async def test_a_saved_plot_gives_its_numbers(host: Own, mime: str, spec: dict[str, Any], said: str) -> None:
    status, reply = await host.peer.ask("POST", ADDRESS, {"data": {mime: spec, "text/html": "<div/>"}})
    assert status == 200
    assert reply["has_numbers"] is True
    assert said in reply["text"] and reply["text"].startswith("<figure-facts>")


async def test_an_image_alone_has_no_numbers(host: Own) -> None:
    status, reply = await host.peer.ask("POST", ADDRESS, {"data": {"image/png": "iVBORw0KGgo="}})
    assert (status, reply["has_numbers"]) == (200, False)


async def test_a_model_without_vision_refuses_images(peer: Peer) -> None:
    picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
    content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": "What is it?"}]
    body = {"model": SMALL, "messages": [{"role": "user", "content": content}], "max_tokens": 1}
    status, reply = await peer.ask("POST", "/mistral/v1/chat/completions", body)
    assert (status, reply["error"]["code"]) == (400, "unsupported")
    assert f"{SMALL} cannot see images." in reply["error"]["message"]


@pytest.mark.parametrize("body", [{}, {"data": []}, {"data": {}}, {"data": PLOTLY, "more": 1}])
async def test_a_body_that_is_no_output_is_refused(host: Own, body: dict[str, Any]) -> None:
    status, reply = await host.peer.ask("POST", ADDRESS, body)
    assert (status, reply["error"]["code"]) == (400, "bad_request")


async def test_a_hostile_figure_is_given_up_and_leaves_no_process(host: Own) -> None:
    deep: Any = {"mark": "line"}
    for _ in range(10):
        deep = {"layer": [deep, deep]}
    huge = {"data": {"values": [{"v": i} for i in range(100_000)]}, "layer": [deep] * 20}
    status, reply = await host.peer.ask("POST", ADDRESS, {"data": {"application/vnd.vegalite.v5+json": huge}})
    assert (status, len(reply.get("text", "")) <= 4000) == (200, True) or reply["error"]["code"] == "unsupported"
    readers = [p for p in psutil.Process().children(recursive=True) if "jupyter_mistral.kernel.figures" in p.cmdline()]
    assert readers == []
