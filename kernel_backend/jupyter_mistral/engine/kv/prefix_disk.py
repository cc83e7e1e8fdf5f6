"""Prefix blocks on disk, so that they survive a restart: safetensors files that only their owner can read.

Files contain keys (hashes) and numbers, no text. A thread writes them; the least recently used are deleted first.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

_SUFFIX, _PARTIAL = ".safetensors", ".partial"


class PrefixDisk:
    """Blocks under `folder`, one file for each set written together. `limit`: bytes for all of `folder.parent`."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._paths: dict[str, Path] = {}
        self._lock = threading.Lock()
        for path in folder.parent.glob("*/*" + _PARTIAL):
            if not _has_writer(path):  # its writer was killed
                path.unlink(missing_ok=True)
        for path in folder.glob("*" + _SUFFIX):
            with contextlib.suppress(OSError, SafetensorError), safe_open(path, "pt") as file:
                self._paths |= dict.fromkeys(file.keys(), path)
        self._unwritten: queue.SimpleQueue[dict[str, torch.Tensor] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="prefix disk", daemon=True)
        self._writer.start()

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._paths

    def read(self, key: str) -> torch.Tensor | None:
        """The block, or None if it is gone or its checksum is wrong."""
        with self._lock:
            path = self._paths.get(key)
        if path is None:
            return None
        with contextlib.suppress(OSError, SafetensorError, KeyError, ValueError), safe_open(path, "pt") as file:
            block: torch.Tensor = file.get_tensor(key)
            if _checksum(block) == json.loads(file.metadata()["checksums"])[key]:
                os.utime(path)
                return block
        self._forget(path)
        return None

    def write(self, blocks: dict[str, torch.Tensor]) -> None:
        """Queue these blocks for the writer thread."""
        self._unwritten.put(blocks)

    def close(self) -> None:
        """Wait until everything queued is written."""
        self._unwritten.put(None)
        self._writer.join(timeout=30)

    def _write_all(self) -> None:
        while (blocks := self._unwritten.get()) is not None:
            with contextlib.suppress(OSError):  # a full disk costs speed later, not an answer now
                self._write_file(blocks)
                self._delete_oldest()

    def _write_file(self, blocks: dict[str, torch.Tensor]) -> None:
        while blocks and sum(block.nbytes for block in blocks.values()) > self._limit // 2:
            blocks.popitem()  # the end of a sequence, the least likely to be reused
        if not blocks:
            return
        path = self._folder / (next(reversed(blocks)) + _SUFFIX)
        sums = json.dumps({key: _checksum(block) for key, block in blocks.items()})
        partial = path.with_suffix(f".{os.getpid()}{_PARTIAL}")
        with open(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(save(blocks, metadata={"checksums": sums}))
        partial.replace(path)
        with self._lock:
            self._paths |= dict.fromkeys(blocks, path)

    def _delete_oldest(self) -> None:
        stats = [(path, path.stat()) for path in self._folder.parent.glob("*/*") if path.is_file()]
        total = sum(stat.st_size for _, stat in stats)
        for path, stat in sorted(stats, key=lambda pair: pair[1].st_mtime):
            if total <= self._limit:
                return
            self._forget(path)
            total -= stat.st_size

    def _forget(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with self._lock:
            self._paths = {key: other for key, other in self._paths.items() if other != path}


def _has_writer(partial: Path) -> bool:
    """Whether the process that writes this file, named by its pid in the suffix, is still running."""
    try:
        os.kill(int(partial.suffixes[-2][1:]), 0)
    except (ValueError, IndexError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def _checksum(block: torch.Tensor) -> int:
    return zlib.crc32(block.contiguous().view(torch.uint8).numpy().data)
