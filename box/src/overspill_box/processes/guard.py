"""The guard of one engine: a small process between ``serve`` and the engine, which outlives either and ends the rest.

It is run as a script with as few imports as can be (some 9 MB, of which most is shared between guards), talks lines
over a socket, and is the parent of the engine and the one that inherits its orphans: when the engine has ended, or
``serve`` has gone without a word, every process that descends from it is ended before the guard is.

``serve`` says: ``start BYTES`` and so many bytes of order (see ``Order``), ``go`` (the record is written: run it),
``stop SECONDS``, ``keep``. The guard says: ``forked PID``, ``failed WHY``, ``started PID UNIX``, ``stopping``,
``kept``, ``ended CODE SIGNAL UNIX`` (``-`` for none), and to a second ``serve``: ``taken``.

Where the system is no Linux, orphans of the engine are ended as its process group only, and an engine whose guard is
killed goes on until the next ``serve`` starts.
"""

import ctypes
import os
import select
import signal
import socket
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
IS_LINUX = sys.platform == "linux"
READ_BYTES = 65536
LEFTOVER_SECONDS = 5.0
"""How long those that an asked engine leaves behind have from SIGTERM to SIGKILL."""
FORCE_AGAIN_SECONDS = 0.2
"""A process may be born while others are killed: how soon the guard looks again."""


def prctl(option: int, value: int) -> None:
    """Linux's process attributes; elsewhere nothing."""
    if IS_LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Order:
    """What to run and where things are: as bytes five fields, the arguments and the variables, divided by NUL."""

    def __init__(self, order: bytes) -> None:
        directory, socket_name, log_name, folder, numbers, *rest = order.split(b"\0")
        arguments, log_bytes_max, keep_seconds, grace_seconds = numbers.split()
        self.directory = directory
        """Where the socket and the log are."""
        self.socket_name = socket_name
        """Where the next ``serve`` finds the guard."""
        self.log_name = log_name
        """The log's name; the one before it has ``.1`` appended."""
        self.folder = folder
        """The engine's working directory."""
        self.log_bytes_max = int(log_bytes_max)
        """A log that would grow larger begins anew."""
        self.keep_seconds = float(keep_seconds)
        """How long a kept engine waits for the next ``serve``."""
        self.grace_seconds = float(grace_seconds)
        """From SIGTERM to SIGKILL where nobody is there any more to say how long."""
        self.command = rest[: int(arguments)]
        """Program and arguments."""
        self.environment = dict(variable.split(b"=", 1) for variable in rest[int(arguments) :])
        """All variables that the engine gets."""


class Log:
    """What the engine prints. A disk that is full loses lines, it does not stop the engine."""

    def __init__(self, name: bytes, bytes_max: int) -> None:
        self._name = name
        self._bytes_max = bytes_max
        self._file = self._opened()
        self._size = os.fstat(self._file).st_size

    def write(self, text: bytes) -> None:
        """Append it, in a new file where it would be too much for this one."""
        try:
            if self._size and self._size + len(text) > self._bytes_max:
                self._begin_anew()
            self._size += os.write(self._file, text)
        except OSError:
            return

    def _begin_anew(self) -> None:
        try:  # noqa: SIM105 - contextlib is megabytes as well
            os.replace(self._name, self._name + b".1")  # noqa: PTH105 - pathlib is megabytes
        except FileNotFoundError:
            pass  # somebody has removed it, or the last attempt failed after this
        file = self._opened()
        os.close(self._file)
        self._file = file
        self._size = 0

    def _opened(self) -> int:
        return os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


