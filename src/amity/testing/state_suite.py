"""What must every `State` do? Subclass and give it a `state` fixture."""

from __future__ import annotations

import random
import threading

import pytest

from amity.kernel.errors import Conflict, Invalid
from amity.kernel.scope import Scope
from amity.storage.ports import State

_PROD, _DEV = Scope("A@Org", "prod"), Scope("A@Org", "dev")


class StateSuite:
    """The contract of the port."""

    def test_what_is_put_is_read(self, state: State) -> None:
        """Keys and values are any bytes; of two puts the later counts; deletes delete."""
        with state.write() as writer:
            writer.put_many("t", _PROD, [(b"", b"empty"), (b"\x00\xff", b"\x00"), (b"k", b"1")])
            writer.put_many("t", _PROD, [(b"k", b"2"), (b"k", b"3"), (b"gone", b"")])
            writer.delete_many("t", _PROD, [b"gone", b"never"])

        with state.read() as reader:
            found = reader.get_many("t", _PROD, [b"k", b"", b"\x00\xff", b"gone", b"k"])
            assert found == {b"k": b"3", b"": b"empty", b"\x00\xff": b"\x00"}
            assert reader.count("t", _PROD) == 3

    def test_a_table_without_writes_is_empty(self, state: State) -> None:
        """No read asks for a table to be made first."""
        with state.write() as writer:
            writer.delete_many("none", _PROD, [b"k"])
            writer.put_many("none", _PROD, [])
            assert writer.get_many("none", _PROD, [b"k"]) == {}
        with state.read() as reader:
            assert reader.get_many("none", _PROD, [b"k"]) == {}
            assert list(reader.scan("none", _PROD)) == []
            assert reader.count("none", _PROD) == 0

    @pytest.mark.parametrize("keys", [0, 1, 255, 256, 257, 1_000])
    def test_many_keys(self, state: State, keys: int) -> None:
        """Reads and scans of any size give all, in byte order, both ways."""
        rows = [(b"%06d" % n, b"v%d" % n) for n in range(keys)]
        shuffled = rows[:]
        random.Random(1).shuffle(shuffled)  # noqa: S311 - no secret
        with state.write() as writer:
            writer.put_many("t", _PROD, shuffled)
        with state.read() as reader:
            assert reader.get_many("t", _PROD, [key for key, _ in rows]) == dict(rows)
            assert list(reader.scan("t", _PROD)) == rows
            assert list(reader.scan("t", _PROD, reverse=True)) == rows[::-1]

    @pytest.mark.parametrize(
        ("start", "end", "wanted"),
        [
            (b"", None, [b"a", b"a\x00", b"b", b"b\xff", b"c"]),
            (b"a\x00", b"b\xff", [b"a\x00", b"b"]),
            (b"b", None, [b"b", b"b\xff", b"c"]),
            (b"c", b"c", []),
            (b"d", b"a", []),
        ],
    )
    def test_scan_bounds(
        self, state: State, start: bytes, end: bytes | None, wanted: list[bytes]
    ) -> None:
        """The start is in, the end is out; a limit cuts from where the scan begins."""
        keys = [b"c", b"b\xff", b"b", b"a\x00", b"a"]
        with state.write() as writer:
            writer.put_many("t", _PROD, [(key, b"") for key in keys])
            writer.put_many("t", _DEV, [(b"b!", b"")])
        with state.read() as reader:
            for limit in (None, 0, 1, 2, 10):
                forth = reader.scan("t", _PROD, start=start, end=end, limit=limit)
                back = reader.scan("t", _PROD, start=start, end=end, limit=limit, reverse=True)
                assert [key for key, _ in forth] == wanted[:limit]
                assert [key for key, _ in back] == wanted[::-1][:limit]

    def test_scopes_never_touch(self, state: State) -> None:
        """The same keys in two sandboxes are different keys, for every verb."""
        with state.write() as writer:
            for scope in (_PROD, _DEV):
                writer.put_many("t", scope, [(b"k", scope.key.encode())])
            writer.delete_many("t", Scope("A@Org", "de"), [b"k"])
        with state.write() as writer:
            writer.delete_many("t", _DEV, [b"k"])
        with state.read() as reader:
            assert list(reader.scan("t", _PROD)) == [(b"k", b"A@Org/prod")]
            assert (reader.count("t", _PROD), reader.count("t", _DEV)) == (1, 0)
            assert reader.get_many("t", _DEV, [b"k"]) == {}

    def test_an_exception_takes_all_back(self, state: State) -> None:
        """Nothing of a block that raises is kept, a new table neither."""
        with state.write() as writer:
            writer.put_many("t", _PROD, [(b"k", b"1")])
        with pytest.raises(ZeroDivisionError):
            _write_and_break(state)

        with state.read() as reader:
            assert reader.get_many("t", _PROD, [b"k"]) == {b"k": b"1"}
            assert reader.get_many("fresh", _PROD, [b"k"]) == {}
        with state.write() as writer:
            writer.put_many("fresh", _PROD, [(b"k", b"3")])
        with state.read() as reader:
            assert reader.get_many("fresh", _PROD, [b"k"]) == {b"k": b"3"}

    def test_a_writer_sees_its_own_writes_and_others_do_not(self, state: State) -> None:
        """Readers see a transaction whole once it is committed."""
        with state.write() as writer:
            writer.put_many("t", _PROD, [(b"a", b"1"), (b"b", b"1")])
            assert [key for key, _ in writer.scan("t", _PROD)] == [b"a", b"b"]
            with state.read() as reader:
                assert list(reader.scan("t", _PROD)) == []
        with state.read() as reader:
            assert reader.count("t", _PROD) == 2

    def test_a_reader_keeps_its_snapshot(self, state: State) -> None:
        """What is committed after a read block has begun stays unseen in it."""
        with state.write() as writer:
            writer.put_many("t", _PROD, [(b"k", b"1")])
        with state.read() as reader:
            with state.write() as writer:
                writer.put_many("t", _PROD, [(b"k", b"2"), (b"l", b"2")])
            assert reader.get_many("t", _PROD, [b"k", b"l"]) == {b"k": b"1"}
            with state.read() as later:
                assert later.get_many("t", _PROD, [b"k", b"l"]) == {b"k": b"2", b"l": b"2"}

    def test_a_scan_may_be_written_under(self, state: State) -> None:
        """A writer may change the rows it scans."""
        with state.write() as writer:
            writer.put_many("t", _PROD, [(b"%04d" % n, b"") for n in range(600)])
            for key, _ in writer.scan("t", _PROD):
                writer.delete_many("t", _PROD, [key])
            assert writer.count("t", _PROD) == 0

    @pytest.mark.parametrize("name", ["", "T", "t1", "a b", "t;--", 'a"b', "x" * 61])
    def test_table_names_are_checked(self, state: State, name: str) -> None:
        """A name is letters a-z and underscores, so that it can never be a statement."""
        with pytest.raises(Invalid), state.write() as writer:
            writer.put_many(name, _PROD, [(b"k", b"")])
        with pytest.raises(Invalid), state.read() as reader:
            reader.get_many(name, _PROD, [b"k"])

    def test_a_write_within_a_write_is_refused(self, state: State) -> None:
        """A thread that would wait for itself is told so instead, and may go on."""
        with state.write() as writer:
            with pytest.raises(Conflict), state.write():
                pass
            writer.put_many("t", _PROD, [(b"k", b"")])
        with state.read() as reader:
            assert reader.count("t", _PROD) == 1

    def test_writers_take_turns(self, state: State) -> None:
        """Read-modify-write from several threads loses no update."""

        def add() -> None:
            for _ in range(20):
                with state.write() as writer:
                    found = writer.get_many("t", _PROD, [b"n"])
                    number = int(found.get(b"n", b"0")) + 1
                    writer.put_many("t", _PROD, [(b"n", b"%d" % number)])

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        with state.read() as reader:
            assert reader.get_many("t", _PROD, [b"n"]) == {b"n": b"80"}


def _write_and_break(state: State) -> None:
    with state.write() as writer:
        writer.put_many("t", _PROD, [(b"k", b"2")])
        writer.put_many("fresh", _PROD, [(b"k", b"2")])
        assert writer.get_many("fresh", _PROD, [b"k"]) == {b"k": b"2"}
        raise ZeroDivisionError
