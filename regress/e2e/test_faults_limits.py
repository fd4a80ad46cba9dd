"""Descriptors of the whole system (ENFILE) and memory run out in one process after the other: who waits is
told to try later, the log says what is short, and service goes on after."""

import contextlib
import errno
import re
import smtplib
import subprocess

import pytest

from faults import faults, faults_library, memory_faults, own_memory  # noqa: F401
from postern import wait_for
from test_faults_disk import (arrives, highest_descriptor, is_up_again, limit_descriptors,
    soft_limit, try_send, try_send_briefly)

DESCRIPTORS = re.compile(r"descriptors|open files")
MEMORY = re.compile(r"memory")
PROGRAMS = ["listener", "queue", "directory", "resolver", "control", "mda"]


def try_all(postern, sent, numbers):
    """Each is taken, refused for now, or gets no answer from a process that is in need."""
    for number in numbers:
        try:
            code, words = try_send_briefly(postern, number)
        except smtplib.SMTPResponseException as why:
            code, words = why.smtp_code, why.smtp_error
        except (OSError, smtplib.SMTPException):
            continue
        assert code == 250 or 400 <= code <= 499, (code, words)
        if code == 250:
            sent.append(number)


def says(postern, pattern):
    text = postern.log_text()
    assert pattern.search(text), f"no line says what is short:\n{postern.log_tail()}"


def test_a_listener_without_descriptors_of_the_system_says_so_and_goes_on(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    sent = []
    postern.mark_log()
    with faults.set("listener", accept_error=errno.ENFILE, memfd_error=errno.ENFILE):
        try_all(postern, sent, [1])
        assert faults["accept_failed"] > 0
        says(postern, DESCRIPTORS)
    sent.append(is_up_again(postern, 10))
    # A message is too large for its session's memory, and there is no file for it.
    with faults.set("listener", memfd_error=errno.ENFILE):
        code, words = try_send(postern, 11)
        assert 400 <= code <= 499, words
        assert faults["memfd_failed"] > 0
    sent.append(is_up_again(postern, 12))
    arrives(postern, sent)


def test_control_without_descriptors_of_the_system_goes_on(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    postern.mark_log()
    with faults.set("control", accept_error=errno.ENFILE):
        with contextlib.suppress(Exception):
            postern.smtpctl("show", "status", check=False, timeout=1)
        wait_for(lambda: faults["accept_failed"] > 0, 5)
        assert try_send(postern, 1)[0] == 250, "mail doesn't need it"
        wait_for(lambda: DESCRIPTORS.search(postern.log_text()), 5, "the log says so")
    wait_for(lambda: postern.smtpctl("show", "status", check=False).returncode == 0, 10)
    arrives(postern, [1])


def test_a_resolver_without_descriptors_of_the_system_holds_up_no_mail(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    with faults.set("resolver", socket_error=errno.ENFILE, open_error=errno.ENFILE):
        assert try_send(postern, 1)[0] == 250
    arrives(postern, [1])


@pytest.mark.parametrize("kind", ["socket", "memfd", "open"])
def test_a_supervisor_without_descriptors_of_the_system_brings_a_child_back(make_postern, faults,
        kind):
    postern = make_postern(environment=faults.environment)
    postern.allow(r"child-\w+.*program=(directory|control)")
    program = "control" if kind == "open" else "directory"
    postern.mark_log()
    with faults.set("smtpd", **{f"{kind}_error": errno.ENFILE}):
        postern.kill(program)
        wait_for(lambda: faults[f"{kind}_failed"] > 1, 15, "it was tried twice")
        says(postern, DESCRIPTORS)
        if program == "directory":
            code, words = try_send(postern, 1)
            assert 400 <= code <= 499, words
    sent = [is_up_again(postern, 2)]
    wait_for(lambda: postern.smtpctl("show", "status", check=False).returncode == 0, 15)
    arrives(postern, sent)


@pytest.mark.root
@pytest.mark.parametrize("program", ["directory", "mda"])
def test_a_child_is_back_once_the_supervisor_has_descriptors(postern, program):
    """prlimit, as other users of the machine would have it."""
    assert try_send(postern, 0)[0] == 250
    arrives(postern, [0])
    (supervisor,) = postern.pids("smtpd")
    before = soft_limit(supervisor)
    limit_descriptors(supervisor, 3)
    postern.mark_log()
    sent = [0]
    try:
        killed = postern.kill(program)
        if program == "directory":
            wait_for(lambda: DESCRIPTORS.search(postern.log_text()), 10, "the log says so")
            code, words = try_send(postern, 1)
            assert 400 <= code <= 499, words
        else:
            assert try_send(postern, 2)[0] == 250
            sent.append(2)
            wait_for(lambda: DESCRIPTORS.search(postern.log_text()), 10, "the log says so")
        assert killed not in postern.pids()
    finally:
        limit_descriptors(supervisor, before)
    sent.append(is_up_again(postern, 10))
    arrives(postern, sent)
    assert postern.pids("smtpd") == [supervisor]


@pytest.mark.root
@pytest.mark.usefixtures("own_memory")
def test_a_child_is_back_once_the_supervisor_has_memory(postern):
    """What it needs to try again it has; its children have its limit, and can't even begin."""
    (supervisor,) = postern.pids("smtpd")
    postern.allow(r"child-\w+.*program=directory")
    subprocess.run(["prlimit", f"--pid={supervisor}", "--as=1:"], check=True)
    try:
        postern.kill("directory")
        postern.wait_log("child-restarts", program="directory", delay_ms=200)
        code, words = try_send(postern, 1)
        assert 400 <= code <= 499, words
    finally:
        subprocess.run(["prlimit", f"--pid={supervisor}", "--as=unlimited:"], check=True)
    sent = [is_up_again(postern, 2)]
    arrives(postern, sent)
    assert postern.pids("smtpd") == [supervisor]


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_memory_is_temporary(make_postern, memory_faults, program):
    postern = make_postern(environment=memory_faults.environment)
    postern.allow(rf"child-\w+.*program={program}")
    sent = [0] if try_send(postern, 0)[0] == 250 else []
    assert sent
    arrives(postern, [0])
    postern.mark_log()
    with memory_faults.set(program, memory_error=errno.ENOMEM):
        try_all(postern, sent, range(1, 4))
        with contextlib.suppress(Exception):
            postern.smtpctl("show", "queue", check=False, timeout=2)
        wait_for(lambda: memory_faults["memory_failed"] > 0, 5)
        wait_for(lambda: MEMORY.search(postern.log_text()), 5, "the log says so")
    sent.append(is_up_again(postern, 10))
    arrives(postern, sent)
    postern.restart()
    sent.append(is_up_again(postern, 11))
    arrives(postern, sent)
