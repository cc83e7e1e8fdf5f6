"""The figures of a saved notebook and the alt text in their outputs' metadata. Knows no model.

nbconvert's classic and basic pages show `metadata["image/png"]["alt"]`, and our renderer does in JupyterLab. What we wrote is marked, so that
words of a person are told from ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...protocol.failures import Failure
from ...protocol.images import IMAGE_TYPES

MAX_FILE = 200 * 2**20
MARK = "jupyter_mistral"
_SPEC = re.compile(r"application/vnd\.(?:plotly\.v\d+|vegalite\.v\d+|vega\.v\d+)\+json")
_DRAWN = (*IMAGE_TYPES, "image/svg+xml")


@dataclass(frozen=True)
class Place:
    """One figure: the cell's index, its prompt number, the output's index, the type that carries the alt text, and that text."""

    cell: int
    run: int | None
    output: int
    mime: str
    alt: str = ""
    is_ours: bool = False
    source: str = ""

    @property
    def is_hand_written(self) -> bool:
        return bool(self.alt) and not self.is_ours

    def __str__(self) -> str:
        return f"[cell {self.cell}] output {self.output}, {self.mime}"


class Notebook:
    """A notebook's file as it was read. Raises `Failure` for what is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.stat().st_size > MAX_FILE:
                raise Failure("too_large", f"{path.name} holds more than {MAX_FILE >> 20} MB.", "Clear large outputs.")
            raw = path.read_bytes()
            data = json.loads(raw)
        except FileNotFoundError:
            raise Failure("not_found", f"There is no file {path.name}.", "Save the notebook first.") from None
        except (OSError, ValueError, RecursionError):
            data = None
        if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
            raise Failure(
                "bad_request", f"{path.name} is no notebook of nbformat 4.", "Open and save it in JupyterLab."
            )
        self.data: dict[str, Any] = data
        self._raw = raw

    def places(self) -> list[Place]:
        """Every figure, in order."""
        return list(self._places())

    def _places(self) -> Iterator[Place]:
        for i, cell in enumerate(self.data["cells"]):
            outputs = cell.get("outputs") if isinstance(cell, dict) else None
            for k, output in enumerate(outputs if isinstance(outputs, list) else ()):
                bundle = output.get("data") if isinstance(output, dict) else None
                mime = _carrier(bundle) if isinstance(bundle, dict) else None
                if mime is not None:
                    alt, mark = _told(output, mime)
                    run = cell.get("execution_count")
                    source = _joined(cell.get("source"))
                    yield Place(i, run if isinstance(run, int) else None, k, mime, alt, alt == mark, source)

    def bundle(self, place: Place) -> dict[str, Any]:
        """The output's data by type, each text joined."""
        held = self.data["cells"][place.cell]["outputs"][place.output]["data"]
        return {mime: value if isinstance(value, dict) else _joined(value) for mime, value in held.items()}

    def set(self, place: Place, alt: str) -> None:
        output = self.data["cells"][place.cell]["outputs"][place.output]
        metadata = output.get("metadata")
        metadata = output["metadata"] = metadata if isinstance(metadata, dict) else {}
        held = metadata.get(place.mime)
        metadata[place.mime] = {**(held if isinstance(held, dict) else {}), "alt": alt, MARK: {"alt": _mark(alt)}}

    def write(self) -> None:
        """In place of the file that was read, whole or not at all. Raises `Failure` where that was changed meanwhile."""
        try:
            if self.path.read_bytes() != self._raw:
                raise Failure(
                    "bad_request", f"{self.path.name} was changed since it was read.", "Ask for the alt texts again."
                )
            text = json.dumps(self.data, ensure_ascii=False, indent=_indent(self._raw)) + "\n"
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                    file.write(text)
                os.chmod(name, self.path.stat().st_mode & 0o777)
                os.replace(name, self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise Failure(
                "internal", f"{self.path.name} could not be written: {error.strerror}.", "Check the disk."
            ) from error
        self._raw = text.encode()


def _carrier(bundle: dict[str, Any]) -> str | None:
    """The type whose metadata carries the alt text: the picture that is shown, else the plot's description."""
    return next((m for m in _DRAWN if m in bundle), None) or next((m for m in bundle if _SPEC.fullmatch(m)), None)


def _told(output: dict[str, Any], mime: str) -> tuple[str, str]:
    """The alt text, and the same where we wrote it and nobody has changed it since."""
    metadata = output.get("metadata")
    held = metadata.get(mime) if isinstance(metadata, dict) else None
    alt = held.get("alt") if isinstance(held, dict) else None
    if not isinstance(alt, str) or not alt.strip():
        return "", "nothing of ours"
    mark = held.get(MARK) if isinstance(held, dict) else None
    is_ours = isinstance(mark, dict) and mark.get("alt") == _mark(alt)
    return alt, alt if is_ours else ""


def _mark(alt: str) -> str:
    return hashlib.sha256(alt.encode("utf-8", "replace")).hexdigest()[:16]


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _indent(raw: bytes) -> int | None:
    found = re.match(rb"\{\r?\n( +)", raw)
    return len(found[1]) if found else None
