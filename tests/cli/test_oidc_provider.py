"""Logging in with a provider that nobody here wrote: npm's oidc-provider, in the device flow."""

from pathlib import Path

from dev.stack import Stack
from tests.api.test_oidc_provider import provider
from tests.support.device_login import logged_in_and_out

RESOURCE = "urn:billing"


async def test_a_certified_provider_s_person_logs_in_and_out(
    stack: Stack, logs: Path, tmp_path: Path
) -> None:
    with provider(logs) as url:
        entry = {"alias": "others", "issuer": url, "audience": "billing"}
        words = ("--resource", RESOURCE, "--scope", "openid offline_access")
        person = {"login": "alice", "password": "whatever"}
        told = await logged_in_and_out(stack, tmp_path, entry, words, person)

    assert "You are others/alice: finance." in told.login
    assert (told.logout, told.statuses) == ("Logged out.\n", (0, 0))
