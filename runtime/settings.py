"""Every setting of every process, read once at its start.

A value comes from the environment, else from the endpoints file that `billing dev` keeps, else from
the default. The endpoints file has the form of a dotenv file, so a shell can source it too.
"""

import os
import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.approval import ApprovalPolicy, DeadlineEffect
from domain.dunning import DunningPolicy
from domain.quota import Quota
from domain.usage import LATE

Days = Annotated[float, Field(gt=0, le=3_660)]

_APPROVAL = ApprovalPolicy()

Secrets = tuple[str, ...]
"""While one is changed there are two: the first one signs, and each is believed."""

_NAMED = re.compile(r"\s*[A-Za-z0-9._-]{1,32}:\S+(\s+[A-Za-z0-9._-]{1,32}:\S+)*\s*")

ENDPOINTS_FILE = os.environ.get("BILLING_ENDPOINTS", ".data/endpoints.env")


def _days(duration: timedelta) -> float:
    return duration / timedelta(days=1)


def _listed(secrets: SecretStr) -> Secrets:
    return tuple(secrets.get_secret_value().split())


def _quota(units: int, of_whom: str) -> Any:
    return Field(
        units,
        ge=0,
        le=10_000_000,
        description=f"Units a minute {of_whom}: a read takes 1, a write 5, a batch 10. "
        "0: no limit. In `dev` there is none unless it is set.",
    )


