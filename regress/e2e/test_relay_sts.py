"""Mail to domains that have a policy of MTA-STS: web servers and MXs of the tests' own, with
certificates of the tests' own, on port 443 and 25 of loopback addresses."""

import re
import socket
import ssl
import struct
import threading
import time

import pytest

from postern import wait_for
from smtp_peer import Peer, loopback_address
from test_relay import RULES, Names, bounce, mx, send
from test_relay_dane import REQUIRETLS, digest, net  # noqa: F401 (a fixture)
from test_relay_tls import Authority, authority  # noqa: F401 (a fixture)

pytestmark = pytest.mark.root  # ports 25 and 443


def policy(mode="enforce", mx=("mx0.far.test",), max_age=86400, end="\r\n"):
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {name}" for name in mx),
        f"max_age: {max_age}"]
    return "".join(line + end for line in lines)


def page(text, code="200 OK", kind="text/plain", extra=""):
    data = text if isinstance(text, bytes) else text.encode()
    return (f"HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
        .encode() + data)


class PolicyHost:
    """A web server at port 443 of `address`. `answer`: bytes, or a function of the connection and of
    an event that ends it; `requests`: what was asked, headers included."""

    def __init__(self, context, answer):
        self.context, self.answer = context, answer
        self.address = loopback_address()
        self.requests, self.connections = [], 0
        self.ended = threading.Event()
        self.socket = None

    def start(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((self.address, 443))
        self.socket.listen(64)
        threading.Thread(target=self._accept, args=(self.socket,), daemon=True).start()
        return self

    def stop(self):
        self.ended.set()
        if self.socket:
            self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()
            self.socket = None

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(30)
        try:
            with self.context.wrap_socket(connection, server_side=True) as secure:
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = secure.recv(4096)
                    if not piece:
                        return
                    data += piece
                self.requests.append(data.decode())
                if callable(self.answer):
                    self.answer(secure, self.ended)
                else:
                    secure.sendall(self.answer)
                    secure.unwrap()
        except (OSError, ssl.SSLError):
            pass


class Domains:
    """Domains with MXs and policies; publish() tells DNS, and again when something has changed."""

    def __init__(self, names, authority, make_postern):
        self.names, self.authority, self.make_postern = names, authority, make_postern
        self.lines, self.peers, self.hosts = {}, [], []
        self.postern = None

    def peer(self, name="mx0.far.test", days=5, **options):
        """An MX with a certificate for that name; None: no TLS."""
        context = self.authority.context(name, days) if name else None
        peer = Peer(context=context, **options)
        peer.__enter__()
        self.peers.append(peer)
        return peer

    def host(self, answer, domain="far.test", name=None, days=5):
        host = PolicyHost(self.authority.context(name or f"mta-sts.{domain}", days), answer)
        self.hosts.append(host)
        return host.start()

    def publish(self, domain, *peers, host=None, id="1"):
        """Without a host, no record of a policy."""
        lines = mx(domain, *peers)
        if host is not None:
            lines += [f'txt-record=_mta-sts.{domain},"v=STSv1; id={id};"',
                f"host-record=mta-sts.{domain},{getattr(host, 'address', host)}"]
        self.lines[domain] = lines
        self.names.set(*(line for lines in self.lines.values() for line in lines))

    def start(self, options="", extra=""):
        self.postern = self.make_postern(start=False,
            rules=RULES.replace('"out" relay', f'"out" relay {options}'),
            extra=f"resolver nameserver 127.0.0.1@{self.names.port}\n"
            f'ca default cert "{self.authority.file}"\n'
            f"queue retry-first 1s\nqueue retry-max 2s\n{extra}")
        self.authority.file.chmod(0o644)
        self.authority.folder.chmod(0o755)
        self.postern.start()
        self.postern.add_domain("example.test")
        self.postern.add_user("alice@example.test")
        self.postern.smtpctl("trace", "mta")
        return self.postern

    def forget_routes(self):
        """What was found out of domains lately is found out again, for the next mail."""
        self.postern.smtpctl("reload")

    def stop(self):
        for peer in self.peers:
            peer.__exit__()
        for host in self.hosts:
            host.stop()


@pytest.fixture
def domains(tool, tmp_path, make_postern, authority):  # noqa: F811
    names = Names(tool("dnsmasq"), tmp_path)
    world = Domains(names, authority, make_postern)
    yield world
    world.stop()
    names.stop()


def check_kept(postern, peer, words, to="x@far.test"):
    send(postern, to)
    postern.wait_log("delivery-deferred", to=to, reply=re.compile(words))
    assert not peer.messages


def test_policy_is_fetched_once_and_kept_to(domains):
    peer = domains.peer()
    host = domains.host(page(policy(mx=["*.far.test"])))
    domains.publish("far.test", peer, host=host)
    postern = domains.start()
    send(postern, "x@far.test")
    (message,) = peer.wait_messages(1)
    assert message.session.tls == "TLSv1.3"
    postern.wait_log("relay-connected", host="mx0.far.test", policy="sts",
        tls=re.compile("verified$"))
    postern.wait_log("sts-policy-fetched", domain="far.test", mode="enforce", id="1")
    domains.forget_routes()
    send(postern, "y@far.test")
    peer.wait_messages(2)
    (request,) = host.requests
    assert request.startswith("GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.far.test\r\n")


def test_policy_host_that_is_down_at_first_holds_up_no_mail(domains):
    peer = domains.peer(name=None)
    host = domains.host(page(policy()))
    host.stop()
    domains.publish("far.test", peer, host=host)
    postern = domains.start()
    send(postern, "x@far.test")
    peer.wait_messages(1)
    postern.wait_log("sts-policy-not-fetched", domain="far.test", reason=re.compile("can.t connect to mta-sts.far.test: Connection refused"))
    # It isn't asked again at once, though it would answer now.
    host.start()
    domains.forget_routes()
    send(postern, "y@far.test")
    peer.wait_messages(2)
    assert host.connections == 0


def test_kept_policy_holds_across_restart_while_all_else_is_gone(domains):
    peer = domains.peer()
    right, wrong = peer.context, domains.authority.context("other.test")
    host = domains.host(page(policy()))
    domains.publish("far.test", peer, host=host)
    postern = domains.start()
    send(postern, "x@far.test")
    peer.wait_messages(1)
    postern.stop()
    host.stop()
    domains.publish("far.test", peer)
    peer.context = wrong
    postern.start()
    send(postern, "y@far.test")
    postern.wait_log("delivery-deferred", to="y@far.test",
        reply=re.compile("4.7.5.*certificate isn't good.*MTA-STS policy"))
    assert len(peer.messages) == 1
    peer.context = right
    peer.wait_messages(2)


def drip(connection, ended):
    for byte in page(policy()):
        connection.sendall(bytes([byte]))
        if ended.wait(0.2):
            return


def test_policy_hosts_that_answer_badly_hold_up_mail_for_a_bounded_time(domains):
    """And a domain whose policy can't be had is as one that has none."""
    good = policy(mx=["mx0.d.test"])
    at_most = 65536
    long = good + "x: " + "y" * (at_most - len(good) - 5) + "\r\n"
    assert len(long.encode()) == at_most
    kinds = {
        "expired": ({"days": -1}, page(good), "certificate has expired"),
        "name": ({"name": "other.test"}, page(good), "certificate isn't good.*mismatch"),
        "parent": ({"name": "test"}, page(good), "certificate isn't good"),
        "moved": ({}, page(good, "301 Moved", extra="Location: https://mta-sts.name.test/\r\n"),
            "answers 301"),
        "gone": ({}, page(good, "404 Not Found"), "answers 404"),
        "html": ({}, page(good, kind="text/html"), "text/html"),
        "long": ({}, page(long + "\n"), "more than 65536 bytes"),
        "endless": ({}, lambda connection, ended: [connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")] and [connection.sendall(
            b"x: y\r\n" * 1000) for _ in range(1000)], "more than 65536 bytes"),
        "head": ({}, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10000, "no HTTP"),
        "smtp": ({}, b"220 mx.far.test ESMTP\r\n", "no HTTP"),
        "nothing": ({}, b"", "cut off"),
        "cut": ({}, page(good)[:-10], "cut off"),
        "junk": ({}, page(bytes(range(256)) * 20), "can't be used"),
        "mode": ({}, page(good.replace("enforce", "forced")), "mode"),
        "slow": ({}, drip, ""),
        "silent": ({}, lambda connection, ended: ended.wait(60), ""),
    }
    peer = domains.peer(name=None)
    for kind, (options, answer, _) in kinds.items():
        domain = f"{kind}.test"
        host = domains.host(answer, domain=domain, **options)
        domains.lines[domain] = [f"mx-host={domain},mx0.far.test,10",
            f'txt-record=_mta-sts.{domain},"v=STSv1; id=1;"',
            f"host-record=mta-sts.{domain},{host.address}"]
    domains.publish("far.test", peer)
    postern = domains.start()
    begin = time.monotonic()
    for kind in kinds:
        send(postern, f"x@{kind}.test")
    peer.wait_messages(len(kinds), timeout=30)
    assert time.monotonic() - begin < 20
    for kind, (_, _, words) in kinds.items():
        if words:
            postern.wait_log("sts-policy-not-fetched", domain=f"{kind}.test",
                reason=re.compile(words))
        postern.wait_log("delivered", to=f"x@{kind}.test")
    assert not domains.hosts[list(kinds).index("expired")].requests
    # As long as it may be, it is taken.
    host = domains.host(page(long), domain="d.test")
    domains.publish("d.test", peer, host=host)
    check_kept_words = "MTA-STS policy"
    send(postern, "x@d.test")
    postern.wait_log("delivery-deferred", to="x@d.test", reply=re.compile(check_kept_words))


