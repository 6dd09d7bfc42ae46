"""Where somebody agrees, in a browser, that a program on another device acts for them."""

from html import escape

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from auth import grants
from auth.context import Context, From, Using
from auth.devices import typed
from auth.forms import Fields, Malformed, fields_of, required
from domain.access import Source
from domain.errors import LoginFailed, TooManyLogins
from domain.user import MAX_PASSWORD

router = APIRouter(tags=["oauth"], include_in_schema=False)

WARNING = (
    "Go on only if you have just begun this yourself, and the program before you shows this code. "
    "Whoever sent you the code would get in as you."
)
_FORM = """
<form method="post" action="device" autocomplete="off">
<p><label>Code <input name="user_code" required autofocus></label></p>
<p><label>Name <input name="username" autocomplete="username" required></label></p>
<p><label>Password
<input name="password" type="password" autocomplete="current-password" required></label></p>
<p><button>Let it act for me</button></p>
</form>
"""


@router.get("/device")
async def ask() -> Response:
    """The page."""
    return _page(WARNING, _FORM)


@router.post("/device")
async def agree(request: Request, context: Using, source: From) -> Response:
    """The page again, with what came of it."""
    try:
        return await _agreed(context, await fields_of(request), source)
    except Malformed as error:
        return _page(str(error), _FORM, 400)
    except LoginFailed as error:
        return _page(str(error), _FORM, error.status)
    except TooManyLogins as error:
        return _page(str(error), "", error.status, error.headers)


async def _agreed(context: Context, fields: Fields, source: Source) -> Response:
    code, name = typed(required(fields, "user_code")), required(fields, "username")
    known = await grants.proven(context, name, required(fields, "password", MAX_PASSWORD), source)
    if not await context.devices.agree(code, known.id):
        return _page("There is no such code, or it is too old: begin again.", _FORM, 400)
    return _page("Done: the program goes on by itself, and this page can be closed.", "")


def _page(
    words: str, form: str, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Log in</title></head>'
        f"<body><h1>Log in</h1><p>{escape(words)}</p>{form}</body></html>"
    )
    return HTMLResponse(text, status, headers)
