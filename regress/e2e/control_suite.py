"""The control process alone, with its supervisor, queue and directory played by the test.

	with ControlSuite() as suite:
	    client = suite.connect()
	    client.send(QUEUE_ACT, suite.act(...))
	    frame = suite.queue.receive()          # what control passed on
	    suite.queue.send(DONE, frame.id, result(count=3))
	    assert client.receive().type == DONE

So a test decides when a peer answers, dies or says nonsense. Frames are those of common/imsg.h, types
and payloads those of common/ipc_control.h and common/ipc_supervisor.h.
"""

import array
import collections
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile

from postern import BUILD, wait_for

# enum ipc_control_type
(QUEUE_LIST, ENVELOPE, QUEUE_LIST_MORE, QUEUE_ACT, QUEUE_MESSAGE, QUEUE_PAUSE, QUEUE_STATUS, ACCOUNT,
    LINE, SUPERVISOR, STATS, STATUS, DONE) = range(1, 14)
# enum ipc_supervisor_type
(CHILD_CONFIG, CHILD_STATS, CHILD_PEER, CHILD_LISTEN, CHILD_START, CHILD_LOG, CHILD_PAUSE,
    CHILD_RESUME, CHILD_STOP, CONFIGURED, READY, LOG_LOST, MDA_START, MDA_STARTED, CONTROL_REQUEST,
    CONTROL_DONE) = range(1, 17)
# enum program
PROGRAM_QUEUE, PROGRAM_DIRECTORY = 2, 3
# enum queue_action, enum account_verb
SCHEDULE, REMOVE, EXPIRE, HOLD, UNHOLD, DISCOVER = range(6)
DOMAIN_ADD, DOMAIN_DELETE, DOMAIN_LIST, USER_ADD, USER_DELETE, USER_PASSWORD, USER_LIST = range(7)

HEADER = struct.Struct("<HHIII")
Frame = collections.namedtuple("Frame", "type id peer fd payload")


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<H", len(data)) + data


def frame(kind, ident=1, payload=b"", flags=0, length=None):
    """A frame's bytes; `length` overrides what its header says."""
    whole = HEADER.size + len(payload) if length is None else length
    return HEADER.pack(kind, flags, whole, ident, 0) + payload


def filter_payload(ident=0, sender="", to="", older=0, has_state=0, state=0, cursor=0, portion=0):
    return (struct.pack("<Q", ident) + text(sender) + text(to) +
        struct.pack("<IBBQI", older, has_state, state, cursor, portion))


def act_payload(action, uid=0, **filters):
    return struct.pack("<BI", action, uid) + filter_payload(**filters)


def account_payload(verb, *words, uid=0):
    return struct.pack("<BII", verb, uid, len(words)) + b"".join(text(word) for word in words)


def result(code=0, count=0, words=""):
    return struct.pack("<IQ", code, count) + text(words)


def read_result(payload):
    code, count, length = struct.unpack_from("<IQH", payload)
    return code, count, payload[14:14 + length].decode()


def mail(number, sender=("erin", "client.test"), to=("alice", "example.test"), helo="client.test"):
    """The payload of an ENVELOPE: the transaction, the envelope, and no dialogue."""
    def address(parts):
        return text(parts[0]) + text(parts[1])
    transaction = (struct.pack("<IQ", 0x12345678, 1700000000 * 10**6) + address(sender) + b"\1" +
        text("192.0.2.1") + text("") + text(helo) + text("") + text("") + b"\0" + text("") +
        b"\0\0\0" + struct.pack("<QI", 1234, 0))
    envelope = (struct.pack("<QB", 0x12345678 << 32 | number, 0) + address(to) + address(to) +
        text("in") + text("") + b"\0" + text("") + b"\0" +
        struct.pack("<IQQQ", 1, 1700345600, 1700000100, 1700000900) + b"\0\0")
    return transaction + envelope + text("")


