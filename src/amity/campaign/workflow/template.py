"""What is a workflow template?

A graph that somebody has thought through, with the few things that differ from place to place as
its configuration. The port of the plug-ins in `templates/`.
"""

from __future__ import annotations

from dataclasses import dataclass

from amity.campaign.workflow.model import Graph
from amity.kernel.registry import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSpec(Spec[Graph]):
    """A template: `make` takes its `config` and answers the graph.

    `config` is a msgspec Struct in camelCase (frozen, `forbid_unknown_fields`); what it holds that
    is a secret belongs into an external account instead. The graph's `name` comes from the config,
    so that a template can be used more than once.
    """

    label: str
