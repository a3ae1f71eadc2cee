"""Which tables does every campaign database have?

Names, columns and numbers are those of the followed system. Behaviour: campaign.md §1.1, §1.2, §1.7,
§1.9, §1.10. In code a column goes by its attribute's name: ``recipient.c.email``; a link's column is
``recipient-id`` in a schema and ``recipient_id`` in code.
"""

from __future__ import annotations

from amity.campaign.recipients.model import (
    Attribute,
    Enumeration,
    Key,
    Link,
    Schema,
    Value,
)


def _enum(name: str, *values: tuple[str, int, str], default: str = "") -> Enumeration:
    made = tuple(Value(name=key, value=number, label=label) for key, number, label in values)
    return Enumeration(name=name, values=made, default=default)


_TIMES = (
    Attribute(name="created", type="datetime", label="Created"),
    Attribute(name="lastModified", type="datetime", label="Last modified"),
)

GENDER = _enum("gender", ("unknown", 0, "Unknown"), ("male", 1, "Male"), ("female", 2, "Female"))
EMAIL_FORMAT = _enum(
    "emailFormat", ("unknown", 0, "Unknown"), ("text", 1, "Text"), ("html", 2, "HTML")
)
CHANNEL = _enum(
    "messageType",
    ("email", 0, "E-mail"),
    ("sms", 1, "SMS"),
    ("phone", 2, "Telephone"),
    ("paper", 3, "Direct mail"),
    ("mobile", 40, "Mobile application"),
    ("other", 120, "Other"),
)
DELIVERY_STATE = _enum(
    "state",
    ("edition", 0, "Being edited"),
    ("targeting", 11, "Targeting pending"),
    ("ready", 45, "Ready to be delivered"),
    ("start_pending", 51, "Start pending"),
    ("started", 55, "In progress"),
    ("retry_pending", 61, "Retry pending"),
    ("paused", 75, "Paused"),
    ("stopped", 85, "Stopped"),
    ("failed", 87, "Failed"),
    ("finished", 95, "Finished"),
)
LOG_STATUS = _enum(
    "status",
    ("ignored", 0, "Ignored"),
    ("sent", 1, "Sent"),
    ("failed", 2, "Failed"),
    ("taken", 3, "Taken into account by the service provider"),
    ("received", 4, "Received on mobile"),
    ("sending", 5, "Sent to the service provider"),
    ("pending", 6, "Pending"),
    ("cancelled", 7, "Delivery cancelled"),
    ("prepared", 8, "Prepared"),
    ("unknown", 9, "Not known: interrupted while it was sent"),
)
FAILURE_TYPE = _enum(
    "failureType", ("none", 0, "Not defined"), ("soft", 1, "Soft"), ("hard", 2, "Hard"),
    ("ignored", 3, "Ignored"),
)  # fmt: skip
FAILURE_REASON = _enum(
    "failureReason",
    ("undefined", 0, "Undefined"),
    ("userUnknown", 1, "User unknown"),
    ("invalidDomain", 2, "Invalid domain"),
    ("unreachable", 3, "Unreachable"),
    ("accountDisabled", 4, "Account disabled"),
    ("mailboxFull", 5, "Mailbox full"),
    ("notConnected", 6, "Not connected"),
    ("addressNotSpecified", 7, "Address not specified"),
    ("denylisted", 8, "Denylisted"),
    ("quarantine", 9, "In quarantine"),
    ("duplicate", 10, "Double"),
    ("sqlRule", 11, "Excluded by a rule"),
    ("arbitration", 12, "Excluded after arbitration"),
    ("badQuality", 14, "Bad-quality address"),
    ("unqualified", 15, "Unqualified address"),
    ("notEligible", 16, "Not eligible for offers"),
    ("limited", 17, "Target limited in size"),
    ("refused", 20, "Refused"),
    ("errorIgnored", 25, "Error ignored"),
    ("control", 127, "Control address"),
)
ADDRESS_STATUS = _enum(
    "status", ("errors", 1, "With errors"), ("valid", 2, "Valid"), ("quarantine", 3, "Quarantine"),
    ("denylisted", 4, "Denylisted"),
)  # fmt: skip
URL_TYPE = _enum(
    "type",
    ("click", 1, "E-mail click"),
    ("open", 2, "Open"),
    ("optOut", 3, "Opt-out"),
    ("web", 4, "Web"),
    ("transaction", 5, "Transaction"),
    ("mirror", 6, "Mirror page"),
)

