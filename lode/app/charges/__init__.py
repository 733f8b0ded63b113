"""Ways to price usage: one pure file each, found by the registry (`type = "graduated"` is `graduated.py`)."""
