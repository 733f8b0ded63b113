"""Language models in the pipeline: token files, the artifact, its evaluation. The stages are in `lode/pipeline/documents.py`."""
