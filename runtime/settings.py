"""Every setting of every process, read once at its start.

A value comes from the environment, else from the file that `<NAME>_FILE` in the environment names,
else from the endpoints file that `billing dev` keeps, else from the default. The endpoints file has
the form of a dotenv file, so a shell can source it too.
"""

import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from domain.approval import ApprovalPolicy, DeadlineEffect
from domain.dunning import DunningPolicy
from domain.proposal import SecondPerson
from domain.quota import Quota
from domain.signing_key import MAX_TOKEN_LIFE
from domain.usage import LATE
from runtime.issuer import Issuer

DEV_UI = "http://127.0.0.1:8233"

Days = Annotated[float, Field(gt=0, le=3_660)]

_APPROVAL = ApprovalPolicy()
_SECOND = SecondPerson()

Secrets = tuple[str, ...]
"""While one is changed there are two: the first one signs, and each is believed."""

_NAMED = re.compile(r"\s*[A-Za-z0-9._-]{1,32}:\S+(\s+[A-Za-z0-9._-]{1,32}:\S+)*\s*")


class WorkerQueue(StrEnum):
    """What a worker process may serve: each task queue of Temporal's by its name, and the consumers
    of Kafka's topics. `runtime.processes` says what belongs to which."""

    PAYMENTS = "payments"
    SETTLEMENT = "settlement"
    OUTBOX = "outbox"
    VERIFICATION = "verification"
    CONSUMERS = "consumers"


ENDPOINTS_FILE = os.environ.get("BILLING_ENDPOINTS", ".data/endpoints.env")


def _days(duration: timedelta) -> float:
    return duration / timedelta(days=1)


def _listed(secrets: SecretStr) -> Secrets:
    return tuple(secrets.get_secret_value().split())


def _quota(units: int, of_what: str) -> Any:
    return Field(
        units,
        ge=0,
        le=10_000_000,
        description=f"{of_what}. 0: no limit. In `dev` there is none unless it is set.",
    )


