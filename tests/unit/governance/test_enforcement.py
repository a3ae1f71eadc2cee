"""Governance: what is refused, what is held back, and what is said."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from governed import SCOPE, Shop, activation, audience, shop, source

from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.ids import RandomIds
from amity.kernel.scope import Scope
from amity.platform.governance.book import PolicyBook
from amity.platform.governance.errors import LabelsViolation, ViolationsError
from amity.platform.governance.evaluation import explain
from amity.platform.governance.lineage import trace
from amity.platform.governance.policies import Policy, parse_expression
from amity.platform.governance.service import Governance
from amity.testing.memory import MemoryDocuments

EMAIL = "corepolicy_0003"


def governed(estate: Shop, *enabled: str) -> tuple[Governance, PolicyBook]:
    clock = VirtualBusinessClock(0)
    book = PolicyBook(documents=MemoryDocuments(clock), ids=RandomIds(), clock=clock)
    book.save_core(SCOPE, list(enabled))
    return Governance(book=book, estate=estate, activations=estate), book


def test_refusal_names_everything() -> None:
    """Field, label, policy, marketing action, way and remedy stand in the text (golden)."""
    estate = shop()
    estate.all_sources["customers"] = source(
        "customers",
        fields={"income": "C5", "personalEmail": "C4", "birthDate": "C4"},
        identities={"Email": "personalEmail.address"},
    )
    estate.all_sources["orders"] = source("orders", labels="C4")
    governance, _ = governed(estate, EMAIL)

    (found,) = governance.verify(SCOPE, activation(namespaces="Email"))

    expected = Path(__file__).with_name("refusal.txt").read_text()
    assert expected == explain(found) + "\n"


def test_a_field_counts_only_where_it_is_used() -> None:
    """A label on a field that is neither read nor mapped holds nothing back; a dataset's does."""
    estate = shop()
    estate.all_sources["customers"] = source("customers", fields={"birthDate": "C4"})
    governance, _ = governed(estate, EMAIL)
    assert governance.verify(SCOPE, activation()) == ()

    estate.all_sources["customers"] = source("customers", labels="C4")
    assert len(governance.verify(SCOPE, activation())) == 1


@pytest.mark.parametrize(
    ("labelled", "mapped", "held"),
    [
        ("person.name", "person.name.firstName", True),
        ("person.name.firstName", "person.name", True),
        ("person.name.lastName", "person.name.firstName", False),
        ("person", "personalEmail.address", False),
    ],
)
def test_labels_on_objects_and_parts(labelled: str, mapped: str, held: bool) -> None:
    """A label on an object covers its parts; mapping an object takes its labelled parts along."""
    estate = shop()
    estate.all_sources["customers"] = source("customers", fields={labelled: "C4"})
    governance, _ = governed(estate, EMAIL)

    assert held is bool(governance.verify(SCOPE, activation(fields=mapped)))


def test_flow_change_is_refused_unless_it_violated_before() -> None:
    """A new violation is a 409 in the documented form; a repair of a held-back flow is not."""
    estate = shop()
    estate.all_sources["customers"] = source("customers", labels="C4")
    governance, _ = governed(estate, EMAIL)
    wanted = activation()

    with pytest.raises(ViolationsError) as refused:
        governance.check_activations(SCOPE, [wanted])
    governance.check_activations(SCOPE, [wanted], before=[wanted])

    (violation,) = refused.value.data["violations"]
    assert refused.value.data["title"] == "Violations Error"
    assert violation["enforcementRef"] == (
        "/dulepolicy/marketingActions/core/emailTargeting/constraints"
    )
    assert violation["entities"][0]["flattenedLabels"] == ["C4"]
    assert violation["violatedPolicies"][0]["id"] == EMAIL


def test_no_action_no_policy() -> None:
    """A destination without a marketing action is not governed; another action neither."""
    estate = shop()
    estate.all_sources["customers"] = source("customers", labels="C4")
    governance, _ = governed(estate, EMAIL)

    assert governance.verify(SCOPE, activation(actions="")) == ()
    assert governance.verify(SCOPE, activation(actions="core/dataScience")) == ()


