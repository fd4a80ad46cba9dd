"""TLS reports (RFC 8460): what came of TLS with a domain's servers on a day is mailed to where the
domain's record says, signed, once; who has no record hears nothing."""

import gzip
import json
import os
import re
import time
from unittest import mock

import pytest

from signed_dns import SignedDns, Zone
from smtp_peer import Peer, loopback_address
from test_dkim import dkim, records, verify  # noqa: F401 (dkim: skipped without it)
from test_dkim_reports import Mail
from test_operation import clock_library  # noqa: F401 (a fixture)
from test_relay import RULES, send
from test_relay_tls import authority  # noqa: F401 (a fixture)
from postern import wait_for

pytestmark = pytest.mark.root  # port 25

FROM = "tls-reports@example.test"


class Site:
    """wrong.signed has TLSA records that its server's certificate isn't; plain.open no TLS at all,
    and its reports go to wrong.signed, by a server without a good certificate; silent.open wants
    none; here.open's go to a mailbox of the suite's own."""

    def __init__(self, tool, folder, make_postern, authority, extra=""):
        self.addresses = [loopback_address() for _ in range(2)]
        context = authority.context("mx.wrong.signed", 5)
        self.wrong = Peer(address=self.addresses[0], context=context, name="mx.wrong.signed")
        self.plain = Peer(address=self.addresses[1], name="mx.plain.open")
        for peer in (self.wrong, self.plain):
            peer.__enter__()
        signed = f"""wrong IN MX 10 mx.wrong.signed.
mx.wrong IN A {self.addresses[0]}
_25._tcp.mx.wrong IN TLSA 3 1 1 {'0' * 64}
_smtp._tls.wrong IN TXT "v=TLSRPTv1; rua=mailto:tls%2Bin@wrong.signed"
"""
        plain = "".join(f"{name} IN MX 10 mx.plain.open.\n" for name in ("plain", "silent", "here"))
        self.dns = SignedDns(tool, folder, {"example": Zone(), "signed": Zone(signed),
            "open": Zone(plain + f"""mx.plain IN A {self.addresses[1]}
_smtp._tls.plain IN TXT "v=TLSRPTv1;" " rua=https://far.test/tls,mailto:tls@wrong.signed"
_smtp._tls.here IN TXT "v=spf1 -all"
_smtp._tls.here IN TXT "v=TLSRPTv1; rua=mailto:bob@example.test"
_smtp._tls.silent IN TXT "v=TLSRPTv2; rua=mailto:tls@wrong.signed"
""", signed=False)})
        for path in (folder, self.dns.directory):
            path.chmod(0o755)
        self.dns.anchor.chmod(0o644)
        self.postern = make_postern(rules=RULES,
            extra=f"resolver nameserver 127.0.0.1@{self.dns.port}\n"
            f"resolver trust-anchor {self.dns.anchor}\n"
            f"mta tls-reports-from \"{FROM}\"\nqueue retry-first 1s\nqueue retry-max 2s\n" + extra)

    def results(self, *domains):
        return [json.loads(line) for line in
            self.postern.smtpctl("-j", "show", "tls-results", *domains).stdout.splitlines()]

    def settle(self, *domains):
        """Waits until what came of TLS with these is known to the directory."""
        wait_for(lambda: {one["domain"] for one in self.results()} == set(domains), 30,
            f"sums of {domains}")

    def report(self, check=True):
        today = time.strftime("%Y-%m-%d", time.gmtime())
        return self.postern.smtpctl("tls-report", "send", today, check=check)

    def next_day(self, library, days=2):
        """The same server after the reports of today are due at the latest."""
        if self.postern.process:
            self.postern.stop()
        self.postern.environment["LD_PRELOAD"] = str(library)
        self.postern.environment["POSTERN_DAYS"] = str(days)
        self.postern.start()

    def stop(self):
        for peer in (self.wrong, self.plain):
            peer.__exit__()
        self.dns.stop()


@pytest.fixture
def site(tool, tmp_path, make_postern, authority):  # noqa: F811
    made = Site(tool, tmp_path, make_postern, authority)
    yield made
    made.stop()


def read(mail, published):
    """The report in a mail, after all that a receiver looks at."""
    with mock.patch("time.time", return_value=time.time() + 5 * 86400):
        verify(mail, published)
    message = mail.message
    assert {"tls-report-domain", "tls-report-submitter"} <= set(re.search(r"h=([^;]*)",
        re.sub(r"\s", "", message["DKIM-Signature"]))[1].lower().split(":"))
    people, machine = message.get_payload()
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "tlsrpt"
    assert people.get_content_type() == "text/plain"
    assert machine.get_content_type() == "application/tlsrpt+gzip"
    report = json.loads(gzip.decompress(machine.get_payload(decode=True)).decode())
    domain = message["TLS-Report-Domain"]
    assert message["TLS-Report-Submitter"] == report["contact-info"].split("@")[1] == "example.test"
    assert message["TLS-Required"] == "No"
    subject = re.sub(r"\r?\n", "", message["Subject"])
    assert subject == (f"Report Domain: {domain} Submitter: example.test "
        f"Report-ID: <{report['report-id']}@example.test>")
    sender, about, begin, end = re.fullmatch(r"(.*)!(.*)!(\d+)!(\d+)\.json\.gz",
        machine.get_filename()).groups()
    assert (sender, about) == ("example.test", domain)
    assert int(begin) % 86400 == 0 and int(end) == int(begin) + 86399
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", report["date-range"]["start-datetime"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT23:59:59Z", report["date-range"]["end-datetime"])
    check(report)
    return domain, report


