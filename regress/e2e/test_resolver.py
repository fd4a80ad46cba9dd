"""Clients' names: the resolver against a DNS server of the test's own. Clients come with addresses
of all kinds by the PROXY protocol."""

import ipaddress
import re
import socket
import struct
import subprocess
import threading
import time

import pytest

from postern import free_port, wait_for

CLIENTS = {
    "confirmed": "203.0.113.5",
    "another": "203.0.113.6",  # its name has another address
    "nowhere": "203.0.113.7",  # its name doesn't exist
    "nameless": "203.0.113.8",
    "ours": "203.0.113.9",  # says that it is us
    "six": "2001:db8::5",
    "several": "203.0.113.10",
}
PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxy_header(address, port=40000):
    """PROXY protocol version 2, command PROXY, TCP."""
    ip = ipaddress.ip_address(address)
    to = ipaddress.ip_address("192.0.2.25" if ip.version == 4 else "2001:db8::25")
    addresses = ip.packed + to.packed + struct.pack(">HH", port, 25)
    family = 0x11 if ip.version == 4 else 0x21
    return PROXY_SIGNATURE + struct.pack(">BBH", 0x21, family, len(addresses)) + addresses


@pytest.fixture
def nameserver(tool, tmp_path):
    """dnsmasq with the names above; its port."""
    port = free_port()
    config = tmp_path / "dnsmasq.conf"
    lines = [f"port={port}", "listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts",
        "no-daemon", "local=/client.test/", "local=/in-addr.arpa/", "local=/ip6.arpa/",
        "local=/example.test/", f"pid-file={tmp_path}/pid", "user=", "group=",
        "host-record=mail.client.test,203.0.113.5,2001:db8::5",
        "host-record=another.client.test,198.51.100.1", "host-record=mx.example.test,192.0.2.25",
        "host-record=third.client.test,203.0.113.10"]
    names = {"confirmed": ["mail.client.test"], "another": ["another.client.test"],
        "nowhere": ["nowhere.client.test"], "ours": ["mx.example.test"],
        "six": ["mail.client.test"],
        "several": ["nowhere.client.test", "another.client.test", "third.client.test"]}
    for client, their in names.items():
        reverse = ipaddress.ip_address(CLIENTS[client]).reverse_pointer
        lines += [f"ptr-record={reverse},{name}" for name in their]
    config.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([tool("dnsmasq"), "-C", str(config)], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def answers():
        assert process.poll() is None, process.stderr.read()
        query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\4mail\6client\4test\0\0\1\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            try:
                probe.sendto(query, ("127.0.0.1", port))
                return probe.recv(512)
            except OSError:
                return None
    try:
        wait_for(answers, what="dnsmasq answers")
        yield port
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


class HostileNameserver(threading.Thread):
    """Answers every question with the bytes that `answer(query)` makes; None is silence."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.answer = answer
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = free_port()
        self.socket.bind(("127.0.0.1", self.port))
        self.socket.settimeout(0.1)
        self.done = False

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done = True
        self.join()
        self.socket.close()

    def run(self):
        while not self.done:
            try:
                query, peer = self.socket.recvfrom(4096)
            except TimeoutError:
                continue
            self.asked += 1
            reply = self.answer(query)
            if reply is not None:
                self.socket.sendto(reply, peer)


def question_end(query):
    at = 12
    while query[at]:
        at += query[at] + 1
    return at + 5


def reverse_answer(name):
    """An answer with one PTR record of this wire format name to what asks for PTR, no record else."""
    def answer(query):
        end = question_end(query)
        question = query[12:end]
        records = b""
        if question[-4:-2] == b"\0\x0c":
            records = b"\xc0\x0c\0\x0c\0\1\0\0\0\x3c" + struct.pack(">H", len(name)) + name
        return (query[:2] + b"\x81\x80\0\1" + struct.pack(">H", 1 if records else 0) + b"\0\0\0\0" +
            question + records)
    return answer


def make(make_postern, nameserver, limit=4000):
    proxy_port = free_port()
    postern = make_postern(listen="listen on 127.0.0.1 port @PORT@\n"
        f"listen on 127.0.0.1 port {proxy_port} proxy-v2",
        extra=f"resolver nameserver 127.0.0.1@{nameserver}\nsmtp limit resolver-time-ms {limit}\n")
    postern.proxy_port = proxy_port
    return postern


def received_from(postern, address, subject):
    """Sends a message as this client; the first Received field, unfolded, and how long MAIL's answer
    took."""
    with postern.wire(port=postern.proxy_port) as wire:
        wire.send(proxy_header(address))
        wire.hello()
        begin = time.monotonic()
        wire.command("MAIL FROM:<a@client.test>", 250)
        took = time.monotonic() - begin
        wire.command("RCPT TO:<alice@example.test>", 250)
        wire.command("DATA", 354)
        wire.command(f"Subject: {subject}\r\n\r\nx\r\n.", 250)
        wire.command("QUIT", 221)

    def find():
        return [mail for mail in postern.mails("alice@example.test")
            if mail.message["Subject"] == subject]
    (mail,) = wait_for(find, what=f"mail {subject}")
    return re.sub(r"\s+", " ", str(mail.message.get_all("Received")[0])), took


def test_name_is_told_only_when_it_is_confirmed(make_postern, nameserver):
    postern = make(make_postern, nameserver)
    expected = {"confirmed": "mail.client.test", "six": "mail.client.test",
        "several": "third.client.test", "another": None, "nowhere": None, "nameless": None,
        "ours": None}
    for client, name in expected.items():
        field, _ = received_from(postern, CLIENTS[client], client)
        client_part = field.partition(" by ")[0]
        assert CLIENTS[client] in client_part
        if name:
            assert name in client_part
        else:
            assert "another" not in client_part and "nowhere" not in client_part
            assert "mx.example.test" not in client_part


def test_trace_tells_each_question_and_its_answer(make_postern, nameserver):
    postern = make(make_postern, nameserver)
    postern.smtpctl("trace", "lookup")
    number = re.compile("^[0-9]+$")
    for client in ("several", "another", "nameless"):
        received_from(postern, CLIENTS[client], client)
    postern.wait_log("dns-looked-up", name="10.113.0.203.in-addr.arpa.", type="PTR",
        result="answered", answer=re.compile(r"\bthird\.client\.test\b"), time_ms=number)
    for name, result in (("third", "has-the-address"), ("another", "lacks-the-address")):
        postern.wait_log("dns-looked-up", name=f"{name}.client.test", type="A", result=result)
    postern.wait_log("client-looked-up", address=CLIENTS["several"], source="dns",
        result="confirmed", name="third.client.test", time_ms=number)
    postern.wait_log("client-looked-up", address=CLIENTS["nameless"], source="dns", result="none")


@pytest.mark.parametrize("name", [
    b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63 + b"\x3d" + b"d" * 61 + b"\0",
    b"\x09evil\r\nX:y\x04test\0",
    b"\x04e\x1b[m\x04test\0",
    b"\x05a b)c\x04test\0",
    b"\x03a\0b\x04test\0",
    b"\0",
    b"\xc0\x0c",
], ids=["255 bytes", "CRLF", "ESC", "parenthesis", "NUL", "root", "itself"])
def test_hostile_name_is_no_name(make_postern, name):
    with HostileNameserver(reverse_answer(name)) as server:
        postern = make(make_postern, server.port)
        field, _ = received_from(postern, "203.0.113.77", "hostile")
        assert server.asked > 0
        assert "203.0.113.77" in field
        for part in ("evil", "X:", "aaaa", "\x1b", "a b"):
            assert part not in field
        assert not postern.log_lines("X")
        assert "evil\\x0d" not in postern.log_text()


@pytest.mark.parametrize("answer", [
    lambda query: None,
    lambda query: b"",
    lambda query: query[:5],
    lambda query: query[:2] + b"\x81\x82" + query[4:],
    lambda query: b"\xff\xff" + query[2:],
    lambda query: query[:2] + b"\x81\x80\0\1\xff\xff\0\0\0\0" + query[12:],
], ids=["silence", "empty", "cut", "SERVFAIL", "another id", "too few records"])
def test_dns_that_fails_holds_nobody_up(make_postern, answer):
    with HostileNameserver(answer) as server:
        postern = make(make_postern, server.port, limit=700)
        field, took = received_from(postern, "203.0.113.78", "slow")
        assert server.asked > 0
        assert "203.0.113.78" in field
        # The limit, and what a loaded machine adds.
        assert took < 5


def test_no_nameserver_at_all_holds_nobody_up(make_postern):
    postern = make(make_postern, free_port(), limit=500)
    field, took = received_from(postern, "203.0.113.79", "none")
    assert "203.0.113.79" in field
    assert took < 5


def test_sessions_go_on_when_the_resolver_dies(make_postern):
    with HostileNameserver(lambda query: None) as server:
        postern = make(make_postern, server.port, limit=30000)
        with postern.wire(port=postern.proxy_port) as wire:
            wire.send(proxy_header("203.0.113.80"))
            wire.hello()
            wire.send("MAIL FROM:<a@client.test>\r\n")
            wait_for(lambda: server.asked > 0, what="a question to DNS")
            postern.kill("resolver")
            wire.expect(250)
            wire.command("RCPT TO:<alice@example.test>", 250)


def test_nameserver_changes_with_a_reload(make_postern, nameserver):
    with HostileNameserver(lambda query: query[:2] + b"\x81\x83" + query[4:]) as server:
        postern = make(make_postern, server.port)
        field, _ = received_from(postern, CLIENTS["confirmed"], "before")
        assert "mail.client.test" not in field.partition(" by ")[0]
        config = postern.config_file.read_text()
        postern.config_file.write_text(config.replace(f"127.0.0.1@{server.port}",
            f"127.0.0.1@{nameserver}"))
        postern.smtpctl("reload")
        field, _ = received_from(postern, CLIENTS["confirmed"], "after")
        assert "mail.client.test" in field.partition(" by ")[0]


@pytest.mark.root
def test_hosts_and_nameservers_of_the_system_change_with_a_reload(make_postern, tmp_path):
    """In mounts of its own: written in place, as many do it, and a client's name comes from it."""
    hosts, servers = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost\n203.0.113.90 before.test\n")
    servers.write_text("nameserver 127.0.0.91\n")
    proxy_port = free_port()
    postern = make_postern(verbose=True,
        listen="listen on 127.0.0.1 port @PORT@\n"
        f"listen on 127.0.0.1 port {proxy_port} proxy-v2", extra="smtp limit resolver-time-ms 500\n",
        wrapper=["unshare", "--mount", "sh", "-c", f"mount --bind {hosts} /etc/hosts && "
            f'mount --bind {servers} /etc/resolv.conf && exec "$@"', "sh"])
    postern.proxy_port = proxy_port

    def name(subject):
        return received_from(postern, "203.0.113.90", subject)[0].partition(" by ")[0]

    def nameservers():
        return re.findall(r"\]: nameservers: (.*)", postern.log_text(0))
    assert "before.test" in name("before")
    assert nameservers() == ["127.0.0.91"]
    hosts.write_text("127.0.0.1 localhost\n203.0.113.90 after.test\n")
    servers.write_text("nameserver 127.0.0.92\n")
    assert "before.test" in name("not yet")
    pid = postern.pids("resolver")
    postern.smtpctl("reload")
    assert "after.test" in name("after")
    assert nameservers() == ["127.0.0.91", "127.0.0.92"]
    servers.write_text("")
    postern.smtpctl("reload")
    assert nameservers()[-1] == "the root's"
    assert postern.pids("resolver") == pid
