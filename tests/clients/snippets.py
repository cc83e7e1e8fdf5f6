"""The snippets of docs/clients.md, taken out of the page as they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "clients.md"
ADDRESS = "http://localhost:8888/mistral"
# what pip installs for them, apart from everything of ours
PACKAGES = (
    "openai>=2,<4",
    "mistralai>=2,<4",
    "litellm>=1.80,<2",
    "llm>=0.27,<1",
    "pydantic-ai-slim[openai]>=1,<3",
    "langchain-openai>=1,<2",
)
_SNIPPET = re.compile(r"<!-- (client|file): (.+?) -->\n+```(\w+)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    kind: str
    name: str
    language: str
    text: str

    def at(self, address: str) -> str:
        """The text with another address of the server."""
        assert ADDRESS in self.text or self.language == "bash"
        return self.text.replace(ADDRESS, address)


def snippets() -> list[Snippet]:
    return [Snippet(*found) for found in _SNIPPET.findall(PAGE.read_text(encoding="utf-8"))]
