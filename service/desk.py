"""What every function of the service needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.client import Client

from domain.terms import Terms
from gateway.client import GatewayProfile
from gateway.reports import Reports
from store.database import Database
from store.key_ring import KeyRing


@dataclass(frozen=True)
class Desk:
    """Made once per process.

    `wait_seconds`: how long a caller waits for the end of what it has begun.
    """

    database: Database
    temporal: Client
    terms: Terms
    gateways: Mapping[str, GatewayProfile]
    reports: Reports
    keys: KeyRing
    wait_seconds: float
