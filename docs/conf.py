"""Builds the documentation: `sphinx-build -W docs .tests/docs`. The reference pages are generated from the code."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from jupyter_mistral import __version__

project = "Jupyter Mistral"
author = "The Jupyter Mistral team"
copyright = author
release = version = __version__

extensions = ["myst_parser", "reference"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_extensions"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# included from the repository's root, where they link to files as the hosting site shows them
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]

html_theme = "furo"
html_title = "Jupyter Mistral"
html_static_path: list[str] = []
# the pages load nothing from other servers
html_theme_options = {"footer_icons": []}
