"""The admin API: what `lode customers`, `keys`, `plans`, `bill`, ... do, over HTTP, for whoever has the role."""
