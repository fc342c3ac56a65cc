"""The system's resolver in a test's hands: what names lead to, what is not said, and who asked."""

import socket
import threading


class NameServer:
    """Stands in for the system's resolver."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.error = socket.EAI_NONAME
        self.dead: set[str] = set()
        """Names about which nothing is ever said."""
        self.release = threading.Event()
        self.asked: list[str] = []

    def look_up(self, host: str, port: int, **_: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """As getaddrinfo."""
        self.asked.append(host)
        if host in self.dead:
            self.release.wait(20)
        if host not in self.addresses:
            raise socket.gaierror(self.error, "what the resolver says")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses[host]]
