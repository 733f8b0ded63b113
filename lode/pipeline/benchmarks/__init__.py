"""Questions with known answers, one file for each form. A word of `evaluate.tasks` is the name of its file."""
