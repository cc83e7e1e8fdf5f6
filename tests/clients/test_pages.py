"""What docs/deployment.md says is what the script prints and what the settings are called."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jupyter_mistral.server.app import MistralExtension

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "deployment.md"
PLACE = re.compile(r"(?<=<!-- capacity -->\n).*?(?=<!-- end -->)", re.DOTALL)


def _printed() -> str:
    script = ROOT / "tests" / "benchmarks" / "endpoint_capacity.py"
    out = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    return "\n" + out.partition("\n\n")[2].strip() + "\n\n"


def test_the_tables_are_what_the_script_prints() -> None:
    found = PLACE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == _printed(), "run `python tests/clients/test_pages.py` and look at the difference"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", _blocks("yaml"), ids=lambda block: block.splitlines()[0])
def test_manifests_are_yaml(block: str) -> None:
    for document in yaml.safe_load_all(block):
        assert isinstance(document, dict) and document


def test_settings_of_the_page_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = {*re.findall(r"c\.MistralExtension\.(\w+)", text), *re.findall(r"^ +(engine_\w+):", text, re.MULTILINE)}
    assert names >= {"engine_url", "engine_key_file", "engine_tokenizer"}
    assert names <= set(MistralExtension.class_trait_names(config=True))


def test_the_configuration_for_all_users_runs() -> None:
    (code,) = _blocks("python")
    settings: dict[str, Any] = {}
    section = type("Section", (), {"__setattr__": lambda self, name, value: settings.__setitem__(name, value)})()
    exec(code, {"c": type("Config", (), {"MistralExtension": section})()})
    assert settings["engine_url"].startswith("http://127.0.0.1:8900/")


if __name__ == "__main__":
    PAGE.write_text(PLACE.sub(lambda _: _printed(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
