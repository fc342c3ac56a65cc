"""The reference pages of the API, made from the same schemas as the CRDs."""

import re
from collections.abc import Iterator
from typing import Any

from overspill_api.crd import consumer_crd, modelroute_crd
from overspill_api.rules import CEL_RULES

Schema = dict[str, Any]

PRESENCE = re.compile(r"has\(self\.\w+\)|self\.\w+ != ''")
"""Rules that only ask for a field: the table says "Required." of it."""

REFUSAL = "A field that is unknown, missing or of a wrong form is refused, all of them at once, with what mends each."


def modelroute_page() -> str:
    """Write docs/reference/modelroute.md."""
    return page(modelroute_crd(), "Samples: [manifests/samples](../../manifests/samples).")


def consumer_page() -> str:
    """Write docs/reference/consumer.md."""
    return page(consumer_crd(), "`overspill keys create NAME` makes one, with a key.")


def page(crd: Schema, pointer: str) -> str:
    """Write the page of one kind."""
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    kind = f"`{crd['spec']['group']}/{version['name']}`, namespaced, short name `{names['shortNames'][0]}`."
    lines = [
        f"# {names['kind']}",
        "",
        "<!-- Generated from the types in api/src/overspill_api by `make generate`; not edited by hand. -->",
        "",
        f"{kind} {root['description']} {pointer}",
        "",
        f"The same from the cluster: `kubectl explain {names['singular']}.spec --recursive`. {REFUSAL}",
        "",
    ]
    for part in ("spec", "status"):
        lines += [f"## {part}", "", root["properties"][part]["description"], ""]
        lines += rules(root["properties"][part])
        lines += ["| field | type | what |", "|---|---|---|"]
        lines += [row(path, field) for path, field in fields(root["properties"][part], "")]
        lines.append("")
    return "\n".join(lines)


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """All fields below an object, with their paths, in the order in which they are written."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, field
        if field["type"] == "array":
            yield from fields(field["items"], f"{here}[]")
        else:
            yield from fields(field, here)


def row(path: str, field: Schema) -> str:
    """One line of the table."""
    what = field.get("description", "").replace("|", "\\|").replace("\n\n", "<br>")
    return f"| `{path}` | {type_of(field)} | {what} |"


def type_of(field: Schema) -> str:
    """The type in words, with its bounds."""
    kind = field["type"]
    if kind == "array":
        bound = f", at most {field['maxItems']}" if "maxItems" in field else ""
        return f"list of {type_of(field['items'])}{bound}"
    if kind == "integer":
        low, high = field.get("minimum"), field.get("maximum")
        if low is not None and high is not None:
            return f"integer, {low} to {high}"
        return f"integer, from {low}" if low is not None else "integer"
    if field.get("format") == "date-time":
        return "time"
    return str(kind)


def rules(schema: Schema) -> list[str]:
    """What must hold between fields, as a list; only rules that are about more than a missing field."""
    messages = [
        f"- {path or 'spec'}: {rule['message']}"
        for path, rule in rules_below(schema, "")
        if "messageExpression" not in rule and not PRESENCE.fullmatch(rule["rule"])
    ]
    return ["What is refused besides values of a wrong form:", "", *messages, ""] if messages else []


def rules_below(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """All rules of an object and of what is below it, with the path of the field that they blame."""
    for rule in schema.get(CEL_RULES, []):
        blamed = rule.get("fieldPath", "").removeprefix(".")
        yield "`" + ".".join(part for part in (path, blamed) if part) + "`" if path or blamed else "", rule
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        is_list = field["type"] == "array"
        yield from rules_below(field["items"] if is_list else field, f"{here}[]" if is_list else here)
