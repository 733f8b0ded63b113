"""Bytes of files to rows and cells: archives, text, JSON, pictures. Hostile input is ordinary input here."""
