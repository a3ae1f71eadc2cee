from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pysqlite3 import dbapi2

from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.errors import Conflict, Invalid, Unavailable
from amity.kernel.scope import Scope
from amity.storage.ports import Entry
from amity.storage.sqlite import connection
from amity.storage.sqlite.documents import SqliteDocuments
from amity.storage.sqlite.log import CHUNK_RECORDS_MAX, MARK_RECORDS, SqliteLog
from amity.storage.sqlite.state import SqliteState
from amity.storage.sqlite.tables import SqliteTables

SCOPE = Scope("A@Org", "prod")


def run_child(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code with `folder` as its argument."""
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A version that can corrupt its write-ahead log is refused with what to do."""
    connection.check_version()
    monkeypatch.setattr(dbapi2, "sqlite_version_info", (3, 51, 2))
    with pytest.raises(Unavailable, match="pysqlite3"):
        SqliteState(tmp_path / "state-0.db")
    monkeypatch.setattr(dbapi2, "sqlite_version_info", (3, 51, 3))
    connection.check_version()


def test_connections_are_durable_and_careful(tmp_path: Path) -> None:
    """Write-ahead log, full synchronisation, no mapping, deleted content overwritten."""
    opened = connection.connect(tmp_path / "x.db")
    found = {
        name: opened.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "mmap_size", "secure_delete")
    }
    opened.close()

    assert found == {"journal_mode": "wal", "synchronous": 2, "mmap_size": 0, "secure_delete": 1}


@pytest.mark.parametrize("name", ["profile_event", "a", "_", "x" * 60])
def test_table_names(name: str) -> None:
    """The longest and the shortest name are names."""
    assert connection.table_name(name) == name
    with pytest.raises(Invalid):
        connection.table_name(name + "x" * 60)


@pytest.mark.thorough
def test_another_process_reads_and_writes_beside_us(tmp_path: Path) -> None:
    """What a child process commits is seen here at once, and the other way round."""
    log, state = SqliteLog(tmp_path, writer=0), SqliteState(tmp_path / "state-0.db")
    log.append([Entry("t", b"k", b"ours")])
    with state.write() as writer:
        writer.put_many("t", SCOPE, [(b"k", b"ours")])
    assert log.ends("t") != {}
    child = run_child(
        "import sys, pathlib\n"
        "from amity.storage.sqlite.log import SqliteLog\n"
        "from amity.storage.sqlite.state import SqliteState\n"
        "from amity.storage.ports import Entry\n"
        "from amity.kernel.scope import Scope\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "log = SqliteLog(folder, writer=1)\n"
        "print([r.body for r in log.poll('t', {}, 9)])\n"
        "log.append([Entry('t', b'k', b'theirs')])\n"
        "state = SqliteState(folder / 'state-0.db')\n"
        "with state.write() as writer:\n"
        "    print(writer.get_many('t', Scope('A@Org', 'prod'), [b'k']))\n"
        "    writer.put_many('fresh', Scope('A@Org', 'prod'), [(b'k', b'theirs')])\n",
        tmp_path,
    )

    assert child.stdout.splitlines() == ["[b'ours']", "{b'k': b'ours'}"], child.stderr
    assert sorted(record.body for record in log.poll("t", {}, 9)) == [b"ours", b"theirs"]
    with state.read() as reader:
        assert reader.get_many("fresh", SCOPE, [b"k"]) == {b"k": b"theirs"}
    log.close()
    state.close()