def test_mx_that_the_policy_does_not_name_gets_nothing(domains):
    evil, good = domains.peer("mx0.far.test"), domains.peer("mx1.far.test")
    domains.publish("far.test", evil, good, host=domains.host(page(policy(mx=["mx1.far.test"]))))
    lone = domains.host(page(policy(mx=["*.mx0.lone.test", "lone.test"])), domain="lone.test")
    domains.publish("lone.test", evil, host=lone)
    postern = domains.start(extra="queue ttl 4s\n")
    send(postern, "x@far.test")
    good.wait_messages(1)
    words = "mx0.lone.test isn't one of the mail servers that the MTA-STS policy of lone.test names"
    check_kept(postern, evil, f"4.7.0 {words}", to="x@lone.test")
    # When its time has run out it is returned with the reason.
    report = bounce(postern)
    assert words in re.sub(r"\s+", " ", report)
    assert not evil.sessions


def test_mx_needs_tls_and_a_good_certificate(domains):
    kinds = {"late.test": ("mx0.late.test", -1, "4.7.5.*certificate has expired"),
        "wrong.test": ("wrong.test", 5, "4.7.5.*mismatch"),
        "plain.test": (None, 5, "4.7.10.*no TLS.*MTA-STS policy")}
    peers = {}
    for domain, (name, days, _) in kinds.items():
        peers[domain] = domains.peer(name, days)
        host = domains.host(page(policy(mx=[f"mx0.{domain}"])), domain=domain)
        domains.publish(domain, peers[domain], host=host)
    postern = domains.start()
    for domain, (_, _, words) in kinds.items():
        check_kept(postern, peers[domain], words, to=f"x@{domain}")
        assert all(line.split()[0] in ("EHLO", "STARTTLS", "QUIT")
            for session in peers[domain].sessions for line in session.lines)


