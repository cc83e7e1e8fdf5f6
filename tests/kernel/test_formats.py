"""Each format keeps the right part of the model's text, however it is wrapped."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from jupyter_mistral.kernel.ask import formats
from jupyter_mistral.kernel.ask.code_blocks import cell_of, formulas_of, html_of, looks_like_python, split
from jupyter_mistral.kernel.ask.formats import finish, parse_schema
from jupyter_mistral.kernel.errors import MistralError
from jupyter_mistral.kernel.show.reply import FormattedAnswer, Reply, provenance, to_bundle, to_document
from jupyter_mistral.protocol.events import Usage

USAGE = Usage(model="m", quantization="nf4", seed=7)


def done(format: str, text: str) -> FormattedAnswer:
    return finish(format, text, "stop", USAGE)


@pytest.mark.parametrize(
    ("answer", "cell", "prose"),
    [
        ("```python\nx = 1\n```", "x = 1", ""),
        ("Sure!\n\n```python\nx = 1\n```\n\nThis sets x.", "x = 1", "Sure!\n\nThis sets x."),
        ("```py\nx = 1\n```\nthen\n```\ny = 2\n```", "x = 1\n\ny = 2", "then"),
        ("```python\nx = 1", "x = 1", ""),
        ("Text\n```Python3\nif x:\n    y()\n", "if x:\n    y()", "Text"),
        ("~~~python\nx = 1\n~~~", "x = 1", ""),
        ("1. First\n\n   ```python\n   x = 1\n   ```\n", "x = 1", "1. First"),
        ("import os\nos.getcwd()", "import os\nos.getcwd()", ""),
        ("%matplotlib inline\nimport x", "%matplotlib inline\nimport x", ""),
        ("```python\nx = 1\n```\nprints\n```output\n1\n```", "x = 1", "prints"),
        ("```python\nx = 1\n```\n```\nnot code at all\n```", "x = 1", ""),
        ("```bash\npip list\n```", "%%bash\npip list", ""),
        ("```sql\nselect 1\n```", "select 1", ""),
        ("I cannot do that.", "", "I cannot do that."),
        ("Sorry", "", "Sorry"),
        ("'Sorry, no.'", "", "'Sorry, no.'"),
        ("```text\nnothing\n```", "", ""),
        ("", "", ""),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''", ""),
    ],
)
def test_only_the_code_goes_into_the_cell(answer: str, cell: str, prose: str) -> None:
    assert cell_of(answer) == (cell, prose)


def test_code_reports_its_blocks_and_missing_code() -> None:
    shown = done("code", "Here:\n```python\nx = 1\n```")
    assert (shown.next_cell, shown.reply.code, shown.problem) == ("x = 1", ("x = 1",), "")
    assert "Here:" in shown.body
    assert "1 line of code, in the new cell below" in shown.body
    nothing = done("code", "No idea.")
    assert (nothing.next_cell, nothing.reply.code) == ("", ())
    assert nothing.problem.startswith("The answer contains no code.")


@pytest.mark.parametrize(("format", "what"), [("code", "code"), ("html", "HTML"), ("math", "formula")])
def test_an_answer_without_its_part_at_the_token_limit_names_the_flag(format: str, what: str) -> None:
    assert finish(format, "First, let us", "length", Usage()).problem == (
        f"The answer reached the token limit before any {what}. Raise --max-tokens."
    )


def test_code_that_was_stopped_is_reported_as_not_inserted() -> None:
    assert "1 line of code, not inserted" in finish("code", "```python\nx = 1", "stopped", USAGE).body


def test_marks_that_reorder_code_never_reach_the_cell() -> None:
    assert done("code", "```python\nx = 1 \u202e# 2\n```").next_cell == "x = 1 # 2"


@pytest.mark.parametrize("answer", ['{"a": [1, 2]}', '```json\n{"a": [1, 2]}\n```', ' {"a":[1,2]} \n'])
def test_json_is_parsed_and_shown_indented(answer: str) -> None:
    shown = done("json", answer)
    assert shown.reply.json == {"a": [1, 2]}
    assert shown.reply.text == '{\n  "a": [\n    1,\n    2\n  ]\n}'
    assert not shown.problem


def test_incomplete_json_names_the_flag() -> None:
    assert "Raise --max-tokens" in finish("json", '{"a": [1, ', "length", USAGE).problem
    assert done("json", "no").problem == "The answer is not valid JSON. Try again."
    with pytest.raises(AttributeError, match=r"not JSON\. Ask with -f json"):
        _ = done("markdown", '{"a": 1}').reply.json


def test_null_is_json_too() -> None:
    assert done("json", "null").reply.json is None


@pytest.mark.parametrize(
    ("answer", "html"),
    [
        ("```html\n<p>x</p>\n```", "<p>x</p>"),
        ("Sure: <p>x</p> There.", "<p>x</p>"),
        ("```\n<p>x", "<p>"),
        ("no", ""),
    ],
)
def test_html_is_unwrapped(answer: str, html: str) -> None:
    assert html_of(answer) == html


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(html)
    return parser.tags


def test_html_is_shown_in_a_frame_that_can_do_nothing() -> None:
    evil = '<p title="\'>">x</p><script>alert(1)</script>'
    (tag, attributes), *_ = _tags(done("html", evil).body)
    assert tag == "iframe"
    assert attributes["sandbox"] == ""
    document = attributes["srcdoc"] or ""
    assert document.startswith('<meta http-equiv="Content-Security-Policy" content="default-src \'none\';')
    assert [t for t, _ in _tags(done("html", evil).body)].count("script") == 0


@pytest.mark.parametrize(
    "evil",
    [
        '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
        "<link rel=dns-prefetch href=//evil.example>",
        "<LINK rel=preconnect href=//evil.example>",
        "<base href=//evil.example>",
        "<iframe src=//evil.example></iframe>",
        "<object data=//evil.example></object>",
        "<embed src=//evil.example>",
        "<script src=//evil.example></script>",
    ],
)
def test_tags_that_could_load_or_navigate_become_text(evil: str) -> None:
    tags = _tags(to_document(f"<p>a</p>{evil}<a target=_self href=https://a.example>x</a>"))
    assert [tag for tag, _ in tags] == ["meta", "base", "p", "a"]
    assert "target" not in tags[-1][1]


@pytest.mark.parametrize(
    ("answer", "formulas"),
    [
        ("$$x^2$$", ["x^2"]),
        ("The answer is $$a$$ and then \\[b\\].", ["a", "b"]),
        ("It is $x$ or \\(y\\).", ["x", "y"]),
        ("```latex\n\\frac{a}{b}\n```", ["\\frac{a}{b}"]),
        ("x^2 + 1", ["x^2 + 1"]),
        ("no formula here", []),
    ],
)
def test_math_keeps_the_formulas_only(answer: str, formulas: list[str]) -> None:
    assert formulas_of(answer) == formulas


def test_math_goes_to_the_typesetter_only_where_it_is_safe() -> None:
    shown = done("math", "$$x^2$$")
    assert to_bundle(shown.reply)["text/latex"] == "$$x^2$$"
    evil = done("math", r"$$\href{javascript:alert(1)}{x}$$")
    assert "text/latex" not in to_bundle(evil.reply)
    assert "mathjax_process" not in evil.body


def test_text_is_shown_as_plain_text_only_and_no_format_is_ever_shown_as_markdown() -> None:
    assert list(to_bundle(done("text", "a **b** <i>").reply)) == ["text/plain"]
    for format in formats.INSTRUCTIONS:
        bundle = to_bundle(done(format, "<b>x</b> $$y^2$$").reply)
        assert not {"text/markdown", "application/javascript", "image/svg+xml"} & set(bundle)


def test_control_codes_never_reach_the_plain_text() -> None:
    assert to_bundle(done("text", "a\x1b[2Jb\x9b1mc").reply)["text/plain"] == "a[2Jb1mc"


def test_a_schema_is_json_or_a_variable() -> None:
    class Model:
        @staticmethod
        def model_json_schema() -> dict[str, str]:
            return {"type": "object"}

    assert parse_schema('{"type": "array"}', {}) == {"type": "array"}
    assert parse_schema("s", {"s": {"type": "array"}}) == {"type": "array"}
    assert parse_schema("Model", {"Model": Model}) == {"type": "object"}
    for bad in ("[1]", "nope", "{"):
        with pytest.raises(MistralError, match="neither a JSON object nor a variable"):
            parse_schema(bad, {})


def test_the_instruction_names_the_schema() -> None:
    assert formats.instruction("json", {"type": "array"}).endswith('{"type": "array"}')


def test_a_reply_reads_as_its_text_and_shows_itself_briefly() -> None:
    reply = done("markdown", "Hello there.\n\n```python\nx\n```").reply
    assert str(reply) == reply.text
    assert reply.code == ("x",)
    assert (reply.model, reply.seed) == ("m", 7)
    assert repr(reply) == "<Reply 'Hello there. ```python x ```' (markdown, 1 code block, m)>"
    data, metadata = reply._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"}
    assert metadata == {"jupyter_mistral": provenance(reply)}
    assert provenance(reply) == {
        "generated": True,
        "model": "m",
        "quantization": "nf4",
        "seed": 7,
        "format": "markdown",
        "finish": "stop",
    }


def test_split_finds_a_block_that_was_never_closed() -> None:
    blocks, prose = split("a\n```js\nf(")
    assert [(b.language, b.text) for b in blocks] == [("js", "f(")]
    assert prose == "a"


@pytest.mark.parametrize("text", ["x", "1 + 1", "a, b", "", "not code", "x" * 300_000, "a\0b"])
def test_text_that_merely_parses_is_not_code(text: str) -> None:
    assert not looks_like_python(text)


def test_replies_are_equal_by_what_they_say() -> None:
    assert Reply("a") == Reply("a") != Reply("b")
