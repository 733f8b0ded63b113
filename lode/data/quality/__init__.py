"""The profile of a snapshot, from which findings judge. READ profile.py FIRST."""
