"""What does the reference page of campaign conditions say?

Made from the functions themselves (docs/reference/conditions.md; a test holds the two equal).
"""

from __future__ import annotations

from amity.expression.xtk.functions import LISTED

_HEAD = """\
# Conditions and expressions of the campaign side

Used by the activities of workflows. `@email` is an attribute of the record or a column of the
population (`[targetData/@email]` and `[target/@email]` say which), `[store/@region]` goes along a link,
`[@store-id]` is a link's own number.

| form | example |
|---|---|
| comparison | `@points >= 10`, `@gender = 'female'`, `@created > #2017-10-30#` |
| there or not | `@email IS NOT NULL`, `@city IS NULL` |
| one of several | `@language IN ('de', 'fr')`, `@points NOT IN (1, 2)` |
| like, between | `@zipCode LIKE '1_2%'`, `@points BETWEEN 1 AND 9` |
| together | `NOT (@a = 1 OR @b = 2) AND @c = 3` |
| records that link here | `EXISTS(nms:trackingLogRcp, @type = 'click' AND @logDate > DaysAgo(30))` |
| lists and services | `InList('gold')`, `Subscribed('newsletter')` |
| calculation | `@points * 2 + 1`, `@firstName + ' ' + @lastName`; `%` is the remainder |
| now | `GetDate()`, `DaysAgo(7)`, `HoursAgo(4)`, `MinutesAgo(5)`, `MonthsAgo(1)`, `DaysOld(@created)`, `YearsOld(@birthDate)` |

A comparison with NULL does not hold, and `NOT` inverts: `NOT (@city = 'Rome')` chooses who has no city
too. Times are UTC. [Why](../adr/0014-campaign-conditions.md).

| function | gives | what |
|---|---|---|
"""


def page() -> str:
    """The page, in Markdown."""
    rows = [
        f"| `{one.signature}` | {one.gives or 'the same'} | {one.summary} |"
        for one in sorted(LISTED, key=lambda one: one.name)
    ]
    return _HEAD + "\n".join(rows) + "\n"