class Guard:
    """One engine's life."""

    def __init__(self, order: Order, control: socket.socket, umask: int) -> None:
        self._order = order
        self._umask = umask
        self._log = Log(order.log_name, order.log_bytes_max)
        self._control: socket.socket | None = control
        self._heard = b""
        self._is_kept = False
        self._leave_at: float | None = None
        self._is_asked = False
        self._kill_at: float | None = None
        self._engine = 0
        self._started_unix: float | None = None
        self._status: int | None = None
        self._is_childless = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(order.socket_name)
        self._listener.listen(4)
        self._wakes, wake = os.pipe()
        os.set_blocking(self._wakes, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)  # what is to be done is read from the pipe
        for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's; `serve` decides what they mean
            signal.signal(number, signal.SIG_IGN)
        self._output, self._engine_output = os.pipe()
        os.set_blocking(self._output, False)
        self._gate_out, self._gate = os.pipe()
        self._failures, self._engine_failures = os.pipe()
        self._poll = select.poll()
        for file in (self._wakes, self._output, self._listener.fileno(), control.fileno()):
            self._poll.register(file, select.POLLIN)

    def run(self, heard: bytes) -> None:
        """From the fork to the last of its descendants' end; ``serve`` may have said more than the order already."""
        self._fork()
        self._hear(heard)
        while not self._is_childless:
            ready = {file for file, _ in self._poll.poll(self._pause_ms())}
            if self._output in ready:
                self._copy_output()
            if self._wakes in ready and signal.SIGTERM in os.read(self._wakes, READ_BYTES):
                self._end(self._order.grace_seconds)
            if self._control is not None and self._control.fileno() in ready:
                self._listen()
            if self._listener.fileno() in ready:
                self._welcome()
            self._reap()
            now = time.monotonic()
            if self._leave_at is not None and now >= self._leave_at:
                self._leave_at = None
                self._end(self._order.grace_seconds)
            if self._kill_at is not None and now >= self._kill_at:
                self._kill()
        while self._copy_output():
            pass
        try:  # noqa: SIM105
            os.unlink(self._order.socket_name)  # noqa: PTH108
        except OSError:
            pass  # somebody has removed the folder
        status = 0 if self._status is None else self._status
        code, number = ("-", os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), "-")
        self._say(f"ended {code} {number} {time.time()}")

    def _pause_ms(self) -> float | None:
        times = [at for at in (self._leave_at, self._kill_at) if at is not None]
        if not times:
            return None
        seconds = min(times) - time.monotonic()
        return 1000 * (seconds if seconds > 0 else FORCE_AGAIN_SECONDS)

    def _fork(self) -> None:
        guard = os.getpid()
        self._engine = os.fork()
        if self._engine == 0:
            self._be_engine(guard)
        for file in (self._gate_out, self._engine_output, self._engine_failures):
            os.close(file)
        self._say(f"forked {self._engine}")

    def _be_engine(self, guard: int) -> None:
        try:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            for number in (
                signal.SIGCHLD,
                signal.SIGTERM,
                signal.SIGINT,
                signal.SIGQUIT,
                signal.SIGHUP,
                signal.SIGPIPE,
                signal.SIGXFSZ,
            ):
                signal.signal(number, signal.SIG_DFL)
            os.close(self._gate)
            if os.getppid() != guard or not os.read(self._gate_out, 1):
                return
            os.umask(self._umask)
            os.chdir(self._order.folder)
            os.dup2(os.open(b"/dev/null", os.O_RDONLY), 0)
            os.dup2(self._engine_output, 1)
            os.dup2(self._engine_output, 2)
            os.execvpe(self._order.command[0], self._order.command, self._order.environment)  # noqa: S606 - no shell
        except (OSError, ValueError) as fault:
            why = os.strerror(fault.errno) if isinstance(fault, OSError) and fault.errno else str(fault)
            os.write(self._engine_failures, why.encode())
        finally:
            os._exit(127)

    def _go(self) -> None:
        """Let it run, and wait for the moment when it does, or cannot."""
        if self._gate < 0 or self._is_asked:
            return
        now = time.time()
        self._log.write(time.strftime("--- started %Y-%m-%dT%H:%M:%SZ ---\n", time.gmtime(now)).encode())
        os.write(self._gate, b"\n")
        os.close(self._gate)
        self._gate = -1
        why = os.read(self._failures, READ_BYTES)
        if why:
            self._say(f"failed {why.decode(errors='replace')}")
        else:
            self._started_unix = now
            self._say(f"started {self._engine} {now}")

    def _listen(self) -> bool:
        """Read what ``serve`` says; whether there was something. Where it has gone, the engine ends or is kept."""
        if self._control is None:
            return False
        try:
            text = self._control.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            text = b""
        if not text:
            self._poll.unregister(self._control.fileno())
            self._control.close()
            self._control = None
            self._left()
            return False
        self._hear(text)
        return True

    def _hear(self, text: bytes) -> None:
        *lines, self._heard = (self._heard + text).split(b"\n")
        for line in lines:
            self._obey(line.split())

    def _obey(self, words: list[bytes]) -> None:
        match words:
            case [b"go"]:
                self._go()
            case [b"stop", seconds]:
                self._end(float(seconds))
            case [b"keep"]:
                self._is_kept = True
                self._say("kept")

    def _left(self) -> None:
        """``serve`` has gone: an engine that ends already goes on with that."""
        if self._is_asked:
            return
        if self._is_kept:
            self._leave_at = time.monotonic() + self._order.keep_seconds
        else:
            self._end(self._order.grace_seconds)

    def _welcome(self) -> None:
        """Another ``serve`` has come: it takes over, unless the one before is still there."""
        while self._listen():
            pass
        visitor, _ = self._listener.accept()
        visitor.setblocking(False)
        if self._control is not None:
            visitor.send(b"taken\n")
            visitor.close()
            return
        self._control = visitor
        self._heard = b""
        self._is_kept = False
        self._leave_at = None
        self._poll.register(visitor.fileno(), select.POLLIN)
        if self._started_unix is not None:
            self._say(f"started {self._engine} {self._started_unix}")
        if self._is_asked:
            self._say("stopping")

    def _say(self, line: str) -> None:
        if self._control is not None:
            try:
                self._control.send(f"{line}\n".encode())
            except OSError:
                return  # it has gone: the next read says so

    def _end(self, seconds: float) -> None:
        """SIGTERM to the engine itself, as a kubelet's, so that it can finish answers; later SIGKILL to all."""
        at = time.monotonic() + (seconds if self._started_unix is not None else 0.0)
        self._kill_at = at if self._kill_at is None else min(self._kill_at, at)
        if self._is_asked:
            return
        self._is_asked = True
        self._say("stopping")
        if self._status is None:
            os.kill(self._engine, signal.SIGTERM)

    def _reap(self) -> None:
        """Take in the ended, orphans of the engine's as well, and see that what the engine leaves behind ends too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                if not IS_LINUX:
                    self._send_group(signal.SIGKILL)
                self._is_childless = True
                return
            if pid == 0:
                return
            if pid == self._engine:
                self._status = status
                now = time.monotonic()
                if self._is_asked and self._kill_at is not None:
                    self._kill_at = min(self._kill_at, now + LEFTOVER_SECONDS)
                    self._send_children(signal.SIGTERM)
                else:
                    self._kill_at = now

    def _kill(self) -> None:
        self._send_group(signal.SIGKILL)
        self._send_children(signal.SIGKILL)

    def _send_group(self, number: int) -> None:
        if self._status is None or not IS_LINUX:  # the number of a group that is gone may be somebody else's
            try:
                os.killpg(self._engine, number)
            except OSError:
                return

    def _send_children(self, number: int) -> None:
        """To the guard's own children: those of the engine's become its own when their parents have ended."""
        for pid in children():
            try:
                os.kill(pid, number)
            except OSError:
                continue

    def _copy_output(self) -> bool:
        """One piece; whether there was any."""
        try:
            text = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return False
        if text:
            self._log.write(text)
        else:
            try:
                self._poll.unregister(self._output)
            except KeyError:
                return False
        return bool(text)


def children() -> list[int]:
    """This process's, ended ones that nobody has asked after among them."""
    own = os.getpid()
    try:
        with open(f"/proc/self/task/{own}/children", "rb") as file:  # noqa: PTH123
            return [int(word) for word in file.read().split()]
    except OSError:
        pass  # a kernel without CONFIG_PROC_CHILDREN
    found = []
    for name in os.listdir("/proc") if IS_LINUX else ():  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            if parent == own:
                found.append(int(name))
    return found


def receive_order(control: socket.socket) -> tuple[Order, bytes] | None:
    """What the first line announces, and what came after it; None where ``serve`` has gone before."""
    heard = b""
    while b"\n" not in heard:
        text = control.recv(READ_BYTES)
        if not text:
            return None
        heard += text
    line, _, heard = heard.partition(b"\n")
    length = int(line.split()[1])
    while len(heard) < length:
        text = control.recv(READ_BYTES)
        if not text:
            return None
        heard += text
    return Order(heard[:length]), heard[length:]


def main() -> None:
    """Guard one engine; the socket to ``serve`` is the standard input."""
    os.closerange(3, 4096)
    umask = os.umask(0o077)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    control = socket.socket(fileno=0)
    received = receive_order(control)
    if received is not None:
        order, more = received
        control.setblocking(False)
        os.chdir(order.directory)
        Guard(order, control, umask).run(more)


if __name__ == "__main__":
    main()
