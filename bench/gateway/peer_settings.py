"""The settings that the other gateways run with. Texts only: nothing here starts anything.

Each is as its makers' documentation has it for throughput, with one worker, connections to the engine kept, and
nothing gathered before it is passed on. Envoy has the set that an LLM gateway needs at least.
"""

import json
import resource
from pathlib import Path
from typing import Any, Final

MODEL: Final = "bench"
CONNECTIONS_MAX: Final = 30000
FILES_BESIDE_STREAMS: Final = 500


def connections_max() -> int:
    """Streams that a gateway can hold: each is two of the files that a process may have open."""
    files: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(CONNECTIONS_MAX, (files - FILES_BESIDE_STREAMS) // 2)


def nginx(port: int, engine: str, folder: Path) -> str:
    """One worker, no access log."""
    temporary = "\n".join(
        f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {4 * connections_max()}; }}
http {{
{temporary}
  access_log off;
  keepalive_requests 1000000000;
  upstream engine {{ server {engine}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


def haproxy(port: int, engine: str) -> str:
    """One thread; without http-no-delay it would merge events."""
    return f"""global
  nbthread 1
  maxconn {connections_max()}
defaults
  mode http
  option http-no-delay
  http-reuse always
  timeout connect 2s
  timeout client 600s
  timeout server 600s
frontend clients
  bind 127.0.0.1:{port} backlog 4096
  default_backend engine
backend engine
  server engine {engine}
"""


def envoy(port: int, engine: str, access_log: Path, key: str | None = None) -> str:
    """Routing by the body's model, retries, circuit breakers, outlier ejection, local rate limit, access log.

    With a key also what an LLM gateway has to do besides: API keys, and the answer's usage in the access log.
    """
    host, _, engine_port = engine.rpartition(":")
    cluster = {
        "name": MODEL,
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": CONNECTIONS_MAX,
                    "max_pending_requests": CONNECTIONS_MAX,
                    "max_requests": CONNECTIONS_MAX,
                    "max_retries": 3,
                }
            ]
        },
        "outlier_detection": {"consecutive_5xx": 5, "interval": "10s", "base_ejection_time": "30s"},
        "load_assignment": {
            "cluster_name": MODEL,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(host, int(engine_port))}}]}],
        },
    }
    listener = {
        "name": "clients",
        "address": _socket("127.0.0.1", port),
        "filter_chains": [{"filters": [_envoy_connection_manager(access_log, key)]}],
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)


def _envoy_connection_manager(access_log: Path, key: str | None) -> dict[str, Any]:
    by_model = {
        "filter": "envoy.lb",
        "path": [{"key": "model"}],
        "value": {"string_match": {"exact": MODEL}},
    }
    route = {
        "match": {"prefix": "/v1/", "dynamic_metadata": [by_model]},
        "route": {
            "cluster": MODEL,
            "timeout": "600s",
            "retry_policy": {"retry_on": "connect-failure,refused-stream,reset,5xx", "num_retries": 2},
        },
    }
    manager = _typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="clients",
        http_filters=_envoy_filters(key),
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        access_log=[
            {
                "name": "file",
                "typed_config": _typed(
                    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    path=str(access_log),
                    log_format={"json_format": _ACCESS_LOG_FIELDS | (_USAGE_LOG_FIELDS if key else {})},
                ),
            }
        ],
    )
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


_ACCESS_LOG_FIELDS: Final = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "upstream": "%UPSTREAM_HOST%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "model": "%DYNAMIC_METADATA(envoy.lb:model)%",
}
_USAGE_LOG_FIELDS: Final = {
    "prompt_tokens": "%DYNAMIC_METADATA(envoy.lb:prompt_tokens)%",
    "completion_tokens": "%DYNAMIC_METADATA(envoy.lb:completion_tokens)%",
}


def _envoy_filters(key: str | None) -> list[dict[str, Any]]:
    rules: dict[str, Any] = {"request_rules": {"rules": [_to_metadata("model")]}}
    if key:
        usage = [_to_metadata("usage", name) for name in ("prompt_tokens", "completion_tokens")]
        rules["response_rules"] = {"rules": usage}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    extensions = "envoy.extensions.filters.http"
    keys = {
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": _typed(
            f"{extensions}.api_key_auth.v3.ApiKeyAuth",
            credentials=[{"key": key, "client": "bench"}],
            key_sources=[{"header": "Authorization"}],
        ),
    }
    return [
        *([keys] if key else []),
        {
            "name": "envoy.filters.http.json_to_metadata",
            "typed_config": _typed(f"{extensions}.json_to_metadata.v3.JsonToMetadata", **rules),
        },
        {
            "name": "envoy.filters.http.local_ratelimit",
            "typed_config": _typed(
                f"{extensions}.local_ratelimit.v3.LocalRateLimit",
                stat_prefix="limit",
                token_bucket={"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"},
                filter_enabled=always,
                filter_enforced=always,
            ),
        },
        {"name": "envoy.filters.http.router", "typed_config": _typed(f"{extensions}.router.v3.Router")},
    ]


def _to_metadata(*path: str) -> dict[str, Any]:
    where = {"metadata_namespace": "envoy.lb", "key": path[-1]}
    return {
        "selectors": [{"key": key} for key in path],
        "on_present": where,
        "on_missing": where | {"value": "none"},
    }


def _typed(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{name}", **fields}


def _socket(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


LITELLM_KEY: Final = "sk-bench-0123456789abcdef"
LITELLM_ENVIRONMENT: Final = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the map of its wheel: it would fetch one
    "LITELLM_MASTER_KEY": LITELLM_KEY,
    "NO_DOCS": "True",
    "OPENAI_API_KEY": "none",
}


def litellm(engine: str) -> str:
    """One model, no database, no retries, nothing logged. YAML, of which JSON is a part."""
    settings = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": f"http://{engine}/v1",
                    "api_key": "none",
                },
            }
        ],
        "litellm_settings": {"telemetry": False, "num_retries": 0, "request_timeout": 600},
        "general_settings": {"master_key": LITELLM_KEY, "disable_spend_logs": True, "disable_error_logs": True},
    }
    return json.dumps(settings, indent=1)
