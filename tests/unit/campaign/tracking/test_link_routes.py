"""The links in messages over HTTP: what acts, what never does, and what is durable first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa
from answered import CLICK, PERSONAL, Answered
from fastapi import FastAPI
from routed import Client

from amity.campaign.tracking import link_routes
from amity.campaign.tracking.limits import HITS_PER_HOUR_MAX
from amity.campaign.tracking.model import HITS_TOPIC, hit_of
from amity.kernel.errors import Unavailable
from amity.storage.ports import Entry

PERSON = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
PREFETCHES: list[dict[str, str]] = [
    {},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
    {"X-Purpose": "preview"},
]


@pytest.fixture
def http(answered: Answered) -> Client:
    return Client(answered.app())


def tracked(answered: Answered) -> list[tuple[int, str, bool]]:
    return [
        (one["type"], one["url"], one["machine"]) for one in answered.rows("nms:trackingLogRcp")
    ]


def opted_out(answered: Answered) -> list[str]:
    return [
        name
        for name, id in answered.people.items()
        if answered.row("nms:recipient", id=id)["blackListEmail"]
    ]


def test_clicks_opens_and_mirror_pages_become_rows(answered: Answered, http: Client) -> None:
    """Each way of following a message is a row of its documented type, with its URL and its time."""
    click = http.get(answered.path("r", url=CLICK), headers=PERSON)
    pixel = http.get(answered.path("o", url=1), headers=PERSON)
    page = http.get(answered.path("m"), headers=PERSON)
    answered.settle()

    assert (302, "https://shop.example/coupons") == (click.status_code, click.headers["location"])
    assert (200, "image/gif", b"GIF89a") == (
        pixel.status_code,
        pixel.headers["content-type"],
        pixel.content[:6],
    )
    assert (200, True) == (page.status_code, "Hello Ann" in page.text)
    assert {(1, "https://shop.example/coupons", False), (2, "", False), (6, "", False)} == set(
        tracked(answered)
    )
    for row in answered.rows("nms:trackingLogRcp"):
        assert answered.clock.now_ms() == row["logDate"]
        assert (answered.logs["ann"], answered.delivery, answered.people["ann"]) == (
            row["broadLog_id"],
            row["delivery_id"],
            row["recipient_id"],
        )
        assert row["trackingUrl_id"]


def test_a_personal_link_keeps_its_host(answered: Answered, http: Client) -> None:
    """A link is filled in for its recipient; nothing that is filled in leads to another host."""
    found = http.get(answered.path("r", url=PERSONAL)).headers["location"]
    answered.change("nms:recipient", answered.people["ann"], firstName="@evil.example/\r\nX: y")
    attacked = http.get(answered.path("r", url=PERSONAL))

    assert "https://shop.example/for?who=Ann" == found
    assert attacked.headers.get("location", "https://shop.example/").startswith(
        "https://shop.example/"
    )
    assert "x" not in attacked.headers


@pytest.mark.parametrize(
    "source",
    [
        "javascript:alert(1)",
        "data:text/html,hi",
        "//evil.example/",
        "https://{{ recipient.firstName }}/",
        "https://shop.example{{ recipient.firstName }}/",
        "https://user@shop.example\\@evil.example/",
        "ftp://shop.example/",
    ],
)
def test_no_open_redirect(answered: Answered, http: Client, source: str) -> None:
    """An address that is none of the web, or whose host is not the content's own, leads nowhere."""
    answered.change("nms:recipient", answered.people["ann"], firstName=".evil.example")
    (row,) = answered.rows("nms:trackingUrl", number=CLICK)
    answered.change("nms:trackingUrl", row["id"], source=source)
    for query in ("", "?url=https://evil.example/", "?id=1&p1=//evil.example"):
        answer = http.get(answered.path("r", url=CLICK) + query)

        assert (404, None) == (answer.status_code, answer.headers.get("location"))