RECIPIENT = Schema(
    namespace="nms",
    name="recipient",
    label="Recipients",
    enumerations=(GENDER, EMAIL_FORMAT),
    attributes=(
        Attribute(name="externalId", length=128, label="External id (CRM)"),
        Attribute(name="email", length=254, policy="email", label="E-mail"),
        Attribute(name="firstName", length=100, policy="smartCase", label="First name"),
        Attribute(name="lastName", length=100, policy="smartCase", label="Last name"),
        Attribute(name="middleName", length=100, label="Middle name"),
        Attribute(name="salutation", length=20, label="Title"),
        Attribute(name="gender", type="byte", enum="gender", default=0, label="Gender"),
        Attribute(name="birthDate", type="date", label="Birth date"),
        Attribute(name="phone", length=32, policy="phone", label="Phone"),
        Attribute(name="mobilePhone", length=32, policy="phone", label="Mobile"),
        Attribute(name="language", length=16, label="Language"),
        Attribute(name="timeZone", length=64, label="Time zone"),
        Attribute(name="countryCode", length=2, label="Country"),
        Attribute(name="address1", label="Address 1"),
        Attribute(name="address2", label="Address 2"),
        Attribute(name="zipCode", length=20, label="Postcode"),
        Attribute(name="city", length=100, label="City"),
        Attribute(name="emailFormat", type="byte", enum="emailFormat", default=0),
        Attribute(name="blackList", type="boolean", default=0, label="No longer contact"),
        Attribute(name="blackListEmail", type="boolean", default=0),
        Attribute(name="blackListMobile", type="boolean", default=0),
        Attribute(name="blackListPhone", type="boolean", default=0),
        Attribute(name="blackListPostalMail", type="boolean", default=0),
        Attribute(name="blackListPushnotification", type="boolean", default=0),
        Attribute(name="origin", length=100, label="Who created it"),
        *_TIMES,
    ),
    keys=(Key(name="externalId", fields=("externalId",), allow_empty=True),),
    indexes=(("email",), ("lastModified",)),
)

GROUP = Schema(
    namespace="nms",
    name="group",
    label="Lists",
    attributes=(
        Attribute(name="name", length=100, required=True),
        Attribute(name="label"),
        *_TIMES,
    ),
    keys=(Key(name="name", fields=("name",)),),
)

RCP_GRP_REL = Schema(
    namespace="nms",
    name="rcpGrpRel",
    label="Members of lists",
    autopk=False,
    attributes=(Attribute(name="created", type="datetime"),),
    links=(
        Link(name="group", target="nms:group", integrity="own"),
        Link(name="recipient", target="nms:recipient", integrity="own"),
    ),
    keys=(Key(name="primary", fields=("group-id", "recipient-id")),),
)

SERVICE = Schema(
    namespace="nms",
    name="service",
    label="Services",
    enumerations=(CHANNEL,),
    attributes=(
        Attribute(name="name", length=100, required=True),
        Attribute(name="label"),
        Attribute(name="messageType", type="byte", enum="messageType", default=0),
        Attribute(name="validityDays", type="long", default=0, label="0: unlimited"),
        *_TIMES,
    ),
    keys=(Key(name="name", fields=("name",)),),
)

SUBSCRIPTION = Schema(
    namespace="nms",
    name="subscription",
    label="Subscriptions",
    autopk=False,
    attributes=(
        Attribute(name="created", type="datetime"),
        Attribute(name="expiration", type="datetime", label="0: never"),
    ),
    links=(
        Link(name="service", target="nms:service", integrity="own"),
        Link(name="recipient", target="nms:recipient", integrity="own"),
    ),
    keys=(Key(name="primary", fields=("service-id", "recipient-id")),),
)

SUB_HISTO = Schema(
    namespace="nms",
    name="subHisto",
    label="History of subscriptions",
    kind="log",
    enumerations=(
        _enum(
            "action", ("unsubscription", 0, "Unsubscription"), ("subscription", 1, "Subscription")
        ),
    ),
    attributes=(
        Attribute(name="action", type="byte", enum="action"),
        Attribute(name="date", type="datetime"),
        Attribute(name="origin", length=100),
    ),
    links=(
        Link(name="service", target="nms:service", integrity="own"),
        Link(name="recipient", target="nms:recipient", integrity="own"),
    ),
    indexes=(("date",),),
)

