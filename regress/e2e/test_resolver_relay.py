"""What the resolver tells the relay: by DNS servers of the tests' own, signed and not, slow and dead.
The resolver runs as a process of its own, and resolver_peer.c plays its supervisor and its relay."""

import contextlib
import queue
import shutil
import socket
import subprocess
import threading
import time

import pytest

import postern as harness
from signed_dns import SignedDns, Zone
from test_resolver import HostileNameserver, question_end

TOP = harness.TOP
SOURCES = ("imsg", "buf", "log", "config", "config_encode", "config_fields",
    "ipc_relay_resolver", "ipc_supervisor", "memory_file", "clock", "write")
DIGEST = "0123456789abcdef" * 4
ZONES = {
    "example": Zone(f"""
@ MX 20 mx1.example.
@ MX 5 mx2.example.
mx1 A 192.0.2.1
mx1 AAAA 2001:db8::1
mx2 A 192.0.2.2
_25._tcp.mx1 TLSA 3 1 1 {DIGEST}
alias CNAME mx1
away CNAME mx.plain.
null MX 0 .
loop CNAME loop2
loop2 CNAME loop
bad A 192.0.2.66
bad MX 10 mx1
dangling CNAME nowhere
empty CNAME text
text TXT "v=STSv1; " "id=1"
ip MX 10 192.0.2.1.
""" + "".join(f"chain{i} CNAME chain{i + 1}\n" for i in range(30)) +
        "chain30 A 192.0.2.30\n" +
        "".join(f"many MX {1000 - i} host{i}.example.\n" for i in range(1000)) +
        "".join(f'big TXT "{"x" * 250}{i}"\n' for i in range(100)), damaged=("bad",)),
    "plain": Zone("""
@ MX 10 mx.plain.
mx A 192.0.2.9
into CNAME mx1.example.
""", signed=False),
    "expired": Zone("@ MX 10 mx\nmx A 192.0.2.7\n", expired=True),
    "private.test": Zone("@ MX 10 mx\n", signed=False, delegated=False),
}


class Answer:
    def __init__(self, words):
        self.status, *words = words
        fields = dict(word.split("=", 1) for word in words[:6])
        self.records = words[6:]
        self.secure = fields["secure"] == "1"
        self.cut = fields["cut"] == "1"
        self.ttl = int(fields["ttl"])
        self.canonical = fields["canonical"]
        self.canonical_secure = fields["canonical_secure"] == "1"
        self.why = fields["why"]

    def brief(self):
        return self.status, self.secure, self.records