def test_a_number_that_the_content_lacks_leads_nowhere(answered: Answered, http: Client) -> None:
    """A genuine link to a URL that is gone is a page, not an error."""
    answer = http.get(answered.path("r", url=99))

    assert (404, "text/html; charset=utf-8") == (
        answer.status_code,
        answer.headers["content-type"],
    )


@pytest.mark.parametrize("kind", ["r", "o", "m", "u"])
def test_tampered_links_do_nothing(answered: Answered, http: Client, kind: str) -> None:
    """A changed character, a token of another kind, nonsense: 404 for each, and nothing in the log."""
    genuine = answered.path(kind, url=CLICK if kind == "r" else 0)
    token = genuine.split("/")[2].removesuffix(".gif")
    suffix = ".gif" if kind == "o" else ""
    others = [
        answered.path(other).split("/")[2].removesuffix(".gif") for other in "romu" if other != kind
    ]
    changed = [
        token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        for at in range(0, len(token), 7)
    ]
    nonsense = [
        "",
        "x",
        token + "A",
        token[:-1],
        token.swapcase(),
        "%00" * 40,
        "é" * 40,
        "a" * 4000,
    ]
    for one in [*others, *changed, *nonsense]:
        for method in ("GET", "HEAD", "POST"):
            answer = http.request(method, f"/{kind}/{one}{suffix}", data=ONE_CLICK)
            assert answer.status_code in {404, 405}, (method, one)
    assert [] == answered.hit_bodies()


@pytest.mark.parametrize("headers", PREFETCHES, ids=str)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_never_unsubscribes(
    answered: Answered, http: Client, method: str, headers: dict[str, str]
) -> None:
    """A GET or HEAD of the page to unsubscribe changes nothing, whatever comes with it."""
    before = answered.snapshot()
    for query in ("", "?List-Unsubscribe=One-Click", "?confirm=yes", "?_method=POST"):
        options: dict[str, Any] = {"data": ONE_CLICK} if query else {}
        answer = http.request(
            method,
            answered.path("u") + query,
            headers={**headers, "X-HTTP-Method-Override": "POST"},
            **options,
        )
        assert 200 == answer.status_code
    answered.settle()

    assert [] == answered.hit_bodies()
    assert before == answered.snapshot()


@pytest.mark.parametrize("kind", ["r", "o", "m"])
def test_a_head_is_no_hit(answered: Answered, http: Client, kind: Any) -> None:
    """A HEAD answers as a GET would, and is not recorded."""
    answer = http.request("HEAD", answered.path(kind, url=CLICK if kind == "r" else 0))

    assert answer.status_code in {200, 302}
    assert [] == answered.hit_bodies()


@pytest.mark.parametrize("shape", ["urlencoded", "multipart"])
def test_one_click_unsubscribes_once(answered: Answered, http: Client, shape: str) -> None:
    """One POST unsubscribes, without cookie or redirect; a hundredth more change nothing more."""
    form: dict[str, Any] = (
        {"data": ONE_CLICK}
        if shape == "urlencoded"
        else {"files": {"List-Unsubscribe": (None, "One-Click")}}
    )
    answers = [http.post(answered.path("u"), **form) for _ in range(3)]
    answered.settle()
    before = answered.snapshot()
    answers.append(http.post(answered.path("u"), **form))
    answered.settle()

    assert {200} == {one.status_code for one in answers}
    assert not any("set-cookie" in one.headers or "location" in one.headers for one in answers)
    assert ["ann"] == opted_out(answered)
    assert [(3, "", False)] == tracked(answered)
    assert before == answered.snapshot()


