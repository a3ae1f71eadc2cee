"""File names are made of macros as documented, and always safe."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.exchange.errors import BadFileName
from amity.exchange.names import NameFacts, check_template, file_name
from amity.transports.ports import checked

_FACTS = NameFacts(
    destination="My Shop",
    segment_id="8f9a",
    segment_name="Big/Spenders",
    instance_id="f1",
    instance_name="Flow 1",
    organization="Org",
    sandbox="prod",
    merge_policy_id="m1",
    merge_policy_name="Default",
    custom_text="x",
    at_ms=1_509_325_445_678,
)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("", "My Shop_segment8f9a_20171030010405.csv"),
        (
            "%DESTINATION_NAME%_%SEGMENT_ID%_%DATETIME(YYYYMMdd_HHmmss)%",
            "My Shop_8f9a_20171030_010405.csv",
        ),
        ("%DESTINATION%%SEGMENT_ID%%TIMESTAMP%", "My Shop8f9a1509325445.csv"),
        ("%DESTINATION%-%SEGMENT_ID%-%SEGMENT_NAME%", "My Shop-8f9a-Big_Spenders.csv"),
        (
            "%DESTINATION%.%SEGMENT_ID%.%DESTINATION_INSTANCE_ID%.%DESTINATION_INSTANCE_NAME%",
            "My Shop.8f9a.f1.Flow 1.csv",
        ),
        (
            "%ORGANIZATION_NAME%_%SANDBOX_NAME%_%CUSTOM_TEXT%_%DESTINATION%_%SEGMENT_ID%",
            "Org_prod_x_My Shop_8f9a.csv",
        ),
        (
            "%MERGE_POLICY_ID%_%MERGE_POLICY_NAME%_%DESTINATION%_%SEGMENT_ID%",
            "m1_Default_My Shop_8f9a.csv",
        ),
        ("%DESTINATION%_%SEGMENT_ID%_%DATETIME(dd.MM.yy'T'SSS)%", "My Shop_8f9a_30.10.17T678.csv"),
        ("%DESTINATION%_%SEGMENT_ID%.csv", "My Shop_8f9a.csv"),
    ],
)
def test_each_macro_has_its_value(template: str, name: str) -> None:
    """In UTC; a name that ends in the extension keeps one."""
    assert file_name(template, _FACTS, extension=".csv") == name


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("x_%SEGMENT_ID%", "cannot be left out"),
        ("%DESTINATION%", "cannot be left out"),
        ("%DESTINATION%_%SEGMENT_ID%_%NOPE%", "%NOPE% is no macro"),
        ("%DESTINATION%_%SEGMENT_ID%_%DATETIME(yyyy)%_%TIMESTAMP%", "not both"),
        ("%DESTINATION%_%SEGMENT_ID%_%DATETIME(QQ)%", "no part of a date"),
        ("%DESTINATION%_%SEGMENT_ID%_%DATETIME(yyyy'T)%", "not closed"),
        ("%DESTINATION%_%SEGMENT_ID%_100%", "around a macro"),
        ("../%DESTINATION%_%SEGMENT_ID%", "no file name"),
    ],
)
def test_a_template_that_gives_no_name_is_refused(template: str, reason: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(BadFileName, match=reason):
        check_template(template)


def test_a_name_has_at_most_255_bytes() -> None:
    """255 pass, 256 do not; the number of the part counts."""
    template = "%DESTINATION%%SEGMENT_ID%"
    long = NameFacts(destination="d" * 250, segment_id="s")
    assert len(file_name(template, long, extension=".csv")) == 255
    with pytest.raises(BadFileName, match="257 bytes"):
        file_name(template, long, extension=".csv", part=2)


@settings(max_examples=50)
@given(text=st.text(max_size=20), part=st.integers(1, 3))
def test_whatever_things_are_called_the_name_is_a_safe_path(text: str, part: int) -> None:
    """Names of destinations and audiences are free text."""
    facts = NameFacts(destination=text, segment_id="s", segment_name=text)
    name = file_name(
        "%DESTINATION%_%SEGMENT_ID%_%SEGMENT_NAME%", facts, extension=".csv", part=part
    )

    assert "/" not in name
    assert checked(name) == name
