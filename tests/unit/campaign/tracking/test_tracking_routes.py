"""The lists of what came back, over HTTP."""

from __future__ import annotations

import pytest
from answered import CLICK, SCOPE, Answered
from fastapi import FastAPI, Request
from routed import Client

from amity.access.principal import Permission, Principal
from amity.app import problems
from amity.campaign.tracking.reports import TrackingReports
from amity.campaign.tracking.routes import router
from amity.flow.failures import Failures, FailuresStage
from amity.flow.runner import Runner
from amity.kernel.errors import Forbidden
from amity.testing.memory import MemoryState


class Gate:
    """Lets in who holds the permission."""

    def __init__(self, *held: str) -> None:
        self.held = frozenset(held)

    def authorize(self, request: Request, permission: Permission) -> Principal:
        if permission not in self.held:
            raise Forbidden
        return Principal(id="t", kind="local", scope=SCOPE, permissions=self.held)


class Lists:
    """The lists of an answered delivery, and what files failed records."""

    def __init__(self, answered: Answered) -> None:
        state = MemoryState()
        self.app = FastAPI()
        problems.install(self.app)
        reports = TrackingReports(
            tables=answered.tables,
            schemas=answered.schemas,
            qualifier=answered.qualifier,
            failures=Failures(state),
            scope=SCOPE,
            clock=answered.clock,
        )
        self.app.include_router(router(reports))
        self.app.state.gate = Gate("view-deliveries", "manage-deliveries")
        self.http = Client(self.app)
        self._runner = Runner([FailuresStage()], log=answered.log, state=state, name="test")
        self._answered = answered

    def settle(self) -> None:
        self._answered.settle()
        while self._runner.run_once(self._answered.clock.now_ms()):
            pass


@pytest.fixture
def lists(answered: Answered) -> Lists:
    made = Lists(answered)
    links = Client(answered.app())
    links.get(answered.path("r", url=CLICK), headers={"User-Agent": "Mozilla/5.0 (X11) Firefox/1"})
    links.get(answered.path("o", "bob"))
    for name in ("postfix_user_unknown", "person_answers"):
        answered.come_back(answered.mail(name))
    made.settle()
    return made


def test_tracking_logs(answered: Answered, lists: Lists) -> None:
    """Hits by delivery, recipient and type, by the names of the enumeration."""
    url = f"/campaign/trackingLogs?deliveryId={answered.delivery}"
    found = lists.http.get(url).json()["items"]
    of_bob = lists.http.get(f"{url}&recipientId={answered.people['bob']}").json()["items"]
    clicks = lists.http.get(f"{url}&type=click").json()["items"]

    assert ["open", "click"] == [one["type"] for one in found]
    assert [answered.logs["bob"]] == [one["broadLogId"] for one in of_bob]
    assert ["https://shop.example/coupons"] == [one["url"] for one in clicks]
    assert "2017-10-30T09:00:00.000Z" == clicks[0]["logDate"]
    assert 422 == lists.http.get(f"{url}&type=nonsense").status_code


def test_delivery_logs(answered: Answered, lists: Lists) -> None:
    """What became of each message, without what the sender keeps for itself."""
    (failed,) = lists.http.get("/campaign/broadLogs?status=failed").json()["items"]
    page = lists.http.get("/campaign/broadLogs?limit=2").json()
    last = lists.http.get(f"/campaign/broadLogs?limit=2&start={page['_page']['next']}").json()

    assert ("ann@example.net", "hard", "userUnknown") == (
        failed["address"],
        failed["failureType"],
        failed["failureReason"],
    )
    assert "claim" not in failed
    assert len({one["id"] for one in [*page["items"], *last["items"]]}) == 4


def test_returned_mails(answered: Answered, lists: Lists) -> None:
    """Each mail is counted by what it was; the refused ones are listed and can be downloaded."""
    found = lists.http.get("/campaign/returns").json()
    (refused,) = lists.http.get("/campaign/returns/failed").json()["items"]
    raw = lists.http.get(f"/campaign/returns/failed/{refused['id']}/raw")

    assert {"bounce": 1, "refused": 1} == found["counts"]
    assert "answer it yourself" in refused["reason"]
    assert answered.mail("person_answers") == raw.content
    assert raw.headers["content-disposition"].startswith("attachment")
    assert 404 == lists.http.get("/campaign/returns/failed/nothing/raw").status_code


def test_qualifications(answered: Answered, lists: Lists) -> None:
    """An operator says what a text means; the next one like it is taken at that."""
    (text,) = lists.http.get("/campaign/qualifications").json()["items"]
    path = f"/campaign/qualifications/{text['id']}"
    changed = lists.http.patch(path, json={"status": "keep", "failureReason": "refused"})
    answered.come_back(answered.mail("postfix_user_unknown", "bob"), "bob")
    answered.settle()

    assert ("keep", "refused") == (changed.json()["status"], changed.json()["failureReason"])
    assert 20 == answered.log_of("bob")["failureReason"]
    for bad in ({}, {"text": "x"}, {"status": "maybe"}, {"count": 1}):
        assert lists.http.patch(path, json=bad).status_code in {400, 422}
    for id, status in (("1", 404), (str(10**25), 400)):
        changed = lists.http.patch(f"/campaign/qualifications/{id}", json={"status": "keep"})
        assert status == changed.status_code


def test_permissions(answered: Answered, lists: Lists) -> None:
    """Who may view may not overrule; who may neither sees nothing."""
    lists.app.state.gate = Gate("view-deliveries")
    assert 403 == lists.http.patch("/campaign/qualifications/1000", json={}).status_code
    lists.app.state.gate = Gate()
    for path in ("trackingLogs", "broadLogs", "returns", "returns/failed", "qualifications"):
        assert 403 == lists.http.get(f"/campaign/{path}").status_code