def test_policy_that_is_being_tested_keeps_nothing_back(domains):
    wrong, plain, other = domains.peer("other.test"), domains.peer(None), domains.peer("mx0.other.test")
    domains.publish("far.test", wrong, host=domains.host(page(policy("testing"))))
    domains.publish("plain.test", plain, host=domains.host(
        page(policy("testing", mx=["mx0.plain.test"])), domain="plain.test"))
    domains.publish("other.test", other, host=domains.host(
        page(policy("testing", mx=["mx9.other.test"])), domain="other.test"))
    postern = domains.start()
    for peer, domain, result in ((wrong, "far.test", "certificate-host-mismatch"),
            (plain, "plain.test", "starttls-not-supported"),
            (other, "other.test", "validation-failure")):
        send(postern, f"x@{domain}")
        (message,) = peer.wait_messages(1)
        assert bool(message.session.tls) == (peer is not plain)
        postern.wait_log("sts-policy-would-fail", domain=domain, result=result)
        postern.wait_log("relay-connected", host=f"mx0.{domain}", policy="sts-testing")


def test_new_policy_is_fetched_when_the_record_changes(domains):
    peer = domains.peer()
    host = domains.host(page(policy(mx=["old.far.test"])))
    domains.publish("far.test", peer, host=host)
    postern = domains.start()
    check_kept(postern, peer, "MTA-STS policy of far.test")
    host.answer = page(policy(end="\n"))
    domains.publish("far.test", peer, host=host, id="2")
    (message,) = peer.wait_messages(1)
    assert message.session.tls
    # And it can be taken back.
    host.answer = page(policy("none", mx=[]))
    domains.publish("far.test", peer, host=host, id="3")
    peer.context = domains.authority.context("other.test")
    domains.forget_routes()
    send(postern, "y@far.test")
    peer.wait_messages(2)
    assert len(host.requests) == 3


