"""Is what leaves a well-formed, signed message, whatever the recipient's data hold?"""

from __future__ import annotations

import stat
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import dkim as oracle
import msgspec
import pytest
import re2
from campaign_side import CONTENT, START_MS, signing_key
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.campaign.delivery.content import Rendered
from amity.campaign.delivery.dkim import Dkim, load_key, relaxed_body
from amity.campaign.delivery.errors import BadHeader, BadKey
from amity.campaign.delivery.links import LinkSigner
from amity.campaign.delivery.message import ADDRESS_CHARS_MAX, Letter, Outgoing, Writer, checked

SIGNER = LinkSigner(b"k" * 32, "https://t.shop.example")
STRICT = policy.SMTP.clone(raise_on_defect=True)
TEXTS = st.text(
    st.characters(exclude_categories=("Cs",), include_characters="\t \r\n.=?-<>"), max_size=400
)
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=120)


def _writer() -> tuple[Writer, Dkim]:
    dkim = Dkim(signing_key())
    return Writer(SIGNER, bounce_domain="b.shop.example", dkim=dkim), dkim


def _letter(name: str = "Ann", *, marketing: bool = True) -> Letter:
    return Letter(1_234, 1_000, "ann@example.org", START_MS, marketing=marketing, name=name)


def _written(subject: str, html: str, text: str, letter: Letter | None = None) -> Outgoing:
    return _writer()[0].write(letter or _letter(), CONTENT, Rendered(subject, html, text))


def _verified(message: bytes) -> bool:
    record = _writer()[1].record.encode()
    return bool(oracle.verify(message, dnsfunc=lambda name, timeout=5: record))


def _parsed(message: bytes) -> EmailMessage:
    found = BytesParser(_class=EmailMessage, policy=STRICT).parsebytes(message)
    for value in found.values():
        assert not value.defects, (value, value.defects)
    return found


@settings(max_examples=60, deadline=None)
@given(NAMES, NAMES, TEXTS, TEXTS)
def test_signed_and_strictly_parsed(name: str, subject: str, html: str, text: str) -> None:
    """Whatever a message says, the oracle verifies its signature and a strict parser finds no defect."""
    made = _written(subject, f"<p>{html}</p>", text, _letter(name))
    assert _verified(made.body)
    found = _parsed(made.body)
    assert max(map(len, made.body.split(b"\r\n"))) <= 998
    assert b"\n" not in made.body.replace(b"\r\n", b"")
    assert made.body.isascii()
    assert found["To"].addresses[0].addr_spec == "ann@example.org"
    assert len(found["To"].addresses) == 1
    part = found.get_body(("html",))
    assert part is not None
    same = f"<p>{html}</p>".replace("\r\n", "\n").replace("\r", "\n")
    assert part.get_content().replace("\r\n", "\n") == same


@pytest.mark.parametrize(
    "subject", ["Grüße", "a" * 300, "x =?utf-8?b?QQ==?= y", "日本語" * 40, "", "  "]
)
def test_subjects(subject: str) -> None:
    """A subject is read as it was written."""
    assert _parsed(_written(subject, "<p>x</p>", "x").body)["Subject"].strip() == subject.strip()


@pytest.mark.parametrize(
    "name", ["Ann", "O'Hara, Ann", 'A "B" C', "Zoë Müller", "x" * 90, "日本 太郎"]
)
def test_names(name: str) -> None:
    """A display name is read as it was written."""
    found = _parsed(_written("s", "<p>x</p>", "x", _letter(name)).body)
    assert found["To"].addresses[0].display_name == name


@pytest.mark.parametrize(
    "bad", ["\r\nBcc: a@b.example", "\n", "\r", "\0", "\x0b", "\x85", "\u2028"]
)
def test_no_header_by_a_name(bad: str) -> None:
    """A name with a character that could break the line is refused."""
    with pytest.raises(BadHeader, match="control character"):
        _written("s", "<p>x</p>", "x", _letter(f"Ann{bad}"))
    with pytest.raises(BadHeader, match="control character"):
        _written(f"s{bad}", "<p>x</p>", "x")