class Settings(BaseSettings):
    """Names of the environment variables are the field names in capitals."""

    model_config = SettingsConfigDict(
        env_file=ENDPOINTS_FILE, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    billing_environment: Literal["production", "dev"] = Field(
        "production",
        description="`dev` asks for no token unless an issuer is named, and binds loopback only.",
    )
    database_url: str = Field(
        "postgresql://billing_app@127.0.0.1:5432/billing",
        description="The application's role: no DDL, and UPDATE only of columns that change.",
    )
    database_owner_url: str = Field(
        "postgresql://billing_owner@127.0.0.1:5432/billing",
        description="The role that owns the tables; only migrations use it.",
    )
    database_read_url: str | None = Field(
        None,
        description="A streaming replica, as the application's role, for lists and reports of the "
        "API; nothing is decided by what it says. None: there is none.",
    )
    database_read_lag_seconds: float = Field(
        2.0, gt=0, description="A replica that is further behind is passed over."
    )
    auth_database_url: str = Field(
        "postgresql://billing_auth@127.0.0.1:5432/billing",
        description="Our own issuer's role, for `billing auth` and `billing user`: it alone reads "
        "passwords' hashes and signing keys.",
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
        100, ge=0, description="GETs that may wait for that, two seconds; more are refused."
    )
    api_work_at_once: int = Field(
        64, ge=1, description="Other requests under way in an API process; more are refused."
    )
    oidc_issuers: tuple[Issuer, ...] = Field(
        (),
        description="Issuers whose access tokens are believed, as a JSON array; see "
        "[docs/operations.md](docs/operations.md#who-may-call).",
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may read our answers in a browser."
    )
    allow_plaintext: tuple[str, ...] = Field(
        (), description="Hosts that production may speak to without TLS, beside loopback."
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="A cache of final answers; counts of what callers ask for, and of log-ins; "
        "what workers say of the PGs.",
    )
    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092", description="Kafka's brokers, separated by commas."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How they are spoken to."
    )
    kafka_ca_file: str | None = Field(None, description="Who signed their certificates.")
    kafka_cert_file: str | None = Field(None, description="Our certificate, if they want one.")
    kafka_key_file: str | None = Field(None, description="The key of our certificate.")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How the password is shown to them."
    )
    kafka_sasl_username: str | None = Field(None, description="Who we are to them.")
    kafka_sasl_password: SecretStr | None = Field(None, description="How we show it.")
    kafka_replication_factor: int = Field(
        3,
        ge=1,
        le=32_767,
        description="Brokers that keep each topic which a worker makes. In `dev` 1.",
    )
    kafka_min_insync_replicas: int = Field(
        2,
        ge=1,
        le=32_767,
        description="How many of them have an event before it counts as published. In `dev` 1.",
    )
    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "billing"
    temporal_tls: bool = Field(False, description="Whether Temporal is spoken to with TLS.")
    temporal_ca_file: str | None = Field(None, description="Who signed its certificate.")
    temporal_cert_file: str | None = Field(None, description="Our certificate, if it wants one.")
    temporal_key_file: str | None = Field(None, description="The key of our certificate.")
    temporal_api_key: SecretStr | None = Field(None, description="What it wants instead.")
    temporal_metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="The port of the Temporal SDK's own metrics, at `API_HOST`; none without.",
    )
    temporal_deployment_name: str = Field(
        "billing",
        pattern=r"^[A-Za-z0-9_/-]{1,128}$",
        description="Whose builds those of this installation are, in Temporal.",
    )
    temporal_worker_build_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        description="Which build a worker is: a payment then ends on the build on which it began. "
        "None: every worker goes on with everything.",
    )
    temporal_ui_url: str | None = Field(
        None, description=f"Only for links; without it there are none. In `dev` {DEV_UI} is meant."
    )
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
    payload_keys: SecretStr | None = Field(
        None,
        description="`id:key` in base64, the current one first: seals what Temporal keeps, and "
        "billing keys.",
    )
    api_host: str = "127.0.0.1"
    api_port: int = Field(8080, ge=1, le=65535)
    worker_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="The port of a worker's probes and metrics, at `API_HOST`; none without.",
    )
    worker_queues: tuple[WorkerQueue, ...] = Field(
        tuple(WorkerQueue),
        min_length=1,
        description="What a worker serves; `billing worker --queues` says it for one process.",
    )
    api_wait_seconds: float = Field(3.0, gt=0, description="How long a POST waits for the outcome.")
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        (),
        description="Networks of our own proxies: only what they say in X-Forwarded-For is "
        "believed, from its right end. None: the address is that of the connection.",
    )
    quota_caller: int = _quota(
        180_000, "Units a minute for each caller: a read takes 1, a write 5, a batch 10"
    )
    quota_address: int = _quota(
        600_000, "Units a minute for each IP address, whoever calls: as for a caller"
    )
    quota_administration: int = _quota(
        60, "Requests a minute from each IP address to each part of the administration"
    )
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
    dead_letters_per_second: int = Field(
        20, ge=1, le=1_000, description="Dead letters that a bulk job decides about at most."
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
    second_person_approvals: dict[str, Annotated[int, Field(ge=0)]] = Field(
        dict(_SECOND.approvals),
        description="Largest total, in minor units, that one person may approve; "
        "none in a currency that is not named.",
    )
    second_person_write_offs: dict[str, Annotated[int, Field(ge=0)]] = Field(
        dict(_SECOND.write_offs),
        description="Largest total, in minor units, that one person may write off; "
        "none in a currency that is not named.",
    )
    second_person_replays: int = Field(
        _SECOND.replays, ge=0, description="Failed months that one person may have settled again."
    )
    second_person_prices: int = Field(
        _SECOND.prices,
        ge=0,
        description="Customers whose prices one person may change: by a version of their plan, "
        "its withdrawal, or another plan.",
    )
    proposal_days: Days = Field(
        _days(_SECOND.holds),
        description="How long a proposal waits for a second person.",
    )
    dunning_ladder_days: tuple[Days, ...] = Field(
        tuple(map(_days, DunningPolicy().ladder)),
        description="When a failed invoice is charged again, in days after its first failure.",
    )
    audit_days: int = Field(
        2557,
        ge=366,
        description="How long the audit trail is kept, by `billing audit cut`.",
    )
    auth_issuer: str | None = Field(
        None, description="Address of our own issuer, as callers reach it: `billing auth`."
    )
    auth_audience: str = Field("billing", min_length=1, description="Whom its tokens are for.")
    auth_clients: tuple[str, ...] = Field(
        ("billing-cli", "console"), description="Programs that people may log in with."
    )
    auth_port: int = Field(8084, ge=1, le=65535, description="Where `billing auth` listens.")
    auth_token_seconds: int = Field(
        300, ge=60, le=int(MAX_TOKEN_LIFE.total_seconds()), description="Life of an access token."
    )
    auth_session_days: int = Field(
        30, ge=1, le=365, description="From a log-in to the next one, however often refreshed."
    )
    auth_key_days: int = Field(
        90, ge=1, le=3_660, description="How long a key signs before another one follows."
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://.",
        description="Where traces are sent: OTLP over HTTP, without `/v1/traces`; none without.",
    )
    otel_traces_sampler_arg: float = Field(
        1.0,
        ge=0,
        le=1,
        description="The share of requests that are traced, of those whose `traceparent` does not "
        "say it already.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _of_dev(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Elsewhere nobody's machine has the UI of the installation, or is all of its brokers."""
        if values.get("billing_environment") == "dev":
            alone = {"kafka_replication_factor": 1, "kafka_min_insync_replicas": 1}
            return {"temporal_ui_url": DEV_UI, **alone, **values}
        return values

    @model_validator(mode="after")
    def _enough_brokers(self) -> "Settings":
        if self.kafka_min_insync_replicas > self.kafka_replication_factor:
            raise ValueError(
                "KAFKA_MIN_INSYNC_REPLICAS should be at most KAFKA_REPLICATION_FACTOR: "
                "no event would ever be published"
            )
        return self

    @field_validator("oidc_issuers")
    @classmethod
    def _different(cls, issuers: tuple[Issuer, ...]) -> tuple[Issuer, ...]:
        for names in ([each.alias for each in issuers], [each.issuer for each in issuers]):
            if len(set(names)) != len(names):
                raise ValueError("Each issuer should have an alias and an address of its own")
        return issuers

    @field_validator("worker_queues")
    @classmethod
    def _once(cls, queues: tuple[WorkerQueue, ...]) -> tuple[WorkerQueue, ...]:
        if len(set(queues)) != len(queues):
            raise ValueError("Each queue should be named once")
        return queues

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
        names = [each.partition(":")[0] for each in _listed(secrets)]
        if len(set(names)) != len(names):
            raise ValueError("Each secret should have a name of its own")
        return secrets

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = EnvSettingsSource(settings_cls)
        files.env_vars = _from_files(settings_cls.model_fields, os.environ)
        return init_settings, env_settings, files, dotenv_settings

    @property
    def kafka(self) -> dict[str, str]:
        """What every client of Kafka is told."""
        options = {
            "bootstrap.servers": self.kafka_bootstrap_servers,
            "security.protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.endswith("SSL"):
            files = {
                "ssl.ca.location": self.kafka_ca_file,
                "ssl.certificate.location": self.kafka_cert_file,
                "ssl.key.location": self.kafka_key_file,
            }
            options |= {name: path for name, path in files.items() if path is not None}
        if self.kafka_security_protocol.startswith("SASL"):
            options["sasl.mechanism"] = self.kafka_sasl_mechanism
            options["sasl.username"] = self.kafka_sasl_username or ""
            options["sasl.password"] = (
                self.kafka_sasl_password or SecretStr("")
            ).get_secret_value()
        return options

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

    def beside(self) -> "Settings":
        """The same for a command, which works beside the process that they are of: where that
        listens nobody else can."""
        return self.model_copy(update={"temporal_metrics_port": None})

    def quota(self, name: str) -> Quota | None:
        """The quota of this name, if there is one."""
        field = f"quota_{name}"
        if self.billing_environment == "dev" and field not in self.model_fields_set:
            return None
        units = getattr(self, field)
        return Quota(name, units) if units else None

    @property
    def own_alias(self) -> str | None:
        """How the API calls our own issuer, where it believes it."""
        named = [each.alias for each in self.oidc_issuers if each.issuer == self.auth_issuer]
        return named[0] if named else None

    @property
    def gateway_read_timeout(self) -> timedelta:
        return timedelta(seconds=self.gateway_read_timeout_seconds)

    @property
    def usage_late(self) -> timedelta:
        return timedelta(days=self.usage_late_days)

    @property
    def gateway_key_window(self) -> timedelta:
        return timedelta(seconds=self.gateway_key_window_seconds)


def unusable(error: ValidationError | SettingsError) -> str:
    """Which setting cannot be read, and why: a sentence for the operator."""
    if isinstance(error, SettingsError):
        return f"A setting is not valid JSON: {error}."
    first = error.errors()[0]
    words = first["msg"].removeprefix("Value error, ")
    return f"The setting {str(first['loc'][0]).upper()} cannot be used: {words}."


class ConfigurationError(Exception):
    """A setting that cannot work; the text is one sentence for the operator."""


MAX_FILE_BYTES = 64 * 1024


def _from_files(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Settings that stand in files, by the name of the setting; raises `ConfigurationError`."""
    found: dict[str, str] = {}
    for name in names:
        variable = f"{name.upper()}_FILE"
        path = environment.get(variable)
        # A setting that is a path itself may be called so, too.
        if path is None or variable.lower() in names:
            continue
        if name.upper() in environment:
            raise ConfigurationError(f"Set {name.upper()} or {variable}, not both.")
        found[name] = _content(variable, Path(path))
    return found


def _content(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{variable} names {path}, which cannot be read: {error}."
        ) from error
    if not text or len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{variable} names {path}, which is empty or above 64 KiB.")
    return text
