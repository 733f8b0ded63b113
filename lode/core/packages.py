"""Optional packages: which extra brings what. The one place where a missing one becomes an install command."""

from __future__ import annotations

from lode.core.errors import MissingPackageError

_EXTRAS = {
    "fastexcel": "excel",
    "h5py": "hdf5",
    "soundfile": "audio",
    "sqlalchemy": "sql",
    "psycopg": "postgres",
    "pymysql": "sql",
    "pymongo": "mongo",
    "bson": "mongo",
    "fsspec": "object",
    "obstore": "object",
    "deltalake": "delta",
    "huggingface_hub": "huggingface",
    "py3langid": "language",
    "tokenizers": "bpe",
    "llguidance": "grammar",
    "transformers": "pretrained",
    "cryptography": "encryption",
    "authlib": "access",
    "joserfc": "access",
    "msgspec": "admin",
    "ldap3": "access",
    "aiohttp": "upstream",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "alembic": "mlflow",
    "umap": "umap",
    "optuna": "tune",
    "lm_eval": "harness",
    "fpdf": "pdf",
}
"""Import name -> extra of lodeml."""
_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Packages that are installed under another name than they are imported."""


def missing(where: str, error: ModuleNotFoundError) -> MissingPackageError:
    """What to say of a package that is not installed. where: the word of the file that needs it."""
    package = (error.name or "").split(".")[0]
    extra = _EXTRAS.get(package)
    command = f'pip install "lodeml[{extra}]"' if extra else f"pip install {_DISTRIBUTIONS.get(package, package)}"
    return MissingPackageError(f'{where}: found no package "{package}", allowed: an installed one. Run: {command}')