class Resolver:
    def __init__(self, peer):
        self.process = subprocess.Popen([peer, harness.BUILD / "bin/resolver"], text=True,
            bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines = queue.Queue()
        self.log = []
        self.answers = {}
        self.asked = 0
        self.threads = [threading.Thread(target=self.read, args=(stream, into), daemon=True)
            for stream, into in ((self.process.stdout, self.lines.put),
                (self.process.stderr, self.log.append))]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def read(stream, into):
        for line in stream:
            into(line.rstrip("\n"))

    def order(self, line):
        self.process.stdin.write(line + "\n")

    def configure(self, nameserver, anchors="none", hosts="none"):
        self.order(f"CONFIG {nameserver} {anchors} {hosts}")
        while (line := self.lines.get(timeout=20)) != "configured":
            self.note(line)

    def note(self, line):
        number, *words = line.split("\t")
        self.answers[int(number)] = Answer(words)

    def start(self, query):
        self.asked += 1
        self.order(query)
        return self.asked

    def answer(self, number, timeout=30):
        while number not in self.answers:
            self.note(self.lines.get(timeout=timeout))
        return self.answers[number]

    def ask(self, query, timeout=30):
        return self.answer(self.start(query), timeout)

    def stop(self):
        self.process.stdin.close()
        try:
            assert self.process.wait(20) == 0, "\n".join(self.log)
        finally:
            self.process.kill()
            self.process.wait()
            for thread in self.threads:
                thread.join()
            self.process.stdout.close()
            self.process.stderr.close()


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    path = tmp_path_factory.mktemp("peer") / "resolver_peer"
    subprocess.run(["gcc", "-std=gnu17", "-O1", "-D_GNU_SOURCE", f"-I{TOP}",
        '-DLOCALSTATEDIR="/nowhere"', '-DRUNSTATEDIR="/nowhere"', "-o", path,
        TOP / "regress/e2e/resolver_peer.c", *(TOP / f"common/{name}.c" for name in SOURCES),
        "-levent_core", "-lbsd"], check=True)
    return path


@pytest.fixture(scope="module")
def dns(tmp_path_factory):
    def tool(name):
        own = TOP / "build/tools/bin" / name
        path = str(own) if own.exists() else shutil.which(name)
        if path is None:
            pytest.skip(f"{name} isn't installed (make test-deps)")
        return path
    with SignedDns(tool, tmp_path_factory.mktemp("zones"), ZONES) as server:
        yield server


@pytest.fixture
def resolver(peer):
    process = Resolver(peer)
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture
def validating(resolver, dns):
    resolver.configure(f"127.0.0.1@{dns.port}", dns.anchor)
    return resolver


def test_signed_records_are_secure(validating):
    assert validating.ask("MX example").brief() == ("found", True,
        ["5:0:0:0:mx2.example", "20:0:0:0:mx1.example"])
    assert validating.ask("ADDRESSES mx1.example").brief() == ("found", True,
        ["192.0.2.1", "2001:db8::1"])
    tlsa = validating.ask("TLSA 25 mx1.example")
    assert tlsa.status == "found" and tlsa.secure and tlsa.records[0].startswith("0:3:1:1:")
    assert validating.ask("TXT text.example").brief() == ("found", True,
        ["0:0:0:0:v=STSv1;<20>id=1"])
    assert validating.ask("MX null.example").brief() == ("found", True, ["0:0:0:0:"])
    assert validating.ask("MX ip.example").brief() == ("found", True, ["10:0:0:0:192.0.2.1"])
    assert 0 < tlsa.ttl <= 60


def test_absence_is_secure_where_it_is_proven(validating):
    assert validating.ask("MX nowhere.example").brief() == ("no-name", True, [])
    assert validating.ask("MX mx1.example").brief() == ("no-data", True, [])
    assert validating.ask("TLSA 25 mx2.example").brief() == ("no-name", True, [])
    assert validating.ask("MX nowhere.plain").brief() == ("no-name", False, [])
    assert validating.ask("TLSA 25 mx.plain").brief() == ("no-name", False, [])


def test_unsigned_records_are_insecure(validating):
    assert validating.ask("MX plain").brief() == ("found", False, ["10:0:0:0:mx.plain"])
    assert validating.ask("ADDRESSES mx.plain").brief() == ("found", False, ["192.0.2.9"])
    # A name of the site's own, which the root doesn't have.
    assert validating.ask("MX private.test").brief() == ("found", False,
        ["10:0:0:0:mx.private.test"])


def test_wrong_signatures_are_failures_that_say_why(validating):
    for query in ("ADDRESSES bad.example", "MX bad.example"):
        answer = validating.ask(query)
        assert answer.brief() == ("failed", False, [])
        assert "validation failure" in answer.why and "bad.example" in answer.why
    answer = validating.ask("MX expired")
    assert answer.brief() == ("failed", False, [])
    assert "signature expired" in answer.why


def test_aliases_are_followed_and_their_security_told(validating):
    answer = validating.ask("ADDRESSES alias.example")
    assert answer.brief() == ("found", True, ["192.0.2.1", "2001:db8::1"])
    assert (answer.canonical, answer.canonical_secure) == ("mx1.example", True)
    answer = validating.ask("ADDRESSES away.example")
    assert answer.brief() == ("found", False, ["192.0.2.9"])
    assert (answer.canonical, answer.canonical_secure) == ("mx.plain", True)
    answer = validating.ask("ADDRESSES into.plain")
    assert answer.brief() == ("found", False, ["192.0.2.1", "2001:db8::1"])
    assert (answer.canonical, answer.canonical_secure) == ("mx1.example", False)
    answer = validating.ask("MX empty.example")
    assert (answer.status, answer.canonical) == ("no-data", "text.example")
    answer = validating.ask("ADDRESSES dangling.example")
    assert (answer.status, answer.canonical) == ("no-name", "nowhere.example")


def test_aliases_without_an_end_are_failures(validating):
    assert validating.ask("ADDRESSES loop.example").status == "failed"
    assert validating.ask("ADDRESSES chain0.example").status == "failed"
    assert validating.ask("ADDRESSES chain26.example").records == ["192.0.2.30"]


def test_of_too_many_records_the_best_come(validating):
    answer = validating.ask("MX many.example")
    assert answer.secure and answer.cut
    assert answer.records == [f"{i}:0:0:0:host{1000 - i}.example" for i in range(1, 65)]
    answer = validating.ask("TXT big.example")
    assert answer.cut and 40 < len(answer.records) < 64


def test_without_an_anchor_nothing_is_secure_and_nothing_bogus(resolver, dns):
    resolver.configure(f"127.0.0.1@{dns.port}")
    assert resolver.ask("ADDRESSES mx1.example").brief() == ("found", False,
        ["192.0.2.1", "2001:db8::1"])
    assert resolver.ask("ADDRESSES bad.example").brief() == ("found", False, ["192.0.2.66"])


def test_with_a_useless_anchor_nothing_is_answered_until_there_is_a_good_one(resolver, dns, tmp_path):
    useless = tmp_path / "anchors"
    for text in ("; nothing\n", ". IN A 192.0.2.1\n", ". IN DS what\n"):
        useless.write_text(text)
        resolver.configure(f"127.0.0.1@{dns.port}", useless)
        answer = resolver.ask("MX plain")
        assert answer.brief() == ("failed", False, []) and "trust anchors" in answer.why
    resolver.configure(f"127.0.0.1@{dns.port}", tmp_path / "missing")
    assert resolver.ask("MX plain").status == "failed"
    assert any("trust anchors" in line and "missing" in line for line in resolver.log)
    resolver.configure(f"127.0.0.1@{dns.port}", dns.anchor)
    assert resolver.ask("MX example").secure


def test_another_root_key_makes_all_bogus(resolver, dns, tmp_path):
    anchor = tmp_path / "anchor"
    key, digest = dns.anchor.read_text().rsplit(maxsplit=1)
    anchor.write_text(f"{key} {'0' * len(digest)}\n")
    resolver.configure(f"127.0.0.1@{dns.port}", anchor)
    answer = resolver.ask("MX plain")
    assert answer.brief() == ("failed", False, []) and "validation failure" in answer.why


def test_hosts_come_before_dns(resolver, dns, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.77 other.example MX1.example\n2001:db8::77 mx1.example\n")
    resolver.configure(f"127.0.0.1@{dns.port}", dns.anchor, hosts)
    assert resolver.ask("ADDRESSES mx1.example").brief() == ("found", False,
        ["192.0.2.77", "2001:db8::77"])
    assert resolver.ask("MX example").secure


def test_dead_server_is_asked_again_when_it_lives(resolver, dns):
    with HostileNameserver(lambda query: None) as server:
        resolver.configure(f"127.0.0.1@{server.port}")
        resolver.start("MX dead.example")
        harness.wait_for(lambda: server.asked >= 3, what="several questions, in vain")
    with relay_udp(server.port, dns.port):
        harness.wait_for(lambda: resolver.ask("MX example").status == "found", timeout=30,
            what="an answer of the server that lives again")


@contextlib.contextmanager
def relay_udp(port, to):
    """Hands questions that come to `port` on to the server at `to`."""
    done = threading.Event()
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("127.0.0.1", port))
    listening.settimeout(0.1)

    def run():
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                question, client = listening.recvfrom(4096)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
                    onward.settimeout(2)
                    onward.sendto(question, ("127.0.0.1", to))
                    listening.sendto(onward.recv(65535), client)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        listening.close()


def test_silent_names_hold_up_no_others(resolver):
    """Each has its own time limit: the others are answered at once."""
    def answer(query):
        if query[13:17] == b"dead":
            return None
        end = question_end(query)
        return query[:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + query[12:end]
    with HostileNameserver(answer) as server:
        resolver.configure(f"127.0.0.1@{server.port}")
        dead = [resolver.start(f"MX dead{i}.example") for i in range(50)]
        begin = time.monotonic()
        for i in range(20):
            assert resolver.ask(f"MX live{i}.example").status == "no-data"
        assert time.monotonic() - begin < 5
        for number in dead:
            failed = resolver.answer(number)
            assert failed.status == "failed" and failed.why


@pytest.mark.parametrize("answer", [
    lambda query: query[:2] + b"\x81\x82" + query[4:],
    lambda query: query[:2] + b"\x81\x85" + query[4:],
    lambda query: query[:2] + b"\x81\x80\0\1\xff\xff\0\0\0\0" + query[12:],
], ids=["SERVFAIL", "REFUSED", "too few records"])
def test_servers_that_fail_are_failures(resolver, answer):
    with HostileNameserver(answer) as server:
        resolver.configure(f"127.0.0.1@{server.port}")
        failed = resolver.ask("ADDRESSES mx.example")
        assert failed.brief() == ("failed", False, []) and failed.why


def test_more_queries_than_allowed_fail_at_once(resolver):
    with HostileNameserver(lambda query: None) as server:
        resolver.configure(f"127.0.0.1@{server.port}")
        numbers = [resolver.start(f"MX n{i}.example") for i in range(2010)]
        for number in numbers[2000:]:
            answer = resolver.answer(number, timeout=10)
            assert answer.status == "failed" and "too many" in answer.why


def test_the_process_lives_on_after_noise(validating):
    validating.order("NOISE")
    assert validating.lines.get(timeout=20) == "rejected"
    assert validating.ask("MX example").secure


RELAYING = """
action "in" maildir virtual <accounts>
action "out" relay
match from any for domain <accounts> action "in"
match from any for any action "out"
"""


def test_anchor_of_the_configuration_decides_what_mail_goes_by(make_postern, dns, tmp_path):
    """The supervisor hands it over, at the start and with each reload."""
    tmp_path.chmod(0o755)
    anchor = tmp_path / "anchor"
    anchor.write_text(dns.anchor.read_text())
    postern = make_postern(rules=RELAYING, extra=f"resolver nameserver 127.0.0.1@{dns.port}\n"
        f"resolver trust-anchor {anchor}\nqueue retry-first 1s\nqueue retry-max 1s\n")
    postern.smtpctl("trace", "lookup")

    def send(to):
        with postern.smtp() as client:
            client.sendmail("alice@example.test", to, "Subject: x\r\n\r\nx\r\n")
    send("x@null.example")
    postern.wait_log("relay-looked-up", name="null.example", type="MX", result="found", secure="yes")
    (mail,) = postern.wait_mail("alice@example.test")
    assert "5.1.10" in mail.message.as_string()  # the null MX
    send("x@bad.example")
    line = postern.wait_log("delivery-deferred", to="x@bad.example")
    assert "validation failure" in line["reply"] and "bad.example" in line["reply"]
    anchor.write_text("; none\n")
    postern.smtpctl("reload")
    send("x@null.example")
    line = postern.wait_log("delivery-deferred", to="x@null.example")
    assert "trust anchors" in line["reply"]
    postern.config_file.write_text(postern.config_file.read_text().replace(
        f"trust-anchor {anchor}", "trust-anchor none"))
    postern.smtpctl("reload")
    # Without validation there is an answer.
    postern.wait_log("relay-looked-up", name="bad.example", type="MX", result="found", secure="no")
    postern.wait_log("relay-looked-up", name="null.example", type="MX", result="found", secure="no")
