"""What an answer must look like: `response_format` of OpenAI, and the `guided_*` keys that others added to it."""

from __future__ import annotations

from typing import Any

import orjson

from lode.app.contracts import RequestError
from lode.app.language.contracts import Form
from lode.app.language.fields import Fields, wrong
from lode.app.validate import describe

_MAX_SCHEMA_BYTES = 1 << 16
_MAX_CHOICES = 1000
_MAX_TEXT = 1 << 14
_ANY_OBJECT = {"type": "object"}
_GUIDED = ("guided_json", "guided_regex", "guided_choice")


def form_of(fields: Fields) -> Form | None:
    """Errors: RequestError 400; for two of them too."""
    found = [form for form in (_response(fields), *(_guided(fields, name) for name in _GUIDED)) if form is not None]
    if len(found) > 1:
        raise wrong(found[1].param, f"it beside {found[0].param}", "one of them")
    return found[0] if found else None


def _response(fields: Fields) -> Form | None:
    inner = fields.inner("response_format")
    if inner is None:
        return None
    word = inner.word("type", ("text", "json_object", "json_schema"), "text")
    inner.only(("type", "json_schema") if word == "json_schema" else ("type",))
    if word == "text":
        return None
    if word == "json_object":
        return _json(_ANY_OBJECT, "response_format")
    named = inner.inner("json_schema")
    if named is None:
        raise wrong("response_format.json_schema", "nothing", "an object with name and schema", "missing_parameter")
    named.only(("name", "description", "schema", "strict"))
    named.text("name", 64)
    named.text("description", _MAX_TEXT)
    # strict: true says what is done anyway; false would ask for less.
    named.flag("strict")
    schema = named.any("schema")
    return _json(_ANY_OBJECT if schema is None else schema, "response_format.json_schema.schema")


def _guided(fields: Fields, name: str) -> Form | None:
    value = fields.any(name)
    if value is None:
        return None
    if name == "guided_json":
        if type(value) is str:
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError as error:
                raise wrong(name, f"text that is no JSON ({error})", "a JSON schema") from None
        return _json(value, name)
    if name == "guided_regex":
        return Form(kind="regex", text=fields.text(name, _MAX_TEXT) or "", param=name)
    choices = fields.items(name, _MAX_CHOICES) or []
    if not choices or not all(type(choice) is str and choice for choice in choices):
        raise wrong(name, describe(value), "a list of texts that are not empty", "invalid_type")
    return Form(kind="choice", text=orjson.dumps(choices).decode(), param=name)


def _json(schema: Any, param: str) -> Form:
    if type(schema) not in (dict, bool):
        raise wrong(param, describe(schema), "a JSON schema, which is an object", "invalid_schema")
    text = orjson.dumps(schema)
    if len(text) > _MAX_SCHEMA_BYTES:
        raise RequestError(
            400,
            "invalid_schema",
            f"{param}: a schema of {len(text):,} bytes, allowed: {_MAX_SCHEMA_BYTES:,}. Make it smaller.",
            param=param,
        )
    return Form(kind="json", text=text.decode(), param=param)
