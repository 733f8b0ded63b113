"""Plans, who has which, and what usage costs. Read `contracts.py`, `plan.py`, `tariff.py`, in this order."""
