"""Encrypted, incremental backups of a runs folder and its books, while the server runs; and their restore, proved."""
