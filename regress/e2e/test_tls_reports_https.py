"""TLS reports that a domain wants by HTTPS (RFC 8460 5.4): posted once to a web server with a good
certificate; where that fails, the record's other places get them, or the same one later."""

import gzip
import json
import re
import threading
import time

import pytest

from postern import wait_for
from test_operation import clock_library  # noqa: F401 (a fixture)
from test_relay import send
from test_relay_sts import Domains, PolicyHost, domains, page, policy  # noqa: F401 (a fixture)
from test_relay_tls import authority  # noqa: F401 (a fixture)
from test_dkim import dkim, records  # noqa: F401 (dkim: skipped without it)
from test_tls_reports import FROM, check

pytestmark = pytest.mark.root  # ports 25 and 443


class ReportHost(PolicyHost):
    """A web server that is posted to: `requests` are heads, `reports` what came with them. `answer`
    as a function is called when all of the request is there."""

    def __init__(self, context, answer=None):
        super().__init__(context, page("", "201 Created") if answer is None else answer)
        self.reports = []

    def _serve(self, connection):
        connection.settimeout(30)
        try:
            with self.context.wrap_socket(connection, server_side=True) as secure:
                head, _, body = self._until(secure, b"", lambda data: b"\r\n\r\n" in data)\
                    .partition(b"\r\n\r\n")
                size = int(re.search(rb"Content-Length: (\d+)", head)[1])
                body = self._until(secure, body, lambda data: len(data) >= size)
                assert len(body) == size
                self.requests.append(head.decode())
                self.reports.append(json.loads(gzip.decompress(body).decode()))
                if callable(self.answer):
                    self.answer(secure, self.ended)
                else:
                    secure.sendall(self.answer)
                    secure.unwrap()
        except OSError:
            pass

    @staticmethod
    def _until(secure, data, enough):
        while not enough(data):
            piece = secure.recv(65536)
            if not piece:
                raise ConnectionError("closed")
            data += piece
        return data

    def wait(self, count=1):
        wait_for(lambda: len(self.reports) >= count, 20, f"{count} reports")
        return self.reports[:count]


class Reports:
    """Domains whose mail goes to one server without TLS, and what they want reports by."""

    def __init__(self, domains):
        self.domains, self.hosts = domains, []
        self.peer = domains.peer(name=None)

    def host(self, name, answer=None, days=5, known_as=None):
        host = ReportHost(self.domains.authority.context(known_as or name, days), answer)
        self.domains.hosts.append(host)
        self.hosts.append((name, host))
        return host.start()

    def want(self, domain, rua, policy_host=None, peer=None):
        self.domains.publish(domain, peer or self.peer, host=policy_host)
        self.domains.lines[domain] += [f'txt-record=_smtp._tls.{domain},"v=TLSRPTv1; rua={rua}"']

    def start(self, extra=""):
        self.domains.lines[""] = [f"host-record={name},{host.address}" for name, host in self.hosts]
        self.domains.names.set(*(line for lines in self.domains.lines.values() for line in lines))
        postern = self.domains.start(extra=f'mta tls-reports-from "{FROM}"\n{extra}')
        postern.add_user("bob@example.test")
        return postern

    def known(self):
        """Domains of which there is something to be reported."""
        return {json.loads(line)["domain"] for line in self.domains.postern.smtpctl("-j", "show",
            "tls-results").stdout.splitlines()}

    def settle(self, *domains):
        """Until what came of TLS with these is known to the directory: at the latest when the server
        stops, and so sooner than else."""
        self.domains.postern.stop()
        self.domains.postern.start()
        assert self.known() == set(domains)

    def order(self, check=True):
        return self.domains.postern.smtpctl("tls-report", "send",
            time.strftime("%Y-%m-%d", time.gmtime()), check=check)


@pytest.fixture
def reports(domains):  # noqa: F811
    return Reports(domains)


def test_report_wanted_by_https_is_posted_once(reports):
    """With what became of the domain's MTA-STS policy (RFC 8460 4.3, 4.5, B)."""
    domains = reports.domains
    host = reports.host("reports.test")
    peer = domains.peer(name="other.test")
    policies = domains.host(page(policy(mode="testing", mx=["mx0.far.test", "*.far.test"])))
    reports.want("far.test", "https://reports.test/v1/tls?from=here", policies, peer)
    postern = reports.start()
    send(postern, "x@far.test")
    peer.wait_messages(1)
    postern.wait_log("sts-policy-fetched", domain="far.test")
    domains.forget_routes()
    send(postern, "y@far.test")
    peer.wait_messages(2)
    reports.settle("far.test")
    reports.order()
    (report,) = host.wait()
    check(report)
    (head,) = host.requests
    lines = head.split("\r\n")
    assert lines[0] == "POST /v1/tls?from=here HTTP/1.1" and "Host: reports.test" in lines
    assert "Content-Type: application/tlsrpt+gzip" in lines  # RFC 8460 6.4
    entries = {entry["policy"]["policy-type"]: entry for entry in report["policies"]}
    assert "sts" in entries
    assert entries["sts"]["policy"] == {"policy-type": "sts", "policy-domain": "far.test",
        "policy-string": ["version: STSv1", "mode: testing", "mx: mx0.far.test", "mx: *.far.test",
            "max_age: 86400"],
        "mx-host": ["mx0.far.test", "*.far.test"]}
    (failure,) = entries["sts"]["failure-details"]
    assert failure["result-type"] == "certificate-host-mismatch"
    assert failure["receiving-mx-hostname"] == "mx0.far.test"
    assert failure["receiving-ip"] == peer.address and failure["sending-mta-ip"]
    postern.wait_log("tls-report-sent", domain="far.test",
        to="https://reports.test/v1/tls?from=here", report=report["report-id"])
    assert not postern.smtpctl("show", "tls-results", "far.test").stdout.strip()
    assert "nothing to report" in postern.smtpctl("tls-report", "send", check=False).stderr
    assert len(host.reports) == 1


