"""smtpd -n: the manual's examples, the installed examples, and files that are no configuration."""

import os
import re
import stat
import subprocess

import pytest

from postern import TOP

EX_CONFIG = 78


def check(stage, path, *options):
    return subprocess.run([stage / "usr/sbin/smtpd", "-n", *options, "-f", path],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace", timeout=30, check=False)


def manual_examples():
    text = (TOP / "smtpd/smtpd.conf.5").read_text()
    return [block.replace("\\e", "\\") for block in re.findall(
        r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("number", range(len(manual_examples())))
def test_example_of_the_manual_is_a_configuration(stage, tmp_path, number):
    config = tmp_path / "smtpd.conf"
    config.write_text(manual_examples()[number])
    config.chmod(0o644)
    result = check(stage, config)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", ["etc/smtpd.conf", "etc/examples/behind-proxy.conf",
    "etc/examples/system-users.conf", "etc/examples/virtual-users.conf"])
def test_example_file_is_a_configuration(stage, path):
    result = check(stage, TOP / path)
    assert result.returncode == 0, result.stderr


def test_what_was_understood_is_a_configuration_of_the_same_meaning(stage, tmp_path):
    printed = check(stage, TOP / "etc/examples/behind-proxy.conf", "-v")
    assert printed.returncode == 0, printed.stderr
    assert "smtp max-message-size 20M" in printed.stdout
    again = tmp_path / "smtpd.conf"
    again.write_text(printed.stdout)
    again.chmod(0o644)
    assert check(stage, again, "-v").stdout == printed.stdout


def test_error_names_file_line_and_word(stage, tmp_path):
    config = tmp_path / "smtpd.conf"
    config.write_text("listen on lo port 2525\n\nlisten on lo port 2526 filter\nqueue ttl never\n")
    config.chmod(0o644)
    result = check(stage, config)
    assert result.returncode == EX_CONFIG
    assert re.search(rf'^{config}:3: "filter" is not supported', result.stderr, re.MULTILINE)
    assert re.search(rf'^{config}:4: .*"never"', result.stderr, re.MULTILINE)


@pytest.mark.parametrize("kind", ["folder", "fifo", "writable", "missing", "itself"])
def test_file_that_is_no_configuration_is_refused(stage, tmp_path, kind):
    config = tmp_path / "smtpd.conf"
    if kind == "folder":
        config.mkdir()
    elif kind == "fifo":
        os.mkfifo(config)
    elif kind == "writable":
        config.write_text("queue ttl 4d\n")
        config.chmod(0o666)
        assert stat.S_IMODE(config.stat().st_mode) == 0o666
    elif kind == "itself":
        config.write_text('include "smtpd.conf"\n')
        config.chmod(0o644)
    result = check(stage, config)
    assert result.returncode == EX_CONFIG
    assert str(config) in result.stderr
