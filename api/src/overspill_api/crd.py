"""The CustomResourceDefinitions, generated from the API types. ``python -m api.generate`` writes them.

Two things differ from what pydantic's JSON schema says, both for the sake of who reads the API server's answer:

- The API server checks CEL rules only where no field is missing, overlong, of another type, or outside an ``enum``;
  else it names the first kind of mistake only and adds a line ``<nil>: Invalid value: null: some validation rules
  were not checked``. So in specs required fields and fixed values are CEL rules as well, and all mistakes are told at
  once, each with what mends it. The descriptions say "Required." and list the values, for ``kubectl explain``.
- A default stands in the schema where it says something: ``kubectl get -o yaml`` shows what holds, without a
  clutter of empty lists.
"""

from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from overspill_api.consumer import ConsumerSpec
from overspill_api.modelroute import ModelRouteSpec
from overspill_api.names import GROUP, VERSION
from overspill_api.quantities import ConsumerName, RouteName
from overspill_api.rules import CEL_RULES, cel_text
from overspill_api.status import ConsumerStatus, ModelRouteStatus

Schema = dict[str, Any]

COPIED: Final = (
    "type",
    "format",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)
"""Keywords that mean the same in pydantic's JSON schema and in a structural schema."""


def unwrap(text: str) -> str:
    """Join the lines of each paragraph: ``kubectl explain`` wraps by itself."""
    paragraphs = text.replace("``", "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def structural(model: type[BaseModel], *, friendly: bool) -> Schema:
    """Write a type as a structural schema; friendly: required fields and fixed values are CEL rules."""
    document = model.model_json_schema(by_alias=True)
    return _Generator(document.get("$defs", {}), friendly=friendly).schema(document)


class _Generator:
    """Turns pydantic's JSON schema, with its references, into one structural schema."""

    def __init__(self, definitions: dict[str, Schema], *, friendly: bool) -> None:
        self.definitions = definitions
        self.friendly = friendly

    def resolved(self, source: Schema) -> Schema:
        """The schema behind references and ``X | None``; what stands beside them (a field's own words) wins."""
        beside = {key: value for key, value in source.items() if key not in ("$ref", "anyOf", "allOf")}
        for option in [*source.get("anyOf", []), *source.get("allOf", [])]:
            if option.get("type") != "null":
                return {**self.resolved(option), **beside}
        if "$ref" in source:
            return {**self.resolved(self.definitions[source["$ref"].rsplit("/", 1)[1]]), **beside}
        return source

    def schema(self, source: Schema, *, required: bool = False) -> Schema:
        """One field or element."""
        source = self.resolved(source)
        result: Schema = {}
        description = self.description(source, required=required)
        if description:
            result["description"] = description
        result |= {key: source[key] for key in COPIED if key in source}
        rules = list(source.get(CEL_RULES, []))
        if "enum" in source:
            if self.friendly:
                rules.append(one_of(source["enum"]))
            else:
                result["enum"] = source["enum"]
        if "properties" in source:
            rules += self.properties(source, result)
        elif isinstance(source.get("additionalProperties"), dict):
            result["additionalProperties"] = self.schema(source["additionalProperties"])
        if "items" in source:
            result["items"] = self.schema(source["items"])
        if rules:
            result[CEL_RULES] = rules
        default = self.default(source, result)
        if default is not None:
            result["default"] = default
        return result

    def properties(self, source: Schema, result: Schema) -> list[Schema]:
        """The fields of an object, put into the result; gives back the rules about those that are required."""
        required = source.get("required", [])
        result["properties"] = {
            name: self.schema(field, required=name in required) for name, field in source["properties"].items()
        }
        if not required:
            return []
        if not self.friendly:
            result["required"] = required
            return []
        return [missing(name, result["properties"][name]["description"]) for name in required]

    def description(self, source: Schema, *, required: bool) -> str:
        """What ``kubectl explain`` prints of a field."""
        words = [unwrap(source["description"])] if "description" in source else []
        if self.friendly and "enum" in source:
            words.append(f"One of: {', '.join(source['enum'])}.")
        if self.friendly and required:
            words.append("Required.")
        return " ".join(words)

    def default(self, source: Schema, result: Schema) -> Any:
        """The default that the API server fills in; None where there is none or it says nothing."""
        default = source.get("default")
        if isinstance(default, dict):  # of an object: its fields bring their own defaults
            nested = (field.get("default") for field in result.get("properties", {}).values())
            return {} if any(value is not None for value in nested) else None
        if isinstance(default, list):  # of objects: without fields that are not there
            default = [without_nothing(value) if isinstance(value, dict) else value for value in default]
        return default if default != [] else None


def without_nothing(value: dict[str, Any]) -> dict[str, Any]:
    """Leave out the fields that are None: an API server refuses null."""
    return {name: field for name, field in value.items() if field is not None}


def one_of(values: list[str]) -> Schema:
    """Say that a text is one of a few."""
    listed = " or ".join([", ".join(values[:-1]), values[-1]]) if len(values) > 1 else values[0]
    return {
        "rule": f"self in [{', '.join(cel_text(value) for value in values)}]",
        "messageExpression": f"""'"' + self + {cel_text(f'" is not known here; write {listed}')}""",
        "message": f"must be {listed}",
    }


def missing(name: str, description: str) -> Schema:
    """Say that a field must be there, and what it is."""
    meaning = description.split(". ", maxsplit=1)[0].removesuffix(".")
    return {
        "rule": f"has(self.{name})",
        "fieldPath": f".{name}",
        "reason": "FieldValueRequired",
        "message": f"{meaning[0].lower() if meaning[1].islower() else meaning[0]}{meaning[1:]}",
    }


def default_map_keys(schema: Schema) -> None:
    """Give the key of each list-map an empty default, and let the element refuse it.

    Kubernetes wants such keys to be always there; marked required, a missing one would hide all other mistakes.
    A default must itself pass the field's rules, so these move to the element.
    """
    items = schema.get("items", {})
    for key in schema.get("x-kubernetes-list-map-keys", []):
        field = items["properties"][key]
        forms = [
            {
                "rule": f"self.{key} == '' || {rule['rule'].replace('self', f'self.{key}')}",
                "messageExpression": rule["messageExpression"].replace("+ self +", f"+ self.{key} +"),
                "message": rule["message"],
                "fieldPath": f".{key}",
            }
            for rule in field.pop(CEL_RULES, [])
        ]
        there = {**missing(key, field["description"]), "rule": f"self.{key} != ''"}
        others = [rule for rule in items.get(CEL_RULES, []) if rule["rule"] != f"has(self.{key})"]
        items[CEL_RULES] = [there, *forms, *others]
        field["default"] = ""
    for child in [*schema.get("properties", {}).values(), *([items] if items else [])]:
        default_map_keys(child)


def column(name: str, path: str, kind: str = "string", *, wide: bool = False, description: str = "") -> Schema:
    """One column of ``kubectl get``."""
    return {
        "name": name,
        "type": kind,
        "jsonPath": path,
        **({"priority": 1} if wide else {}),
        **({"description": description} if description else {}),
    }


READY: Final = (
    column("Ready", '.status.conditions[?(@.type=="Ready")].status', description="Whether a request will be answered."),
    column("Reason", '.status.conditions[?(@.type=="Ready")].reason', description="Why."),
)
AGE: Final = column("Age", ".metadata.creationTimestamp", "date")


def object_name(form: Any) -> Schema:
    """Write the form that metadata.name must have."""
    schema = TypeAdapter(form).json_schema()
    return {key: schema[key] for key in (*COPIED, CEL_RULES) if key in schema}


def root_schema(description: str, spec: Schema, status: Schema, name: Schema) -> Schema:
    """Put spec and status under the fields that every Kubernetes object has."""
    return {
        "description": description,
        "type": "object",
        "properties": {
            "apiVersion": {"description": "Version of the schema, overspill.dev/v1alpha1.", "type": "string"},
            "kind": {"description": "Kind of the object.", "type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": spec,
            "status": status,
        },
        CEL_RULES: [
            {
                "rule": "has(self.spec)",
                "fieldPath": ".spec",
                "reason": "FieldValueRequired",
                "message": spec["description"][0].lower() + spec["description"][1:].removesuffix("."),
            },
        ],
    }


def definition(names: Schema, schema: Schema, columns: list[Schema], subresources: Schema) -> Schema:
    """Write a CustomResourceDefinition with one version."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "additionalPrinterColumns": columns,
                    "subresources": {"status": {}, **subresources},
                }
            ],
        },
    }


def friendly_spec(model: type[BaseModel]) -> Schema:
    """Write a spec so that all its mistakes are told at once."""
    spec = structural(model, friendly=True)
    default_map_keys(spec)
    return spec


def modelroute_crd() -> Schema:
    """Write the CustomResourceDefinition of ModelRoute."""
    names = {
        "kind": "ModelRoute",
        "listKind": "ModelRouteList",
        "plural": "modelroutes",
        "singular": "modelroute",
        "shortNames": ["mr"],
        "categories": ["all", "overspill"],
    }
    columns = [
        column("Model", ".status.model", description="The name that clients send."),
        *READY,
        column("Replicas", ".status.replicas", "integer", description="Replicas that exist."),
        column("Desired", ".status.desiredReplicas", "integer", description="Replicas that scaling wants."),
        column("Spend", ".status.spend.USD", description="US dollars for hosted APIs."),
        AGE,
        column(
            "Rolled-out",
            '.status.conditions[?(@.type=="RolledOut")].status',
            wide=True,
            description="Whether what serves is what the spec says.",
        ),
        column(
            "Load",
            ".status.loadTime.seconds",
            "number",
            wide=True,
            description="Seconds that a start is expected to take.",
        ),
        column("URL", ".status.url", wide=True),
        column("Served-by", ".status.servedBy", wide=True, description="Share of requests by backend."),
    ]
    scale = {
        "specReplicasPath": ".spec.scaling.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    spec = friendly_spec(ModelRouteSpec)
    # The server itself refuses a negative number where /scale points; once is enough.
    del spec["properties"]["scaling"]["properties"]["replicas"]["minimum"]
    schema = root_schema(
        "One model: where it runs, how it scales, which hosted APIs stand in, and what that may cost.",
        spec,
        structural(ModelRouteStatus, friendly=False),
        object_name(RouteName),
    )
    return definition(names, schema, columns, {"scale": scale})


def consumer_crd() -> Schema:
    """Write the CustomResourceDefinition of Consumer."""
    names = {
        "kind": "Consumer",
        "listKind": "ConsumerList",
        "plural": "consumers",
        "singular": "consumer",
        "shortNames": ["ocs"],
        "categories": ["overspill"],
    }
    columns = [*READY, column("Suspended", ".spec.suspended", "boolean"), AGE]
    schema = root_schema(
        "A caller of the gateway: its API keys (as keyed hashes), the routes it may call, its limits.",
        friendly_spec(ConsumerSpec),
        structural(ConsumerStatus, friendly=False),
        object_name(ConsumerName),
    )
    return definition(names, schema, columns, {})
