"""Who may use how much, and what they used: the gate in front of the model, and one durable commit behind it."""
