"""Invoices: closing periods, documents for accountants, credit notes, prepaid credit, exports. READ FIRST: `closing.py`.

An invoice is a selection of journal entries and counters: what a request cost was decided when it was answered, nothing is priced
again here. What a period cost before and after a close differs by what the invoice took; the counters `invoiced...` hold that.
"""
