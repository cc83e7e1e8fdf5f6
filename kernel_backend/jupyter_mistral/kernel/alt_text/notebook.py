"""The figures of a saved notebook, and the alt text in the metadata of their outputs. Knows no model.

nbconvert's classic and basic templates show `metadata["image/png"]["alt"]`, and our renderer does in JupyterLab. Generated alt
text is marked, so that hand-written text can be told apart.
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
_IMAGE_TYPES = (*IMAGE_TYPES, "image/svg+xml")


@dataclass(frozen=True)
class FigureOutput:
    """One figure: the indexes of its cell and output, the cell's prompt number and source, and the alt text.

    mime: the type whose metadata contains the alt text.
    """

    cell: int
    prompt_number: int | None
    output: int
    mime: str
    alt: str = ""
    is_generated: bool = False
    source: str = ""

    @property
    def is_hand_written(self) -> bool:
        return bool(self.alt) and not self.is_generated

    def __str__(self) -> str:
        return f"[cell {self.cell}] output {self.output}, {self.mime}"


class Notebook:
    """A notebook file, read when the object is made. Raises `Failure` if the file is not a notebook."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw, self.data = _read(path)

    def figure_outputs(self) -> list[FigureOutput]:
        """Every figure, in order."""
        return list(self._figure_outputs())

    def _figure_outputs(self) -> Iterator[FigureOutput]:
        for i, cell in enumerate(self.data["cells"]):
            outputs = cell.get("outputs") if isinstance(cell, dict) else None
            for k, output in enumerate(outputs if isinstance(outputs, list) else ()):
                bundle = output.get("data") if isinstance(output, dict) else None
                mime = _alt_mime(bundle) if isinstance(bundle, dict) else None
                if mime is not None:
                    alt, is_generated = _read_alt(output, mime)
                    count = cell.get("execution_count")
                    number = count if isinstance(count, int) else None
                    yield FigureOutput(i, number, k, mime, alt, is_generated, _join(cell.get("source")))

    def bundle(self, figure: FigureOutput) -> dict[str, Any]:
        """The output's data by type, with each text joined."""
        data = self.data["cells"][figure.cell]["outputs"][figure.output]["data"]
        return {mime: value if isinstance(value, dict) else _join(value) for mime, value in data.items()}

    def set_alt(self, figure: FigureOutput, alt: str) -> None:
        output = self.data["cells"][figure.cell]["outputs"][figure.output]
        metadata = output.get("metadata")
        metadata = output["metadata"] = metadata if isinstance(metadata, dict) else {}
        old = metadata.get(figure.mime)
        metadata[figure.mime] = {**(old if isinstance(old, dict) else {}), "alt": alt, MARK: {"alt": _digest(alt)}}

    def write(self) -> None:
        """Replace the file atomically. Raises `Failure` if it has changed since it was read."""
        try:
            if self.path.read_bytes() != self._raw:
                raise Failure(
                    "bad_request", f"{self.path.name} has changed since it was read.", "Generate the alt text again."
                )
            text = json.dumps(self.data, ensure_ascii=False, indent=_indent(self._raw)) + "\n"
            self._replace_file(text)
        except OSError as error:
            raise Failure(
                "internal", f"{self.path.name} could not be written: {error.strerror}.", "Check the disk."
            ) from error
        self._raw = text.encode()

    def _replace_file(self, text: str) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(name, self.path.stat().st_mode & 0o777)
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The file's bytes and its parsed content. Raises `Failure`."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise Failure("too_large", f"{path.name} is larger than {MAX_FILE >> 20} MB.", "Clear large outputs.")
        raw = path.read_bytes()
        data = json.loads(raw)
    except FileNotFoundError:
        raise Failure("not_found", f"The file {path.name} does not exist.", "Save the notebook first.") from None
    except (OSError, ValueError, RecursionError):
        raw, data = b"", None
    if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
        raise Failure("bad_request", f"{path.name} is not a notebook in nbformat 4.", "Open and save it in JupyterLab.")
    return raw, data


def _alt_mime(bundle: dict[str, Any]) -> str | None:
    """The type whose metadata contains the alt text: the displayed image, else the plot's specification."""
    image = next((mime for mime in _IMAGE_TYPES if mime in bundle), None)
    return image or next((mime for mime in bundle if _SPEC.fullmatch(mime)), None)


def _read_alt(output: dict[str, Any], mime: str) -> tuple[str, bool]:
    """The alt text, and whether it was generated and not edited since."""
    metadata = output.get("metadata")
    entry = metadata.get(mime) if isinstance(metadata, dict) else None
    alt = entry.get("alt") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(alt, str) or not alt.strip():
        return "", False
    mark = entry.get(MARK)
    return alt, isinstance(mark, dict) and mark.get("alt") == _digest(alt)


def _digest(alt: str) -> str:
    return hashlib.sha256(alt.encode("utf-8", "replace")).hexdigest()[:16]


def _join(value: Any) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _indent(raw: bytes) -> int | None:
    match = re.match(rb"\{\r?\n( +)", raw)
    return len(match[1]) if match else None
