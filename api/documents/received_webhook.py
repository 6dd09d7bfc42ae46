"""Webhooks that came from PGs, as callers see them."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.documents.page import Page
from api.fields import Document


class Webhook(Document):
    """An event of a PG, as it came."""

    gateway: str
    event_id: Annotated[str, Field(examples=["evt_1"])]
    body: dict[str, Any]
    received_at: datetime


class Webhooks(Page[Webhook]):
    """A page of events that came from PGs, the last first."""
