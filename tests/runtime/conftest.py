"""The same cashier, invoices, months and gateways as the workflows' tests have."""

from tests.workflows.conftest import cashier, connections, dunning, months

__all__ = ["cashier", "connections", "dunning", "months"]