ADDRESS = Schema(
    namespace="nms",
    name="address",
    label="Non-deliverables and addresses",
    kind="log",
    enumerations=(CHANNEL, ADDRESS_STATUS, FAILURE_REASON),
    attributes=(
        Attribute(name="address", length=254, required=True, label="Normalised address"),
        Attribute(name="channel", type="byte", enum="messageType", default=0),
        Attribute(name="status", type="byte", enum="status", default=2),
        Attribute(name="failureReason", type="byte", enum="failureReason", default=0),
        Attribute(name="failureText", type="memo"),
        Attribute(name="errorCount", type="long", default=0),
        Attribute(name="firstError", type="datetime"),
        Attribute(name="lastError", type="datetime"),
        Attribute(name="deliveryId", type="long", default=0, label="Last delivery"),
        Attribute(name="domain", length=254),
        *_TIMES,
    ),
    keys=(Key(name="address", fields=("channel", "address")),),
    indexes=(("lastModified",),),
)

DELIVERY = Schema(
    namespace="nms",
    name="delivery",
    label="Deliveries",
    enumerations=(CHANNEL, DELIVERY_STATE),
    attributes=(
        Attribute(name="internalName", length=100, required=True),
        Attribute(name="label"),
        Attribute(name="messageType", type="byte", enum="messageType", default=0),
        Attribute(name="state", type="byte", enum="state", default=0),
        Attribute(name="isModel", type="boolean", default=0, label="A template"),
        Attribute(name="proof", type="boolean", default=0),
        Attribute(name="proofOfId", type="long", default=0),
        Attribute(name="transactional", type="boolean", default=0),
        Attribute(name="serviceId", type="long", default=0, label="Service it is sent for"),
        Attribute(name="campaignName", length=100),
        Attribute(name="workflowId", type="long", default=0),
        Attribute(name="content", type="memo", label="JSON: sender, subject, html, text, …"),
        Attribute(name="report", type="memo", label="JSON: what the analysis found"),
        Attribute(name="toDeliver", type="long", default=0),
        Attribute(name="analysed", type="datetime"),
        Attribute(name="contactDate", type="datetime"),
        Attribute(name="validUntil", type="datetime"),
        Attribute(name="ended", type="datetime"),
        *_TIMES,
    ),
    keys=(Key(name="internalName", fields=("internalName",)),),
    indexes=(("state",),),
)

BROAD_LOG = Schema(
    namespace="nms",
    name="broadLogRcp",
    label="Delivery logs",
    kind="log",
    enumerations=(CHANNEL, LOG_STATUS, FAILURE_TYPE, FAILURE_REASON),
    attributes=(
        Attribute(name="address", length=254),
        Attribute(name="channel", type="byte", enum="messageType", default=0),
        Attribute(name="status", type="byte", enum="status", default=6),
        Attribute(name="failureType", type="byte", enum="failureType", default=0),
        Attribute(name="failureReason", type="byte", enum="failureReason", default=0),
        Attribute(name="failureText", type="memo"),
        Attribute(name="msgId", type="long", default=0, label="Qualification (nms:broadLogMsg)"),
        Attribute(name="segmentCode", length=64),
        Attribute(name="seed", type="boolean", default=0),
        Attribute(name="proof", type="boolean", default=0),
        Attribute(name="control", type="boolean", default=0),
        Attribute(name="data", type="memo", label="JSON: personalisation columns of the target"),
        Attribute(name="tries", type="long", default=0),
        Attribute(name="retryAt", type="datetime", default=0),
        Attribute(name="claim", length=40, label="Who sends it now"),
        Attribute(name="eventDate", type="datetime"),
        Attribute(name="lastModified", type="datetime"),
    ),
    links=(
        Link(name="delivery", target="nms:delivery", integrity="own"),
        Link(name="recipient", target="nms:recipient"),
    ),
    keys=(Key(name="message", fields=("delivery-id", "recipient-id", "address")),),
    indexes=(("lastModified",), ("delivery-id", "status"), ("recipient-id",)),
)

