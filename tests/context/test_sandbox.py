"""Chat templates: honest ones render as in jinja, hostile ones are stopped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jupyter_mistral.protocol.failures import Failure
from jupyter_mistral.tokenizer.chat_template import ChatTemplate, Turn
from jupyter_mistral.tokenizer.sandbox import Sandbox, variables

HOSTILE = {
    "loops": "{% for a in range(500) %}{% for b in range(500) %}{% endfor %}{% endfor %}",
    "chosen": "{% for a in range(500) %}{% for b in range(500) if b < 0 %}{% endfor %}{% endfor %}",
    "letters": "{% set s = 'x' * 500 %}{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(17) }}",
    "recursion": "{% for a in [0] * 60 recursive %}{{ loop([a] * 60) if loop.depth0 < 2 }}{% endfor %}",
}
HONEST = """
{%- macro part(p) -%}<{{ p }}>{%- endmacro -%}
{%- for m in messages if m.role != 'system' -%}
  {%- if loop.first -%}first {{ loop.length }} {%- endif -%}
  {{ loop.index }}/{{ loop.revindex0 }} {{ m.role }} {{ (loop.previtem or m).role }} {{ (loop.nextitem or m).role }}
  {%- for k, v in m.items() -%}{{ part(k) }}{{ v }}{%- if k == 'role' -%}{%- continue -%}{%- endif -%}!{%- endfor -%}
  {%- if loop.last -%}end{%- endif -%}
{%- else -%}none{%- endfor -%}
{%- for n in tree recursive -%}{{ n.name }}({{ loop(n.below) }}){%- endfor -%}
"""


@pytest.mark.threat("T16")
@pytest.mark.parametrize("kind", HOSTILE)
def test_an_endless_template_is_stopped_and_named(kind: str, tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(HOSTILE[kind])
    template = ChatTemplate(tmp_path, re.compile("(?!)()"))
    for _ in range(2):
        with pytest.raises(Failure, match="chat template takes more than 200,000 steps"):
            template.render([Turn("user", ("a",))])


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_an_honest_template_renders_as_in_jinja(count: int) -> None:
    given = {
        "messages": [{"role": ("system", "user", "assistant")[i % 3], "content": f"{i}"} for i in range(count + 1)],
        "tree": [{"name": "a", "below": [{"name": "b", "below": []}]}],
    }
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    template = Sandbox().from_string(HONEST)
    for _ in range(2):
        assert template.render(variables(**given)) == plain.from_string(HONEST).render(given)


def test_the_generation_tag_of_training_templates_is_rendered_as_its_content(tmp_path: Path) -> None:
    source = "{% for m in messages %}{% generation %}<{{ m.role }}>{% endgeneration %}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(source)
    template = ChatTemplate(tmp_path, re.compile("(?!)()"))
    assert template.render([Turn("user", ("a",)), Turn("assistant", ("b",))]).text == "<user><assistant>"
