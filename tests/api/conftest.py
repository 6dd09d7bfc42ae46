"""The API as different people meet it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import httpx2
import pytest

from domain.access import Access
from runtime.settings import Settings
from tests.api.calls import acting_as

Acting = Callable[[Access], AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def acting(settings: Settings) -> Acting:
    """The API as somebody with these roles meets it."""
    return partial(acting_as, settings)
