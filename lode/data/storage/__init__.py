"""Columns and snapshots on disk: scratch files, shared blocks, encryption."""
