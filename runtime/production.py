"""What must be so before a process may start: everything that is not is said at once."""

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url

from runtime import keys
from runtime.addresses import unusable
from runtime.issuer import LOOPBACK, is_private
from runtime.settings import ConfigurationError, Secrets, Settings

MIN_SECRET = 16
"""Characters of each secret of a list: a sentence with spaces is a list of words."""
ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})
"""Values of `sslmode` with which PostgreSQL is never spoken to in plain text."""


def require_worker(settings: Settings) -> None:
    """Raises `ConfigurationError`, one sentence for each thing that is missing."""
    _refuse(_of_every_process(settings))


def require_api(settings: Settings) -> None:
    """The same for the process that strangers can reach."""
    _refuse([*_of_every_process(settings), *_of_the_api(settings)])


def require_auth(settings: Settings) -> None:
    """The same for our own issuer."""
    _refuse([*_of_every_process(settings), *_of_our_issuer(settings)])


def _refuse(missing: Iterator[str] | list[str]) -> None:
    if sentences := list(missing):
        raise ConfigurationError("\n".join(sentences))


def _of_every_process(settings: Settings) -> Iterator[str]:
    if bad := list(unusable(settings)):
        yield from bad
        return
    if settings.billing_environment == "dev":
        if settings.api_host not in LOOPBACK:
            yield f"In dev everything binds loopback, not {settings.api_host}: unset API_HOST."
        return
    if no_keys := keys.missing(settings):
        yield no_keys
    if settings.time_scale != 1:
        yield "In production no wait is shortened: unset TIME_SCALE."
    allowed = LOOPBACK | set(settings.allow_plaintext)
    for name, host, remedy in in_plain_text(settings):
        if host not in allowed:
            yield (
                f"{name} would speak to {host} in plain text: {remedy}, or name the host in "
                "ALLOW_PLAINTEXT."
            )


def _of_the_api(settings: Settings) -> Iterator[str]:
    if settings.billing_environment == "dev":
        return
    if not settings.oidc_issuers:
        yield (
            "In production callers show a token: name its issuer in OIDC_ISSUERS (see "
            "docs/operations.md), or set BILLING_ENVIRONMENT=dev on a machine of your own."
        )
    for name in _SECRETS:
        yield from weak_secrets(settings, name)


_SECRETS: Mapping[str, Callable[[Settings], Secrets]] = {
    "GATEWAY_WEBHOOK_SECRET": lambda settings: settings.gateway_webhook_secrets,
    "CURSOR_SECRET": lambda settings: settings.cursor_secrets,
    "API_KEY_SECRETS": lambda settings: tuple(settings.named_api_key_secrets.values()),
}
"""Those whose defaults everybody can read; each is a list."""
_DEFAULTS = Settings.model_construct()


def weak_secrets(settings: Settings, name: str) -> Iterator[str]:
    """What is wrong with any secret of a list, a sentence each."""
    secrets = _SECRETS[name](settings)
    if any(each in _SECRETS[name](_DEFAULTS) for each in secrets):
        yield f"{name} has its default, which everybody knows: set it, or {name}_FILE."
    elif any(len(each) < MIN_SECRET for each in secrets):
        yield (
            f"{name} has a secret of less than {MIN_SECRET} characters, which can be guessed: take "
            "a longer one, without spaces."
        )


def _of_our_issuer(settings: Settings) -> Iterator[str]:
    issuer = settings.auth_issuer
    if issuer is None:
        yield "Our own issuer is off: set AUTH_ISSUER to the address at which callers reach it."
        return
    if not is_private(issuer):
        yield f"AUTH_ISSUER is {issuer}: passwords would be read on the way; use https://."
    if issuer not in [each.issuer for each in settings.oidc_issuers]:
        yield (
            f"Nobody believes {issuer}: name it in OIDC_ISSUERS too, here and where the API runs "
            "(see docs/operations.md)."
        )
    if settings.billing_environment == "dev" and settings.api_host not in LOOPBACK:
        yield f"In dev everything binds loopback, not {settings.api_host}: unset API_HOST."
    if (
        settings.billing_environment != "dev"
        and "auth_database_url" not in settings.model_fields_set
    ):
        yield "Our own issuer has a role of its own in the database: set AUTH_DATABASE_URL."


def in_plain_text(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Connections without TLS: the setting, the host, and what to do."""
    yield from _databases_in_plain_text(settings)
    for name, url, safe in (
        ("REDIS_URL", settings.redis_url, "rediss"),
        ("GATEWAY_URL", settings.gateway_url, "https"),
    ):
        parts = urlsplit(url)
        if parts.scheme != safe:
            yield name, parts.hostname or "localhost", f"use {safe}://"
    if settings.kafka_security_protocol not in ("SSL", "SASL_SSL"):
        for address in settings.kafka_bootstrap_servers.split(","):
            host = _host(address)
            yield "KAFKA_BOOTSTRAP_SERVERS", host, "set KAFKA_SECURITY_PROTOCOL=SASL_SSL"
    traces = urlsplit(settings.otel_exporter_otlp_endpoint or "")
    if traces.scheme == "http":
        yield "OTEL_EXPORTER_OTLP_ENDPOINT", traces.hostname or "localhost", "use https://"
    if not settings.temporal_tls:
        yield "TEMPORAL_ADDRESS", _host(settings.temporal_address), "set TEMPORAL_TLS=true"


def _host(address: str) -> str:
    return urlsplit(f"//{address.strip()}").hostname or address


def _databases_in_plain_text(settings: Settings) -> Iterator[tuple[str, str, str]]:
    for name, url in (
        ("DATABASE_URL", settings.database_url),
        ("DATABASE_READ_URL", settings.database_read_url),
        ("AUTH_DATABASE_URL", settings.auth_database_url),
    ):
        if url is None:
            continue
        database = make_url(url)
        if database.query.get("sslmode") not in ENCRYPTED:
            yield name, database.host or "localhost", "add ?sslmode=verify-full"
