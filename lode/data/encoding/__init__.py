"""How features turn cells into numbers: tokens, curves, codes, directions."""
