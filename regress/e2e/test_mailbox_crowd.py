"""How many may connect by IMAP and POP3, and how long they may take to log in."""

import imaplib
import resource
import socket
import ssl

import pytest

from postern import free_port, wait_for
from test_auth import PASSWORD, USER
from test_mailbox_login import context, imap
from test_smtp_limits import memory
from test_tls import NAME, folder, rsa  # noqa: F401

KINDS = ("imap", "pop3", "imaps")


@pytest.fixture
def make(make_postern, rsa):  # noqa: F811
    def build(*limits):
        ports = {kind: free_port() for kind in KINDS}
        lines = rsa.statements(NAME) + "".join(f"smtp limit {limit}\n" for limit in limits)
        for kind, port in ports.items():
            options = f"pki {NAME}" if kind == "imaps" else "auth-cleartext"
            lines += f"listen on 0.0.0.0 port {port} {kind} {options}\n"
        instance = make_postern(extra=lines)
        instance.ports = ports
        return instance
    return build


class Client:
    def __init__(self, server, kind="imap", address="127.0.0.1"):
        self.socket = socket.create_connection((address, server.ports[kind]), 20,
            source_address=(address, 0))
        self.bytes = self.socket.makefile("rb")

    def line(self):
        return self.bytes.readline()

    def close(self):
        self.bytes.close()
        self.socket.close()


def is_in(server, kind="imap", address="127.0.0.1"):
    client = Client(server, kind, address)
    line = client.line()
    if line.startswith((b"* OK", b"+OK")):
        return client
    client.close()
    return None


def test_one_too_many_of_an_address_is_told_so_and_others_enter(make):
    server = make("sessions-per-address 2")
    crowd = [Client(server), Client(server, "pop3")]
    for client in crowd:
        assert client.line().startswith((b"* OK", b"+OK"))
    over = Client(server)
    assert over.line() == b"* BYE [LIMIT] too many sessions from your address\r\n"
    assert over.line() == b""
    over = Client(server, "pop3")
    assert over.line() == b"-ERR [SYS/TEMP] too many sessions from your address\r\n"
    assert over.line() == b""
    with pytest.raises((ssl.SSLError, OSError)):
        context().wrap_socket(Client(server, "imaps").socket)
    server.wait_log("access-refused", address="127.0.0.1", reason="too many sessions from your address")
    assert is_in(server, address="127.0.0.2")
    crowd.pop().close()
    wait_for(lambda: is_in(server), what="a place is free again")


def test_a_network_has_a_limit_of_its_own(make):
    server = make("sessions-per-network 3")
    crowd = [is_in(server, address=f"127.0.7.{number}") for number in (1, 2, 3)]
    assert all(crowd)
    over = Client(server, address="127.0.7.4")
    assert over.line() == b"* BYE [LIMIT] too many sessions from your network\r\n"
    assert is_in(server, address="127.0.8.1")


def test_who_has_logged_in_counts_no_more(make):
    server = make("sessions-per-address 1", "sessions-per-network 1", "sessions 1")
    users = []
    for _ in range(5):
        user = wait_for(lambda: is_in(server), what="the last one has logged in")
        user.socket.sendall(f'a LOGIN {USER} "{PASSWORD}"\r\n'.encode())
        assert user.line().startswith(b"a OK")
        users.append(user)
    for user in users:
        user.socket.sendall(b"b NOOP\r\n")
        assert user.line().startswith(b"b OK")


def test_who_does_not_log_in_is_told_to_go(make):
    server = make("session-time 1s", "handshake-time 1s")
    silent = [Client(server), Client(server, "pop3"), Client(server, "imaps")]
    user = imap(server)
    assert silent[0].line().startswith(b"* OK")
    assert silent[0].line() == b"* BYE You took too long to log in\r\n"
    assert silent[1].line().startswith(b"+OK")
    assert silent[1].line() == b"-ERR [SYS/TEMP] You took too long to log in\r\n"
    for client in silent:
        assert client.line() == b""
    server.wait_log("imap-disconnected", reason="no login in time")
    server.wait_log("imap-disconnected", reason="handshake timeout")
    assert user.noop()[0] == "OK"


@pytest.mark.root  # descriptors
def test_ten_thousand_that_never_log_in_keep_nobody_out(make):
    count = 10000
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < 1.2 * count:
        pytest.skip(f"{limits[1]} descriptors are too few")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 500, limits[1]))
    crowd = []
    try:
        server = make(f"sessions {count + 10}", "handshake-time 2m")
        for number in range(count):
            kind = KINDS[number % 3]
            address = f"127.{1 + number // 2500}.{number // 250 % 10}.{1 + number % 250}"
            client = socket.socket()
            crowd.append(client)
            client.settimeout(20)
            client.bind((address, 0))
            client.connect(("127.0.0.1", server.ports[kind]))
        wait_for(lambda: len(server.log_lines("imap-connected")) +
            len(server.log_lines("pop3-connected")) == count, 60, "all are in")
        for kind in ("imap", "imaps"):
            client = imap(server, kind)
            assert client.select("INBOX")[0] == "OK"
            client.logout()
        (pid,) = server.pids("mailaccess")
        assert memory(pid) < count * 16384
        late = is_in(server)
        assert late
    finally:
        for client in crowd:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    wait_for(lambda: len(server.log_lines("imap-disconnected")) +
        len(server.log_lines("pop3-disconnected")) >= count, 60, "all are gone")
    assert imap(server).logout()[0] == "BYE"
