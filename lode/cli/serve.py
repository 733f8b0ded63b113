"""Serve a model over HTTP: predictions or, of a language model, OpenAI's endpoints, also of somebody else's model; health, metrics."""

from __future__ import annotations

import argparse
from typing import Any

from lode.cli.options import add_books, runs_folder
from lode.core.errors import ServeError


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="the model's name (its production version), or an artifact folder")
    parser.add_argument("--version", type=int, metavar="V", help="serve this version instead of the one in production")
    parser.add_argument("--host", help="address to listen on (default: the file's serve.host, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="TCP port (default: the file's serve.port, 8000); 0 takes a free one")
    parser.add_argument("--open", action="store_true", help="ask for no key, note nothing")
    parser.add_argument(
        "--key-file", metavar="FILE", help="a file with a key of our own (default: one is made at the first start, shown once)"
    )
    parser.add_argument(
        "--adapter",
        metavar="NAME=FOLDER",
        action="append",
        default=[],
        help="a LoRA adapter that requests may give as model (language models; may be repeated)",
    )
    parser.add_argument("--pepper-file", metavar="FILE", help="what keys are hashed with (default: pepper in runs)")
    add_books(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Serve until SIGTERM or Ctrl-C. Lines for the person who starts it (address, key) go to stderr."""
    from lode.app.service import serve

    adapters = dict(_pair(written) for written in args.adapter)
    return serve(
        args.name,
        runs=runs_folder(args),
        host=args.host,
        port=args.port,
        open=args.open,
        key_file=args.key_file,
        books=args.books,
        pepper_file=args.pepper_file,
        version=args.version,
        adapters=adapters,
    )


def _pair(written: str) -> tuple[str, str]:
    name, sign, folder = written.partition("=")
    if not (name and sign and folder):
        raise ServeError(f'--adapter: found "{written}", allowed: NAME=FOLDER. Write it so.')
    return name, folder


def show(result: dict[str, Any]) -> str:
    """What was served."""
    requests = f"{result['requests']} requests in {result['seconds']:.0f} s"
    return f"{result['name']} version {result['version']}: {requests}. Stopped."