BROAD_LOG_MSG = Schema(
    namespace="nms",
    name="broadLogMsg",
    label="Delivery log qualification",
    enumerations=(
        FAILURE_TYPE,
        FAILURE_REASON,
        _enum(
            "status", ("toQualify", 0, "To qualify"), ("keep", 1, "Keep"), ("ignore", 2, "Ignore")
        ),
    ),
    attributes=(
        Attribute(name="firstText", type="memo"),
        Attribute(name="text", length=400, required=True, label="Normalised"),
        Attribute(name="count", type="long", default=0),
        Attribute(name="status", type="byte", enum="status", default=0),
        Attribute(name="failureType", type="byte", enum="failureType", default=0),
        Attribute(name="failureReason", type="byte", enum="failureReason", default=0),
        *_TIMES,
    ),
    keys=(Key(name="text", fields=("text",)),),
)

EXCLUDE_LOG = Schema(
    namespace="nms",
    name="excludeLogRcp",
    label="Exclusion logs",
    kind="log",
    enumerations=(FAILURE_REASON,),
    attributes=(
        Attribute(name="address", length=254),
        Attribute(name="failureReason", type="byte", enum="failureReason"),
        Attribute(name="reasonText", type="memo"),
        Attribute(name="date", type="datetime"),
    ),
    links=(
        Link(name="delivery", target="nms:delivery", integrity="own"),
        Link(name="recipient", target="nms:recipient"),
    ),
    keys=(Key(name="exclusion", fields=("delivery-id", "recipient-id", "address")),),
    indexes=(("recipient-id",),),
)

TRACKING_URL = Schema(
    namespace="nms",
    name="trackingUrl",
    label="Tracked URLs",
    enumerations=(URL_TYPE,),
    attributes=(
        Attribute(name="number", type="long", label="Within the delivery; 1 is the open"),
        Attribute(name="type", type="byte", enum="type", default=1),
        Attribute(name="label"),
        Attribute(name="category", length=100),
        Attribute(name="source", type="memo", label="URL as the content has it, may be Liquid"),
    ),
    links=(Link(name="delivery", target="nms:delivery", integrity="own"),),
    keys=(Key(name="number", fields=("delivery-id", "number")),),
)

TRACKING_LOG = Schema(
    namespace="nms",
    name="trackingLogRcp",
    label="Tracking logs",
    kind="log",
    enumerations=(URL_TYPE,),
    attributes=(
        Attribute(
            name="hit", length=40, required=True, label="Id of the hit: rows are insert-only"
        ),
        Attribute(name="type", type="byte", enum="type"),
        Attribute(name="url", type="memo"),
        Attribute(name="urlCategory", length=100),
        Attribute(name="logDate", type="datetime"),
        Attribute(name="created", type="datetime", label="Written: exports go on from it"),
        Attribute(name="userAgent", length=400),
        Attribute(name="ip", length=45),
        Attribute(name="machine", type="boolean", default=0, label="A machine, not a person"),
    ),
    links=(
        Link(name="broadLog", target="nms:broadLogRcp", integrity="own"),
        Link(name="delivery", target="nms:delivery", integrity="own"),
        Link(name="recipient", target="nms:recipient"),
        Link(name="trackingUrl", target="nms:trackingUrl"),
    ),
    keys=(Key(name="hit", fields=("hit",)),),
    indexes=(("logDate",), ("created",), ("broadLog-id",)),
)

SEED = Schema(
    namespace="nms",
    name="seedMember",
    label="Seed addresses",
    attributes=(
        Attribute(name="email", length=254, required=True, policy="email"),
        Attribute(name="firstName", length=100),
        Attribute(name="lastName", length=100),
        Attribute(name="label"),
        *_TIMES,
    ),
    keys=(Key(name="email", fields=("email",)),),
)

BUILTIN = (
    RECIPIENT,
    GROUP,
    RCP_GRP_REL,
    SERVICE,
    SUBSCRIPTION,
    SUB_HISTO,
    ADDRESS,
    DELIVERY,
    BROAD_LOG,
    BROAD_LOG_MSG,
    EXCLUDE_LOG,
    TRACKING_URL,
    TRACKING_LOG,
    SEED,
)
"""In an order in which links point back."""
