"""What can be set, as JSON schema: kinds, bounds, units and what each field means, for forms and for other programs."""

import inspect
import re
from typing import Any

import msgspec

UNITS = {"_bps": "bps", "_s": "s", "_ms": "ms", "_h": "h", "_minutes": "min", "_seconds": "s"}
"""Units by how the name of a field ends."""

Schema = dict[str, Any]


def schema_of(kind: type[msgspec.Struct]) -> Schema:
    """Return the JSON schema of a struct without references, each field with its meaning and its unit (`x-unit`)."""
    (found,), defined = msgspec.json.schema_components([kind], ref_template="{name}")
    made = _whole(found, defined)
    _explain(made, kind)
    return made


def _whole(schema: Schema, defined: dict[str, Schema]) -> Schema:
    """Return a schema with what it refers to in it."""
    if "$ref" in schema:
        rest = {k: v for k, v in schema.items() if k != "$ref"}
        return {**_whole(defined[schema["$ref"]], defined), **rest}
    made = dict(schema)
    if "properties" in made:
        made["properties"] = {name: _whole(field, defined) for name, field in made["properties"].items()}
    return made


def _explain(schema: Schema, kind: type[msgspec.Struct]) -> None:
    told = meanings(kind)
    for field in msgspec.structs.fields(kind):
        found = schema["properties"][field.encode_name]
        if field.name in told and "description" not in found:
            found["description"] = told[field.name]
        if "ledger amount" in found.get("description", ""):
            found["x-unit"] = "ledger"
        if "description" in found:
            found["description"] = _for_people(found["description"])
        unit = next((unit for ending, unit in UNITS.items() if field.name.endswith(ending)), "")
        if unit and found.get("type") in ("integer", "number"):
            found["x-unit"] = unit
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found["description"] = _for_people((inspect.getdoc(field.type) or "").split("\n\n", maxsplit=1)[0])
            _explain(found, field.type)


def _for_people(text: str) -> str:
    """Return a docstring's words without what only those who wrote them need."""
    text = re.sub(r" \((requirement|see) [^)]*\)", "", re.sub(r"\s+", " ", text))
    return text.replace(", a ledger amount of the account's currency", "").replace("`", "")


def meanings(kind: type) -> dict[str, str]:
    """Return what the docstring of a class says of its attributes."""
    _, _, told = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for names, text in re.findall(r"^    (\w[\w, ]*): (.+(?:\n {8}.+)*)", told, re.MULTILINE):
        for name in names.split(", "):
            found[name] = re.sub(r"\s+", " ", text).rstrip(".")
    return found
