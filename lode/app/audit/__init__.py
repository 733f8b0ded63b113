"""Proof that the books are what was written: checkpoints that are signed and kept elsewhere, and the whole journal counted again."""
