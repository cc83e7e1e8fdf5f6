"""A scripted model host, and a real IPython shell with the magics loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_mistral.protocol import CONNECTION_ENV

sys.path.insert(0, str(Path(__file__).parent))  # tests are imported by path, so siblings need this

from kernel_peer import Peer
from kernel_shell import Shell


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    """The host that this test's process and its children find."""
    peer = Peer(tmp_path)
    monkeypatch.setenv(CONNECTION_ENV, str(peer.file))
    yield peer
    peer.close()


@pytest.fixture
def shell() -> Iterator[Shell]:
    assert "JPY_SESSION_NAME" not in os.environ
    shell = Shell()
    yield shell
    shell.ip.history_manager.end_session()
