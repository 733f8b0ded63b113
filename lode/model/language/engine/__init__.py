"""The generation engine: sequences, pages of a cache, a scheduler, a sampler. No HTTP, no threads: `step()` is called by its owner."""
