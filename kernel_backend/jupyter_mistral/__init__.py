"""The private assistant that lives in the notebook: the hooks that Jupyter and IPython look for, nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["__version__", "lend_gpu", "load_ipython_extension", "unload_ipython_extension"]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "jupyter-mistral"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from .server.app import MistralExtension

    return [{"module": "jupyter_mistral", "app": MistralExtension}]


def lend_gpu() -> AbstractContextManager[None]:
    """Within `with jupyter_mistral.lend_gpu():` the model's weights are off the GPU; they come back at the block's end."""
    from .kernel.host.gpu_loan import lend_gpu

    return lend_gpu()


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register `%mistral` and `%%mistral` (what `%load_ext jupyter_mistral` calls)."""
    from .kernel import magics

    magics.load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the hooks that `load_ipython_extension` set back out."""
    from .kernel import magics

    magics.unload(shell)
