"""Files that come in are taken as they are meant, or refused with the line and the reason."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from amity.campaign.imports.columns import FileColumn, Reader, WrongCell
from amity.campaign.imports.errors import BadColumn, BadFile, NoSuchCopy
from amity.tabular.errors import NoHeader, Unreadable
from amity.transports.errors import BadPath

if TYPE_CHECKING:
    from conftest import Ground

PEOPLE: list[dict[str, Any]] = [
    {"name": "externalId", "source": "crm_id"},
    {"name": "email", "length": 254, "case": "lower"},
    {"name": "firstName", "source": "First name"},
    {"name": "age", "type": "long"},
]
HEADER = "crm_id,email,First name,age\n"
OPTIONS: dict[str, Any] = {"columns": PEOPLE, "keys": ["externalId", "email"]}


def rejected(ground: Ground, done: Any) -> list[tuple[int, str]]:
    if "rejects" not in done.outputs:
        return []
    return [(row["line"], row["reason"]) for row in ground.rows(done.outputs["rejects"])]


def put(ground: Ground, text: str | bytes, name: str = "shop/people.csv") -> None:
    ground.sftp.put(name, text if isinstance(text, bytes) else text.encode())


def test_rows_become_columns(ground: Ground) -> None:
    """By the header's names, in the types that were described; an empty cell is nothing."""
    put(ground, HEADER + '1,ANN@x.org, Ann ,34\n2,,"Bo, jr.",\n')

    done = ground.load(OPTIONS, "shop/*.csv")

    assert ground.rows(done.outputs["out"]) == [
        {"externalId": "1", "email": "ann@x.org", "firstName": "Ann", "age": 34},
        {"externalId": "2", "email": None, "firstName": "Bo, jr.", "age": None},
    ]
    assert rejected(ground, done) == []
    table = done.outputs["out"].table
    assert table is not None
    assert (table.origin, table.schema) == ("", "")


def test_a_row_that_does_not_fit_is_rejected_and_the_others_are_not(ground: Ground) -> None:
    """With its line, the reason and what it was, in a table and in a file."""
    put(ground, HEADER + "1,a@x,Ann,old\n2,b@x\n3,c@x,Cy,5\n" + f"4,{'x' * 255}@x,D,1\n")

    done = ground.load(OPTIONS, "shop/*.csv")

    assert [row["externalId"] for row in ground.rows(done.outputs["out"])] == ["3"]
    assert rejected(ground, done) == [
        (2, "age: 'old' is no whole number"),
        (3, "2 cells, but the header names 4"),
        (5, "email: 257 characters, but the column has 254"),
    ]
    (copy,) = done.outputs["rejects"].vars["files"]
    text = (ground.folder / "copies" / copy["path"]).read_text()
    assert text.splitlines()[0] == "file,line,reason,raw"
    assert '"1,a@x,Ann,old"' in text
    assert "warning: 3 rows are in the rejects, with line and reason" in ground.journal


# --- bad input ----------------------------------------------------------------------------------


def test_a_row_without_key_is_rejected(ground: Ground) -> None:
    """One key is enough; none is no person."""
    put(ground, HEADER + ",,Ann,1\n,b@x,Bo,2\n  , ,Cy,3\n")

    done = ground.load(OPTIONS, "shop/*.csv")

    assert [row["email"] for row in ground.rows(done.outputs["out"])] == ["b@x"]
    assert rejected(ground, done) == [
        (2, "no key: externalId, email are all empty"),
        (4, "no key: externalId, email are all empty"),
    ]


@pytest.mark.parametrize(
    "name", ["Ann\nBcc: all@x.org", "Ann\r\nBcc: all@x.org", "Ann\x00", "Ann\x0bB", "Ann\u2028B"]
)
def test_a_header_injection_in_a_name_is_rejected(ground: Ground, name: str) -> None:
    """A name may come to stand in the header of a message: it is one line of text."""
    put(ground, HEADER + f'1,a@x,"{name}",1\n2,b@x,Bo,2\n')

    done = ground.load(OPTIONS, "shop/*.csv")

    assert [row["externalId"] for row in ground.rows(done.outputs["out"])] == ["2"]
    ((line, reason),) = rejected(ground, done)
    assert line == 2
    assert reason.startswith("First name: it holds a control character")


def test_duplicate_headers_refuse_the_file(ground: Ground) -> None:
    """Which of the two is meant nobody knows; nothing is taken."""
    put(ground, "crm_id,email,email,age\n1,a@x,b@x,1\n")

    with pytest.raises(NoHeader, match="'email' twice"):
        ground.load({"keys": ["email"]}, "shop/*.csv")
    assert ground.work.names() == []


