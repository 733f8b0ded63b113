"""From an address to a target."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from lode.app.targets.contracts import Target
from lode.app.targets.folder import FolderTarget
from lode.core.packages import missing


def open_target(address: str | Path) -> Target:
    """A path, file://..., or a url that fsspec knows (s3://bucket/folder, gs://, memory://, ...). Errors: BackupError."""
    text = str(address)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if not scheme:
        return FolderTarget(Path(text))
    if scheme == "file":
        return FolderTarget(Path(unquote(urlsplit(text).path)))
    try:
        from lode.app.targets.remote import RemoteTarget
    except ModuleNotFoundError as error:
        raise missing(text, error) from None
    return RemoteTarget(text)
