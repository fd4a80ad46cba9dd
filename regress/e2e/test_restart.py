"""Restarts, reloads, deaths of single processes: sessions and mail survive them."""

import imaplib
import os
import signal
import socket
import time

import pytest

from postern import free_port, wait_for
from test_auth import PASSWORD

CHILDREN = ("listener", "keeper", "queue", "directory", "resolver", "relay", "control",
    "mailaccess")


def begin_message(wire):
    wire.hello()
    wire.command("MAIL FROM:<erin@client.test>", 250)
    wire.command("RCPT TO:<alice@example.test>", 250)
    wire.command("DATA", 354)
    wire.send("Subject: begun before\r\n\r\nfirst half\r\n")


def finish_message(wire, code=250):
    wire.send("second half\r\n.\r\n")
    return wire.expect(code)


def test_queued_mail_survives_a_restart(postern):
    postern.smtpctl("pause", "mda")
    ids = {postern.send("team@example.test", f"Subject: {n}\r\n\r\n{n}\r\n") for n in range(10)}
    assert {envelope["id"][:8] for envelope in postern.queue()} == ids
    postern.restart()
    for user in ("alice", "bob"):
        mails = postern.wait_mail(f"{user}@example.test", 10)
        assert sorted(mail.message["Subject"] for mail in mails) == [str(n) for n in range(10)]
    postern.wait_queue_empty()


def test_queued_mail_survives_the_death_of_everything(postern):
    postern.smtpctl("pause", "mda")
    for number in range(10):
        postern.send("alice@example.test", f"Subject: {number}\r\n\r\n{number}\r\n")
    postern.crash()
    postern.start()
    mails = postern.wait_mail("alice@example.test", 10)
    assert sorted(mail.message["Subject"] for mail in mails) == [str(n) for n in range(10)]
    postern.wait_queue_empty()


def test_accounts_survive_the_death_of_everything(postern):
    postern.add_user("last@example.test")
    postern.crash()
    postern.start()
    postern.send("last@example.test")
    postern.wait_mail("last@example.test")


def test_sigterm_ends_all_in_good_order(postern):
    with postern.wire() as wire:
        wire.hello()
        postern.process.send_signal(signal.SIGTERM)
        assert postern.ended() == 0
        # RFC 5321 3.8: a server that closes says 421 where it can.
        assert wire.is_closed()


def test_sigterm_lets_a_message_in_hand_finish_or_says_try_later(postern):
    with postern.wire() as wire:
        begin_message(wire)
        postern.process.send_signal(signal.SIGTERM)
        try:
            wire.send("second half\r\n.\r\n")
            reply = wire.reply()
            assert reply.code in (250, 421, 451), reply
            taken = reply.code == 250
        except ConnectionError:
            taken = False
        assert postern.ended() == 0
    postern.start()
    if taken:
        postern.wait_mail("alice@example.test")
    else:
        postern.wait_queue_empty()
        assert postern.mails("alice@example.test") == []


def test_smtpctl_stop_ends_it(postern):
    postern.smtpctl("stop")
    assert postern.ended() == 0
    assert postern.smtpctl("show", "status", check=False).returncode != 0


def test_smtpctl_stop_returns_when_the_server_has_ended(postern):
    postern.send("alice@example.test")
    postern.smtpctl("stop")
    # No waiting here: the return of the command is the promise.
    assert not (postern.run / "smtpd.pid").exists()
    check = postern.smtpctl("spool", "check", str(postern.spool), check=False)
    assert check.returncode == 0, check.stderr
    assert postern.ended() == 0


def test_a_port_that_a_reload_drops_is_closed(postern):
    port = free_port()
    postern.listen = f"listen on 127.0.0.1 port {port}"
    postern.write_config()
    postern.smtpctl("reload")
    wait_for(lambda: answers(port), 10, "the new port answers")

    def is_closed():
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", postern.port)) != 0
    wait_for(is_closed, 10, "the old port is closed")


def test_reload_widens_and_narrows_an_address(postern):
    """Each time by the kernel's leave: a socket that stayed would be in the way of the next."""
    for address in ("0.0.0.0", "127.0.0.1", "0.0.0.0", "127.0.0.1"):
        postern.listen = f"listen on {address} port @PORT@"
        postern.write_config()
        postern.smtpctl("reload")
        assert answers(postern.port)


@pytest.mark.parametrize("how", ["smtpctl", "SIGHUP"])
def test_reload_keeps_sessions_and_takes_the_new_listener(postern, how):
    port = free_port()
    with postern.wire() as wire:
        begin_message(wire)
        postern.listen = f"listen on 127.0.0.1 port @PORT@\nlisten on 127.0.0.1 port {port}"
        postern.write_config()
        before = postern.pids()
        if how == "smtpctl":
            postern.smtpctl("reload")
        else:
            postern.process.send_signal(signal.SIGHUP)
        wait_for(lambda: answers(port), 10, "the new port answers")
        finish_message(wire)
        wire.command("NOOP", 250)
        assert postern.pids().items() >= {pid: name for pid, name in before.items()
            if name != "mda"}.items()
    postern.wait_mail("alice@example.test")


