"""What production needs before anything starts, each with the sentence that asks for it."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from temporalio.service import TLSConfig

from domain.api_key import Mode
from runtime import api_keys, temporal
from runtime.production import require_api, require_auth, require_worker
from runtime.settings import ConfigurationError, Settings

ISSUER = {"alias": "staff", "issuer": "https://issuer.example", "audience": "billing"}
WEBHOOK = "whsec_b3VycyBhbmQgbm9ib2R5IGVsc2Uncw=="
KNOWN = Settings.model_fields["gateway_webhook_secret"].default.get_secret_value()
READY: dict[str, Any] = {
    "billing_environment": "production",
    "api_host": "0.0.0.0",
    "oidc_issuers": [ISSUER],
    "gateway_webhook_secret": WEBHOOK,
    "cursor_secret": "ours-and-nobody-else's",
    "api_key_secrets": "2026-11:ours-and-nobody-else's",
    "payload_keys": f"2026-11:{b64encode(bytes(32)).decode()}",
    "database_url": "postgresql://billing_app@db.internal/billing?sslmode=verify-full",
    "redis_url": "rediss://cache.internal:6379/0",
    "kafka_bootstrap_servers": "one.internal:9093,two.internal:9093",
    "kafka_security_protocol": "SASL_SSL",
    "temporal_address": "temporal.internal:7233",
    "temporal_tls": True,
    "gateway_url": "https://pg.example",
}


def missing(**settings: Any) -> list[str]:
    """What the API asks for, a sentence each."""
    try:
        require_api(Settings.model_validate({**READY, **settings}))
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


def test_with_everything_there_it_starts() -> None:
    assert missing() == []
    require_worker(Settings.model_validate(READY))


@pytest.mark.parametrize(
    ("settings", "name", "host"),
    [
        ({"oidc_issuers": []}, "OIDC_ISSUERS", ""),
        ({"cursor_secret": "development-only"}, "CURSOR_SECRET_FILE", ""),
        ({"cursor_secret": "ours-and-nobody-else's development-only"}, "CURSOR_SECRET_FILE", ""),
        ({"cursor_secret": "ours and nobody else's"}, "CURSOR_SECRET", "without spaces"),
        ({"gateway_webhook_secret": f"{WEBHOOK} {KNOWN}"}, "GATEWAY_WEBHOOK_SECRET_FILE", ""),
        ({"api_key_secrets": "mine:development-only"}, "API_KEY_SECRETS_FILE", ""),
        ({"api_key_secrets": f"a:{'x' * 16} b:short"}, "API_KEY_SECRETS", "guessed"),
        ({"time_scale": 20}, "TIME_SCALE", ""),
        ({"database_url": "postgresql://a@db.internal/b"}, "DATABASE_URL", "db.internal"),
        (
            {"database_url": "postgresql://a@db.internal/b?sslmode=prefer"},
            "DATABASE_URL",
            "db.internal",
        ),
        ({"database_read_url": "postgresql://a@copy.internal/b"}, "DATABASE_READ_URL", "copy."),
        ({"redis_url": "redis://cache.internal/0"}, "REDIS_URL", "cache.internal"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT"}, "KAFKA_BOOTSTRAP_SERVERS", "one.internal"),
        ({"temporal_tls": False}, "TEMPORAL_ADDRESS", "temporal.internal"),
        ({"gateway_url": "http://pg.example"}, "GATEWAY_URL", "pg.example"),
        (
            {"otel_exporter_otlp_endpoint": "http://traces.internal:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "traces.internal",
        ),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_is_missing_is_named_with_what_to_do(
    settings: dict[str, Any], name: str, host: str
) -> None:
    sentences = missing(**settings)

    assert sentences
    assert all(name in each for each in sentences)
    assert host in sentences[0]


@pytest.mark.parametrize("environment", ["production", "dev"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "db.internal"),
        ("database_url", "mysql://secret@db.internal/b"),
        ("database_url", "postgresql://a:secret@db.internal:port/b"),
        ("database_owner_url", "http://secret@db.internal/b"),
        ("auth_database_url", ""),
        ("redis_url", "cache.internal:6379"),
        ("redis_url", "http://cache.internal:6379"),
        ("redis_url", "redis://:secret@cache.internal:port/0"),
        ("redis_url", "rediss://"),
        ("kafka_bootstrap_servers", ""),
        ("kafka_bootstrap_servers", "one.internal"),
        ("kafka_bootstrap_servers", "one.internal:9092,,two.internal:9092"),
        ("kafka_bootstrap_servers", "http://one.internal:9092"),
        ("kafka_ca_file", "/nowhere/ca.pem"),
        ("temporal_address", "https://temporal.internal:7233"),
        ("temporal_address", "temporal.internal"),
        ("temporal_ca_file", "/nowhere/ca.pem"),
        ("temporal_cert_file", __file__),
        ("kafka_key_file", __file__),
        ("gateway_url", "pg.example"),
        ("gateway_url", "ftp://pg.example"),
    ],
)
def test_what_can_be_no_address_or_file_is_named_before_anything_starts(
    environment: str, name: str, value: str
) -> None:
    settings = {**READY, "billing_environment": environment, "api_host": "127.0.0.1", name: value}
    told = Settings.model_validate(settings)
    for require in (require_api, require_worker):
        with pytest.raises(ConfigurationError) as refused:
            require(told)

        [sentence] = str(refused.value).splitlines()
        assert name.upper() in sentence
        assert "secret" not in sentence


def test_addresses_that_are_none_are_all_said_at_once() -> None:
    named = {each.split(" ")[0] for each in missing(redis_url="x", temporal_address="y")}
    assert named == {"REDIS_URL", "TEMPORAL_ADDRESS"}


def test_each_form_of_an_address_that_a_client_takes_is_taken() -> None:
    forms = {
        "database_url": "postgresql:///billing?host=/run/postgresql&sslmode=require",
        "redis_url": "rediss://user:p%40ss@cache.internal:6379/0?ssl_ca_certs=/etc/ca.pem",
        "kafka_bootstrap_servers": "one.internal:9093, [::1]:9093",
        "temporal_address": "billing.a1b2c.tmprl.cloud:7233",
        "gateway_url": "https://pg.example/v1",
    }
    assert missing(**forms) == []


def test_all_of_it_is_said_at_once() -> None:
    named = {each.split(" ")[0] for each in missing(**PLAIN)}
    assert {"DATABASE_URL", "REDIS_URL", "TEMPORAL_ADDRESS", "GATEWAY_URL"} <= named
    assert len(missing(**PLAIN, oidc_issuers=[], time_scale=2)) == len(missing(**PLAIN)) + 2


PLAIN: dict[str, Any] = {
    "database_url": "postgresql://a@db.internal/b",
    "redis_url": "redis://cache.internal/0",
    "kafka_security_protocol": "PLAINTEXT",
    "temporal_tls": False,
    "gateway_url": "http://pg.example",
}


def test_a_network_that_encrypts_by_itself_is_named() -> None:
    hosts = ["db.internal", "cache.internal", "one.internal", "two.internal", "temporal.internal"]
    assert missing(**PLAIN, allow_plaintext=[*hosts, "pg.example"]) == []


def test_a_key_under_a_secret_that_everybody_knows_is_one_of_a_test() -> None:
    """Also when a command makes it, which starts without what the API must have."""
    known = {**READY, "api_key_secrets": "a:development-only"}
    assert api_keys.ring(Settings.model_validate(known)).mode is Mode.TEST
    assert api_keys.ring(Settings.model_validate(READY)).mode is Mode.LIVE
    assert api_keys.ring(Settings(billing_environment="dev")).mode is Mode.TEST


def test_loopback_needs_no_tls() -> None:
    local = {
        "database_url": "postgresql://a@127.0.0.1/b",
        "redis_url": "redis://localhost/0",
        "kafka_bootstrap_servers": "[::1]:9092",
        "kafka_security_protocol": "PLAINTEXT",
        "temporal_address": "127.0.0.1:7233",
        "temporal_tls": False,
        "gateway_url": "http://127.0.0.1:8090",
    }
    assert missing(**local) == []


def test_a_worker_asks_for_what_it_uses() -> None:
    """Neither an issuer nor the secrets of the API."""
    fewer = {**READY, "oidc_issuers": [], "cursor_secret": "development-only"}
    require_worker(Settings.model_validate(fewer))
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        require_worker(Settings.model_validate({**fewer, "redis_url": "redis://cache.internal"}))


OWN = "https://login.example"
ISSUING: dict[str, Any] = {
    **READY,
    "auth_database_url": "postgresql://billing_auth@db.internal/billing?sslmode=verify-full",
    "auth_issuer": OWN,
    "oidc_issuers": [{"alias": "own", "issuer": OWN, "audience": "billing"}],
}


def not_issuing(**settings: Any) -> list[str]:
    """What our own issuer asks for, a sentence each."""
    try:
        require_auth(Settings.model_validate({**ISSUING, **settings}))
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


def test_our_own_issuer_starts_with_everything_there() -> None:
    assert not_issuing() == []
    # Nothing of it is a secret with a default that everybody knows.
    assert not_issuing(cursor_secret="development-only") == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"auth_issuer": None}, "our own issuer is off: set AUTH_ISSUER"),
        ({"auth_issuer": "http://login.example"}, "use https"),
        ({"oidc_issuers": [ISSUER]}, f"nobody believes {OWN}"),
        ({"payload_keys": None}, "nothing may be kept in clear"),
        ({"auth_database_url": "postgresql://a@db.internal/b"}, "AUTH_DATABASE_URL would speak"),
        ({"redis_url": "redis://cache.internal/0"}, "REDIS_URL would speak"),
        ({"billing_environment": "dev"}, "in dev everything binds loopback"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_our_own_issuer_says_what_is_missing(settings: dict[str, Any], words: str) -> None:
    assert any(words.lower() in each.lower() for each in not_issuing(**settings))


def test_our_own_issuer_is_told_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its default is on this machine, where it would look for a database of somebody else."""
    monkeypatch.delenv("AUTH_DATABASE_URL", raising=False)
    told = {name: each for name, each in ISSUING.items() if name != "auth_database_url"}
    with pytest.raises(ConfigurationError, match="set AUTH_DATABASE_URL"):
        require_auth(Settings.model_validate(told))
    require_auth(Settings.model_validate({**told, "billing_environment": "dev", "api_host": "::1"}))


