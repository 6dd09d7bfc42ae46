"""Quotas on a real Valkey: nobody gets more than it may, however many ask at once, and a limit is
never an outage."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from api.app import create_app
from api.quota import Counters, Exceeded, Limiter
from dev import process, valkey
from domain.quota import LARGEST_LEASE, Quota
from runtime.settings import Settings
from tests.api.documents import closed_port, refused
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.conditions import PATIENCE_SECONDS, eventually
from tests.support.samples import new_id

RANKING = "/api/v1/rankings"


@asynccontextmanager
async def limited(settings: Settings, **quotas: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """An API of its own with these quotas."""
    patient = {"quota_timeout_seconds": PATIENCE_SECONDS}
    told = Settings.model_validate(settings.model_dump(exclude_unset=True) | patient | quotas)
    async with served(create_app(told)) as http:
        yield http


@asynccontextmanager
async def counting(url: str) -> AsyncIterator[Counters]:
    counters = Counters(url, PATIENCE_SECONDS)
    try:
        yield counters
    finally:
        await counters.close()


async def let_in(limiter: Limiter, subject: str, cost: int = 1) -> bool:
    try:
        await limiter.spend(subject, cost)
    except Exceeded:
        return False
    return True


async def test_of_50_who_ask_two_processes_at_once_10_are_let_in(settings: Settings) -> None:
    quota, subject = Quota("caller", 10), new_id()
    async with counting(settings.redis_url) as here, counting(settings.redis_url) as there:
        limiters = [Limiter(here, quota), Limiter(there, quota)]
        answers = await asyncio.gather(*(let_in(limiters[each % 2], subject) for each in range(50)))

    assert answers.count(True) == 10


async def test_of_1000_subjects_who_ask_two_processes_at_once_each_is_let_in_once(
    settings: Settings,
) -> None:
    """However many ask: more than there are connections is not Valkey that is away."""
    quota, subjects = Quota("caller", 1), [new_id() for _ in range(1_000)]
    async with counting(settings.redis_url) as here, counting(settings.redis_url) as there:
        limiters = [Limiter(here, quota), Limiter(there, quota)]
        answers = await asyncio.gather(
            *(let_in(limiter, subject) for subject in subjects for limiter in limiters)
        )

    assert answers.count(True) == 1_000


async def test_leases_of_two_processes_never_exceed_a_quota_and_lose_little_of_it(
    settings: Settings,
) -> None:
    quota, subject = Quota("caller", 500), new_id()
    async with counting(settings.redis_url) as here, counting(settings.redis_url) as there:
        limiters = [Limiter(each, quota, lease_seconds=PATIENCE_SECONDS) for each in (here, there)]
        let = [await let_in(limiters[each % 2], subject) for each in range(600)]

    assert 500 - 500 // LARGEST_LEASE <= let.count(True) <= 500


async def test_what_one_has_used_up_another_has(settings: Settings) -> None:
    quota, mine, yours = Quota("caller", 10), new_id(), new_id()
    async with counting(settings.redis_url) as counters:
        limiter = Limiter(counters, quota)
        assert await let_in(limiter, mine, cost=10)
        assert not await let_in(limiter, mine)
        assert await let_in(limiter, yours, cost=10)


async def test_what_is_too_dear_leaves_room_for_what_is_cheaper(settings: Settings) -> None:
    async with counting(settings.redis_url) as counters:
        limiter, subject = Limiter(counters, Quota("caller", 10)), new_id()
        assert await let_in(limiter, subject, cost=7)
        assert not await let_in(limiter, subject, cost=5)
        assert await let_in(limiter, subject, cost=1)


async def test_whoever_was_refused_is_let_in_again_when_the_window_has_gone_by(
    settings: Settings,
) -> None:
    async with counting(settings.redis_url) as counters:
        limiter, subject = Limiter(counters, Quota("caller", 5, seconds=1)), new_id()
        assert await let_in(limiter, subject, cost=5)
        assert not await let_in(limiter, subject, cost=5)

        await eventually(lambda: let_in(limiter, subject, cost=5))


async def test_without_valkey_each_process_counts_for_itself() -> None:
    quota, subject = Quota("caller", 10), new_id()
    async with counting(f"redis://127.0.0.1:{closed_port()}/0") as counters:
        limiter = Limiter(counters, quota)
        answers = await asyncio.gather(*(let_in(limiter, subject) for _ in range(50)))

    assert answers.count(True) == 10


async def test_once_valkey_is_back_it_counts_for_all_again(tmp_path: Path) -> None:
    port, subject = process.free_port(), new_id()
    async with counting(valkey.url(port)) as here, counting(valkey.url(port)) as there:
        mine, yours = (Limiter(each, Quota("caller", 10)) for each in (here, there))
        assert await let_in(mine, subject, cost=10)
        server = valkey.start(tmp_path, port)
        try:
            process.wait_until_ready([server])

            async def counted_together() -> bool:
                """A subject that has used up its quota there has used it up here."""
                another = new_id()
                return await let_in(mine, another, cost=10) and not await let_in(yours, another)

            await eventually(counted_together)
        finally:
            process.stop([server])


async def test_a_caller_is_told_what_is_left_and_then_when_to_come_back(
    settings: Settings,
) -> None:
    me = {"X-Customer-Id": f"c-{uuid4().hex}"}
    async with limited(settings, quota_caller=3) as http:
        left = [(await http.get(RANKING, headers=me)).headers["RateLimit"] for _ in range(3)]
        too_much = await http.get(RANKING, headers=me)
        another = await http.get(RANKING, headers={"X-Customer-Id": f"c-{uuid4().hex}"})

    assert [each.partition(";t=")[0] for each in left] == [f'"caller";r={n}' for n in (2, 1, 0)]
    refused(too_much, 429, "quota-exceeded")
    assert too_much.headers["RateLimit-Policy"] == '"caller";q=3;w=60'
    assert too_much.headers["RateLimit"].startswith('"caller";r=0;t=')
    assert 1 <= int(too_much.headers["Retry-After"]) <= 120
    assert another.status_code == 200


async def test_of_1000_requests_at_once_to_two_processes_no_more_get_through_than_the_quota(
    settings: Settings,
) -> None:
    quota, me = 100, {"X-Customer-Id": f"c-{uuid4().hex}"}
    async with (
        limited(settings, quota_caller=quota) as here,
        limited(settings, quota_caller=quota) as there,
    ):
        answers = await asyncio.gather(
            *((here, there)[each % 2].get(RANKING, headers=me) for each in range(1_000))
        )

    let = [each.status_code for each in answers if each.status_code != 429]
    assert quota - quota // LARGEST_LEASE <= len(let) <= quota
    assert set(let) <= {200, 503}, "503 where more was let in than can be done at once"


async def test_a_refusal_is_not_what_a_key_is_answered_with_later(
    billing: Billing, settings: Settings
) -> None:
    order = {"currency": "KRW", "items": [{"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}]}
    headers = {"Idempotency-Key": new_id(), "X-Customer-Id": billing.customer_id}
    async with limited(settings, quota_caller=4) as http:
        refused(
            await http.post("/api/v1/orders", json=order, headers=headers), 429, "quota-exceeded"
        )

    made = await billing.api.post("/api/v1/orders", json=order, headers=headers)

    assert made.status_code == 201
    assert "Idempotency-Replayed" not in made.headers


async def test_a_repeat_that_is_answered_again_costs_as_much_as_a_read(
    billing: Billing, settings: Settings
) -> None:
    order = {"currency": "KRW", "items": [{"sku": "SKU-1", "quantity": 1, "unitPrice": 1000}]}
    headers = {"Idempotency-Key": new_id(), "X-Customer-Id": billing.customer_id}
    async with limited(settings, quota_caller=12) as http:
        # 5 for the order, 1 for each repeat, and there must be 5 before it is known to be one.
        statuses = [
            (await http.post("/api/v1/orders", json=order, headers=headers)).status_code
            for _ in range(5)
        ]

    assert statuses == [201, 201, 201, 201, 429]


async def test_the_address_counts_whoever_calls_and_cannot_be_forged(settings: Settings) -> None:
    proxies = ["127.0.0.0/8"]
    here, there = (f"198.51.100.{n}" for n in (1, 2))
    async with limited(settings, quota_address=2, trusted_proxies=proxies) as http:

        async def ask(forwarded: str) -> int:
            headers = {"X-Forwarded-For": forwarded, "X-Customer-Id": f"c-{uuid4().hex}"}
            return (await http.get(RANKING, headers=headers)).status_code

        assert [await ask(here), await ask(here)] == [200, 200]
        assert await ask(here) == 429
        assert await ask(f"{there}, {here}") == 429, "what a client says of itself"
        assert await ask(there) == 200


async def test_whoever_guesses_is_counted_wherever_it_knocks(settings: Settings) -> None:
    """Also at what is not there, where a key is looked up all the same."""
    for path in ("/nowhere", "/api", "//api/v1/rankings", "/metrics/", "/staticc", "/auth"):
        proxies, forwarded = ["127.0.0.0/8"], {"X-Forwarded-For": f"2001:db8:{uuid4().hex[:4]}::1"}
        async with limited(settings, quota_address=1, trusted_proxies=proxies) as http:
            statuses = [(await http.get(path, headers=forwarded)).status_code for _ in range(2)]
        assert statuses[0] in (307, 404), path
        assert statuses[1] == 429, path


async def test_each_part_of_the_administration_has_a_quota_of_its_own(settings: Settings) -> None:
    async with limited(settings, quota_administration=2) as http:
        plans = [(await http.delete("/api/v1/pricing-plans/none")).status_code for _ in range(3)]
        keys = [(await http.get("/api/v1/keys")).status_code for _ in range(3)]
        others = [(await http.get(RANKING)).status_code for _ in range(3)]

    assert plans == [404, 404, 429]
    assert keys == [200, 200, 429]
    assert others == [200, 200, 200]


async def test_who_watches_a_settlement_uses_up_nothing_of_the_administration(
    settings: Settings,
) -> None:
    """`billing settlement run` looks each second, and a replay at each of 5,000 customers."""
    month = "/api/v1/settlement/runs/2007-07"
    async with limited(settings, quota_administration=1) as http:
        looks = [(await http.get(f"{month}/progress")).status_code for _ in range(3)]
        looks += [(await http.get("/api/v1/pricing-plans/none")).status_code for _ in range(3)]
        replays = [(await http.post(f"{month}/replay")).status_code for _ in range(2)]

    assert looks == [404] * 6
    assert replays == [202, 429]


async def test_probes_and_pages_are_let_in_whatever_was_used_up(settings: Settings) -> None:
    async with limited(settings, quota_address=1, quota_caller=1) as http:
        for path in ("/health/live", "/health/ready", "/metrics", "/swagger", "/"):
            for _ in range(3):
                assert (await http.get(path)).status_code == 200, path


async def test_refusals_are_counted_for_those_who_watch(settings: Settings) -> None:
    async with limited(settings, quota_caller=1) as http:
        me = {"X-Customer-Id": f"c-{uuid4().hex}"}
        await http.get(RANKING, headers=me)
        refused(await http.get(RANKING, headers=me), 429, "quota-exceeded")
        metrics = (await http.get("/metrics")).text

    assert 'billing_quota_refusals_total{quota="caller"}' in metrics


def test_production_has_quotas_and_development_those_that_are_set() -> None:
    production = Settings(billing_environment="production")
    development = Settings(billing_environment="dev", quota_caller=7)

    assert production.quota("administration") == Quota("administration", 60)
    assert production.quota("caller") is not None
    assert development.quota("caller") == Quota("caller", 7)
    assert development.quota("address") is None
    assert Settings(billing_environment="production", quota_address=0).quota("address") is None