class Peer:
    """One end of a channel."""

    def __init__(self, connection, timeout=10):
        self.socket = connection
        self.socket.settimeout(timeout)
        self._bytes = b""
        self._fds = []

    def send(self, kind, ident=1, payload=b"", fd=None):
        data = frame(kind, ident, payload, flags=0 if fd is None else 1)
        if fd is None:
            self.socket.sendall(data)
            return
        rights = array.array("i", [fd])
        sent = self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        self.socket.sendall(data[sent:])

    def _fill(self, size):
        while len(self._bytes) < size:
            data, ancillary, _flags, _address = self.socket.recvmsg(65536, 4096)
            for _level, _type, rights in ancillary:
                fds = array.array("i")
                fds.frombytes(rights)
                self._fds += fds
            if not data:
                return False
            self._bytes += data
        return True

    def receive(self):
        """The next frame, or None at the end of the connection."""
        try:
            if not self._fill(HEADER.size):
                return None
            kind, flags, length, ident, peer = HEADER.unpack_from(self._bytes)
            if not self._fill(length):
                return None
        except ConnectionResetError:
            return None
        payload, self._bytes = self._bytes[HEADER.size:length], self._bytes[length:]
        return Frame(kind, ident, peer, self._fds.pop(0) if flags & 1 else None, payload)

    def has_ended(self):
        """Reads until the other side has closed."""
        while self.receive() is not None:
            pass
        return True

    def close(self):
        for fd in self._fds:
            os.close(fd)
        self.socket.close()


class ControlSuite:
    """`control`, started as the caller; self.supervisor, self.queue and self.directory are Peers."""

    def __init__(self):
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="postern-control-"))
        self.path = self.base / "smtpd.sock"
        self.log_file = self.base / "log"
        self.ended = False  # a test has made it end
        self._clients = []
        self._start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(check=kind is None)

    def _start(self):
        ours, theirs = socket.socketpair()
        log = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.process = subprocess.Popen([BUILD / "bin/control", "-v", "-k", str(theirs.fileno()),
            "-l", str(log), "-t", "stderr"], pass_fds=(theirs.fileno(), log),
            stdin=subprocess.DEVNULL, stderr=log)
        theirs.close()
        os.close(log)
        self.supervisor = Peer(ours)
        self.queue = self.give_peer(PROGRAM_QUEUE)
        self.directory = self.give_peer(PROGRAM_DIRECTORY)
        self.give_page()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(128)
        self.supervisor.send(CHILD_LISTEN, 0, struct.pack("<I", 0), listener.fileno())
        listener.close()
        self.supervisor.send(CHILD_START, 0, struct.pack("<I", 1))
        assert self.supervisor.receive().type == READY

    def give_peer(self, program):
        """A new channel to `program`, as after its restart; the test's end."""
        ours, theirs = socket.socketpair()
        self.supervisor.send(CHILD_PEER, 0, struct.pack("<BI", program, 0), theirs.fileno())
        theirs.close()
        return Peer(ours)

    def give_page(self):
        page = os.memfd_create("stats")
        os.write(page, struct.pack("<2q", 5, 4) + bytes(4080))
        self.supervisor.send(CHILD_STATS, 0, struct.pack("<BI", PROGRAM_QUEUE, 0), page)
        os.close(page)

    def connect(self, timeout=10):
        connection = socket.socket(socket.AF_UNIX)
        # With a time limit, connect() would fail at once while the backlog is full.
        connection.connect(str(self.path))
        client = Peer(connection, timeout)
        self._clients.append(client)
        return client

    def serves(self):
        """Whether a new caller is answered."""
        client = self.connect()
        client.send(STATS)
        answer = client.receive()
        client.close()
        return answer is not None and answer.type == STATS

    def smtpctl(self, *words, **options):
        """Starts smtpctl; a Popen with pipes."""
        return subprocess.Popen([BUILD / "bin/smtpctl", *options.pop("before", ()), "-s", self.path,
            *words], stdin=options.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, **options)

    def log(self):
        return self.log_file.read_text(errors="replace")

    def wait_log(self, part):
        wait_for(lambda: part in self.log(), 10, f"{part} in the log:\n{self.log()}")
        return next(line for line in self.log().splitlines() if part in line)

    def memory(self):
        """Resident bytes of control."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGESIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def close(self, check=True):
        """The supervisor goes away; control must end by itself, in order."""
        for client in self._clients:
            client.close()
        alive = self.ended or self.process.poll() is None
        self.supervisor.close()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.queue.close()
            self.directory.close()
            log = self.log()
            shutil.rmtree(self.base)
        if check:
            assert alive, f"control ended with {status}:\n{log}"
            assert status == 0, f"status {status}:\n{log}"
            assert "Sanitizer" not in log and "runtime error" not in log, log