def test_without_it_nothing_asks_for_it() -> None:
    assert "auth_issuer" not in READY
    assert missing() == []
    assert missing(auth_issuer=OWN) == []


def test_a_setting_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, issuers = tmp_path / "secret", tmp_path / "issuers.json"
    several, webhooks, proxies = (tmp_path / each for each in ("keys", "webhooks", "proxies"))
    secret.write_text("ours\n")
    several.write_text("new:one\nold:another\n")
    webhooks.write_text("whsec_bmV3\nwhsec_b2xk\n")
    proxies.write_text('["10.0.0.0/8"]\n')
    issuers.write_text('[{"alias": "a", "issuer": "https://a.example", "audience": "billing"}]')
    monkeypatch.setenv("CURSOR_SECRET_FILE", str(secret))
    monkeypatch.setenv("OIDC_ISSUERS_FILE", str(issuers))
    monkeypatch.setenv("API_KEY_SECRETS_FILE", str(several))
    monkeypatch.setenv("GATEWAY_WEBHOOK_SECRET_FILE", str(webhooks))
    monkeypatch.setenv("TRUSTED_PROXIES_FILE", str(proxies))
    monkeypatch.setenv("TEMPORAL_CERT_FILE", "a path, and no setting in a file")

    settings = Settings()

    assert settings.cursor_secret.get_secret_value() == "ours"
    assert settings.named_api_key_secrets == {"new": "one", "old": "another"}
    assert settings.gateway_webhook_secrets == ("whsec_bmV3", "whsec_b2xk")
    assert [str(each) for each in settings.trusted_proxies] == ["10.0.0.0/8"]
    assert settings.oidc_issuers[0].alias == "a"
    assert settings.temporal_cert_file == "a path, and no setting in a file"


