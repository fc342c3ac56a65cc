"""Keys, certificates and kubeconfigs for one cluster, made with the openssl command. For tests only."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster.files import write_whole

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365"]


@dataclass(frozen=True)
class Identity:
    """Someone who gets a certificate."""

    file: str
    """Base name of the .crt and .key files."""
    subject: str
    """As openssl writes it: /O=group/CN=user."""
    names: tuple[str, ...] = ()
    """Subject alternative names, for servers: DNS:name, IP:address."""


ADMIN = Identity("admin", "/O=system:masters/CN=admin")
CONTROLLER_MANAGER = Identity("controller-manager", "/CN=system:kube-controller-manager")
SCHEDULER = Identity("scheduler", "/CN=system:kube-scheduler")
PROXY = Identity("proxy", "/CN=system:kube-proxy")
FRONT_PROXY = Identity("front-proxy", "/CN=front-proxy-client")


def api_server(addresses: list[str]) -> Identity:
    """The API server's identity, valid for all the ways to reach it."""
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    entries = [*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)]
    return Identity("apiserver", "/CN=kube-apiserver", tuple(entries))


def kubelet(node: str, address: str) -> Identity:
    """A node's identity: client of the API server, and server for logs and exec."""
    return Identity(
        "kubelet", f"/O=system:nodes/CN=system:node:{node}", (f"DNS:{node}", f"IP:{address}", "IP:127.0.0.1")
    )


def make(folder: Path, identities: list[Identity]) -> None:
    """A new authority, a key for service accounts, and a certificate for each identity."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = ["openssl", "req", "-x509", *_NEW_KEY, "-subj", "/CN=local-test-cluster"]
    authority += ["-addext", "keyUsage=critical,keyCertSign,digitalSignature"]
    service_accounts = [
        "openssl",
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-noout",
        "-out",
        "service-accounts.key",
    ]
    _run_all(folder, [[*authority, "-keyout", "ca.key", "-out", "ca.crt"], service_accounts])
    _run_all(folder, [_issue(identity) for identity in identities])


def _issue(identity: Identity) -> list[str]:
    command = ["openssl", "req", "-x509", *_NEW_KEY, "-CA", "ca.crt", "-CAkey", "ca.key", "-subj", identity.subject]
    extensions = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"]
    extensions += ["extendedKeyUsage=serverAuth,clientAuth"]
    if identity.names:
        extensions.append(f"subjectAltName={','.join(identity.names)}")
    for extension in extensions:
        command += ["-addext", extension]
    return [*command, "-keyout", f"{identity.file}.key", "-out", f"{identity.file}.crt"]


def _run_all(folder: Path, commands: list[list[str]]) -> None:
    """All at once: each is a few milliseconds of waiting for a process."""
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True) for command in commands]
    for process, command in zip(processes, commands, strict=True):
        _, said = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed (OpenSSL 3 or newer is needed):\n{said}")


def write_kubeconfig(path: Path, server: str, pki: Path, identity: Identity, name: str) -> None:
    """Access for one identity, all keys inside the file. It is JSON, which is YAML."""

    def data(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    user = {"client-certificate-data": data(f"{identity.file}.crt"), "client-key-data": data(f"{identity.file}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}}],
        "users": [{"name": identity.file, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": identity.file}}],
        "current-context": name,
    }
    write_whole(path, json.dumps(config, indent=1), mode=0o600)
