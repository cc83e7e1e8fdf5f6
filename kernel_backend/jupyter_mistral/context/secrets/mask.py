"""Masks keys, tokens, passwords and connection strings in text, by their shape and by the name before them.

Has its own table because no maintained library masks text in memory or recognizes a value by its variable: detect-secrets
reads files, has global settings and depends on an HTTP client; gitleaks and trufflehog are programs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeAlias

from .names import SURE

MASK = "[secret]"

# tokens recognizable by shape alone, each with a literal for a quick scan
_SHAPES: tuple[tuple[str, str], ...] = (
    ("AKIA", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("ASIA", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("AIza", r"\bAIza[0-9A-Za-z_-]{30,}"),
    ("ya29.", r"\bya29\.[0-9A-Za-z_-]{20,}"),
    ("GOCSPX-", r"\bGOCSPX-[0-9A-Za-z_-]{20,}"),
    ("gh", r"\bgh[pousr]_[0-9A-Za-z]{20,}"),
    ("github_pat_", r"\bgithub_pat_[0-9A-Za-z_]{20,}"),
    ("glpat-", r"\bglpat-[0-9A-Za-z_.-]{16,}"),
    ("xox", r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}"),
    ("hooks.slack.com", r"https://hooks\.slack\.com/(?:services|workflows)/[\w/]+"),
    ("sk-", r"\bsk-(?:[A-Za-z0-9]+-)*[A-Za-z0-9_-]{20,}"),
    ("_live_", r"\b[srp]k_live_[0-9A-Za-z]{10,}"),
    ("_test_", r"\b[srp]k_test_[0-9A-Za-z]{10,}"),
    ("hf_", r"\bhf_[0-9A-Za-z]{20,}"),
    ("gsk_", r"\bgsk_[0-9A-Za-z]{20,}"),
    ("r8_", r"\br8_[0-9A-Za-z]{20,}"),
    ("npm_", r"\bnpm_[0-9A-Za-z]{20,}"),
    ("pypi-", r"\bpypi-[0-9A-Za-z_-]{20,}"),
    ("dapi", r"\bdapi[0-9a-f]{28,}"),
    ("dop_v1_", r"\bdop_v1_[0-9a-f]{32,}"),
    ("SG.", r"\bSG\.[0-9A-Za-z_-]{12,}\.[0-9A-Za-z_-]{12,}"),
    ("shpat_", r"\bshpat_[0-9a-fA-F]{20,}"),
    ("eyJ", r"\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}(?:\.[0-9A-Za-z_-]*)?"),
    ("key-", r"\bkey-[0-9a-f]{32}\b"),
    ("lin_api_", r"\blin_api_[0-9A-Za-z]{20,}"),
    ("secret_", r"\bsecret_[0-9A-Za-z]{30,}"),
    ("PMAK-", r"\bPMAK-[0-9a-f-]{30,}"),
    ("tvly-", r"\btvly-[0-9A-Za-z-]{20,}"),
    ("pplx-", r"\bpplx-[0-9A-Za-z]{20,}"),
    (":AA", r"\b\d{8,10}:AA[0-9A-Za-z_-]{33}\b"),
    ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[0-9A-Z]{50,}"),
)
_COMPILED = tuple((mark, re.compile(shape)) for mark, shape in _SHAPES)
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.S)

# a name before a secret. `token` counts only as the last word: not in tokens, tokenizer, token_count
_NAME = (
    rf"(?:[\w.-]{{0,40}}(?:{'|'.join(SURE)}"
    r"|(?:[\w.-]{0,40}[_.-])?pwd?|(?<=[\"'])pass|(?:[\w.-]{0,40}[_.-])?(?:auth|access|refresh|bearer|id|api|bot|hub|session)?_?-?token)(?:_\d+|\d)?)"
)
# name = "value", name: "value", "name": "value", ["name"] = "value", name="value" as an argument
_QUOTED = re.compile(
    rf"(?i)(?<![\w]){_NAME}[\"']?\]?[\"']?\s*(?::\s*\w+\s*=|[:=]|,|=>|<-)\s*(?:[rbfu]{{0,2}})([\"'])([^\"'\n]{{4,}}?)\1"
)
# name=value in a shell line, a .env file, an INI file, YAML, a printed "token: …"
_BARE = re.compile(
    rf"(?im)(?<![\w]){_NAME}[\"']?\s*(?:=|:(?!:)|\bis\b)\s*([^\s\"'`,;(){{}}\[\]<>]{{6,}})(?=[\s,;\"'}}]|$)"
)
_MAGIC = re.compile(rf"(?im)^\s*%(?:set_)?env\s+{_NAME}[ =]\s*(\S{{4,}})")
_OPTION = re.compile(rf"(?i)(?<=\s)--?(?:{_NAME})[= ]([^\s\"'-][^\s\"']{{3,}})")
_CALL = re.compile(
    rf"(?i)\b(?:setenv|setdefault|putenv|set_key|update|login|authenticate|set_api_key|set_password|save_account)\(\s*"
    rf"(?:[\"']{_NAME}[\"']\s*,\s*)?([\"'])([^\"'\n]{{8,}})\1"
)
# the second of a pair passed to an HTTP or mail client: auth=("name", "password"), .login("name", "password")
_PAIR = re.compile(
    r"(?i)(?:\bauth[\"']?\s*[=:]\s*|\b(?:HTTP)?(?:Basic|Digest|Proxy)Auth|\.login)\(\s*[^,()\n]{1,100},\s*[rbfu]{0,2}([\"'])"
    r"([^\"'\n]{3,})\1"
)
_HEX = re.compile(r"(?i)\bkey[\"']?\s*[:=]\s*([\"'])([0-9a-f]{32}|[0-9a-f]{40})\1")
_SHELL = re.compile(
    r"(?i)\b(?:(?:sshpass|(?:docker|podman) login)\b.{0,200}?\s-p\s*|(?:mysql|mariadb)\w*\s(?:.{0,200}?\s)?-p)"
    r"([^\s\"'$-][^\s\"']{3,})"
)
_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://[^\s:/@\"']*):([^\s/\"']{3,})@(?=[\w\[])")
_URL_QUERY = re.compile(
    r"(?i)([?&](?:sig|signature|token|access_token|api_?key|key|secret|password|X-Amz-Signature)=)([^\s&\"'<>)]{8,})"
)
_HEADER = re.compile(r"(?i)\b(authorization[\"']?\s*[:=,]\s*[\"']?|)(bearer|basic|token)\s+([A-Za-z0-9+/_.=-]{16,})")
_USER = re.compile(r"(?<=\s)(?:-u|--user)[ =]([\"']?)([^\s:\"']+):([^\s\"']{3,})\1")
_LONG = re.compile(r"([\"'])([A-Za-z0-9+/_-]{32,128}={0,2})\1")

# only lines with one of these, in lower case, are examined
_HINTS = (
    "pass", "pw", "secret", "token", "key", "credential", "kennwort", "contrase", "senha", "auth", "bearer", "basic ", "://",
    "sig=", "-u ", "--user", "login", "mysql", "mariadb", "update(", "setdefault(", "authenticate(", "setenv(", "putenv(", "save_account(",
)  # fmt: skip
_MAX_LINE = 5_000
_PLACEHOLDER = re.compile(
    r"(?i)^(?:-.*|none|null|true|false|nan|str|string|bytes|int|xxx+|\*+|\.\.\.+|…|<.*>|\$.*|%.*%|\{.*\}|your.*|my[_-].*|example.*|changeme.*here"
    r"|(?:os|self|args|config|settings|getpass|environ|input|st|secrets?|dbutils|userdata|keyring)[.(\[].*|.*\(.*|.*\.(?:get|environ|read)\b.*|\[secret\].*|\[\w+\])$"
)
_CODE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_WORDS = re.compile(r"^[a-z]+(?:[_ -][a-z]+)*$|^[A-Z]+(?:[_-][A-Z]+)*$|^[A-Z][a-z]+(?:[ _-]?[A-Z]?[a-z]+)*$")


_NAMED = (
    (_QUOTED, 2, True), (_PAIR, 2, True), (_HEX, 2, True), (_CALL, 2, False), (_MAGIC, 1, True), (_SHELL, 1, True), (_OPTION, 1, False),
    (_BARE, 1, False),
)  # fmt: skip

Replace: TypeAlias = Callable[[re.Match[str]], str]
Counted: TypeAlias = Callable[[Replace], Replace]


def mask(text: str, known: Iterable[str] = ()) -> tuple[str, int]:
    """Replace every secret in the text, and count them. known: values to mask everywhere."""
    hits = 0

    def count(replace: Replace) -> Replace:
        def replaced(match: re.Match[str]) -> str:
            nonlocal hits
            new = replace(match)
            hits += new != match.group()
            return new

        return replaced

    for value in known:
        if len(value) >= 8 and value in text:
            hits += text.count(value)
            text = text.replace(value, MASK)
    for mark, shape in _COMPILED:
        if mark in text:
            text = shape.sub(count(lambda match: MASK), text)
    if "-----BEGIN" in text:
        text = _PEM.sub(count(lambda match: MASK), text)
    if _is_hinted(text):
        text = "\n".join(_line(line, count) if _is_hinted(line) else line for line in text.split("\n"))
    if '"' in text or "'" in text:
        text = _LONG.sub(count(lambda m: f"{m[1]}{MASK}{m[1]}" if _is_key(m[2]) else m[0]), text)
    return text, hits


def _is_hinted(text: str) -> bool:
    low = text.lower()
    return any(hint in low for hint in _HINTS)


def _line(line: str, count: Counted) -> str:
    if len(line) > _MAX_LINE:  # in parts, because the patterns take more than linear time
        return "".join(_line(line[i : i + _MAX_LINE], count) for i in range(0, len(line), _MAX_LINE))
    line = _URL.sub(count(lambda m: f"{m[1]}:{MASK}@" if not _PLACEHOLDER.match(m[2]) else m[0]), line)
    line = _URL_QUERY.sub(count(lambda m: m[1] + MASK if _is_random(m[2], 3.0) else m[0]), line)
    line = _HEADER.sub(count(_header), line)
    line = _USER.sub(count(lambda m: m[0].replace(f":{m[3]}", f":{MASK}")), line)
    for pattern, group, sure in _NAMED:
        line = pattern.sub(count(_value(group, sure)), line)
    return line


def _header(match: re.Match[str]) -> str:
    if not match[1] and not _is_random(match[3], 3.2):
        return match[0]
    return f"{match[1]}{match[2]} {MASK}"


def _value(group: int, sure: bool) -> Replace:
    """A replacement for one group of a match. Unless `sure`, the value must look like a secret, not like code or prose."""

    def replace(match: re.Match[str]) -> str:
        value = match[group]
        if (
            _PLACEHOLDER.match(value)
            or MASK in value
            or (not sure and not _is_likely(value))
            or (sure and _is_label(value))
        ):
            return match[0]
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        return match[0][:start] + MASK + match[0][end:]

    return replace


def _is_label(value: str) -> bool:
    """Whether a quoted value is itself a name (`token_key = "access_token"`) or a sentence, so not a secret."""
    return (" " in value.strip() and len(value.split()) > 3) or (
        bool(re.fullmatch(rf"(?i){_NAME}", value)) and not re.search(r"\d", value)
    )


def _is_likely(value: str) -> bool:
    if len(value) < 6 or _CODE.fullmatch(value) or _WORDS.match(value) or re.fullmatch(r"[\d.,:e+%-]+", value):
        return False
    if re.fullmatch(r"[A-Za-z_][\w.]*", value) and not re.search(r"\d", value):
        return False
    classes = sum(bool(re.search(c, value)) for c in ("[a-z]", "[A-Z]", r"\d", r"[^\w\s]"))
    return classes >= 3 or (
        classes >= 2 and len(value) >= 8 and bool(re.search(r"\d", value)) and _entropy(value) > 2.5
    )


def _is_key(value: str) -> bool:
    """Whether a quoted string without a name can only be a key: long, mixed characters, no words, no hash, no path."""
    return (
        all(re.search(c, value) for c in ("[a-z]", "[A-Z]", r"\d"))
        and value.count("/") < 3
        and "abcdef" not in value.lower()
        and _entropy(value) > 4.4
    )


def _is_random(value: str, least: float) -> bool:
    return bool(re.search(r"\d", value)) and _entropy(value) > least


def _entropy(value: str) -> float:
    total = len(value)
    return -sum(n / total * math.log2(n / total) for n in Counter(value).values())
