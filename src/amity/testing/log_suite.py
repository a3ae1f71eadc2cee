"""What must every `Log` do? Subclass and give it a `logs` fixture.

`logs` makes a `Log` over the same records for each writer number it is called with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from amity.storage.ports import Entry, Log, LogRecord

LogMaker = Callable[[int], Log]


def _entries(*bodies: bytes, topic: str = "t", key: bytes = b"k") -> list[Entry]:
    return [Entry(topic, key, body) for body in bodies]


def _bodies(records: list[LogRecord]) -> list[bytes]:
    return [record.body for record in records]


def _after(records: list[LogRecord]) -> dict[int, int]:
    return {record.partition: record.offset + 1 for record in records}


def _all(log: Log, topic: str, limit: int = 100) -> list[LogRecord]:
    positions: dict[int, int] = {}
    found: list[LogRecord] = []
    while records := log.poll(topic, positions, limit):
        found += records
        positions |= _after(records)
    return found


class LogSuite:
    """The contract of the port."""

    def test_what_is_appended_is_read(self, logs: LogMaker) -> None:
        """A record comes back whole, where the append said it is."""
        log = logs(0)
        entry = Entry("t", b"\x00key", b"body\xff", "outbox", 7)
        (place,) = log.append([entry])

        wanted = LogRecord("t", place[0], place[1], b"\x00key", b"body\xff", "outbox", 7)
        assert log.poll("t", {}, 10) == [wanted]

    def test_nothing_is_nothing(self, logs: LogMaker) -> None:
        """An empty append and an unknown topic are no error."""
        log = logs(0)

        assert log.append([]) == []
        assert (log.poll("none", {}, 10), log.ends("none")) == ([], {})
        log.trim("none", {0: 5})

    def test_entries_of_a_key_keep_their_order(self, logs: LogMaker) -> None:
        """One key, one partition, offsets rising; over many commits and polls."""
        log = logs(0)
        wanted: dict[bytes, list[bytes]] = {}
        for commit in range(40):
            entries = [Entry("t", b"k%d" % (n % 7), b"%d-%d" % (commit, n)) for n in range(25)]
            for entry in entries:
                wanted.setdefault(entry.key, []).append(entry.body)
            places = log.append(entries)
            assert len({place for place, e in zip(places, entries, strict=True)}) == 25
        for limit in (1, 7, 1_000):
            found: dict[bytes, list[bytes]] = {}
            partitions: dict[bytes, set[int]] = {}
            for record in _all(log, "t", limit):
                found.setdefault(record.key, []).append(record.body)
                partitions.setdefault(record.key, set()).add(record.partition)
            assert found == wanted
            assert all(len(places) == 1 for places in partitions.values())

    def test_a_poll_starts_at_the_positions(self, logs: LogMaker) -> None:
        """Partitions that are not named start at their beginning; polling moves nothing."""
        log = logs(0)
        log.append([Entry("t", b"k%d" % n, b"%d" % n) for n in range(50)])
        records = log.poll("t", {}, 100)
        first = _after(records[:20])

        for _ in range(2):
            assert set(_bodies(log.poll("t", first, 100))) == set(_bodies(records[20:]))
        assert log.poll("t", log.ends("t"), 100) == []
        assert set(_bodies(log.poll("t", {}, 100))) == set(_bodies(records))

    def test_a_limit_holds(self, logs: LogMaker) -> None:
        """No poll answers more than was asked for, nor nothing while there is something."""
        log = logs(0)
        log.append(_entries(*(b"%d" % n for n in range(600))))
        log.append(_entries(*(b"%d" % n for n in range(600))))

        assert len(log.poll("t", {}, 1)) == 1
        assert 1 <= len(log.poll("t", {}, 1_000)) <= 1_000

    def test_large_bodies(self, logs: LogMaker) -> None:
        """Bodies of megabytes go through, also when a poll must answer in parts."""
        log = logs(0)
        bodies = [bytes([n]) * 3_000_000 for n in range(5)]
        log.append(_entries(*bodies))

        assert _bodies(_all(log, "t")) == bodies

    def test_topics_are_apart(self, logs: LogMaker) -> None:
        """A commit over several topics; each topic sees its own, in order."""
        log = logs(0)
        entries = [Entry(f"t{n % 3}", b"k", b"%d" % n) for n in range(30)]
        places = log.append(entries)

        for topic in range(3):
            records = _all(log, f"t{topic}")
            assert _bodies(records) == [b"%d" % n for n in range(topic, 30, 3)]
            assert [(r.partition, r.offset) for r in records] == places[topic::3]
        assert _all(log, "t") == []

    def test_writers_have_their_own_partitions(self, logs: LogMaker) -> None:
        """All readers see the records of all writers, those that start later too."""
        first = logs(0)
        first.append(_entries(b"a"))
        assert _bodies(first.poll("t", {}, 10)) == [b"a"]

        second = logs(1)
        second.append(_entries(b"b"))
        first.append(_entries(b"c"))

        for log in (first, second):
            records = _all(log, "t")
            assert sorted(_bodies(records)) == [b"a", b"b", b"c"]
            assert len({record.partition for record in records}) == 2
        assert first.ends("t") == second.ends("t")

    def test_a_busy_writer_starves_no_other(self, logs: LogMaker) -> None:
        """A poll that the first writer alone could fill comes to the second before long."""
        first, second = logs(0), logs(1)
        first.append(_entries(*(b"a" for _ in range(500))))
        second.append(_entries(b"b"))
        positions: dict[int, int] = {}
        seen: list[bytes] = []
        for _ in range(4):
            records = first.poll("t", positions, 10)
            positions |= _after(records)
            seen += _bodies(records)
        # A log in one append order may well take longer, but never loses it.
        rest = first.poll("t", positions, 1_000)
        assert b"b" in seen or b"b" in _bodies(rest)

    def test_ends(self, logs: LogMaker) -> None:
        """The ends are where a reader stands that has read all."""
        log = logs(0)
        log.append([Entry("t", b"k%d" % n, b"") for n in range(100)])
        log.append(_entries(b"last"))

        assert log.ends("t") == _after(_all(log, "t"))

    def test_trim_keeps_what_is_not_done(self, logs: LogMaker) -> None:
        """Nothing at or after a position is lost; what all are past is gone; offsets go on."""
        log = logs(0)
        log.append([Entry("t", b"k%d" % n, b"%d" % n) for n in range(700)])
        log.append(_entries(b"other", topic="u"))
        records = _all(log, "t")
        done, left = _after(records[:300]), records[300:]

        log.trim("t", done)
        assert log.poll("t", done, 100) == left[:100]
        ends = log.ends("t")
        log.trim("t", ends)
        assert _all(log, "t") == []
        assert log.ends("t") == ends
        assert _bodies(_all(log, "u")) == [b"other"]

        ((partition, offset),) = log.append(_entries(b"next", key=b"k1"))
        assert offset >= ends[partition]
        assert _bodies(log.poll("t", ends, 10)) == [b"next"]

    def test_trim_spares_what_a_reader_has_not_named(self, logs: LogMaker) -> None:
        """A partition without a position counts as unread."""
        log = logs(0)
        log.append(_entries(b"1"))
        log.trim("t", {})

        assert _bodies(_all(log, "t")) == [b"1"]

    def test_a_new_log_goes_on(self, logs: LogMaker) -> None:
        """A second log of the same number finds all and continues the offsets, trimmed or not."""
        old = logs(0)
        old.append(_entries(*(b"%d" % n for n in range(9_000))))
        old.append(_entries(b"x"))
        ends = old.ends("t")
        old.trim("t", ends)
        old.close()

        log = logs(0)
        assert log.ends("t") == ends
        ((partition, offset),) = log.append(_entries(b"y"))
        assert offset >= ends[partition]
        assert _bodies(log.poll("t", ends, 10)) == [b"y"]
        assert log.ends("t") == {partition: offset + 1}

    def test_threads(self, logs: LogMaker) -> None:
        """Appends and polls from several threads lose and double nothing."""
        log = logs(0)

        def append(thread: int) -> None:
            for n in range(30):
                log.append(_entries(b"%d-%d" % (thread, n), key=b"%d" % thread))

        threads = [threading.Thread(target=append, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        positions: dict[int, int] = {}
        found: list[bytes] = []
        while len(found) < 120:
            records = log.poll("t", positions, 16)
            positions |= _after(records)
            found += _bodies(records)
        for thread in threads:
            thread.join()

        assert sorted(found) == sorted(b"%d-%d" % (t, n) for t in range(4) for n in range(30))
