"""What does a person see who follows a link of a message?

Small pages without scripts, without anything from elsewhere: readable on a telephone, in the dark and
by a screen reader. All that is foreign is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

from amity.campaign.tracking.messages import About

CONFIRM_FIELD, CONFIRM_VALUE = "confirm", "yes"
"""What the page's button sends."""

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2530;--soft:#5b6776;--paper:#fff;--desk:#eef1f5;--line:#d9dfe7;--act:#0b5fbd;--on:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--soft:#a3aebb;--paper:#1b222b;--desk:#11161c;--line:#313b47;--act:#6cb2ff;--on:#0b1420}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;align-items:center;justify-content:center;padding:1.5rem;background:var(--desk);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{width:100%;max-width:30rem;background:var(--paper);border:1px solid var(--line);border-radius:.75rem;padding:2.25rem 2rem;box-shadow:0 .5rem 2rem rgba(16,30,54,.08)}
h1{font-size:1.4rem;line-height:1.25;margin:0 0 .75rem}
p{margin:0 0 1rem}
dl{margin:0 0 1.5rem;padding:.85rem 1rem;border:1px solid var(--line);border-radius:.5rem}
dt{color:var(--soft);font-size:.85rem}
dd{margin:0 0 .5rem;overflow-wrap:anywhere}
dd:last-child{margin:0}
button{appearance:none;border:0;border-radius:.5rem;background:var(--act);color:var(--on);font:inherit;font-weight:600;padding:.75rem 1.25rem;width:100%;cursor:pointer}
button:focus-visible{outline:3px solid var(--ink);outline-offset:2px}
small{display:block;margin-top:1rem;color:var(--soft)}
""".strip()

_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""Content security policy of our own pages."""

MIRROR_POLICY = (
    "default-src 'none'; img-src http: https: data:; style-src 'unsafe-inline' http: https:; "
    "font-src http: https: data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation"
)
"""Of a marketer's page: pictures and styles, no scripts, no forms, no frames."""

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""One transparent point."""


def confirm(about: About) -> str:
    """Asks whether to unsubscribe; its button posts to the page's own address."""
    subject = about.service or "e-mails from us"
    return _page(
        "Unsubscribe?",
        f"<p>You will no longer receive {_strong(subject)}.</p>"
        f"{_facts(about)}"
        '<form method="post">'
        f'<input type="hidden" name="{CONFIRM_FIELD}" value="{CONFIRM_VALUE}">'
        "<button>Unsubscribe</button></form>"
        "<small>Nothing changes until you press the button. Close this page to stay subscribed.</small>",
    )


def done() -> str:
    """Says that the person is unsubscribed."""
    return _page(
        "You are unsubscribed",
        "<p>Your wish has been recorded and holds from now on. A message that was already on its way "
        "may still arrive.</p><p>You can close this page.</p>",
    )


def not_ours() -> str:
    """Says that a link leads nowhere, without saying why."""
    return _page(
        "This link does not work",
        "<p>It may have been cut off by a mail program, or what it led to is no longer there.</p>"
        "<p>Open it once more from the message itself, or copy it whole.</p>",
    )


def not_confirmed() -> str:
    """Says that nothing was changed."""
    return _page(
        "Nothing was changed",
        "<p>The request did not say what to do. Open the link in your message and press the button on "
        "the page.</p>",
    )


def _facts(about: About) -> str:
    facts = [("Address", about.address), ("Message", about.delivery)]
    shown = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts if value)
    return f"<dl>{shown}</dl>"


def _strong(text: str) -> str:
    return f"<strong>{escape(text)}</strong>"


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="robots" content="noindex,nofollow">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{title}</h1>{body}</main></body></html>"
    )
