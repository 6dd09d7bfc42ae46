"""Schemathesis, a program that nobody here wrote, at an API of its own: it makes calls out of the
OpenAPI document, and such as the document forbids."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from dev import process, services
from dev.seed import seed
from dev.stack import Stack
from domain.roles import Role
from runtime.settings import Settings
from tests.support import programs
from tests.support.databases import connected, settings_of_its_own
from tests.support.issuer import LocalIssuer, local_issuer
from tests.support.namespaces import a_namespace

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
"""No fault of ours, and what is answered is as the document says."""
CUSTOMER = "acme-corp"
"""Of the development data."""
LONG_SECONDS = 20 * 3600
"""Life of a token: however deep a run goes, it is let in to its end."""


@dataclass(frozen=True)
class Fuzzed:
    """`told`: the environment of its processes."""

    url: str
    issuer: LocalIssuer
    told: Mapping[str, str]
    directory: Path

    def token(self, role: Role) -> str:
        """Good for longer than any run."""
        until = self.issuer.claims()["iat"] + LONG_SECONDS
        of = CUSTOMER if role is Role.CUSTOMER else None
        return self.issuer.token(sub=f"fuzz-{role}", roles=[role], customer_id=of, exp=until)

    async def complaints(self, role: Role, *options: object) -> str:
        """What there is to say about calls with a token of this role; empty where that is
        nothing."""
        header = f"Authorization: Bearer {self.token(role)}"
        command: list[object] = [Path(sys.executable).with_name("st"), "--no-color", "run"]
        command += [f"{self.url}/openapi.json", "--header", header, "--checks", CHECKS]
        # A busy machine is slow at whatever is asked of it.
        command += ["--generation-deterministic", "--suppress-health-check", "all"]
        command += ["--request-timeout", 600]
        ended = await programs.run(*command, *options, directory=self.directory)
        said = ended.stdout + ended.stderr
        (self.directory / f"{role}.txt").write_text(said)
        return "" if ended.returncode == 0 else f"As {role}:\n{said}\n"


@asynccontextmanager
async def fuzzed(stack: Stack, settings: Settings, directory: Path) -> AsyncIterator[Fuzzed]:
    """With a database and a namespace of its own: whatever is started here, for whichever month,
    meets nobody."""
    async with settings_of_its_own(settings) as mine, local_issuer() as issuer:
        async with connected(mine.database_url) as pool:
            await seed(pool)
        told = services.environment(
            stack,
            database_url=mine.database_url,
            temporal_namespace=a_namespace("fuzzed"),
            api_wait_seconds=0.1,
            oidc_issuers=json.dumps([issuer.settings()]),
        )
        port = process.free_port()
        api = services.start_api(stack, port, told, "fuzzed")
        try:
            await asyncio.to_thread(process.wait_until_ready, [api])
            yield Fuzzed(f"http://127.0.0.1:{port}", issuer, told, directory)
        finally:
            await asyncio.to_thread(process.stop, [api])
