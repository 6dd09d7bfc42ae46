"""How a workflow is found in the Temporal UI. `ensure_namespace` registers them all."""

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

with workflow.unsafe.imports_passed_through():
    from domain.invoice import InvoiceRequest

CUSTOMER_ID = SearchAttributeKey.for_keyword("CustomerId")
ORDER_ID = SearchAttributeKey.for_keyword("OrderId")
INVOICE_ID = SearchAttributeKey.for_keyword("InvoiceId")
PERIOD = SearchAttributeKey.for_keyword("Period")
OUTCOME = SearchAttributeKey.for_keyword("Outcome")

ALL = (CUSTOMER_ID, ORDER_ID, INVOICE_ID, PERIOD, OUTCOME)


def of_invoice(invoice: InvoiceRequest) -> TypedSearchAttributes:
    """An invoice is found by itself, its customer and its month."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(INVOICE_ID, invoice.invoice_id),
            SearchAttributePair(CUSTOMER_ID, invoice.customer_id),
            SearchAttributePair(PERIOD, invoice.period),
        ]
    )


WATCHING = "WATCHING"
"""Outcome of a payment that is FAILED, but whose PG could still capture late."""