@pytest.mark.thorough
def test_what_was_acknowledged_survives_a_killed_process(tmp_path: Path) -> None:
    """A process killed between commits loses what was open and nothing else."""
    child = run_child(
        "import os, sys, pathlib, signal\n"
        "from amity.storage.sqlite.log import SqliteLog\n"
        "from amity.storage.sqlite.state import SqliteState\n"
        "from amity.storage.ports import Entry\n"
        "from amity.kernel.scope import Scope\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "log = SqliteLog(folder, writer=0)\n"
        "state = SqliteState(folder / 'state-0.db')\n"
        "scope = Scope('A@Org', 'prod')\n"
        "for n in range(20):\n"
        "    log.append([Entry('t', b'k', b'%d' % n)])\n"
        "    with state.write() as writer:\n"
        "        writer.put_many('t', scope, [(b'%02d' % n, b'')])\n"
        "with state.write() as writer:\n"
        "    writer.put_many('t', scope, [(b'open', b'')])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n",
        tmp_path,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr

    log, state = SqliteLog(tmp_path, writer=0), SqliteState(tmp_path / "state-0.db")
    assert [record.body for record in log.poll("t", {}, 99)] == [b"%d" % n for n in range(20)]
    with state.read() as reader:
        assert [key for key, _ in reader.scan("t", SCOPE)] == [b"%02d" % n for n in range(20)]
    log.close()
    state.close()


def test_a_file_whose_tables_are_not_there_yet_is_empty(tmp_path: Path) -> None:
    """A writer that has only just made its file stops no reader."""
    log = SqliteLog(tmp_path, writer=0)
    connection.connect(tmp_path / "log-7.db").close()
    (tmp_path / "log-notes.txt").write_text("no log")

    assert log.poll("t", {}, 9) == []
    later = SqliteLog(tmp_path, writer=7)
    later.append([Entry("t", b"k", b"late")])
    assert [record.body for record in log.poll("t", {}, 9)] == [b"late"]
    log.close()
    later.close()


def test_an_append_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is an error that passes; offsets go on without a hole that matters."""
    log = SqliteLog(tmp_path, writer=0)
    first = log.append([Entry("t", b"k", b"1")])
    with monkeypatch.context() as patch:
        full = dbapi2.OperationalError("database or disk is full")

        def fail(*_: object) -> None:
            raise full

        patch.setattr(log._writer, "_insert", fail)
        with pytest.raises(Unavailable, match="disk is full"):
            log.append([Entry("t", b"k", b"2"), Entry("u", b"k", b"2")])
    second = log.append([Entry("t", b"k", b"3")])

    assert second[0][1] > first[0][1]
    assert [record.body for record in log.poll("t", {}, 9)] == [b"1", b"3"]
    assert log.poll("u", {}, 9) == []
    log.close()


@pytest.mark.parametrize("cut", [0, 1, CHUNK_RECORDS_MAX - 1, CHUNK_RECORDS_MAX, 300])
def test_trim_within_and_between_chunks(tmp_path: Path, cut: int) -> None:
    """A position inside a packed row keeps the rest of the row, offsets unchanged."""
    log = SqliteLog(tmp_path, writer=0)
    places = log.append([Entry("t", b"k", b"%d" % n) for n in range(400)])
    partition = places[0][0]
    log.trim("t", {partition: places[cut][1]})
    log.close()

    again = SqliteLog(tmp_path, writer=0)
    left = again.poll("t", {}, 1_000)
    assert [(record.partition, record.offset) for record in left] == places[cut:]
    again.close()


def test_a_start_reads_only_what_came_after_the_last_note(tmp_path: Path) -> None:
    """The ends are noted on the way, so that a new reader need not read a long log whole."""
    log = SqliteLog(tmp_path, writer=0)
    for _ in range(3):
        log.append([Entry("t", b"k%d" % n, b"") for n in range(MARK_RECORDS)])
    wanted = log.ends("t")
    opened = connection.connect(tmp_path / "log-0.db")
    (seen,) = opened.execute("SELECT seen FROM topic WHERE name = 't'").fetchone()
    opened.execute("DELETE FROM chunk WHERE (id & 0xffffffffff) < ?", (seen,))
    opened.close()
    log.close()

    again = SqliteLog(tmp_path, writer=0)
    assert seen > MARK_RECORDS
    assert again.ends("t") == wanted
    again.close()


def test_an_idle_poll_reads_no_rows(tmp_path: Path) -> None:
    """A reader that has all asks the file only whether anything has changed."""
    log = SqliteLog(tmp_path, writer=0)
    log.append([Entry("t", b"k%d" % n, b"") for n in range(1_000)])
    records = log.poll("t", {}, 2_000)
    positions = {record.partition: record.offset + 1 for record in records}
    assert log.poll("t", positions, 10) == []
    asked: list[str] = []
    file = log._files["log-0.db"]
    file._connection.set_trace_callback(asked.append)  # type: ignore[attr-defined]

    assert log.poll("t", positions, 10) == []
    assert asked == ["PRAGMA data_version"]
    log.close()


def test_deleted_values_leave_the_file(tmp_path: Path) -> None:
    """Deleted content is overwritten, not only unlinked."""
    secret = b"secret-" + os.urandom(8).hex().encode()
    state = SqliteState(tmp_path / "state-0.db")
    with state.write() as writer:
        writer.put_many("t", SCOPE, [(b"k", secret), (b"l", b"kept")])
    with state.write() as writer:
        writer.delete_many("t", SCOPE, [b"k"])
    state.close()

    assert all(secret not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_write_within_a_write_is_refused(tmp_path: Path) -> None:
    """A thread that would wait for itself is told so instead."""
    state, tables = SqliteState(tmp_path / "state-0.db"), SqliteTables(tmp_path / "control.db")
    with state.write(), pytest.raises(Conflict), state.write():
        pass
    with tables.begin(), pytest.raises(Conflict), tables.begin():
        pass
    with state.write() as writer, tables.begin():
        writer.put_many("t", SCOPE, [(b"k", b"v")])
    state.close()
    tables.close()


def test_a_full_control_plane_is_told_as_a_state_that_passes(tmp_path: Path) -> None:
    """A write that finds no room is `Unavailable`, leaves nothing, and succeeds later."""
    tables = SqliteTables(tmp_path / "control.db")
    documents = SqliteDocuments(tables, VirtualBusinessClock(0))
    scope = Scope("O", "prod")

    def pages(limit: int) -> None:
        with tables.begin() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count={limit}").fetchall()

    pages(1)
    with pytest.raises(Unavailable):
        documents.put(scope, "thing", "a", {"text": "x" * 500_000})
    assert documents.find(scope, "thing") == []
    pages(1_000_000)

    assert documents.put(scope, "thing", "a", {"text": "x" * 500_000}).version == 1
