"""How a workflow is found in the Temporal UI. `ensure_namespace` registers them all."""

from temporalio.common import SearchAttributeKey

CUSTOMER_ID = SearchAttributeKey.for_keyword("CustomerId")
ORDER_ID = SearchAttributeKey.for_keyword("OrderId")
INVOICE_ID = SearchAttributeKey.for_keyword("InvoiceId")
PERIOD = SearchAttributeKey.for_keyword("Period")
OUTCOME = SearchAttributeKey.for_keyword("Outcome")

ALL = (CUSTOMER_ID, ORDER_ID, INVOICE_ID, PERIOD, OUTCOME)

WATCHING = "WATCHING"
"""Outcome of a payment that is FAILED, but whose PG could still capture late."""
