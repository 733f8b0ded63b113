"""Corpora: documents to tokens on disk, conversations with an exact loss mask."""