class Settings(BaseSettings):
    """Names of the environment variables are the field names in capitals."""

    model_config = SettingsConfigDict(
        env_file=ENDPOINTS_FILE, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    billing_environment: Literal["production", "dev"] = Field(
        "production", description="`dev` asks for no token and binds loopback only."
    )
    database_url: str = Field(
        "postgresql://billing_app@127.0.0.1:5432/billing",
        description="The application's role: no DDL, and UPDATE only of columns that change.",
    )
    database_owner_url: str = Field(
        "postgresql://billing_owner@127.0.0.1:5432/billing",
        description="The role that owns the tables; only migrations use it.",
    )
    database_pool_size: int = Field(
        20,
        ge=1,
        description="Connections per process; a worker has as many more for settlements, an API "
        "for reads what is said next.",
    )
    api_reads_at_once: int = Field(
        10, ge=1, description="GETs that an API process works on, each with its own connection."
    )
    api_reads_waiting: int = Field(
        100, ge=0, description="GETs that may wait for that, half a second; more are refused."
    )
    api_work_at_once: int = Field(
        64, ge=1, description="Other requests under way in an API process; more are refused."
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="A cache of final answers; counts of what callers ask for.",
    )
    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "billing"
    temporal_ui_url: str = Field("http://127.0.0.1:8233", description="Only for links.")
    gateway_url: str = Field("http://127.0.0.1:8090", description="The PG named `simulator`.")
    gateway_webhook_secret: SecretStr = Field(
        SecretStr("whsec_ZHVyYWJsZS1iaWxsaW5nLWRldmVsb3BtZW50LXNlY3JldA=="),
        description="Standard Webhooks secrets shared with the PG, with spaces between: any is "
        "good.",
    )
    gateway_key_window_seconds: float = Field(
        86_400, gt=0, description="How long the PG remembers a key: a failed charge is watched."
    )
    gateway_read_timeout_seconds: float = Field(
        5.0, gt=0, description="How long one call to the PG may take; never scaled."
    )
    cursor_secret: SecretStr = Field(
        SecretStr("development-only"),
        description="Secrets of the cursors of lists, with spaces between: the first one signs, "
        "any is good.",
    )
    api_key_secrets: SecretStr = Field(
        SecretStr("development:development-only"),
        description="Under which API keys are kept, each as name:secret with a space between; the "
        "first one for new keys.",
    )
    api_host: str = "127.0.0.1"
    api_port: int = Field(8080, ge=1, le=65535)
    api_wait_seconds: float = Field(3.0, gt=0, description="How long a POST waits for the outcome.")
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        (),
        description="Networks of our own proxies: only what they say in X-Forwarded-For is "
        "believed, from its right end. None: the address is that of the connection.",
    )
    quota_caller: int = _quota(6_000, "for each caller")
    quota_address: int = _quota(30_000, "for each IP address, whoever calls")
    quota_administration: int = _quota(
        60, "for each IP address and part of the administration; each request is one"
    )
    quota_login: int = _quota(10, "for each IP address that tries passwords; each try is one")
    quota_timeout_seconds: float = Field(
        0.2,
        gt=0,
        description="How long Valkey may take to count; without an answer the process counts for "
        "itself.",
    )
    time_scale: float = Field(
        1.0, ge=1, description="Divides every wait on the PG; the simulator takes the same factor."
    )
    sweep_seconds: float = Field(10.0, gt=0, description="How often workers sweep.")
    usage_late_days: int = Field(
        LATE.days, ge=1, le=3_660, description="How late usage may arrive; older is refused."
    )
    settlement_concurrency: int = Field(
        20, ge=1, le=500, description="Customers that a run settles at a time."
    )
    approval_thresholds: dict[str, int] = Field(
        dict(_APPROVAL.thresholds),
        description="Largest total, in minor units, that is issued without a person; "
        "none in a currency that is not named.",
    )
    approval_anomaly_factor: int = Field(
        _APPROVAL.anomaly_factor,
        ge=2,
        description="A person looks at usage so many times above or below its mean.",
    )
    approval_days: tuple[Days, ...] = Field(
        (
            _days(_APPROVAL.remind_after),
            _days(_APPROVAL.escalate_after),
            _days(_APPROVAL.deadline),
        ),
        min_length=3,
        max_length=3,
        description="When a draft that waits is reminded of, escalated, and decided without one.",
    )
    approval_at_deadline: DeadlineEffect = Field(
        _APPROVAL.at_deadline, description="What happens when nobody decides: approve or reject."
    )
    dunning_ladder_days: tuple[Days, ...] = Field(
        tuple(map(_days, DunningPolicy().ladder)),
        description="When a failed invoice is charged again, in days after its first failure.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("approval_days", "dunning_ladder_days")
    @classmethod
    def _rising(cls, days: tuple[float, ...]) -> tuple[float, ...]:
        if list(days) != sorted(set(days)):
            raise ValueError("Each number of days should be more than the one before")
        return days

    @field_validator("gateway_webhook_secret", "cursor_secret")
    @classmethod
    def _some(cls, secrets: SecretStr) -> SecretStr:
        if not _listed(secrets):
            raise ValueError("It is one secret or more, with spaces between")
        return secrets

    @field_validator("api_key_secrets")
    @classmethod
    def _named(cls, secrets: SecretStr) -> SecretStr:
        if not _NAMED.fullmatch(secrets.get_secret_value()):
            raise ValueError("It is a list of name:secret, with spaces between")
        return secrets

    @property
    def gateway_webhook_secrets(self) -> Secrets:
        return _listed(self.gateway_webhook_secret)

    @property
    def cursor_secrets(self) -> Secrets:
        return _listed(self.cursor_secret)

    @property
    def named_api_key_secrets(self) -> dict[str, str]:
        """By name, in their order."""
        pairs = (each.partition(":") for each in _listed(self.api_key_secrets))
        return {name: secret for name, _, secret in pairs}

    def quota(self, name: str) -> Quota | None:
        """The quota of this name, if there is one."""
        field = f"quota_{name}"
        if self.billing_environment == "dev" and field not in self.model_fields_set:
            return None
        units = getattr(self, field)
        return Quota(name, units) if units else None

    @property
    def gateway_read_timeout(self) -> timedelta:
        return timedelta(seconds=self.gateway_read_timeout_seconds)

    @property
    def usage_late(self) -> timedelta:
        return timedelta(days=self.usage_late_days)

    @property
    def gateway_key_window(self) -> timedelta:
        return timedelta(seconds=self.gateway_key_window_seconds)


def refuse_unless_dev(settings: Settings) -> None:
    """Nobody is asked for a token yet, so nothing may start where a stranger could reach it.

    Raises `ConfigurationError`, whose text says what to do.
    """
    if settings.billing_environment != "dev":
        raise ConfigurationError(
            "This version cannot authenticate callers yet, so it starts in development only: "
            "use `make dev`, or set BILLING_ENVIRONMENT=dev on a machine of your own."
        )
    if settings.api_host not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigurationError(
            f"In dev everything binds loopback, not {settings.api_host}: unset API_HOST."
        )


class ConfigurationError(Exception):
    """A setting that cannot work; the text is one sentence for the operator."""
