"""What every extension file must keep, whatever its kind. `check_extension("encoder", "resnet")`; third parties run it on their own words.

Read the suite of the kind next (`lode.testing.encoder`, ...): it tests what the extension does.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

from lode.core.check import Finding, convert
from lode.core.errors import SpecError, near_miss
from lode.core.registry import REGISTRIES, SECTIONS, Registry, class_name, read_component
from lode.core.signature import Signature, jsonable, public_classes, read_signature
from lode.core.types import Component


def check_extension(kind: str, word: str) -> None:
    """Everything below, for one word of a kind ("source", "encoder", ...)."""
    registry = REGISTRIES[kind]
    check_one_public_class(registry, word)
    signature = registry.signature(word)
    check_signature_is_what_python_sees(signature, registry.get(word))
    check_options_are_documented(signature)
    check_defaults_are_allowed(signature)
    check_misspelt_option_is_named(registry, word)


def check_section(name: str, found: type) -> None:
    """The same for a section's class, where there is no word: signature, docs and defaults."""
    signature = read_signature(*SECTIONS[name])
    assert found.__name__ == SECTIONS[name][1]
    check_signature_is_what_python_sees(signature, found)
    check_options_are_documented(signature)
    check_defaults_are_allowed(signature)


def check_one_public_class(registry: Registry, word: str) -> None:
    """One public class in the file, named like the file (third parties name theirs in the entry point)."""
    path = registry.path(word)
    if not path.is_relative_to(registry.folder):
        return
    found = public_classes(path)
    assert found == (class_name(word),), f"{path}: public classes {found}, wanted {class_name(word)} alone; begin others with _"


def check_signature_is_what_python_sees(signature: Signature, found: type) -> None:
    """What `ast` read equals `inspect.signature`: names, order, kinds, defaults; no *args and no **kwargs."""
    parameters = inspect.signature(found).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    assert inspect.Parameter.VAR_KEYWORD not in kinds, f"{found.__name__} takes **kwargs; name every option"
    assert inspect.Parameter.VAR_POSITIONAL not in kinds, f"{found.__name__} takes *args; name every parameter"
    named = [parameter for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    assert [parameter.name for parameter in named] == list(signature.options), f"{found.__name__}: options differ"
    given = [parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert given == list(signature.positional), f"{found.__name__}: positional parameters differ"
    for parameter in named:
        option = signature.options[parameter.name]
        where = f"{found.__name__}.{parameter.name}"
        assert option.required == (parameter.default is inspect.Parameter.empty), f"{where}: read as required wrongly"
        if not option.required:
            real = _real_default(found, parameter)
            assert (option.default, type(option.default)) == (real, type(real)), (
                f"{where}: default read as {option.default!r}, is {real!r}"
            )


def _real_default(found: type, parameter: inspect.Parameter) -> object:
    """The default; that of a `default_factory` is what the factory makes."""
    if dataclasses.is_dataclass(found):
        field = {item.name: item for item in dataclasses.fields(found)}[parameter.name]
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
    return parameter.default


def check_options_are_documented(signature: Signature) -> None:
    """A summary, and a line in the docstring's `Args:` for each option: the reference is made from them."""
    assert signature.doc, f"{signature.class_name} has no docstring"
    missing = [option.name for option in signature.options.values() if not option.doc]
    assert not missing, f"{signature.class_name}: no line under `Args:` for {', '.join(missing)}"


def check_defaults_are_allowed(signature: Signature) -> None:
    """A default that is saved and read again (as JSON) passes the option's own type and range."""
    for option in signature.options.values():
        if option.required:
            continue
        for value in (option.default, jsonable(option.default)):
            findings: list[Finding] = []
            convert(value, option.type, (option.name,), findings, read_component)
            assert not findings, f"{signature.class_name}.{option.name}: its default {value!r} is not allowed: {findings[0].text}"


def check_misspelt_option_is_named(registry: Registry, word: str) -> None:
    """A misspelt option is an error that names it, and the option that was meant."""
    names = list(registry.signature(word).options)
    misspelt = f"{names[0]}x" if names else "no_such_option"
    message = "accepted"
    try:
        registry.create(Component(word, {misspelt: 1}))
    except SpecError as error:
        message = str(error)
    assert f'found "{misspelt}"' in message, message
    assert near_miss(misspelt, names) in message, message


def words(kind: str) -> list[str]:
    """The words to test of a kind: those of lode's own folder."""
    registry = REGISTRIES[kind]
    return [word for word in registry.names() if registry.path(word).is_relative_to(Path(registry.folder))]