def test_policy_is_refreshed_though_no_mail_goes_out(domains):
    peer = domains.peer()
    host = domains.host(page(policy(max_age=12)))
    domains.publish("far.test", peer, host=host)
    postern = domains.start()
    send(postern, "x@far.test")
    peer.wait_messages(1)
    fetched = time.monotonic()
    domains.publish("far.test", peer)  # whatever the record says
    domains.lines["far.test"].append(f"host-record=mta-sts.far.test,{host.address}")
    domains.names.set(*domains.lines["far.test"])
    # It is due when half of its time is over: that is what is waited for. A new relay looks at once.
    wait_for(lambda: time.monotonic() - fetched > 6.1)
    postern.kill("relay")
    wait_for(lambda: len(host.requests) == 2, what="the policy is fetched again")


def test_smarthosts_and_literals_have_no_policy(domains):
    peer = domains.peer("other.test")
    host = domains.host(page(policy(mx=["nobody.test"])))
    domains.publish("far.test", peer, host=host)
    postern = domains.start(options="domain { far.test = smtp://mx0.far.test }")
    send(postern, "x@far.test", f"x@[{peer.address}]")
    peer.wait_messages(2)
    assert host.connections == 0


def test_policies_can_be_left_alone(domains):
    peer = domains.peer("other.test")
    host = domains.host(page(policy()))
    domains.publish("far.test", peer, host=host)
    postern = domains.start(extra="mta no mta-sts\n")
    send(postern, "x@far.test")
    peer.wait_messages(1)
    assert host.connections == 0


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_dane_is_stronger_than_a_policy(net, tmp_path, right):  # noqa: F811
    """It may be kept to where the policy would forbid it, and must be where that would allow it."""
    peer = net.peer(name=None if not right else "other.test")
    answer = page(policy(mx=["nobody.test" if right else "mx0.hosts.signed"]))
    host = PolicyHost(net.authority.context("mta-sts.far.signed"), answer).start()
    data = digest(tmp_path / "other.test5.pem", "key") if right else "0" * 64
    try:
        postern = net.start(f"3 1 1 {data}", options="", extra=f"mta-sts.far IN A {host.address}\n"
            '_mta-sts.far IN TXT "v=STSv1; id=1;"\n',
            config=f'ca default cert "{net.authority.file}"\n')
        send(postern, "x@far.signed")
        postern.wait_log("sts-policy-fetched", domain="far.signed")
        if right:
            peer.wait_messages(1)
            postern.wait_log("relay-connected", policy="dane", tls=re.compile("dane$"))
        else:
            postern.wait_log("delivery-deferred", to="x@far.signed", reply=re.compile("4.7.5.*TLSA"))
            assert not peer.messages
    finally:
        host.stop()


def test_what_messages_need_of_tls_goes_together_with_policies(net):  # noqa: F811
    """RFC 8689: a policy vouches for MXs that aren't signed; who can go without TLS needn't mind it."""
    peer = net.peer(extensions=REQUIRETLS)
    host = PolicyHost(net.authority.context("mta-sts.far.open"),
        page(policy(mx=["*.hosts.signed"]))).start()
    try:
        postern = net.start(None, options="", config=f'ca default cert "{net.authority.file}"\n',
            open_extra=f'mta-sts.far IN A {host.address}\n_mta-sts.far IN TXT "v=STSv1; id=1;"\n')
        net.send_over_tls("x@far.open", "REQUIRETLS")
        (message,) = peer.wait_messages(1)
        assert "REQUIRETLS" in message.options
        postern.wait_log("relay-connected", policy="sts", tls=re.compile("verified$"))
        peer.context = net.authority.context("other.test")
        net.send_over_tls("y@far.open", headers="TLS-Required: No\r\n")
        peer.wait_messages(2)
        send(postern, "z@far.open")
        postern.wait_log("delivery-deferred", to="z@far.open", reply=re.compile("4.7.5"))
    finally:
        host.stop()