@pytest.mark.parametrize(
    ("text", "kept", "reason"),
    [
        ("1,a@x,Ann,1\n2,b@x.or", ["1"], "2 cells"),
        ("1,a@x,Ann,1\n2,b@x,Bo,12", ["1"], "breaks off"),
        ('1,a@x,Ann,1\n2,b@x,"Bo', ["1"], "broken CSV"),
    ],
)
def test_of_a_truncated_file_half_a_row_is_not_taken(
    ground: Ground, text: str, kept: list[str], reason: str
) -> None:
    """Within a cell too: 12 may be the beginning of 123."""
    put(ground, HEADER + text)

    done = ground.load(OPTIONS, "shop/*.csv")

    assert [row["externalId"] for row in ground.rows(done.outputs["out"])] == kept
    ((line, why),) = rejected(ground, done)
    assert line == 3
    assert reason in why


def test_a_last_line_without_end_can_be_accepted(ground: Ground) -> None:
    """Where the writer is known to leave it out."""
    put(ground, HEADER + "1,a@x,Ann,1\n2,b@x,Bo,12")
    done = ground.load({**OPTIONS, "cutOff": "accept"}, "shop/*.csv")
    assert len(ground.rows(done.outputs["out"])) == 2


def test_a_truncated_archive_gives_nothing(ground: Ground) -> None:
    """What could still be unpacked is not half applied."""
    whole = gzip.compress((HEADER + "".join(f"{n},{n}@x,N,1\n" for n in range(9_000))).encode())
    put(ground, whole[: len(whole) // 2], "shop/people.csv.gz")

    with pytest.raises(Unreadable, match="breaks off"):
        ground.load(OPTIONS, "shop/*.gz")
    assert ground.work.names() == []

    put(ground, whole, "shop/people.csv.gz")
    done = ground.load(OPTIONS, "shop/*.gz")
    assert len(ground.rows(done.outputs["out"])) == 9_000


def test_a_wrong_encoding_is_found(ground: Ground) -> None:
    """A byte that is no letter rejects its row, an unreadable header or UTF-16 refuses the file.

    Letters that come out wrong are warned of.
    """
    latin = (HEADER + "1,a@x,Zoë,1\n2,b@x,Bo,2\n").encode("latin-1")
    put(ground, latin)
    done = ground.load(OPTIONS, "shop/*.csv")
    assert [row["externalId"] for row in ground.rows(done.outputs["out"])] == ["2"]
    assert rejected(ground, done) == [(2, "not utf-8: a byte stands for no character")]

    told = ground.load({**OPTIONS, "format": {"encoding": "latin-1"}}, "shop/*.csv")
    assert ground.rows(told.outputs["out"])[0]["firstName"] == "Zoë"

    put(ground, (HEADER + "1,a@x,Zoë,1\n").encode("utf-16"))
    with pytest.raises(BadFile, match="utf-16"):
        ground.load(OPTIONS, "shop/*.csv", onlyNew=False)

    put(ground, "größe,email\n1,a@x\n".encode("latin-1"))
    with pytest.raises(NoHeader, match="utf-8"):
        ground.load({"keys": ["email"]}, "shop/*.csv", onlyNew=False)

    put(ground, (HEADER + "1,a@x,Zoë,1\n").encode())
    ground.load({**OPTIONS, "format": {"encoding": "latin-1"}}, "shop/*.csv", onlyNew=False)
    assert any("looks like UTF-8" in line for line in ground.journal)


def test_many_rejects_stop_the_load(ground: Ground) -> None:
    """At the limit it goes on, one over it nothing is taken."""
    put(ground, HEADER + "1,a@x,A,1\n2,b@x,B,no\n3,c@x,C,no\n")

    done = ground.load({**OPTIONS, "rejectsMax": 2}, "shop/*.csv")
    assert done.outputs["rejects"].table.count == 2
    ground.work.drop(ground.work.names())
    with pytest.raises(BadFile, match=r"more than 1 rows are rejected \(line 3: age"):
        ground.load({**OPTIONS, "rejectsMax": 1}, "shop/*.csv")
    assert ground.work.names() == []


def test_the_header_is_held_against_the_columns(ground: Ground) -> None:
    """A missing column refuses the file; one nobody described does where that is asked for."""
    put(ground, "crm_id,email,First name,age,shoe\n1,a@x,Ann,1,40\n")
    assert len(ground.rows(ground.load(OPTIONS, "shop/*.csv").outputs["out"])) == 1
    with pytest.raises(BadFile, match="shoe"):
        ground.load({**OPTIONS, "unknown": "error"}, "shop/*.csv")
    put(ground, "crm_id,mail\n1,a@x\n")
    with pytest.raises(BadFile, match=r"no column 'email'.*crm_id, mail"):
        ground.load(OPTIONS, "shop/*.csv", onlyNew=False)


def test_no_variable_leads_out_of_the_copies(ground: Ground) -> None:
    """Event variables may come from outside: they name copies and nothing else."""
    (ground.folder / "secret.csv").write_text("a\n1\n")
    base = {"name": "x", "source": "x", "size": 1, "modified": 1}
    for path in ("../secret.csv", "/etc/passwd", "wkf7_1_files/../../secret.csv"):
        with pytest.raises(BadPath):
            ground.run("load_file", {}, vars={"files": [{**base, "path": path}]})
    with pytest.raises(NoSuchCopy, match="transfer it again"):
        ground.run("load_file", {}, vars={"files": [{**base, "path": "wkf7_1_files/gone"}]})
    with pytest.raises(BadFile):
        ground.run("load_file", {}, vars={"files": ["/etc/passwd"]})


# --- columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ({"type": "double", "decimal": ","}, "1.234,5", "reject"),
        ({"type": "double", "decimal": ","}, "1234,5", 1234.5),
        ({"type": "double"}, "1e400", "reject"),
        ({"type": "double"}, "nan", "reject"),
        ({"type": "long"}, "12345678901234567890", "reject"),
        ({"type": "boolean"}, "Yes", 1),
        ({"type": "boolean"}, "0", 0),
        ({"type": "boolean"}, "maybe", "reject"),
        ({"type": "date"}, "2017-02-29", "reject"),
        ({"type": "date", "format": "dd.MM.yyyy"}, "30.10.2017", "2017-10-30"),
        ({"type": "date", "format": "dd.MM.yyyy"}, "2017-10-30", "reject"),
        ({"type": "datetime"}, "1970-01-01T01:00:00+01:00", 0),
        ({"type": "long", "onError": "ignore"}, "x", None),
        ({"type": "long", "onError": "default", "default": 7}, "x", 7),
        ({"type": "long", "default": 7}, "", 7),
        ({"nulls": "required"}, "", "reject"),
        ({"nulls": "required", "default": "d"}, "", "d"),
        ({"mapping": {"Frau": "2"}, "type": "long"}, "Frau", 2),
        ({"mapping": {"Frau": "2"}, "unmapped": "reject"}, "Dr", "reject"),
        ({"mapping": {"Frau": "2"}, "unmapped": "default", "default": "0"}, "Dr", "0"),
        ({"case": "first"}, "aNN", "Ann"),
        ({"trim": False}, " a ", " a "),
        ({"length": 2}, "ab", "ab"),
        ({"length": 2}, "abc", "reject"),
    ],
)
def test_a_cell_becomes_a_value(column: dict[str, Any], cell: str, value: Any) -> None:
    """Or its row is rejected, or the value left out, or the default taken: as described."""
    reader = Reader(msgspec.convert({"name": "v", **column}, FileColumn))
    try:
        found = reader.value(cell)
    except WrongCell:
        found = "reject" if reader.column.on_error == "reject" else reader.instead()
    assert found == value


