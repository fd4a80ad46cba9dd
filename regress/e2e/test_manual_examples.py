"""smtpd -n: the manual's examples, the installed examples, and files that are no configuration."""

import os
import re
import stat
import subprocess

import pytest

from postern import TOP
from test_tls import Pair

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
    text = manual_examples()[number]
    if "pki " in text:
        pair = Pair(tmp_path, "mx.example.org", "ec")
        for word, file in (("cert", pair.cert), ("key", pair.key)):
            text = re.sub(rf'^(pki \S+ {word}) .*$', rf'\1 "{file}"', text, flags=re.M)
    config.write_text(text)
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


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return Pair(tmp_path_factory.mktemp("pki"), "mx.example.test", "ec")


def spoiled(pair):
    """A certificate whose base64 is cut short, behind a good one."""
    text = pair.cert.read_text()
    lines = text.splitlines()
    return text + "\n".join([*lines[:3], lines[-1]]) + "\n"


@pytest.mark.parametrize("line, what, words", [
    (1, lambda folder, good: (folder / "none", good.key), "none: No such file"),
    (1, lambda folder, good: (folder, good.key), "is no file"),
    (1, lambda folder, good: ("no certificate", good.key), "no certificate in PEM"),
    (1, lambda folder, good: (spoiled(good), good.key), "a certificate in it is malformed"),
    (2, lambda folder, good: (good.cert, folder / "none"), "none: No such file"),
    (2, lambda folder, good: (good.cert, "no key"), "no private key in PEM"),
    (2, lambda folder, good: (good.cert, Pair(folder, "other", "ec").key), "isn't the one of the"),
    (2, lambda folder, good: (good.cert, folder / "open"), "chmod 600"),
], ids=["no certificate's file", "a folder", "no certificate", "cut certificate", "no key's file",
    "no key", "another's key", "open key"])
def test_a_pki_that_cannot_be_used_is_told_with_its_line(stage, tmp_path, good, line, what, words):
    (tmp_path / "open").write_bytes(good.key.read_bytes())
    (tmp_path / "open").chmod(0o644)
    files = []
    for number, file in enumerate(what(tmp_path, good)):
        if isinstance(file, str):
            (tmp_path / f"text{number}").write_text(file)
            file = tmp_path / f"text{number}"
            file.chmod(0o600)
        files.append(file)
    config = tmp_path / "smtpd.conf"
    config.write_text(f'pki mx cert "{files[0]}"\npki mx key "{files[1]}"\n'
        "listen on 127.0.0.1 port 2525 tls pki mx\n")
    config.chmod(0o644)
    result = check(stage, config)
    assert result.returncode == EX_CONFIG
    (problem,) = result.stderr.splitlines()
    assert problem.startswith(f'{config}:{line}: pki "mx": ') and words in problem
    assert str(files[line - 1]) in problem


def test_authorities_are_looked_at_and_expired_certificates_told(stage, tmp_path, good):
    old = Pair(tmp_path, "old.example.test", "ec")
    Pair.run("x509", "-in", good.cert, "-signkey", old.key, "-days", "-1", "-out", old.cert)
    config = tmp_path / "smtpd.conf"
    config.write_text(f'ca inside cert "{good.cert}"\nca default cert "{good.cert}"\n'
        f'{old.statements("old")}listen on 127.0.0.1 port 2525 tls pki old\n')
    config.chmod(0o644)
    result = check(stage, config)
    assert result.returncode == 0, result.stderr
    assert f'{config}:3: warning: pki "old": the certificate {old.cert} has expired' in result.stderr
    for path, words in ((tmp_path / "none", "No such file"), (good.key, "no certificate in PEM")):
        for number, name in ((1, "inside"), (2, "default")):
            text = config.read_text().splitlines()
            text[number - 1] = f'ca {name} cert "{path}"'
            config.with_name("bad").write_text("\n".join(text) + "\n")
            config.with_name("bad").chmod(0o644)
            result = check(stage, config.with_name("bad"))
            assert result.returncode == EX_CONFIG
            assert re.search(rf'bad:{number}: ca "{name}": {path}: {words}', result.stderr)


@pytest.mark.root
def test_an_ordinary_user_checks_what_he_can_read(stage, tmp_path, good):
    config = tmp_path / "smtpd.conf"
    config.write_text(good.statements("mx") + "listen on 127.0.0.1 port 2525 tls pki mx\n")
    for path in (config, *config.parents, good.cert, *good.cert.parents):
        if not path.samefile("/tmp") and path.is_relative_to("/tmp"):
            path.chmod(path.stat().st_mode | 0o055 if path.is_dir() else 0o644)
    result = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        stage / "usr/sbin/smtpd", "-n", "-f", config], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert 'pki "mx": isn\'t checked:' in result.stderr
