"""Objects of Kubernetes as they lie in the API server: JSON, never changed. Not here: those read into types."""

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]