def test_dataset_labels_are_refused_under_a_running_activation() -> None:
    """Labelling a dataset that feeds a running activation is PES-409, nothing said otherwise."""
    estate = shop()
    governance, _ = governed(estate, EMAIL)
    governance.check_labels(SCOPE, "orders", ["C4"])
    estate.activations.append(activation())

    with pytest.raises(LabelsViolation) as refused:
        governance.check_labels(SCOPE, "orders", ["C4"])
    governance.check_labels(SCOPE, "AEP:dataset:orders", ["C2"])

    assert (refused.value.data["code"], refused.value.data["count"]) == ("PES-409", 1)


def test_policies_and_rules_are_refused_under_a_running_activation() -> None:
    """Enabling a policy, or reading a labelled field in the rule, is refused the same way."""
    estate = shop()
    estate.all_sources["customers"] = source("customers", fields={"birthDate": "C4"})
    governance, book = governed(estate)
    estate.activations.append(activation())
    governance.check_audience(SCOPE, audience(fields="birthDate"))
    book.save_core(SCOPE, [EMAIL])

    with pytest.raises(ViolationsError):
        governance.check_audience(SCOPE, audience(fields="birthDate"))

    estate.audiences["rich"] = audience(fields="birthDate")
    book.save_core(SCOPE, [])
    with pytest.raises(ViolationsError):
        governance.check_policies(SCOPE, book.with_core(SCOPE, [EMAIL]))


def test_and_policies_look_inside_one_audience() -> None:
    """C1 in one audience and C2 in another do not trip `C1 AND C2`."""
    both = Policy(
        id="p",
        name="both",
        status="ENABLED",
        actions=("core/emailTargeting",),
        deny=parse_expression({"operator": "AND", "operands": [{"label": "C1"}, {"label": "C2"}]}),
    )
    estate = shop()
    estate.all_sources["customers"] = source("customers", fields={"income": "C1", "age": "C2"})
    estate.audiences["old"] = audience("old", fields="age")
    estate.activations = [activation("rich"), activation("old")]
    governance, _ = governed(estate)
    governance.check_policies(SCOPE, [both])

    estate.audiences["old"] = audience("old", fields="age income")
    with pytest.raises(ViolationsError):
        governance.check_policies(SCOPE, [both])


def test_drafts_and_disabled_policies_do_not_bite() -> None:
    """Only ENABLED policies are enforced; leaving a core one out of the list makes it a draft."""
    estate = shop()
    estate.all_sources["customers"] = source("customers", labels="C4")
    governance, book = governed(estate, EMAIL)
    assert governance.verify(SCOPE, activation())

    book.save_core(SCOPE, ["corepolicy_0001"])

    assert governance.verify(SCOPE, activation()) == ()
    assert book.policy(SCOPE, EMAIL, core=True).status == "DRAFT"


def test_stitched_audiences_carry_c10() -> None:
    """An audience whose merge policy uses the private graph carries C10 by itself."""
    lineage = trace(activation(), audience(stitched=True), [])

    assert {"C10"} == lineage.labels


def test_sandboxes_do_not_touch() -> None:
    """The same ids in another sandbox are other things."""
    estate = shop()
    estate.all_sources["customers"] = source("customers", labels="C4")
    governance, book = governed(estate, EMAIL)
    other = Scope(SCOPE.org, "dev")

    assert book.enabled_core(other) == []
    assert governance.verify(other, activation()) == ()


def test_purposes_of_actions() -> None:
    """Email Targeting asks for the e-mail consent; Analytics for none."""
    governance, _ = governed(shop())

    assert governance.purposes(SCOPE, ["core/emailTargeting", "core/analytics", "custom/gone"]) == (
        "marketing.email",
    )
    assert msgspec.to_builtins(activation())["flow"] == "flow1"


def test_an_audience_is_changed_through_the_one_it_asks_for() -> None:
    """Editing a rule that an activated audience asks for by `inSegment` is refused as well."""
    estate = shop()
    estate.all_sources["customers"] = source("customers", fields={"birthDate": "C4"})
    estate.audiences["rich"] = msgspec.structs.replace(audience(), asks=frozenset({"inner"}))
    estate.activations.append(activation())
    governance, _ = governed(estate, EMAIL)
    governance.check_audience(SCOPE, audience("inner", fields="income"))

    with pytest.raises(ViolationsError):
        governance.check_audience(SCOPE, audience("inner", fields="birthDate"))
