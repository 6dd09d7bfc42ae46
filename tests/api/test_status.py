"""The status of the system: no part that is down keeps it from being told."""

from api.app import create_app
from runtime.settings import Settings
from tests.conftest import served
from tests.support.cables import silence


async def test_a_database_that_takes_connections_and_says_nothing_is_named(
    settings: Settings,
) -> None:
    async with silence() as silent:
        away = settings.model_copy(update={"database_url": f"postgresql://b@{silent}/b"})
        async with served(create_app(away)) as http:
            answer = await http.get("/api/v1/status")

    assert answer.status_code == 200
    document = answer.json()
    wrong = {each["name"]: each["wrong"] for each in document["parts"]}
    assert wrong["PostgreSQL"] == "no answer within 1.5 s"
    assert wrong["Temporal"] is None
    assert "PostgreSQL: no answer within 1.5 s." in document["forAPerson"]
    assert document["ok"] is False
    assert document["at"] is None
    # Only what Temporal tells.
    assert [each["what"] for each in document["piles"]] == ["workflows that cannot go on"]
