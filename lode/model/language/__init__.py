"""Language models: one decoder for many architectures, its weights, its rows of tokens, its losses and its generation engine."""
