"""Ways to rows and files on other machines: connections, credentials, what was fetched or landed, and whether it changed."""