def test_kafka_s_clients_take_what_the_settings_say(tmp_path: Path) -> None:
    plain = Settings.model_validate({"kafka_security_protocol": "PLAINTEXT"})
    assert "sasl.mechanism" not in plain.kafka

    secure = Settings.model_validate(
        {
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": "billing",
            "kafka_sasl_password": "ours",
        }
    )
    assert secure.kafka["sasl.password"] == "ours"
    # librdkafka refuses what it does not know, or what does not fit together.
    Producer({**secure.kafka, "bootstrap.servers": "127.0.0.1:1", "log_level": 0})


def test_what_tls_needs_of_kafka_s_clients_is_told_only_with_it() -> None:
    files = {"kafka_ca_file": "/ca", "kafka_cert_file": "/cert", "kafka_key_file": "/key"}
    told = {
        protocol: Settings.model_validate({"kafka_security_protocol": protocol, **files}).kafka
        for protocol in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    }

    of_tls = {
        "ssl.ca.location": "/ca",
        "ssl.certificate.location": "/cert",
        "ssl.key.location": "/key",
    }
    for protocol, options in told.items():
        shown = {name: value for name, value in options.items() if name.startswith("ssl.")}
        assert shown == (of_tls if protocol.endswith("SSL") else {})
        assert options["security.protocol"] == protocol
        assert ("sasl.mechanism" in options) is protocol.startswith("SASL")


def test_a_certificate_of_ours_is_shown_to_temporal_with_its_key(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(name)
    paths = {f"temporal_{name}_file": str(tmp_path / name) for name in ("ca", "cert", "key")}
    shown = temporal.tls(Settings.model_validate({"temporal_tls": True, **paths}))

    assert isinstance(shown, TLSConfig)
    assert shown.server_root_ca_cert == b"ca"
    assert (shown.client_cert, shown.client_private_key) == (b"cert", b"key")
    assert temporal.tls(Settings.model_validate(paths)) is False


async def test_with_tls_nothing_is_said_to_a_temporal_without_it(settings: Settings) -> None:
    demanding = Settings.model_validate({**settings.model_dump(), "temporal_tls": True})
    client = await temporal.connect_later(demanding)
    with pytest.raises(RuntimeError, match="connect"):
        await client.service_client.check_health()


async def test_a_certificate_that_is_not_there_is_named(settings: Settings) -> None:
    missing = {"temporal_tls": True, "temporal_ca_file": "/nowhere/ca.pem"}
    demanding = Settings.model_validate({**settings.model_dump(), **missing})
    with pytest.raises(FileNotFoundError, match=r"/nowhere/ca\.pem"):
        await temporal.connect_later(demanding)
