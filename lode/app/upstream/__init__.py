"""Somebody else's model as a product of ours: a metered proxy. READ FIRST `service.py`, then `endpoints.py` and `tries.py`."""
