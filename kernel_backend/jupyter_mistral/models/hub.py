"""Model files from the Hugging Face hub (or a mirror, HF_ENDPOINT): selected before the download, verified after it.

huggingface_hub is imported inside functions because it comes with the extra `engine`.
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
    """A file of a repository, with its sha256 (LFS files) or git's blob hash."""

    name: str
    size: int
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The files to download from a repository at one commit."""

    repo: str
    revision: str
    files: tuple[Remote, ...]

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def look_up(source: Hub) -> Snapshot:
    """Ask the hub for the commit and its files. Raises `Failure("download_failed")`, `unsupported` without safetensors."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise Failure(
            "download_failed",
            "huggingface_hub, needed to download models, is not installed.",
            "Run `pip install 'jupyter-mistral[engine]'`.",
        ) from None
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise Failure("download_failed", "HF_HUB_OFFLINE is set, so the hub is not used.", "Unset it, then try again.")
    try:
        info = HfApi().model_info(source.repo, revision=source.revision, files_metadata=True, timeout=_LONGEST_WAIT_S)
    except HfHubHTTPError as error:
        _refused(source, error)
    except Exception as error:  # the HTTP library's own classes, which differ between releases of huggingface_hub
        _unreachable(source, error)
    files = tuple(chosen([_remote(file) for file in info.siblings or ()], source))
    return Snapshot(source.repo, str(info.sha or source.revision or "main"), files)


def _remote(file: Any) -> Remote:
    lfs = file.lfs
    return Remote(
        file.rfilename, int(file.size or 0), str(lfs.sha256) if lfs else "", "" if lfs else str(file.blob_id or "")
    )


def chosen(files: list[Remote], source: Hub) -> list[Remote]:
    """The files needed to load the model: safetensors, configurations, tokenizer, chat template; never code or pickles.

    Mistral's repositories contain the weights twice; `consolidated.safetensors` is skipped if there are sharded ones.
    """
    if source.file:
        wanted = [file for file in files if file.name == source.file]
        if not wanted:
            raise Failure("download_failed", f"{source.repo} no longer has the file {source.file}.", "")
        return wanted
    top = [f for f in files if "/" not in f.name and f.name.endswith(_WANTED) and f.name not in _UNWANTED]
    # names become patterns for snapshot_download: a wildcard in one would download more files
    top = [f for f in top if not f.name.endswith(UNSAFE) and not set(f.name) & set("*?[")]
    weights = [f for f in top if f.name.endswith(".safetensors")]
    if any(f.name.startswith("model") for f in weights):
        top = [f for f in top if not f.name.startswith("consolidated")]
    if not weights or not any(f.name == "config.json" for f in top):
        raise Failure(
            "unsupported",
            f"{source.repo} has no safetensors weights with a config.json; nothing else can be loaded.",
            "Choose another copy of the model.",
        )
    return top


def refuse_unloadable(snapshot: Snapshot, folder: Path) -> None:
    """Download config.json first and raise `Failure("unsupported")` for a model that cannot be loaded, before the gigabytes."""
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
            f"{snapshot.repo} needs its own code (auto_map), which is never run.",
            "Choose a model whose architecture transformers knows.",
        )
    if method:
        raise Failure(
            "unsupported",
            f"The weights of {snapshot.repo} are already quantized ({method}), so they cannot be quantized to 4-bit.",
            "Choose the 16-bit copy of the model (its name often ends in -BF16 or lacks the suffix).",
        )


def download(snapshot: Snapshot, folder: Path, seen: Callable[[int], None]) -> dict[str, str]:
    """Download a snapshot's files into `folder`, resuming an earlier attempt, then verify each. Returns sha256 by name."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined, unused-ignore]  # not in __all__

    disable_progress_bars()  # ours is drawn from the bytes on disk
    # it reconnects by itself and logs that; errors that it cannot handle are raised
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    # names are valid patterns as long as they contain no wildcard
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
    """Counts the bytes in a folder four times per second, which works for every download method of huggingface_hub."""

    def __init__(self, folder: Path, seen: Callable[[int], None]) -> None:
        self._folder, self._seen, self._ended = folder, seen, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.25):
            # blocks, not length: a file may be created with its full length before it is filled
            self._seen(bytes_in(self._folder, lambda info: min(info.st_size, info.st_blocks * 512)))

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def _checked(path: Path, expected: Remote) -> str:
    """The sha256 of a downloaded file, compared with the hub's. A wrong file is deleted."""
    if not path.is_file():
        raise Failure("download_failed", f"{expected.name} was not downloaded.", "Try again; the download resumes.")
    digest, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            blob.update(chunk)
    if (expected.sha256 and digest.hexdigest() != expected.sha256) or (
        expected.blob and blob.hexdigest() != expected.blob
    ):
        path.unlink()
        raise Failure(
            "corrupt_model",
            f"{expected.name} does not match the hash on the hub, so it was deleted.",
            "Try again; the other files are kept.",
        )
    return digest.hexdigest()


def _refused(source: Hub, error: Exception) -> NoReturn:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    page = f"https://huggingface.co/{source.repo}"
    if status in (401, 403):
        raise Failure(
            "download_failed",
            f"{source.repo} requires accepting its license on the hub (or does not exist).",
            f"Accept it at {page}, set HF_TOKEN, then try again.",
        ) from error
    if status == 404:
        raise Failure(
            "unknown_model",
            f"The hub has no model {source.repo}.",
            "Check the name; `jupyter mistral models` lists some.",
        ) from error
    raise Failure("download_failed", f"The hub answered {status} for {source.repo}.", "Try again later.") from error


def _unreachable(source: Hub, error: Exception) -> NoReturn:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    if isinstance(error, Failure):
        raise error
    if isinstance(error, OSError) and error.errno == 28:  # no space left
        raise Failure("download_failed", "The disk is full.", "Free some space, then try again.") from error
    raise Failure("download_failed", f"{source.repo} could not be downloaded from the hub: {reason}.", "") from error
