"""The books: who the customers are, what they used and paid. One append-only journal; everything else follows from it."""
