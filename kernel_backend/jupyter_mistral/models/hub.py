"""Model files from the Hugging Face hub (or a mirror: HF_ENDPOINT), chosen before they are fetched and checked afterwards.

huggingface_hub is imported inside functions only: it comes with the engine, not with the base.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from ..protocol.failures import Failure
from .entry import Hub
from .store import CHUNK, UNSAFE, bytes_in

_LONGEST_WAIT_S = 10.0
_WANTED = (".safetensors", ".json", ".jinja", ".model", ".model.v3", ".txt")
_UNWANTED = ("params.json", "README.txt", "SYSTEM_PROMPT.txt")


@dataclass(frozen=True)
class Remote:
    """A file of a repository: sha256 where the hub tells it (LFS), else git's blob hash."""

    name: str
    size: int
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What a pull will fetch: a repository at one commit, and of it these files."""

    repo: str
    revision: str
    files: tuple[Remote, ...]

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def look_up(source: Hub) -> Snapshot:
    """Ask the hub which commit and files there are. Raises `Failure("download_failed")`, `unsupported` without safetensors."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise Failure(
            "download_failed",
            "huggingface_hub, which fetches models, is not installed here.",
            "Run `pip install 'jupyter-mistral[engine]'`.",
        ) from None
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise Failure("download_failed", "HF_HUB_OFFLINE forbids asking the hub.", "Unset it, then ask again.")
    try:
        info = HfApi().model_info(source.repo, revision=source.revision, files_metadata=True, timeout=_LONGEST_WAIT_S)
    except HfHubHTTPError as error:
        _refused(source, error)
    except Exception as error:  # the HTTP library's own classes, which differ between releases of huggingface_hub
        _unreachable(source, error)
    files = tuple(chosen([_remote(told) for told in info.siblings or ()], source))
    return Snapshot(source.repo, str(info.sha or source.revision or "main"), files)


def _remote(told: Any) -> Remote:
    lfs = told.lfs
    return Remote(
        told.rfilename, int(told.size or 0), str(lfs.sha256) if lfs else "", "" if lfs else str(told.blob_id or "")
    )


def chosen(files: list[Remote], source: Hub) -> list[Remote]:
    """The files that loading needs: safetensors, configurations, tokenizer, chat template; never code or pickles.

    Mistral's repositories hold the weights twice; `consolidated.safetensors` is left out where the sharded ones are there.
    """
    if source.file:
        wanted = [file for file in files if file.name == source.file]
        if not wanted:
            raise Failure("download_failed", f"{source.repo} has no file {source.file} any more.", "")
        return wanted
    top = [f for f in files if "/" not in f.name and f.name.endswith(_WANTED) and f.name not in _UNWANTED]
    # names become patterns for snapshot_download: a wildcard in one would bring more than was asked for
    top = [f for f in top if not f.name.endswith(UNSAFE) and not set(f.name) & set("*?[")]
    weights = [f for f in top if f.name.endswith(".safetensors")]
    if any(f.name.startswith("model") for f in weights):
        top = [f for f in top if not f.name.startswith("consolidated")]
    if not weights or not any(f.name == "config.json" for f in top):
        raise Failure(
            "unsupported",
            f"{source.repo} holds no safetensors weights with a config.json, and nothing else is loaded.",
            "Choose another copy of the model.",
        )
    return top


def refuse_unloadable(snapshot: Snapshot, folder: Path) -> None:
    """Fetch config.json alone and raise `Failure("unsupported")` for what could not be loaded: gigabytes later is late."""
    alone = replace(snapshot, files=tuple(file for file in snapshot.files if file.name == "config.json"))
    download(alone, folder, lambda count: None)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        packing = config.get("quantization_config") or {}
        method = "" if packing.get("load_in_4bit") else packing.get("quant_method", "")
    except (ValueError, AttributeError):
        raise Failure("unsupported", f"config.json of {snapshot.repo} is damaged.", "Choose another copy.") from None
    if "auto_map" in config:
        raise Failure(
            "unsupported",
            f"{snapshot.repo} brings code of its own (auto_map), which is never run.",
            "Choose a model whose architecture transformers knows.",
        )
    if method:
        raise Failure(
            "unsupported",
            f"The weights of {snapshot.repo} are already quantized ({method}), so they cannot be made 4 bit.",
            "Choose the 16-bit copy of the model (its name often ends in -BF16 or lacks the suffix).",
        )


def download(snapshot: Snapshot, folder: Path, seen: Callable[[int], None]) -> dict[str, str]:
    """Fetch a snapshot's files into `folder`, going on where an earlier try stopped; then check each. Returns sha256 by name."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined, unused-ignore]  # not in __all__

    disable_progress_bars()  # ours is drawn from the bytes on disk
    # it goes on by itself after a broken line and says so; what it cannot mend comes as an exception
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    # a list of names is a valid list of patterns, as long as they hold no wildcard
    names = [file.name for file in snapshot.files]
    watch = _Watch(folder, seen)
    try:
        snapshot_download(
            snapshot.repo,
            revision=snapshot.revision,
            local_dir=folder,
            allow_patterns=names,
            max_workers=4,
            etag_timeout=_LONGEST_WAIT_S,
        )
    except Exception as error:  # see look_up
        _unreachable(Hub(snapshot.repo), error)
    finally:
        watch.stop()
    return {file.name: _checked(folder / file.name, file) for file in snapshot.files}


class _Watch:
    """Counts the bytes in a folder four times a second: right for every way in which huggingface_hub fetches."""

    def __init__(self, folder: Path, seen: Callable[[int], None]) -> None:
        self._folder, self._seen, self._ended = folder, seen, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.25):
            # blocks, not length: a file may be made at full length before it is filled
            self._seen(bytes_in(self._folder, lambda told: min(told.st_size, told.st_blocks * 512)))

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def _checked(path: Path, told: Remote) -> str:
    """The sha256 of a fetched file, after comparing it with what the hub told. A wrong file is deleted."""
    if not path.is_file():
        raise Failure("download_failed", f"{told.name} did not arrive.", "Ask again: what is here already is kept.")
    digest, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            blob.update(chunk)
    if (told.sha256 and digest.hexdigest() != told.sha256) or (told.blob and blob.hexdigest() != told.blob):
        path.unlink()
        raise Failure(
            "corrupt_model",
            f"{told.name} is not the file that the hub describes (its hash is another), so it was deleted.",
            "Ask again: the other files are kept.",
        )
    return digest.hexdigest()


def _refused(source: Hub, error: Exception) -> NoReturn:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    page = f"https://huggingface.co/{source.repo}"
    if status in (401, 403):
        raise Failure(
            "download_failed",
            f"The hub gives {source.repo} only to those who accepted its licence (or there is no such model).",
            f"Accept it at {page}, set HF_TOKEN, then ask again.",
        ) from error
    if status == 404:
        raise Failure(
            "unknown_model",
            f"The hub has no model {source.repo}.",
            "Check the name; `jupyter mistral models` lists some.",
        ) from error
    raise Failure("download_failed", f"The hub answered {status} for {source.repo}.", "Ask again later.") from error


def _unreachable(source: Hub, error: Exception) -> NoReturn:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    if isinstance(error, Failure):
        raise error
    if isinstance(error, OSError) and error.errno == 28:  # no space left
        raise Failure("download_failed", "The disk is full.", "Free some space, then ask again.") from error
    raise Failure("download_failed", f"{source.repo} could not be fetched from the hub: {reason}.", "") from error
