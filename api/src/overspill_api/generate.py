"""What is made from the types, as files of the repository: CRDs, the chart's schema of values, the reference.

``python -m overspill_api.crd`` writes them, here only. A test compares them with what is there.
"""

import json
import sys
from pathlib import Path
from typing import Final

from overspill_api.chart_values import values_schema
from overspill_api.crd import consumer_crd, modelroute_crd
from overspill_api.reference import consumer_page, modelroute_page

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
    import yaml  # noqa: PLC0415  a development dependency; the processes that import the types go without

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


def main() -> int:
    """Write the files below the folder given, by default the present one."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for path, text in as_files().items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        sys.stdout.write(f"{path}\n")
    return 0