def test_mailaccess_runs_once_there_is_a_listener_for_it(postern):
    assert "mailaccess" not in postern.pids().values()
    before = postern.pids()
    port = free_port()
    postern.extra += f"\nlisten on 127.0.0.1 port {port} imap auth-cleartext\n"
    postern.write_config()
    postern.smtpctl("reload")
    with imaplib.IMAP4("127.0.0.1", port, timeout=10) as client:
        client.login("alice@example.test", PASSWORD)
    assert postern.pids().items() >= before.items()
    assert "mailaccess" in postern.pids().values()


def test_reload_closes_a_listener_that_is_gone_but_not_its_sessions(make_postern):
    port = free_port()
    postern = make_postern(listen=f"listen on 127.0.0.1 port @PORT@\nlisten on 127.0.0.1 port {port}")
    with postern.wire(port=port) as wire:
        begin_message(wire)
        postern.listen = "listen on 127.0.0.1 port @PORT@"
        postern.write_config()
        postern.smtpctl("reload")
        wait_for(lambda: not answers(port), 10, "the old port is closed")
        finish_message(wire)
    postern.wait_mail("alice@example.test")


@pytest.mark.parametrize("how", ["smtpctl", "SIGHUP"])
def test_a_bad_configuration_changes_nothing(postern, how):
    postern.config_file.write_text(postern.config_file.read_text() + "lissten on nowhere\n")
    before = postern.pids()
    if how == "smtpctl":
        result = postern.smtpctl("reload", check=False)
        assert result.returncode != 0
        assert "lissten" in result.stdout + result.stderr
    else:
        postern.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "lissten" in postern.log_text(), 10, "the log names the bad word")
    assert postern.pids() == before
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")


def test_smtpd_does_not_start_with_a_bad_configuration(make_postern):
    postern = make_postern(start=False)
    postern.write_config()
    text = postern.config_file.read_text()
    postern.config_file.write_text(text + "lissten on nowhere\n")
    line = text.count("\n") + 1
    result = postern.smtpd("-n", "-f", str(postern.config_file))
    assert result.returncode != 0
    assert f"{postern.config_file}:{line}:" in result.stderr
    assert "lissten" in result.stderr
    result = postern.smtpd("-d", "-f", str(postern.config_file))
    assert result.returncode != 0


@pytest.mark.parametrize("program", CHILDREN)
def test_a_killed_child_is_back_within_a_second(postern_with_imap, program):
    postern = postern_with_imap
    others = {pid: name for pid, name in postern.pids().items() if name not in (program, "mda")}
    assert postern.kill_and_wait_back(program) < 1.0
    assert postern.pids().items() >= others.items(), "only the killed one was started anew"
    # Service is whole again: accounts, queue, delivery.
    postern.wait_ready()

    def accepted():
        with postern.smtp() as client:
            return client.sendmail("erin@client.test", "alice@example.test",
                "Subject: after\r\n\r\nx\r\n") == {}
    wait_for(lambda: succeeds(accepted), 10, "mail is taken again")
    postern.wait_mail("alice@example.test")
    postern.smtpctl("show", "status")


@pytest.mark.parametrize("program", ["resolver", "control", "directory", "keeper"])
def test_a_session_that_did_not_wait_on_the_dead_one_goes_on(postern, program):
    with postern.wire() as wire:
        begin_message(wire)
        postern.kill_and_wait_back(program)
        finish_message(wire)
    postern.wait_mail("alice@example.test")


def test_the_queue_s_death_before_the_end_of_data_costs_at_most_a_retry(postern):
    with postern.wire() as wire:
        begin_message(wire)
        postern.kill_and_wait_back("queue")
        wire.send("second half\r\n.\r\n")
        reply = wire.reply()
        assert reply.code in (250, 451), reply
        # The same session can send it again.
        if reply.code == 451:
            def again():
                wire.command("RSET", 250)
                if wire.command("MAIL FROM:<erin@client.test>").code != 250:
                    return False
                if wire.command("RCPT TO:<alice@example.test>").code != 250:
                    return False
                if wire.command("DATA").code != 354:
                    return False
                wire.send("Subject: again\r\n\r\nx\r\n.\r\n")
                return wire.reply().code == 250
            wait_for(again, 10, "the retry is taken")
    postern.wait_mail("alice@example.test")
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 1


def test_the_death_of_an_mda_loses_nothing(postern):
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")
    for pid in postern.pids("mda"):
        postern.allow(rf"child-\w+.*(pid={pid}|mda)")
        os.kill(pid, signal.SIGKILL)
    postern.send("alice@example.test")
    postern.smtpctl("schedule", "all")
    postern.wait_mail("alice@example.test", 2, timeout=40)
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 2


def test_children_end_when_the_supervisor_is_killed(postern):
    postern.kill("smtpd")
    assert postern.ended() == -signal.SIGKILL
    # Its sockets and locks are free again.
    postern.start()
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")


def test_a_child_that_keeps_dying_is_started_less_and_less_often(postern):
    """Backoff: the supervisor doesn't spin. The first death is made good at once."""
    began = time.monotonic()
    for _ in range(3):
        postern.kill_and_wait_back("resolver", timeout=20)
    assert len(postern.pids("resolver")) == 1
    assert time.monotonic() - began < 20
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as probe:
            probe.settimeout(2)
            return probe.recv(4) == b"220 "
    except OSError:
        return False


def succeeds(function):
    import smtplib
    try:
        return function()
    except (OSError, smtplib.SMTPException):
        return False
