"""Check a value from outside against its declaration, a msgspec Struct: get the value as declared, or one sentence naming the field."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from .failures import Failure

T = TypeVar("T", bound=msgspec.Struct)
_UNKNOWN_FIELD = "Object contains unknown field `"
_MISSING_FIELD = "Object missing required field `"
_AT = " - at `$"
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
MUST_BE = "must_be"  # key of `Meta(extra=…)`: what to say in place of the wording made from the type


def convert(value: Any, declaration: type[T]) -> T:
    """Convert parsed JSON to `declaration`. Raises `Failure("bad_request" | "unsupported")` that names the field.

    JSON has one kind of number, so 2.0 is accepted where an integer is declared.
    """
    if not isinstance(value, dict):
        raise Failure("bad_request", "The request body must be a JSON object.", "Change it.")
    try:
        return msgspec.convert(_with_integers(value, declaration), declaration)
    except msgspec.ValidationError as error:
        raise _failure(str(error), value, declaration) from None


def wrong(where: str, expected: str) -> Failure:
    return Failure("bad_request", f"{where} must be {expected}.", "Change it.", where)


def check_neutral(body: msgspec.Struct, where: str = "") -> None:
    """Refuse fields that would change the answer if they were honoured, unless they hold one of the values that ask for nothing."""
    for name, allowed in neutral_fields(type(body)).items():
        value = getattr(body, name)
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
            name = f"{where}.{name}" if where else name
            raise Failure("unsupported", f"{name} is not supported by this engine.", "Leave it out.", name)


@cache
def neutral_fields(declaration: type[msgspec.Struct]) -> dict[str, list[Any]]:
    """Field -> the values that are accepted: the fields declared with `only`."""
    schemas = {
        field.encode_name: field.type.extra_json_schema or {}
        for field in _struct(declaration).fields
        if isinstance(field.type, inspect.Metadata)
    }
    return {name: schema["enum"] for name, schema in schemas.items() if "enum" in schema}


def bounds(declaration: type[msgspec.Struct]) -> dict[str, tuple[type, float, float]]:
    """Field -> (int or float, least, greatest) of each number with bounds."""
    return {
        field.encode_name: (float if isinstance(kind, inspect.FloatType) else int, kind.ge or 0, kind.le)
        for field in _struct(declaration).fields
        for kind in _alternatives(field.type)
        if isinstance(kind, (inspect.IntType, inspect.FloatType)) and kind.le is not None
    }


# ---------------------------------------------------------------------------------------------- the sentence of an error


def _failure(error: str, value: Any, declaration: type[msgspec.Struct]) -> Failure:
    """`value`: the body as it was sent."""
    if error.startswith(_UNKNOWN_FIELD):
        name, path = _unknown_field(error.removeprefix(_UNKNOWN_FIELD), value)
        name = f"{path}.{name[:80]}" if path else name[:80]
        if path.startswith("messages["):
            return Failure("unsupported", f"{name} is not supported by this engine.", "Leave it out.", name)
        return Failure("bad_request", f"Unknown field {name!r}.", "Leave it out.", name)
    # names in paths are declared ones, so the last mark is the path's
    error, _, path = error.rpartition(_AT) if _AT in error else (error, "", "")
    path = path.removesuffix("`").removeprefix(".").removesuffix("[...]")
    if error.startswith(_MISSING_FIELD):
        name = f"{path}.{error.removeprefix(_MISSING_FIELD).removesuffix('`')}".lstrip(".")
        return Failure("bad_request", f"{name} is missing.", "Add it.", name)
    declared, is_required, at_path = _at(path, value, declaration)
    if isinstance(at_path, list) and (longest := _longest_list(declared)) is not None and len(at_path) > longest:
        return Failure("bad_request", f"{path} has {len(at_path)} entries, more than {longest}.", "Send fewer.", path)
    text = "" if at_path is None or isinstance(at_path, (dict, list)) else json.dumps(at_path, ensure_ascii=False)
    actual = f"is {text}, but " if 0 < len(text) <= 80 else ""
    todo = "Change it." if is_required else "Change or leave it out."
    return Failure("bad_request", f"{path} {actual}must be {_expectation(declared)}.", todo, path)


def _unknown_field(text: str, value: Any) -> tuple[str, str]:
    """Name and path in the rest of an error such as "x` - at `$.messages[0]`". The name is a client's and may contain anything, so
    of all ways to split the text the first is taken that is true of `value`."""
    candidates = [(text.removesuffix("`"), "")]
    for mark in re.finditer(re.escape(f"`{_AT}"), text):
        candidates.append((text[: mark.start()], text[mark.end() :].removesuffix("`").removeprefix(".")))
    for name, path in candidates:
        container = _value_at(path, value)
        if isinstance(container, dict) and name in container:
            return name, path
    return candidates[0]


def _value_at(path: str, value: Any) -> Any:
    for index, name in _STEP.findall(path):
        if index.isdigit() and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        elif name and isinstance(value, dict):
            value = value.get(name)
        else:
            return None
    return value


def _at(path: str, value: Any, declaration: type[msgspec.Struct]) -> tuple[inspect.Type, bool, Any]:
    """The declared type at a msgspec path such as `messages[0].role`, whether it is required, and the value there."""
    declared: inspect.Type = _struct(declaration)
    is_required = True
    for index, name in _STEP.findall(path):
        if index:
            declared = next(k.item_type for k in _alternatives(declared) if isinstance(k, inspect.ListType))
            is_required, value = True, value[int(index)]
            continue
        structs = [k for k in _alternatives(declared) if isinstance(k, inspect.StructType)]
        if structs[0].tag_field == name:
            tags = [str(struct.tag) for struct in structs]
            return inspect.LiteralType(tuple(tags)), True, value.get(name)
        tagged = [s for s in structs if s.tag_field is None or s.tag == value.get(s.tag_field)]
        field = next(field for field in tagged[0].fields if field.encode_name == name)
        declared, is_required, value = field.type, field.required, value.get(name)
    return declared, is_required, value


def _alternatives(declared: inspect.Type) -> list[inspect.Type]:
    """The members of a union, itself otherwise; metadata taken off."""
    if isinstance(declared, inspect.Metadata):
        return _alternatives(declared.type)
    if isinstance(declared, inspect.UnionType):
        return [one for member in declared.types for one in _alternatives(member)]
    return [declared]


def _longest_list(declared: inspect.Type) -> int | None:
    return next((k.max_length for k in _alternatives(declared) if isinstance(k, inspect.ListType)), None)


def _expectation(declared: inspect.Type) -> str:
    if isinstance(declared, inspect.Metadata):
        wording = (declared.extra or {}).get(MUST_BE)
        return str(wording) if wording else _expectation(declared.type)
    if isinstance(declared, inspect.UnionType):
        members = [member for member in declared.types if not isinstance(member, inspect.NoneType)]
        return " or ".join(dict.fromkeys(_expectation(member) for member in members))
    if isinstance(declared, (inspect.IntType, inspect.FloatType)):
        number = "a whole number" if isinstance(declared, inspect.IntType) else "a number"
        return number if declared.le is None else f"{number} from {declared.ge or 0:g} to {declared.le:.16g}"
    if isinstance(declared, inspect.StrType):
        least, most = declared.min_length or 0, declared.max_length
        if most is None:
            return "a non-empty string" if least else "a string"
        return f"a string of {f'{least} to' if least else 'up to'} {most:,} characters"
    if isinstance(declared, inspect.LiteralType):
        names = [str(value) for value in declared.values]
        return names[0] if len(names) == 1 else f"one of {', '.join(names)}"
    return {"BoolType": "true or false", "ListType": "a list", "NoneType": "null"}.get(
        type(declared).__name__, "a JSON object"
    )


# ---------------------------------------------------------------------------------------------- declarations


@cache
def _struct(declaration: type[msgspec.Struct]) -> inspect.StructType:
    declared = inspect.type_info(declaration)
    assert isinstance(declared, inspect.StructType)
    return declared


@cache
def _integer_fields(declaration: type[msgspec.Struct]) -> frozenset[str]:
    """Fields that may hold an integer and no other number."""
    kinds = {field.encode_name: _alternatives(field.type) for field in _struct(declaration).fields}
    return frozenset(
        name
        for name, alternatives in kinds.items()
        if any(isinstance(kind, inspect.IntType) for kind in alternatives)
        and not any(isinstance(kind, inspect.FloatType) for kind in alternatives)
    )


@cache
def _struct_fields(declaration: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Fields that hold one kind of object."""
    structs = {
        field.encode_name: [kind.cls for kind in _alternatives(field.type) if isinstance(kind, inspect.StructType)]
        for field in _struct(declaration).fields
    }
    return {name: classes[0] for name, classes in structs.items() if len(classes) == 1}


def _with_integers(value: dict[str, Any], declaration: type[msgspec.Struct]) -> dict[str, Any]:
    """`value` with 2.0 as 2 in fields declared as integers, here and in fields that hold an object."""
    changed: dict[str, Any] = {}
    for name in _integer_fields(declaration) & value.keys():
        number = value[name]
        if isinstance(number, float) and number.is_integer():
            changed[name] = int(number)
    for name, inner in _struct_fields(declaration).items():
        if isinstance(value.get(name), dict):
            changed[name] = _with_integers(value[name], inner)
    return {**value, **changed} if changed else value