def test_columns_that_cannot_be_are_refused(ground: Ground) -> None:
    """Before anything runs."""
    for column in (
        {"name": "n"},
        {"name": "ID"},
        {"name": "a b"},
        {"name": 'x"; DROP TABLE rows; --'},
        {"name": "a", "type": "long", "default": "x"},
        {"name": "a", "type": "date", "format": "%s"},
        {"name": "a", "type": "date", "format": "today"},
    ):
        with pytest.raises(BadColumn):
            ground.run("load_file", {"columns": [column]})


def test_columns_are_named_after_the_header(ground: Ground) -> None:
    """Where none are described; as names that a condition can use."""
    put(ground, "id,First name,person.name.lastName,2nd\n1,A,B,C\n")

    done = ground.load({}, "shop/*.csv")

    assert ground.rows(done.outputs["out"]) == [
        {"id_": "1", "First_name": "A", "person_name_lastName": "B", "_2nd": "C"}
    ]


def test_json_lines_are_read_by_paths(ground: Ground) -> None:
    """A broken line is rejected, a nested value is found."""
    put(ground, '{"a": {"b": "x"}, "k": 1}\nno json\n{"a": {}, "k": true}\n', "shop/p.jsonl")
    options = {
        "format": {"kind": "jsonLines"},
        "columns": [{"name": "b", "source": "a.b"}, {"name": "k"}],
    }

    done = ground.load(options, "shop/*.jsonl")

    assert ground.rows(done.outputs["out"]) == [{"b": "x", "k": "1"}, {"b": None, "k": "true"}]
    assert [line for line, _ in rejected(ground, done)] == [2]
