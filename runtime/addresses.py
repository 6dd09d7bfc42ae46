"""Whether what a setting leads to can be an address at all: found at the start, in a sentence, and
not by whoever calls it first."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from sqlalchemy.exc import ArgumentError

from runtime.settings import Settings
from store import database

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")
_DATABASES = ("database_url", "database_read_url", "database_owner_url", "auth_database_url")
_URLS = {
    "redis_url": ({"redis", "rediss", "unix"}, "redis://host:6379/0, or rediss:// with TLS"),
    "gateway_url": ({"http", "https"}, "https://host"),
}
_FILES = tuple(
    f"{server}_{file}_file" for server in ("kafka", "temporal") for file in ("ca", "cert", "key")
)


def unusable(settings: Settings) -> Iterator[str]:
    """A sentence for each. What the address is stays unsaid: there may be a password in it."""
    for name in _DATABASES:
        url = getattr(settings, name)
        if url is None:
            continue
        try:
            database.address(url)
        except ArgumentError as error:
            yield f"{name.upper()} cannot be used: {error}."
    for name, (schemes, form) in _URLS.items():
        if not _is_url(getattr(settings, name), schemes):
            yield f"{name.upper()} cannot be used: it should be an address such as {form}."
    brokers = settings.kafka_bootstrap_servers.split(",")
    if not all(_HOST_AND_PORT.fullmatch(each.strip()) for each in brokers):
        yield (
            "KAFKA_BOOTSTRAP_SERVERS cannot be used: it should be host:port of a broker, or of "
            "several with commas between."
        )
    if not _HOST_AND_PORT.fullmatch(settings.temporal_address):
        yield "TEMPORAL_ADDRESS cannot be used: it should be host:port, without http://."
    yield from _of_files(settings)


def _is_url(url: str, schemes: set[str]) -> bool:
    try:
        parts = urlsplit(url)
        where = parts.path if parts.scheme == "unix" else parts.hostname
        return parts.scheme in schemes and bool(where) and parts.port != 0
    except ValueError:
        return False


def _of_files(settings: Settings) -> Iterator[str]:
    for name in _FILES:
        path = getattr(settings, name)
        if path is None:
            continue
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            yield f"{name.upper()} cannot be used: {path}: {error.strerror}."
    for server in ("kafka", "temporal"):
        cert, key = (f"{server}_{file}_file" for file in ("cert", "key"))
        if (getattr(settings, cert) is None) is not (getattr(settings, key) is None):
            yield f"{cert.upper()} and {key.upper()} go together: set both, or neither."
