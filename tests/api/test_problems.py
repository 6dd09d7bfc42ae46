"""The page about problems agrees with the classes, and each document with the page."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException

import domain.errors
from api import errors
from domain.errors import HoldReleased, Rejected
from tests.api.documents import problem_of, refused

PAGE = Path(__file__).parents[2] / "docs" / "api" / "problems.md"
ROW = re.compile(r"^\| `(?P<slug>[a-z-]+)` \| (?P<status>\S+) \| (?P<meaning>.+) \| (?P<do>.+) \|$")


def kinds(base: type[Rejected] = Rejected) -> Iterator[type[Rejected]]:
    for kind in base.__subclasses__():
        if kind.__module__ == "domain.errors":
            yield kind
        yield from kinds(kind)


def test_the_page_lists_every_problem_with_its_status() -> None:
    rows = [row for line in PAGE.read_text().splitlines() if (row := ROW.match(line))]
    listed = {row["slug"]: row["status"] for row in rows}
    assert len(listed) == len(rows), "no problem is listed twice"

    refusals = {kind.slug: str(kind.status) for kind in kinds()} | {HoldReleased.slug: "–"}
    faults = {"method-not-allowed": "405", "http-error": "4xx"}
    faults |= {"unavailable": "503", "overloaded": "503", "internal-error": "500"}
    faults |= {"issuer-unreachable": "503"}
    assert set(faults) == set(errors.FAULTS)
    assert listed == refusals | faults


def test_every_refusal_has_a_name_a_title_and_a_status_of_its_own() -> None:
    every = list(kinds())
    assert len({kind.slug for kind in every}) == len(every)
    assert len({kind.title for kind in every}) == len(every)
    for kind in every:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.slug), kind
        assert 400 <= kind.status < 500, kind
        assert not kind.title.endswith("."), kind


def test_the_overview_in_the_module_names_every_class() -> None:
    named = dict(re.findall(r"[├└]── (\w+) +(\d{3}|–)", domain.errors.__doc__ or ""))
    assert named == {kind.__name__: str(kind.status) for kind in kinds()} | {"HoldReleased": "–"}


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.slug)
async def test_a_refusal_becomes_its_document(kind: type[Rejected]) -> None:
    answer = await _answer_to(kind("Because of this."))

    refused(answer, kind.status, kind.slug)
    document = answer.json()
    assert (document["title"], document["detail"]) == (kind.title, "Because of this.")
    assert document["instance"] == "/somewhere"


async def test_a_fault_tells_its_caller_nothing_of_our_insides() -> None:
    answer = await _answer_to(ZeroDivisionError("password is hunter2"))

    refused(answer, 500, "internal-error")
    assert "hunter2" not in answer.text
    assert "ZeroDivision" not in answer.text


async def test_what_http_itself_refuses_is_a_problem_too() -> None:
    answer = await _answer_to(HTTPException(418, "I'm a teapot", {"X-Pot": "short"}))

    assert (answer.status_code, problem_of(answer)) == (418, "http-error")
    assert answer.headers["X-Pot"] == "short"


async def _answer_to(error: Exception) -> httpx2.Response:
    """What an application with our handlers answers when a route raises this."""
    app = FastAPI()
    errors.install(app)

    @app.get("/somewhere")
    async def somewhere() -> None:
        raise error

    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as http:
        return await http.get("/somewhere")
