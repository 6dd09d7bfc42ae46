"""Query parameters: those that a call knows, each once. What it does not know is a mistake of the
caller: ignored, it would answer another question than the one that was asked."""

from fastapi import Depends, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Cookie, Header, Path
from fastapi.routing import APIRoute

from domain.errors import InvalidRequest


async def _only_known(request: Request) -> None:
    _require_storable(request)
    given = [name for name, _ in request.query_params.multi_items()]
    if not given:
        return
    known = _known(request.scope["route"])
    for name in given:
        if name not in known:
            takes = ", ".join(known) or "none"
            unknown = f"{name[:50]!r} is no query parameter of this call"
            raise InvalidRequest(f"{unknown}: it takes {takes}.")
        if (times := given.count(name)) > 1:
            raise InvalidRequest(f"{name}: is given {times} times, and takes one value.")


OnlyKnown = Depends(_only_known)


def _require_storable(request: Request) -> None:
    """As of bodies (`domain.strict_json`): PostgreSQL stores no NUL and compares with none."""
    for name, value in (*request.query_params.multi_items(), *request.path_params.items()):
        if "\x00" in str(value):
            raise InvalidRequest(f"{name[:50]}: holds a NUL character.")


def _known(route: APIRoute) -> list[str]:
    """Those of the call itself, and of whatever it depends on. One that is a field of a model says
    nothing of where it stands: our models are of queries."""
    elsewhere = (Path, Header, Cookie)
    parameters = get_flat_params(route.dependant)
    return [each.alias for each in parameters if not isinstance(each.field_info, elsewhere)]
