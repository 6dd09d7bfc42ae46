"""Receivables as callers see them."""

from typing import Annotated

from pydantic import Field

from api.fields import Currency, Document


class Bucket(Document):
    """Unpaid invoices of one currency by the days that they are past due."""

    currency: Currency
    bucket: Annotated[str, Field(examples=["1-30"])]
    invoices: int
    amount: int
