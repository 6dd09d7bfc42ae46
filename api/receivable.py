"""Receivables: what was issued and unpaid, by age."""

import re
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from api.access import may
from api.context import Replicated
from api.documents.receivable import Bucket
from api.fields import Moment
from domain.access import Access
from domain.roles import Action
from service import receivable

router = APIRouter(tags=["invoices"])


def _end_of_day(moment: object) -> object:
    is_date = isinstance(moment, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", moment)
    return f"{moment}T23:59:59.999999Z" if is_date else moment


@router.get("/api/v1/aged-receivables", response_model=list[Bucket])
async def get_aged_receivables(
    access: Annotated[Access, may(Action.RECEIVABLE_READ)],
    context: Replicated,
    as_of: Annotated[
        Annotated[Moment, BeforeValidator(_end_of_day)] | None,
        Query(
            alias="asOf",
            description="A moment, or a date: then its end in UTC. Default now.",
            examples=["2026-05-31"],
        ),
    ] = None,
) -> list[Bucket]:
    """What was issued and unpaid at a moment, by age and currency."""
    return [
        Bucket(
            currency=each.currency, bucket=each.bucket, invoices=each.invoices, amount=each.amount
        )
        for each in await receivable.aged(context.desk, as_of)
    ]
