"""A model folder's weight files: checked for completeness, and written without holding them in memory.

Manifests, hashes and the refusal of code are in `models.store`.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models import store
from ...protocol.failures import Failure

if TYPE_CHECKING:
    import torch

HASH_ALWAYS = (
    4 * 2**30
)  # folders up to this size are hashed at every load (about 0.5 s per GB); of larger ones only sizes
_MAX_HEADER = 100 * 2**20

Report = Callable[[str, float | None, str, float | None], None]  # stage, fraction, detail, seconds left


def check_folder(folder: Path) -> dict[str, Any]:
    """Refuse folders with code or incomplete weights, naming the file. Returns the configuration."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError:
        raise Failure(
            "corrupt_model", f"{folder} contains no config.json.", "Give the folder that contains config.json."
        ) from None
    except ValueError:
        raise store.corrupt(folder / "config.json", "is not JSON") from None
    store.refuse_code(folder)
    shards = sorted(folder.glob("*.safetensors"))
    for shard in shards:
        check_shard(shard)
    _check_index(folder)
    store.check(folder, deep=sum(shard.stat().st_size for shard in shards) <= HASH_ALWAYS)
    return config


def check_shard(path: Path) -> None:
    """A safetensors file must have a valid header and exactly the length that the header implies."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > min(size - 8, _MAX_HEADER):
            raise store.corrupt(path, "is truncated in its header")
        try:
            header = json.loads(file.read(length))
            spans = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
            is_valid = all(0 <= start <= end for start, end in spans)
            expected = 8 + length + max((end for _, end in spans), default=0)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise store.corrupt(path, "has a malformed header") from None
    if not is_valid or expected != size:
        raise store.corrupt(path, f"has {size:,} bytes, but its header describes {expected:,}")


def _check_index(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values()) if index.is_file() else set()
    except (ValueError, TypeError, KeyError, AttributeError):
        raise store.corrupt(index, "is malformed") from None
    for name in sorted(names):
        if not (folder / Path(name).name).is_file():
            raise store.corrupt(folder / name, "is missing")


# ---------------------------------------------------------------------------------------------- writing


@contextmanager
def write_folder(out: Path) -> Iterator[Path]:
    """A private folder to write into, renamed to `out` only if the block ends without an error."""
    store.private_folder(out.parent)
    partial = out.parent / f".{out.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(mode=0o700)
        yield partial
        for path in partial.iterdir():
            path.chmod(0o600)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    except OSError as error:
        raise Failure(
            "internal",
            f"{out} could not be written: {error.strerror}.",
            "Free space on that disk, then load the model again.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class ShardWriter:
    """Writes a safetensors file tensor by tensor. The header is written last; `names` bounds its length."""

    def __init__(self, path: Path, names: int) -> None:
        self._reserved = 1024 + names * 512
        self._header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        self._file = path.open("wb")
        self._file.seek(8 + self._reserved)
        self._end = 0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        data = tensor.detach().cpu().contiguous().view(-1).view(_bytes()).numpy().data
        dtype = {"bfloat16": "BF16", "float32": "F32", "uint8": "U8", "float16": "F16"}[str(tensor.dtype)[6:]]
        span = [self._end, self._end + data.nbytes]
        self._header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": span}
        self._file.write(data)
        self._end = span[1]

    def close(self) -> None:
        text = json.dumps(self._header, separators=(",", ":")).encode()
        assert len(text) <= self._reserved, "header larger than reserved"
        self._file.seek(0)
        self._file.write(struct.pack("<Q", self._reserved) + text.ljust(self._reserved))
        self._file.close()


def _bytes() -> torch.dtype:
    import torch

    return torch.uint8
