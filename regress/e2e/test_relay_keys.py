"""Certificates that the relay shows to servers which ask for one. Their keys are the keeper's, which
may die or be held up meanwhile."""

import os
import re
import signal
import ssl

import pytest

from faults import faults, faults_library  # noqa: F401
from postern import wait_for
from smtp_peer import Peer
from test_relay import RULES, send
from test_relay_tls import Authority, authority, names  # noqa: F401
from test_tls import Pair

RSA, EC = "rsa.client.test", "ec.client.test"


@pytest.fixture
def pairs(tmp_path):
    return {name: Pair(tmp_path, name, kind) for name, kind in ((RSA, "rsa"), (EC, "ec"))}


@pytest.fixture
def demanding(tmp_path, authority):  # noqa: F811
    """A peer that takes clients only with one of these certificates."""
    peers = []

    def make(*trusted, version=None, **options):
        context = authority.context("smart.test")
        context.verify_mode = ssl.CERT_REQUIRED
        for pair in trusted:
            context.load_verify_locations(pair.cert)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        peer = Peer(port=None, context=context, **options)
        peer.__enter__()
        peers.append(peer)
        return peer
    yield make
    for peer in peers:
        peer.__exit__()


@pytest.fixture
def make(make_postern, names, tmp_path):  # noqa: F811
    def build(peer, pairs, pki, more="", **arguments):
        """`pki`: of the action for all domains; `more`: statements before its rule."""
        names.set(f"host-record=smart.test,{peer.address}")
        shown = f" pki {pki}" if pki else ""
        rules = RULES.replace('"out" relay', f'"out" relay host smtp://smart.test:{peer.port}{shown}')
        for pair in pairs.values():
            pair.cert.chmod(0o644)
        tmp_path.chmod(0o755)
        return make_postern(rules=more + rules, extra=f"resolver nameserver 127.0.0.1@{names.port}\n"
            + "".join(pair.statements(name) for name, pair in pairs.items())
            + "queue retry-first 1s\nqueue retry-max 1s\n", **arguments)
    return build


def subject(message):
    return dict(part[0] for part in message.session.certificate["subject"])["commonName"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_demands_a_certificate_sees_ours(make, demanding, pairs, version):
    peer = demanding(*pairs.values(), version=version)
    postern = make(peer, pairs, RSA, f'action "ec" relay host smtp://smart.test:{peer.port} pki {EC}\n'
        'match from any for domain "ec.test" action "ec"\n')
    send(postern, "x@far.test")
    (message,) = peer.wait_messages(1)
    assert subject(message) == RSA
    send(postern, "x@ec.test")
    assert subject(peer.wait_messages(2)[1]) == EC


def test_without_a_certificate_such_a_server_takes_nothing(make, demanding, pairs):
    peer = demanding(pairs[RSA])
    postern = make(peer, pairs, None)
    send(postern, "x@far.test")
    postern.wait_log("delivery-deferred", to="x@far.test", reply=re.compile("(?i)certificate required"))
    assert not peer.messages


def test_a_keeper_that_is_held_up_defers_the_mail_and_its_death_is_no_harm(make, demanding, pairs):
    """Nothing goes without TLS then, though the server's TLS needn't be verified."""
    peer = demanding(pairs[EC])
    postern = make(peer, pairs, EC)
    postern.allow("no signature by the key of our certificate")
    (keeper,) = postern.pids("keeper")
    os.kill(keeper, signal.SIGSTOP)
    send(postern, "x@far.test")
    postern.wait_log("delivery-deferred", to="x@far.test",
        reply=re.compile("no signature by the key of our certificate"))
    assert not peer.messages
    assert all(line.split()[0] in ("EHLO", "STARTTLS") for session in peer.sessions
        for line in session.lines)
    peer.problems.clear()
    # Those that wait for a signature now wait for the next keeper.
    wait_for(lambda: len(peer.sessions) > 1, what="another try")
    postern.kill("keeper")
    peer.wait_messages(1)
    for number in range(2, 5):
        postern.kill_and_wait_back("keeper")
        send(postern, f"x{number}@far.test")
        peer.wait_messages(number)


def test_a_certificate_renewed_on_disk_is_shown(make, demanding, pairs, tmp_path, faults):  # noqa: F811
    renewed = [Pair(tmp_path, name, kind, [EC]) for name, kind in (("a.test", "ec"), ("b.test", "rsa"))]
    peer = demanding(pairs[EC], *renewed)
    postern = make(peer, pairs, EC, environment=faults.environment, more="mta messages-per-session 1\n")
    send(postern, "x@far.test")
    assert subject(peer.wait_messages(1)[0]) == EC
    pairs[EC].replace_by(renewed[0])
    postern.reload()
    send(postern, "x@far.test")
    assert subject(peer.wait_messages(2)[1]) == "a.test"
    pairs[EC].replace_by(renewed[1])
    with faults.set("smtpd", seconds=31):
        postern.wait_log("certificate-replaced", pki=EC)
    send(postern, "x@far.test")
    assert subject(peer.wait_messages(3)[2]) == "b.test"


def test_a_certificate_that_the_server_does_not_know_keeps_the_mail(make, demanding, pairs):
    peer = demanding(pairs[EC])
    postern = make(peer, pairs, RSA)
    send(postern, "x@far.test")
    postern.wait_log("delivery-deferred", to="x@far.test", reply=re.compile("(?i)unknown ca|closed"))
    assert not peer.messages