def check(report):
    """RFC 8460 4.4, what must be there and of which type."""
    assert isinstance(report["organization-name"], str) and report["policies"]
    for entry in report["policies"]:
        assert set(entry) == {"policy", "summary", "failure-details"}
        policy, summary = entry["policy"], entry["summary"]
        assert policy["policy-type"] in ("tlsa", "sts", "no-policy-found")
        assert isinstance(policy["policy-domain"], str)
        assert all(isinstance(one, str) for one in policy.get("policy-string", []))
        failed = sum(one["failed-session-count"] for one in entry["failure-details"])
        assert failed == summary["total-failure-session-count"]
        assert summary["total-successful-session-count"] >= 0
        for one in entry["failure-details"]:
            assert isinstance(one["result-type"], str) and one["failed-session-count"] > 0


def test_reports_of_a_day_reach_those_who_want_them(site):
    postern = site.postern
    published = records(postern, "add", "example.test")
    for to in ("x@wrong.signed", "x@plain.open", "x@silent.open", "x@here.open"):
        send(postern, to)
    site.plain.wait_messages(3)
    postern.wait_log("delivery-deferred", to="x@wrong.signed", reply=re.compile("4.7.5"))
    postern.smtpctl("remove", "all")
    site.settle("here.open", "plain.open", "wrong.signed")
    (one,) = site.results("here.open")
    assert one == {"day": time.strftime("%Y-%m-%d", time.gmtime()), "domain": "here.open",
        "policy": "no-policy-found", "successes": 0, "failures": 1,
        "kinds": {"starttls-not-supported": 1}}
    assert not site.results("far.test")
    # No day is over yet.
    assert postern.smtpctl("tls-report", "send", check=False).returncode == os.EX_DATAERR
    assert not postern.mails("bob@example.test")
    site.report()
    (mail,) = postern.wait_mail("bob@example.test")
    domain, report = read(mail, published)
    assert domain == "here.open"
    (entry,) = report["policies"]
    assert entry["policy"] == {"policy-type": "no-policy-found", "policy-domain": "here.open"}
    (failure,) = entry["failure-details"]
    assert failure["result-type"] == "starttls-not-supported"
    assert failure["receiving-mx-hostname"] == "mx.plain.open"
    assert failure["receiving-ip"] == site.plain.address and failure["sending-mta-ip"]
    # To a server whose certificate is wrong: RFC 8460 3.
    wait_for(lambda: len(site.wrong.messages) == 2, what="reports at wrong.signed")
    reports = {}
    for message in site.wrong.messages:
        assert message.sender == FROM
        about, report = read(Mail(message.data), published)
        reports[about] = (message.recipients, report)
    assert reports["plain.open"][0] == ["tls@wrong.signed"]
    recipients, report = reports["wrong.signed"]
    assert recipients == ["tls+in@wrong.signed"]
    (entry,) = report["policies"]
    assert entry["policy"]["policy-type"] == "tlsa"
    assert entry["policy"]["policy-domain"] == "mx.wrong.signed"
    assert entry["policy"]["policy-string"] == ["3 1 1 " + "0" * 64]
    (failure,) = entry["failure-details"]
    assert failure["result-type"] == "certificate-not-trusted"
    assert re.search("TLSA", failure["failure-reason-code"])
    # Once: then there is nothing, not even of the sessions that brought the reports.
    postern.wait_queue_empty()
    assert len(postern.log_lines("tls-report-sent")) == 3
    postern.stop()
    postern.start()
    assert not site.results()
    assert "nothing to report" in site.report(check=False).stderr


def test_a_crash_loses_no_sums_and_a_report_needs_a_key(site):
    """What is on the disk stays. A report without a signature is worth nothing (RFC 8460 3): the log
    says what is missing."""
    postern = site.postern
    send(postern, "x@here.open")
    site.settle("here.open")
    postern.crash()
    postern.start()
    site.report()
    postern.allow("tls-report-dropped")
    postern.wait_log("tls-report-dropped", domain="here.open", reason=re.compile("DKIM key"))
    assert not postern.mails("bob@example.test")


def test_a_stop_loses_no_sums(site, clock_library):  # noqa: F811
    """What a session just seen has come to is neither in a file yet nor known to be wanted."""
    postern = site.postern
    records(postern, "add", "example.test")
    send(postern, "x@here.open")
    site.plain.wait_messages(1)
    site.next_day(clock_library)
    (mail,) = postern.wait_mail("bob@example.test")
    assert mail.message["TLS-Report-Domain"] == "here.open"


def test_orders_that_make_no_sense_are_refused(make_postern):
    postern = make_postern()
    for words, reason in ((["2026-02-30"], "not a day"), (["yesterday"], "not a day"),
            (["2026-1-1"], "not a day"), ([], "tls-reports-from")):
        result = postern.smtpctl("tls-report", "send", *words, check=False)
        assert result.returncode != 0 and reason in result.stderr
    result = postern.smtpctl("show", "tls-results", "-.-", check=False)
    assert result.returncode == os.EX_DATAERR and "not a domain" in result.stderr
