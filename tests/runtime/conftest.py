"""The same cashier and gateways as the workflows' tests have."""

from tests.workflows.conftest import cashier, connections

__all__ = ["cashier", "connections"]
