"""What does the demo write to people?"""

from __future__ import annotations

from typing import Any

FROM = "news@shop.example.test"

_HTML = """\
<!doctype html>
<html lang="en">
<body>
<p>Dear {{ recipient.firstName }} {{ recipient.lastName }},</p>
<p>from 30 October to 24 December we have a coupon for something you like:
{{ targetData.product | downcase }}.</p>
<p><a href="https://shop.example.test/coupons/{{ targetData.couponUpc }}">Get the coupon</a></p>
<p>Your store {{ targetData.storeId }} looks forward to you.</p>
<p><a href="{{ mirrorPageUrl }}">This mail as a page</a> ·
<a href="{{ unsubscribeUrl }}">No more mail from us</a></p>
</body>
</html>
"""


def content(subject: str) -> dict[str, Any]:
    """Sender, subject and body; the text part is made of the page."""
    return {
        "fromAddress": FROM,
        "fromName": "The shop",
        "subject": subject,
        "html": _HTML,
    }
