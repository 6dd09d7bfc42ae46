"""A program that logs in at our own issuer, and shows what it got with each call."""

from collections.abc import Generator

import httpx2

from dev.demo.verdict import expect


class LoggedIn(httpx2.Auth):
    """Logs in before the first call, and again when its token is not believed any more."""

    requires_response_body = True

    def __init__(self, issuer: str, name: str, password: str) -> None:
        self._login = f"{issuer}/auth/login"
        self._who = {"name": name, "password": password}
        self.token = ""

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        """The call, with a log-in before it where one is needed."""
        if not self.token:
            yield from self._log_in()
        answer = yield self._shown(request)
        if answer.status_code == 401:
            yield from self._log_in()
            yield self._shown(request)

    def _log_in(self) -> Generator[httpx2.Request, httpx2.Response, None]:
        answer = yield httpx2.Request("POST", self._login, json=self._who)
        expect("the status of a log-in", answer.status_code, 200)
        self.token = str(answer.json()["accessToken"])

    def _shown(self, request: httpx2.Request) -> httpx2.Request:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request