def test_the_page_unsubscribes_when_confirmed(answered: Answered, http: Client) -> None:
    """The page says who and what, in a form that posts to itself; its button unsubscribes."""
    page = http.get(answered.path("u"))
    done = http.post(answered.path("u"), data={"confirm": "yes"}, headers=PERSON)
    answered.settle()

    assert "a••@example.net" in page.text
    assert "ann@example.net" not in page.text
    assert "Coupons &lt;for&gt; you" in page.text
    assert '<form method="post">' in page.text
    assert "You are unsubscribed" in done.text
    assert ["ann"] == opted_out(answered)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": {"List-Unsubscribe": "No"}},
        {"data": {"confirm": "no"}},
        {"json": ONE_CLICK},
        {"content": b"\xff\x00" * 100, "headers": {"Content-Type": "multipart/form-data"}},
        {"data": {f"a{n}": "b" for n in range(50)}},
    ],
    ids=["empty", "other value", "not confirmed", "JSON", "nonsense", "many fields"],
)
def test_other_posts_change_nothing(answered: Answered, http: Client, body: dict[str, Any]) -> None:
    """A POST that does not say it in one of the two ways is refused."""
    answer = http.post(answered.path("u"), **body)

    assert 400 == answer.status_code
    assert [] == answered.hit_bodies()


def test_a_large_form_is_refused(answered: Answered, http: Client) -> None:
    """A request to unsubscribe holds one word, not a file."""
    answer = http.post(answered.path("u"), data={**ONE_CLICK, "x": "y" * 9_000})

    assert 413 == answer.status_code
    assert [] == answered.hit_bodies()


def test_unsubscribing_leaves_the_service_first(answered: Answered, http: Client) -> None:
    """Of a delivery for a service only that ends, also when asked twice; others are denylisted."""
    answered.subscribe("ann", "news")
    for who in ("ann", "ann", "bob"):
        http.post(answered.path("u", who), data=ONE_CLICK)
        answered.settle()

    assert [] == answered.rows("nms:subscription")
    assert ["bob"] == opted_out(answered)
    assert "The news" in http.get(answered.path("u")).text
    assert "e-mails from us" in http.get(answered.path("u", "bob")).text


def test_proofs_and_seeds_unsubscribe_nobody(answered: Answered, http: Client) -> None:
    """The link in a proof works as a page and opts nobody out."""
    for who in ("seed", "proof"):
        assert 200 == http.post(answered.path("u", who), data=ONE_CLICK).status_code
    answered.settle()

    assert [] == opted_out(answered)


def test_the_hit_is_durable_before_the_answer(answered: Answered) -> None:
    """While the log cannot be written nobody is told that something was recorded."""

    async def full(_: Sequence[Entry]) -> None:
        raise Unavailable("the disk is full")

    app = FastAPI()
    app.include_router(link_routes.router(replace(answered.door, append=full)))
    http = Client(app)
    for method, path, form in (
        ("GET", answered.path("r", url=CLICK), None),
        ("GET", answered.path("o"), None),
        ("POST", answered.path("u"), ONE_CLICK),
    ):
        with pytest.raises(Unavailable):
            http.request(method, path, data=form)


def test_a_click_waits_for_no_writer(answered: Answered, http: Client) -> None:
    """While another transaction writes to the campaign database, links are answered all the same."""
    begun, answers_are_in = Event(), Event()
    in_time: list[bool] = []

    def write() -> None:
        with answered.tables.begin() as connection:
            connection.exec_driver_sql("UPDATE NmsRecipient SET sCity = 'x'")
            begun.set()
            in_time.append(answers_are_in.wait(4))

    writer = Thread(target=write)
    writer.start()
    begun.wait()
    answers = [
        http.get(answered.path("r", url=CLICK)).status_code,
        http.get(answered.path("r", url=PERSONAL)).status_code,
        http.get(answered.path("o")).status_code,
        http.get(answered.path("m")).status_code,
        http.post(answered.path("u"), data=ONE_CLICK).status_code,
    ]
    answers_are_in.set()
    writer.join()

    assert [302, 302, 200, 200, 200] == answers
    assert [True] == in_time


