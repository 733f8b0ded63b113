"""Where backups and checkpoints are put: a folder of this machine, or any place that fsspec speaks to."""
