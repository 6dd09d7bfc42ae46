"""The events behind an invoice as a file, written while they are read."""

import csv
from collections.abc import AsyncIterator, Sequence
from io import StringIO

from fastapi import Response
from fastapi.responses import StreamingResponse

from api.documents.usage import CountedUsage, Format
from api.fields import rendered
from api.spreadsheet import cell
from api.usage import counted
from domain.usage import CountedEvent

HEAD = [field.alias for field in CountedUsage.model_fields.values()]


MEDIA_TYPES = {Format.CSV: "text/csv", Format.JSONL: "application/jsonl"}


def file(batches: AsyncIterator[Sequence[CountedEvent]], form: Format, name: str) -> Response:
    """Without a length: one that breaks off is not whole."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    lines = _csv(batches) if form is Format.CSV else _jsonl(batches)
    return StreamingResponse(lines, media_type=MEDIA_TYPES[form], headers=headers)


async def _jsonl(batches: AsyncIterator[Sequence[CountedEvent]]) -> AsyncIterator[str]:
    async for batch in batches:
        yield "".join(f"{rendered(counted(each))}\n" for each in batch)


async def _csv(batches: AsyncIterator[Sequence[CountedEvent]]) -> AsyncIterator[str]:
    """As RFC 4180 has it, with a head; what is null is empty."""
    yield _table([HEAD])
    async for batch in batches:
        yield _table([_row(counted(each)) for each in batch])


def _row(event: CountedUsage) -> list[object]:
    return [cell(value) for value in event.model_dump(mode="json").values()]


def _table(rows: Sequence[Sequence[object]]) -> str:
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
