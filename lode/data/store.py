"""How snapshots are kept. The signature of Store is the schema of `data.store`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lode.core.errors import SpecError
from lode.core.types import FilePath, Range
from lode.data.place import Place
from lode.data.storage.keys import Key, read_key


@dataclass(frozen=True, kw_only=True)
class Store:
    """How snapshots of the data are kept.

    Args:
        keep: how many snapshots of this name stay besides those that an artifact needs; `lode gc` frees the others.
        key_env: environment variable that holds a key (32 random bytes as hex or base64): rows and changes lie only encrypted on disk.
        key_file: file that holds the key, instead of `key_env`; only you may read it. `lode data --new-key FILE` makes one.
    """

    keep: Annotated[int, Range(1)] = 3
    key_env: str | None = None
    key_file: FilePath | None = None

    def __post_init__(self) -> None:
        if self.key_env is not None and self.key_file is not None:
            raise SpecError("data.store: found key_env and key_file, allowed: one of them. Leave one out.")
        if self.key_env == "":
            raise SpecError('data.store.key_env: found "", allowed: the name of an environment variable.')

    def key(self, place: Place) -> Key | None:
        """The key, None where snapshots are not encrypted. Errors: DataError."""
        return None if self.key_env is None and self.key_file is None else read_key(self.key_env, self.key_file, place)
