"""Check a value from outside against its declaration, a msgspec Struct: get the value as declared, or one sentence naming the field."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from .failures import Failure

T = TypeVar("T", bound=msgspec.Struct)
_UNKNOWN_FIELD = "Object contains unknown field `"
_MISSING_FIELD = "Object missing required field `"
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[\]]+)")
MUST_BE = "must_be"  # key of `Meta(extra=…)`: what to say in place of the wording made from the type


def convert(value: Any, declaration: type[T]) -> T:
    """Convert parsed JSON to `declaration`. Raises `Failure("bad_request" | "unsupported")` that names the field.

    JSON has one kind of number, so 2.0 is accepted where an integer is declared.
    """
    if not isinstance(value, dict):
        raise Failure("bad_request", "The request body must be a JSON object.", "Change it.")
    value = _with_integers(value, declaration)
    try:
        body = msgspec.convert(value, declaration)
    except msgspec.ValidationError as error:
        raise _failure(str(error), value, declaration) from None
    return body


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
    error, _, path = error.rpartition(" - at `$") if " - at `$" in error else (error, "", "")
    path = path.removesuffix("`").removeprefix(".")
    for start in (_UNKNOWN_FIELD, _MISSING_FIELD):
        if error.startswith(start):
            name = f"{path}.{error.removeprefix(start).removesuffix('`')[:80]}".lstrip(".")
            if start == _MISSING_FIELD:
                return Failure("bad_request", f"{name} is missing.", "Add it.", name)
            if path.startswith("messages["):
                return Failure("unsupported", f"{name} is not supported by this engine.", "Leave it out.", name)
            return Failure("bad_request", f"Unknown field {name!r}.", "Leave it out.", name)
    declared, at_path = _at(path, value, declaration)
    if isinstance(at_path, list) and (longest := _longest_list(declared)) is not None and len(at_path) > longest:
        return Failure("bad_request", f"{path} has {len(at_path)} entries, more than {longest}.", "Send fewer.", path)
    is_short = at_path is not None and not isinstance(at_path, (dict, list)) and len(repr(at_path)) <= 80
    but = f"is {at_path!r}, but " if is_short else ""
    return Failure("bad_request", f"{path} {but}must be {_expectation(declared)}.", "Change or leave it out.", path)


def _at(path: str, value: Any, declaration: type[msgspec.Struct]) -> tuple[inspect.Type, Any]:
    """The declared type at a msgspec path such as `messages[0].role`, and what stands there in `value`."""
    declared: inspect.Type = _struct(declaration)
    for index, name in _STEP.findall(path):
        if index:
            if index == "...":  # a value of an object that is declared as a dict; msgspec does not say which
                return next(k.value_type for k in _alternatives(declared) if isinstance(k, inspect.DictType)), None
            declared = next(k.item_type for k in _alternatives(declared) if isinstance(k, inspect.ListType))
            value = value[int(index)]
            continue
        structs = [k for k in _alternatives(declared) if isinstance(k, inspect.StructType)]
        if structs[0].tag_field == name:
            tags = [str(struct.tag) for struct in structs]
            return inspect.LiteralType(tuple(tags)), value.get(name)
        tagged = [s for s in structs if s.tag_field is None or s.tag == value.get(s.tag_field)]
        declared = next(field.type for field in tagged[0].fields if field.encode_name == name)
        value = value.get(name)
    return declared, value


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
            return "a string that is not empty" if least else "a string"
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
