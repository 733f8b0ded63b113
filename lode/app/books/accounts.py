"""Names of the ledger's accounts. balance = debits - credits: what is owed to us or ours is positive, what we owe is negative.

Σ of all balances of one currency is 0, always. After OpenMeter's chart (customer_fbo, receivable, accrued, earnings,
breakage), in plain words.
"""

from __future__ import annotations


def prepaid(organisation: str) -> str:
    """What the customer paid in advance and has not used: a debt of ours, so negative."""
    return f"customer/{organisation}/prepaid"


def accrued(organisation: str) -> str:
    """Used and not yet invoiced."""
    return f"customer/{organisation}/accrued"


def receivable(organisation: str) -> str:
    """Invoiced and not yet paid."""
    return f"customer/{organisation}/receivable"


def revenue(currency: str) -> str:
    """Earned: what requests and fees cost the customers."""
    return f"revenue/{currency}"


def cash(currency: str) -> str:
    """Money that came in (top-ups, payments) and went out (refunds)."""
    return f"cash/{currency}"


def tax(currency: str) -> str:
    """Tax on invoices, owed to the tax office."""
    return f"tax/{currency}"


def rounding(currency: str) -> str:
    """What one rounding per invoice line adds or takes away."""
    return f"rounding/{currency}"


def waived(currency: str) -> str:
    """Used and given away: goodwill, coupons, trials, requests beyond what a stalled process had reserved."""
    return f"waived/{currency}"


def breakage(currency: str) -> str:
    """Prepaid credit that expired."""
    return f"breakage/{currency}"


def provider_cost(currency: str) -> str:
    """What providers of other models take for our requests."""
    return f"cost/provider/{currency}"


def compute_cost(currency: str) -> str:
    """What our own machines cost."""
    return f"cost/compute/{currency}"


def payable(provider: str, currency: str) -> str:
    """Owed to a provider; "compute" for our own machines."""
    return f"payable/{provider}/{currency}"
