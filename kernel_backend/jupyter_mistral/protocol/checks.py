"""Checks of single fields of a request's body: each gives the value, or the failure that names the field. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from .failures import Failure


def as_object(value: Any, where: str) -> dict[str, Any]:
    return cast(dict[str, Any], expect(value, dict, where))


def expect(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise wrong(where, {"dict": "a JSON object", "str": "a string", "list": "a list"}[kind.__name__])
    return value


def as_list(data: Mapping[str, Any], name: str, longest: int) -> list[Any]:
    value = data.get(name)
    value = [] if value is None else expect(value, list, name)
    if len(value) > longest:
        raise Failure("bad_request", f"{name} has {len(value)} entries, more than {longest}.", "Send fewer.", name)
    return cast(list[Any], value)


def flag(data: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = data.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong(name, "true or false")
    return default if value is None else value


def text(data: Mapping[str, Any], name: str, longest: int) -> str:
    value = data.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > longest):
        raise wrong(name, f"a string of up to {longest} characters")
    return value or ""


def whole(data: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    """A number such as 2.0 is whole too, as JSON knows one kind of number."""
    value = data.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most):
        raise wrong(name, f"a whole number from {least} to {most}")
    return value


def schema(value: Any, where: str, longest: int = 256 * 2**10) -> dict[str, Any]:
    """A JSON schema of bounded length; whether it can be enforced is the grammar's business."""
    found = as_object(value, where)
    if len(json.dumps(found)) > longest:
        raise Failure("bad_request", f"{where} is larger than {longest >> 10} KB.", "Send a simpler schema.", where)
    return found


def wrong(where: str, expected: str) -> Failure:
    return Failure("bad_request", f"{where} must be {expected}.", "Change it.", where)
