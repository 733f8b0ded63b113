"""Language models over HTTP, as OpenAI's clients speak it. READ FIRST: `service.py`, then `runner.py` and `endpoints.py`."""
