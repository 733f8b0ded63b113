"""What cleaners know: how people write numbers and dates, rules between columns, guesses, personal data, labels."""
