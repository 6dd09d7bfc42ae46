"""One statement outside of a transaction: databases come and go by such ones."""

from sqlalchemy import text

from store import database as database_module


async def execute(url: str, statement: str) -> list[str]:
    database = database_module.connect(url, pool_size=1)
    async with database.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        result = await connection.execute(text(statement))
        rows = [str(row[0]) for row in result] if result.returns_rows else []
    await database.dispose()
    return rows
