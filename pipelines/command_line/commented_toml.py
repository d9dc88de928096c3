"""A configuration as a TOML that explains itself: every key with its meaning, values and default."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import tomli_w
from pydantic.fields import FieldInfo

from pipelines.config import Config, Section

SECTIONS: dict[str, type[Section]] = {
    name: kind
    for name, field in Config.model_fields.items()
    if isinstance(kind := field.annotation, type) and issubclass(kind, Section)
}
"""The tables of the TOML, in their order."""


def commented(sections: Collection[str], values: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of the TOML.

    Parameters
    ----------
    sections : the tables to write, names of `SECTIONS`.
    values : what is set, by section and key; all other keys stand there as comments with their defaults.
    """
    return "\n".join("\n".join(_table(name, values.get(name, {}))) + "\n" for name in SECTIONS if name in sections)


def _table(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{name}]  # {(SECTIONS[name].__doc__ or '').strip().rstrip('.')}"
    for key, field in SECTIONS[name].model_fields.items():
        yield f"# {field.description}{_choices(field)}"
        if key in values:
            yield _pair(key, values[key])
        elif field.default is None:
            yield f"# {key} =  (not given)"
        else:
            yield f"# {_pair(key, field.default)}"


def _pair(key: str, value: Any) -> str:
    return f"{key} = {{}}" if value == {} else tomli_w.dumps({key: value}).strip().replace("\n", "")


def _choices(field: FieldInfo) -> str:
    """The values of a key that has a list of them, as the end of its comment."""
    listed = list(_words(field.annotation))
    return f"; one of {', '.join(listed)}" if len(listed) > 1 else ""


def _words(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (value for value in get_args(annotation) if isinstance(value, str))
    else:
        for part in get_args(annotation):
            yield from _words(part)
