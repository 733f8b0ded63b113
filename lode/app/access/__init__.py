"""Who may call and who may see what: customers, people, service accounts, keys, roles, limits, logins."""
