"""Rows and keys that are equal or nearly so."""
