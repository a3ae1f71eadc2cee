"""What does the data set say, without anything derived?

Rows of the raw tables in a DuckDB connection, restricted to the households of this run. What is
derived from them and the checks both start here, and go separate ways from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import duckdb

from amity.app.demo.dataset import RawFiles
from amity.kernel.clock import from_iso

STREAM_START_MS = from_iso("2017-10-30T00:00:00Z")
"""What happened before comes as batch files, what follows is streamed."""

_FETCH_ROWS = 5_000

_HOUSEHOLDS = """
SELECT DISTINCT household_id FROM read_parquet(?) ORDER BY household_id LIMIT ?
"""
_TRANSACTIONS = """
CREATE TABLE transactions AS
SELECT *, epoch_ms(transaction_timestamp) AS at_ms FROM read_parquet(?)
WHERE household_id IN (SELECT unnest(?))
"""
_DEMOGRAPHICS = """
CREATE TABLE demographics AS
SELECT * FROM read_parquet(?) WHERE household_id IN (SELECT unnest(?))
"""
_PRODUCTS = """
CREATE TABLE products AS
SELECT * FROM read_parquet(?)
WHERE ? OR product_id IN (SELECT product_id FROM transactions)
"""
_BASKETS = """
SELECT basket_id, any_value(household_id), any_value(store_id), any_value(at_ms) AS at_ms,
       list(product_id ORDER BY product_id), list(quantity ORDER BY product_id),
       list(round(sales_value, 2) ORDER BY product_id), round(sum(sales_value), 2)
FROM transactions
GROUP BY basket_id
HAVING any_value(at_ms) >= ? AND any_value(at_ms) < ?
ORDER BY at_ms, basket_id
"""
_FAVOURITES = """
SELECT household_id, arg_max(product_id, (bought, -product_id)) FROM (
    SELECT household_id, product_id, count(*) AS bought FROM transactions
    WHERE at_ms < ? AND product_id IN (SELECT product_id FROM products)
    GROUP BY household_id, product_id
) GROUP BY household_id
"""
_NO_PRODUCT = """
SELECT count(DISTINCT product_id), count(*) FROM transactions
WHERE product_id NOT IN (SELECT product_id FROM products)
"""


class Basket(NamedTuple):
    """One visit to the till."""

    id: int
    household: int
    store: int
    at_ms: int
    skus: list[int]
    quantities: list[int]
    prices: list[float]
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCounts:
    """Plain counts of the raw tables of this run."""

    households: int
    with_demographics: int
    products: int
    lines: int
    baskets: int
    history_baskets: int
    skus_without_product: int
    lines_without_product: int

    @property
    def stream_baskets(self) -> int:
        """Baskets that are streamed."""
        return self.baskets - self.history_baskets


class RawData:
    """The raw tables of the first `households` households (all when None), by household id.

    The small form takes only the products that those households bought.
    """

    def __init__(self, files: RawFiles, households: int | None = None) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        limit = households or 1_000_000
        rows = self.connection.execute(_HOUSEHOLDS, [str(files.transactions), limit]).fetchall()
        self.households: list[int] = [row[0] for row in rows]
        self.connection.execute(_TRANSACTIONS, [str(files.transactions), self.households])
        self.connection.execute(_DEMOGRAPHICS, [str(files.demographics), self.households])
        self.connection.execute(_PRODUCTS, [str(files.products), households is None])

    def counts(self) -> RawCounts:
        """What the raw tables hold."""
        one = self._one
        skus, lines = self.connection.execute(_NO_PRODUCT).fetchall()[0]
        before = "SELECT count(DISTINCT basket_id) FROM transactions WHERE at_ms < ?"
        return RawCounts(
            households=len(self.households),
            with_demographics=one("SELECT count(*) FROM demographics"),
            products=one("SELECT count(*) FROM products"),
            lines=one("SELECT count(*) FROM transactions"),
            baskets=one("SELECT count(DISTINCT basket_id) FROM transactions"),
            history_baskets=one(before, STREAM_START_MS),
            skus_without_product=skus,
            lines_without_product=lines,
        )

    def baskets(self, start_ms: int, end_ms: int) -> Iterator[Basket]:
        """Baskets from `start_ms` (inclusive) to `end_ms` (exclusive), in order of time."""
        cursor = self.connection.cursor().execute(_BASKETS, [start_ms, end_ms])
        while rows := cursor.fetchmany(_FETCH_ROWS):
            yield from map(Basket._make, rows)

    def demographics(self) -> dict[int, dict[str, str]]:
        """Household → its answers, without the missing ones."""
        cursor = self.connection.execute("SELECT * FROM demographics ORDER BY household_id")
        names = [column[0] for column in cursor.description or ()]
        return {
            row[0]: {name: value for name, value in zip(names[1:], row[1:], strict=True) if value}
            for row in cursor.fetchall()
        }

    def products(self) -> Iterator[dict[str, str]]:
        """Products with the fields they have."""
        cursor = self.connection.cursor().execute("SELECT * FROM products ORDER BY product_id")
        names = [column[0] for column in cursor.description or ()]
        while rows := cursor.fetchmany(_FETCH_ROWS):
            for row in rows:
                pairs = zip(names, row, strict=True)
                yield {name: str(value) for name, value in pairs if value is not None}

    def favourites(self) -> dict[int, int]:
        """Household → the SKU it bought most often in its history, the smaller one on a tie."""
        rows = self.connection.execute(_FAVOURITES, [STREAM_START_MS]).fetchall()
        return {row[0]: row[1] for row in rows}

    def product_ids(self) -> list[int]:
        """All SKUs that are products, in order."""
        rows = self.connection.execute("SELECT product_id FROM products ORDER BY 1").fetchall()
        return [row[0] for row in rows]

    def _one(self, query: str, *values: int) -> int:
        count: int = self.connection.execute(query, list(values)).fetchall()[0][0]
        return count
