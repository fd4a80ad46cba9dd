"""TLS reports while the processes that make and send them are killed: none is lost, and none comes
more often than it was cut off, each time as the same report."""

import os
import signal
import threading

import pytest

from postern import wait_for
from smtp_peer import Peer
from test_dkim import dkim, records  # noqa: F401 (dkim: skipped without it)
from test_dkim_reports import Mail
from test_relay import send
from test_relay_sts import domains, page  # noqa: F401 (a fixture)
from test_relay_tls import authority  # noqa: F401 (a fixture)
from test_tls_reports_https import reports  # noqa: F401 (a fixture)

pytestmark = pytest.mark.root  # ports 25 and 443


class Inbox(Peer):
    """It has a whole message when `held` tells, and takes it when `answer` is set."""

    held, answer = 0, None

    def reply_to(self, what):
        if what == "TEXT":
            self.held += 1
            self.answer.wait(20)
        return super().reply_to(what)


class Flow:
    """One domain's report goes by HTTPS, another's by mail to a server. Both servers take what comes
    and answer when the test says so."""

    def __init__(self, reports):  # noqa: F811
        self.reports = reports
        self.answer = threading.Event()
        self.host = reports.host("reports.test", self._post)
        self.inbox = Inbox()
        self.inbox.answer = self.answer
        reports.domains.peers.append(self.inbox.__enter__())
        reports.domains.publish("inbox.test", self.inbox)
        reports.want("web.test", "https://reports.test/")
        reports.want("mail.test", "mailto:tls@inbox.test")
        self.postern = reports.start()
        records(self.postern, "add", "example.test")
        send(self.postern, "x@web.test", "x@mail.test")
        reports.peer.wait_messages(2)
        reports.settle("web.test", "mail.test")

    def _post(self, connection, ended):
        self.answer.wait(20)
        connection.sendall(page("", "201 Created"))

    def mails(self):
        return [Mail(message.data).message for message in self.inbox.messages]

    def finish(self, directory_died):
        """Until each report has come, and nothing is left to be sent."""
        self.answer.set()
        if directory_died:
            wait_for(lambda: self.reports.order(check=False).returncode in (0, os.EX_DATAERR),
                what="an order is taken")
        wait_for(lambda: self.host.reports and self.inbox.messages, 20, "both reports")
        wait_for(lambda: not self.reports.known(), 20, "nothing is left")
        self.postern.wait_queue_empty()
        assert 1 <= len(self.host.reports) <= 2 and 1 <= len(self.mails()) <= 2
        (about,) = {mail["TLS-Report-Domain"] for mail in self.mails()}
        assert about == "mail.test"
        assert all(mail["DKIM-Signature"] for mail in self.mails())


@pytest.fixture
def flow(reports):  # noqa: F811
    return Flow(reports)


@pytest.mark.parametrize("program", ["directory", "relay", "queue"])
def test_report_outlives_a_process_that_dies_while_its_server_has_it(flow, program):
    flow.reports.order()
    flow.host.wait()
    wait_for(lambda: flow.inbox.held, 20, "the mail is at its server")
    flow.postern.kill_and_wait_back(program)
    flow.finish(program == "directory")
    # What could not be known is the same report again.
    if program != "directory":
        assert len({report["report-id"] for report in flow.host.reports}) == 1
    assert len(flow.host.reports) == (1 if program == "queue" else 2)
    assert len({mail["Message-ID"] for mail in flow.mails()}) == 1


@pytest.mark.parametrize("program", ["directory", "queue", "keeper"])
def test_report_outlives_a_process_that_dies_while_it_is_signed(flow, program):
    flow.answer.set()
    (keeper,) = flow.postern.pids("keeper")
    os.kill(keeper, signal.SIGSTOP)
    try:
        flow.reports.order()
        flow.host.wait()
        flow.postern.wait_log("tls-report-sent", domain="web.test")
        flow.postern.kill_and_wait_back(program)
    finally:
        if program != "keeper":
            os.kill(keeper, signal.SIGCONT)
    flow.finish(program == "directory")