def test_policies_that_cannot_be_had_are_reported(reports):
    kinds = {"absent": (page("no", "404 Not Found"), 5, "sts-policy-fetch-error"),
        "bad": (page("mode: enforce\r\n"), 5, "sts-policy-invalid"),
        "old": (page(policy()), -1, "sts-webpki-invalid")}
    host = reports.host("reports.test")
    for name, (answer, days, _) in kinds.items():
        policies = reports.domains.host(answer, domain=f"{name}.test", days=days)
        reports.want(f"{name}.test", "https://reports.test/", policies)
    postern = reports.start()
    for name in kinds:
        send(postern, f"x@{name}.test")
    reports.peer.wait_messages(3)
    postern.wait_log("sts-policy-not-fetched", count=3)
    reports.settle(*(f"{name}.test" for name in kinds))
    reports.order()
    found = {}
    for report in host.wait(3):
        check(report)
        for entry in report["policies"]:
            if entry["policy"]["policy-type"] == "sts":
                assert not entry["policy"].get("mx-host")
                found[entry["policy"]["policy-domain"]] = [failure["result-type"]
                    for failure in entry["failure-details"]]
    assert found == {f"{name}.test": [kind] for name, (_, _, kind) in kinds.items()}


def test_place_that_fails_is_followed_by_the_records_next_one(reports):
    """None of these servers has taken it, whatever it said; where a redirect points nobody asks."""
    there = reports.host("there.test")
    kinds = {
        "moved": ({}, page("", "307 There", extra="Location: https://there.test/\r\n")),
        "junk": ({}, bytes(range(256)) * 40),
        "cut": ({}, b"HTTP/1.1 200 OK\r\nContent-Len"),
        "nothing": ({}, b""),
        "expired": ({"days": -1}, None),
        "name": ({"known_as": "other.test"}, None),
    }
    hosts = {kind: reports.host(f"{kind}.test", answer, **options)
        for kind, (options, answer) in kinds.items()}
    for kind in kinds:
        reports.want(f"d-{kind}.test", f"https://{kind}.test/,mailto:bob@example.test")
    reports.want("d-absent.test", "https://absent.test/,https://127.0.0.1/,mailto:bob@example.test")
    postern = reports.start()
    records(postern, "add", "example.test")
    everybody = [f"d-{kind}.test" for kind in (*kinds, "absent")]
    for domain in everybody:
        send(postern, f"x@{domain}")
    reports.peer.wait_messages(len(everybody))
    reports.settle(*everybody)
    reports.order()
    mails = postern.wait_mail("bob@example.test", len(everybody))
    assert sorted(mail.message["TLS-Report-Domain"] for mail in mails) == sorted(everybody)
    assert all(host.connections == 1 for host in hosts.values())
    assert not there.connections


def test_answer_of_success_is_one_whatever_its_words_come_to(reports):
    """Else the same report would be posted all day."""
    endless = reports.host("endless.test", lambda connection, ended: [connection.sendall(
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000)] and [connection.sendall(b"x" * 1000)
        for _ in range(1000)])
    cut = reports.host("cut.test", b"HTTP/1.1 202 Accepted\r\nContent-Length: 90\r\n\r\nshort")
    for name in ("endless", "cut"):
        reports.want(f"d-{name}.test", f"https://{name}.test/")
    postern = reports.start()
    send(postern, "x@d-endless.test", "x@d-cut.test")
    reports.peer.wait_messages(2)
    reports.settle("d-endless.test", "d-cut.test")
    reports.order()
    postern.wait_log("tls-report-sent", count=2)
    assert endless.connections == cut.connections == 1


def test_report_that_no_place_takes_is_tried_again_later(reports, clock_library):  # noqa: F811
    """And not before its time, though the server starts again."""
    host = reports.host("reports.test")
    host.stop()
    reports.want("far.test", "https://reports.test/")
    postern = reports.start()
    send(postern, "x@far.test")
    reports.peer.wait_messages(1)
    postern.stop()
    postern.environment.update(LD_PRELOAD=str(clock_library), POSTERN_DAYS="2")
    # The web server's certificate must be good then: it is, for five days.
    postern.start()
    line = postern.wait_log("tls-report-put-off", domain="far.test", reason=re.compile("refused"))
    assert line["to"] == "https://reports.test/"
    host.ended = threading.Event()
    host.start()
    postern.stop()
    postern.start()
    postern.mark_log()
    send(postern, "x@far.test")
    reports.peer.wait_messages(2)
    assert not host.connections
    postern.smtpctl("tls-report", "send")
    (report,) = host.wait()
    assert report["report-id"] == line["report"]
    postern.wait_log("tls-report-sent", domain="far.test", report=line["report"])
