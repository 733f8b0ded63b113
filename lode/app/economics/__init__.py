"""What requests cost and earn: measured costs, margins, plans tried on past usage, outcomes, and what a model is worth.

READ FIRST `readings.py` (what the books say) and `margin.py`; then `outcomes.py` and `worth.py`.
"""
