"""The configuration as one TOML file, with overrides, and what is wrong with it in one line.

``load`` reads the file, applies ``--set section.key=value`` overrides and validates. Unknown keys fail with the nearest
valid key. Paths in the file are relative to the file, paths given with ``--set`` to the working directory.
"""

import copy
import dataclasses
import difflib
import json
import os
import re
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import TypeAdapter, ValidationError

from vasg.config import PAPER, PATH, Config, to_dict
from vasg.errors import ConfigurationError, InputMissing


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file and apply ``section.key=value`` overrides.

    Raises InputMissing when the file is absent and ConfigurationError, naming the key, when anything in it is wrong.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows begins files with a BOM
    except FileNotFoundError:
        raise InputMissing(f"configuration file {path} does not exist") from None
    except (ValueError, RecursionError, OSError) as error:  # ValueError: not UTF-8, not TOML, or a number without end
        raise ConfigurationError(f"configuration file {path} cannot be read: {error}") from None
    _resolve_paths(Config, data, path.resolve().parent)
    for override in overrides:
        _override(data, override)
    return from_dict(data, str(path))


def from_dict(data: dict[str, Any], source: str = "configuration") -> Config:
    """Validate a tree of plain values; ``source`` is named in errors."""
    train = data.get("train")
    if isinstance(train, dict) and train.get("objective") == "paper":
        data = data | {"train": _of_the_paper(train)}
    _check_text(data, source)
    try:
        # as JSON, where lists are tuples and tables dataclasses even if nothing else may pass for what it is not
        return TypeAdapter(Config).validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise ConfigurationError(f"{source}: {_explain(error.errors()[0])}") from None


def _check_text(data: dict[str, Any], source: str, section: str = "") -> None:
    """Raise ConfigurationError for bytes that are no text: Python has those of command lines and paths as surrogates."""
    for key, value in data.items():
        if isinstance(value, dict):
            _check_text(value, source, f"{section}{key}.")
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        found = f"{section}{key}: {text}"
        shown = found.encode("utf-8", "backslashreplace").decode()
        if shown != found:
            raise ConfigurationError(f"{source}: {shown} is not UTF-8; give it another name")


def _of_the_paper(train: dict[str, Any]) -> dict[str, Any]:
    """The section [train] with PAPER's values where it says nothing."""
    train = copy.deepcopy(train)
    for name, value in PAPER.items():
        *sections, key = name.split(".")
        section: Any = train
        for part in sections:
            section = section.setdefault(part, {})
        if isinstance(section, dict):  # validation says what is wrong otherwise
            section.setdefault(key, value)
    return train


def to_toml(config: Config) -> str:
    """The effective configuration as a TOML file that ``load`` reads back to the same configuration."""
    return tomli_w.dumps(to_dict(config))


def _override(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigurationError(f"--set {override}: write --set section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    *sections, key = name.split(".")
    kind: Any = Config
    for section in sections:
        data = data.setdefault(section, {})
        kind = _field_types(kind).get(section)
        if not isinstance(data, dict):
            raise ConfigurationError(f"--set {override}: {section} is not a section")
    field_type = _field_types(kind).get(key)
    is_text = str in (field_type, getattr(field_type, "__origin__", None))
    data[key] = text if is_text and not isinstance(value, str) else value  # 2025-01-31 is a date in TOML
    if dataclasses.is_dataclass(kind):
        _resolve_paths(kind, data, Path.cwd(), only=key)


def _resolve_paths(kind: Any, data: dict[str, Any], base: Path, only: str | None = None) -> None:
    """Make the relative paths of outside data absolute, in place; URLs stay as they are, but file:/ becomes file:///."""
    for name, field_type in _field_types(kind).items():
        value = data.get(name)
        if dataclasses.is_dataclass(field_type) and isinstance(value, dict):
            _resolve_paths(field_type, value, base)
        elif PATH in getattr(field_type, "__metadata__", ()) and only in (None, name) and isinstance(value, str):
            value = re.sub("^file:/(?!/)", "file:///", value)  # Hadoop writes both, all our code knows the one
            data[name] = os.path.normpath(base / value) if value and "://" not in value else value


def _field_types(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True) if dataclasses.is_dataclass(kind) else {}


def _explain(error: Any) -> str:
    """One readable line for a validation error."""
    location = [str(part) for part in error["loc"]]
    name = ".".join(location)
    if error["type"] != "unexpected_keyword_argument":
        prefix = f"{name}: " if name else ""
        return (
            prefix + str(error["msg"]).removeprefix("Value error, ") + (f" (found {error['input']!r})" if name else "")
        )
    kind: Any = Config
    for section in location[:-1]:
        kind = _field_types(kind).get(section)
    valid = list(_field_types(kind))
    near = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
    hint = f"did you mean {'.'.join([*location[:-1], near[0]])}?" if near else f"valid keys: {', '.join(valid)}"
    return f"unknown key {name}; {hint}"
