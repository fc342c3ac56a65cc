"""What is made from the types, as files of the repository: CRDs, the chart's schema of values, the reference.

``python -m api.generate`` writes them. A test compares them with what is there.
"""

import json
from typing import Final

import yaml

from api.generate.reference import consumer_page, modelroute_page
from overspill_api.chart_values import values_schema
from overspill_api.crd import consumer_crd, modelroute_crd

HEADER: Final = "# Generated from the types in api/src/overspill_api by `make generate`; not edited by hand.\n"

CHART_ANNOTATIONS: Final = """\
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


def as_files() -> dict[str, str]:
    """Texts of the generated files by their path in the repository."""
    return {
        **crd_files(),
        "charts/overspill/values.schema.json": json.dumps(values_schema(), indent=2) + "\n",
        "docs/reference/modelroute.md": modelroute_page(),
        "docs/reference/consumer.md": consumer_page(),
    }


def crd_files() -> dict[str, str]:
    """The CRDs, plain and as templates of the chart."""
    files = {}
    for crd in (modelroute_crd(), consumer_crd()):
        plural = crd["spec"]["names"]["plural"]
        text = yaml.safe_dump(crd, sort_keys=False, width=110, allow_unicode=True)
        name_line = f"  name: {crd['metadata']['name']}\n"
        template = text.replace(name_line, name_line + CHART_ANNOTATIONS, 1)
        files[f"manifests/crds/{plural}.yaml"] = HEADER + text
        files[f"charts/overspill/templates/crds/{plural}.yaml"] = (
            f"{HEADER}{{{{- if .Values.crds.enabled }}}}\n{template}{{{{- end }}}}\n"
        )
    return files