@pytest.mark.parametrize(
    "address",
    ["", "ann", "a@b", "a b@x.example", "a@x.example\r\n", "a@x.example>", "a@x..example", ".a@x.example",
     "a,b@x.example", "ä@x.example", "a" * 250 + "@x.example", '"a b"@x.example', "a@-x.example"],
)  # fmt: skip
def test_addresses_that_are_none(address: str) -> None:
    """Nothing but a plain address gets into an envelope."""
    with pytest.raises(BadHeader):
        checked(address)


ADDRESS = re2.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)


@pytest.mark.thorough
@settings(max_examples=300)
@given(
    st.one_of(
        st.lists(st.sampled_from(["a", "B9", ".", "@", "-", "+", "\n", " ", "é", "x" * 63, "_", ""])).map("".join),
        st.emails(),
    )
)  # fmt: skip
def test_addresses_are_those_of_the_grammar(address: str) -> None:
    """What goes into an envelope is what the grammar of addresses says, and nothing else."""
    wanted = bool(ADDRESS.fullmatch(address)) and len(address) <= ADDRESS_CHARS_MAX
    try:
        assert checked(address) == address
        found = True
    except BadHeader:
        found = False
    assert found == wanted


def test_one_click_headers_are_signed() -> None:
    """RFC 8058: both headers are there and covered by the signature; changing one breaks it."""
    made = _written("s", "<p>x</p>", "x")
    found = _parsed(made.body)
    assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    token = str(found["List-Unsubscribe"]).split("/u/")[1].split(">")[0]
    assert SIGNER.open("u", token).broadlog == 1_234
    signed = str(found["DKIM-Signature"]).split("h=")[1].split(";")[0].replace(" ", "").split(":")
    assert {"list-unsubscribe", "list-unsubscribe-post", "from", "to", "subject"} <= set(signed)
    assert not _verified(
        made.body.replace(b"https://t.shop.example/u/", b"https://t.evil.example/u/")
    )
    assert not _verified(b"From: evil@x.example\r\n" + made.body)
    assert not _verified(made.body.replace(b"<p>x", b"<p>y"))


def test_transactional_has_no_unsubscription() -> None:
    """Mail that somebody asked for cannot be unsubscribed from."""
    found = _parsed(_written("s", "<p>x</p>", "x", _letter(marketing=False)).body)
    assert found["List-Unsubscribe"] is None


def test_same_message_same_id() -> None:
    """The Message-ID and the envelope sender depend on the delivery log alone."""
    one, two = _written("a", "<p>x</p>", "x"), _written("b", "<p>y</p>", "y")
    assert _parsed(one.body)["Message-ID"] == _parsed(two.body)["Message-ID"]
    assert one.sender == two.sender
    assert SIGNER.open_verp(one.sender.split("@")[0]) == (1_234, 1_000)


@settings(max_examples=200)
@given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b".", b"="]), max_size=30))
def test_canonical_body(parts: list[bytes]) -> None:
    """Our canonical form is the oracle's."""
    from dkim.canonicalization import Relaxed

    body = b"".join(parts) + b"\r\n"
    assert relaxed_body(body) == Relaxed.canonicalize_body(body)


def test_key_file(tmp_path: Path) -> None:
    """A key is made once, readable by its owner alone; what is no key is refused."""
    path = tmp_path / "dkim.pem"
    first = load_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path).private_numbers() == first.private_numbers()
    assert first.key_size == 2048
    path.write_text("rubbish")
    with pytest.raises(BadKey):
        load_key(path)


def test_text_alone() -> None:
    """A content without HTML is one part of text."""
    content = msgspec.structs.replace(CONTENT, reply_to="answers@shop.example")
    made = _writer()[0].write(_letter(), content, Rendered("s", "", "hello"))
    found = _parsed(made.body)
    assert found.get_content_type() == "text/plain"
    assert found["Reply-To"] == "answers@shop.example"
    assert _verified(made.body)
