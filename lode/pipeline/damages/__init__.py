"""What goes wrong with cells in production, one file for each way. A word of `evaluate.robustness` is the name of its file."""