def test_machines_are_set_apart(answered: Answered, http: Client) -> None:
    """Scanners, prefetches and proxies that load unseen are marked; people are not."""
    for headers in (
        PERSON,
        {"User-Agent": "Barracuda Sentinel"},
        {"User-Agent": "Mozilla/5.0"},
        {"User-Agent": ""},
        {**PERSON, "Sec-Purpose": "prefetch"},
    ):
        http.get(answered.path("r", url=CLICK), headers=headers)
    answered.settle()

    assert [False, True, True, True, True] == [machine for _, _, machine in tracked(answered)]


def test_a_flood_is_not_recorded(answered: Answered, http: Client) -> None:
    """Beyond the limit a link still leads on, unrecorded; in the next hour it counts again."""
    for _ in range(HITS_PER_HOUR_MAX + 1):
        assert 302 == http.get(answered.path("r", url=CLICK)).status_code
    first = len(answered.hit_bodies())
    http.get(answered.path("r", "bob", url=CLICK))
    answered.clock.advance_to(answered.clock.now_ms() + 3_600_000)
    http.get(answered.path("r", url=CLICK))

    assert [HITS_PER_HOUR_MAX, HITS_PER_HOUR_MAX + 2] == [first, len(answered.hit_bodies())]


def test_what_a_browser_says_is_bounded(answered: Answered, http: Client) -> None:
    """A user agent is cut and cleaned; of an address only the network is kept."""
    http.get(answered.path("o"), headers={"User-Agent": "x" * 5_000 + "\t"})
    (hit,) = map(hit_of, answered.hit_bodies())

    assert ("x" * 400, "127.0.0.0") == (hit.user_agent, hit.ip)


def test_a_click_proves_that_the_message_arrived(answered: Answered, http: Client) -> None:
    """A message whose sending was interrupted is sent once somebody opens it."""
    answered.change("nms:broadLogRcp", answered.logs["ann"], status=9)
    answered.change("nms:broadLogRcp", answered.logs["bob"], status=2)
    for who in ("ann", "bob"):
        http.get(answered.path("o", who))
    answered.settle()

    assert [1, 2] == [answered.log_of(who)["status"] for who in ("ann", "bob")]


def test_hits_seen_again_change_nothing(answered: Answered, http: Client) -> None:
    """After a crash the sink sees hits again, even after the person has come back."""
    http.post(answered.path("u"), data=ONE_CLICK)
    http.get(answered.path("o"))
    answered.settle()
    answered.recipients.update(answered.people["ann"], {"blackListEmail": False})
    before = answered.snapshot()
    answered.hits.handle(answered.log.poll(HITS_TOPIC, {}, 100), answered.clock.now_ms() + 1)

    assert before == answered.snapshot()


def test_pages_load_nothing_and_tell_nobody(answered: Answered, http: Client) -> None:
    """No script runs, nothing foreign is loaded, no referrer, no index, no cache."""
    mirror, page = http.get(answered.path("m")), http.get(answered.path("u"))

    for one in (mirror, page):
        assert "default-src 'none'" in one.headers["content-security-policy"]
        assert "script-src" not in one.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in one.headers["content-security-policy"]
        assert "no-referrer" == one.headers["referrer-policy"]
        assert one.headers["x-robots-tag"].startswith("noindex")
        assert "no-store" == one.headers["cache-control"]
    assert "sandbox" in mirror.headers["content-security-policy"]
    assert "<script" not in page.text


def test_nobody_is_told_of_an_opt_out_that_cannot_be(answered: Answered, http: Client) -> None:
    """A message whose logs are gone names nobody any more: the page says so, and not that it is done."""
    table = answered.schemas.table("nms:delivery")
    with answered.tables.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.id == answered.delivery))
    for form in (ONE_CLICK, {"confirm": "yes"}):
        answer = http.post(answered.path("u"), data=form)
        assert 404 == answer.status_code
        assert "does not work" in answer.text
    assert answered.appended == []
