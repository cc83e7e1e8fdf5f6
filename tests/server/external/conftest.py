"""A scripted external engine, and model hosts that use it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jupyter_mistral.server.assemble import Parts, join
from jupyter_mistral.server.external.config import ExternalConfig
from jupyter_mistral.server.external.http import Key
from jupyter_mistral.server.inference.base import Options

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not

from broken_engine import BrokenEngine
from external_engine import KEY, QUICK, Make


@pytest.fixture
def broken_engine(jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[BrokenEngine]:
    engine = BrokenEngine()
    jp_asyncio_loop.run_until_complete(engine.start())
    yield engine
    jp_asyncio_loop.run_until_complete(engine.stop())


@pytest.fixture
def make(broken_engine: BrokenEngine, mistral_home: Path, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[Make]:
    """Makes model hosts that use `broken_engine`, with settings of their own."""
    made: list[Parts] = []

    def parts(**settings: Any) -> Parts:
        config = replace(ExternalConfig(broken_engine.url, patience=QUICK, key=Key(text=KEY)), **settings)
        made.append(join(Options(), logging.getLogger("jupyter_mistral"), config))
        return made[-1]

    yield parts
    for one in made:
        jp_asyncio_loop.run_until_complete(one.close())
