"""smtpd.conf by Debian's OpenSMTPD and by ours: both take and refuse the same statements, but for those
that are listed here with the reason. @W@ is a folder with a certificate, its key and a table."""

import concurrent.futures
import shutil
import subprocess

import pytest

from test_opensmtpd_rules import Theirs

pytestmark = pytest.mark.root

BEFORE = """\
pki mx.example.org cert "@W@/c.pem"
pki mx.example.org key "@W@/k.pem"
ca trust cert "@W@/c.pem"
table aliases file:@W@/aliases
table list { a.example, b.example }
table users { "u@example.org" = "u" }
table people { joe, ann }
table mails { "joe@example.org", "@example.net" }
table nets { 192.0.2.0/24, 2001:db8::/32 }
table own { 127.0.0.1 = "mx.example.org" }
table sources { 127.0.0.1, 127.0.0.2 }
table creds { joe = "$2b$08$ynb94C/pvvrZ./BCjtVPwOcTnOBILHM7ifsCk6Oce/GUqW08kFxR2" }
table secrets { label = "joe:secret" }
table sendermap { joe = "joe@example.org" }
table hosts { smtp.example.net, "smtp://b.example.net" }
table route { example.org = "smtp://b.example.net" }
table bases { joe = "1000:1000:/home/joe" }
table tags { T, U }
table patterns { "^a", "b$" }
srs key "secret"
mda wrapper w "/bin/sh -c %{mda}"
action "in" maildir
action "out" relay
"""
AFTER = """
match for local action "in"
match for any action "out"
"""

# By both.
TAKEN = r"""
bounce warn-interval 1h
bounce warn-interval 1h, 2h
bounce warn-interval 1h, 2h, 3h, 1d
_x = yes
x = "\"$y\""
include "@W@/inc.conf"
match for local action 'in'
table t1 { a, b, c }
table t1 { a b c }
table t1 { a = b, c = d }
table t1 { a => b }
table t1 { a=b c=d }
table "t1" { a }
table t1 "@W@/aliases"
table t1 file:@W@/aliases
table t1 "file:@W@/aliases"
table t1 static:@W@/aliases
table t1 { a, a }
table t1 { "listen" }
listen on lo
listen on lo inet4
listen on lo inet4 port 2525
listen on lo port smtp
listen on lo port smtps smtps pki mx.example.org
listen on lo port submission
listen on lo port "submission"
listen on lo port submissions smtps pki mx.example.org
listen on lo port 65535
listen on 127.0.0.1
listen on "127.0.0.1" port 26
listen on "::1"
listen on ::1
listen on 0.0.0.0
listen on "::"
listen on socket
listen on socket mask-src
listen on socket tag T
listen on socket tag T mask-src
listen on 127.0.0.1 tls pki mx.example.org
listen on 127.0.0.1 pki mx.example.org tls
listen on 127.0.0.1 port 587 tls-require pki mx.example.org auth
listen on 127.0.0.1 port 587 tls-require verify pki mx.example.org ca trust auth
listen on 127.0.0.1 smtps verify pki mx.example.org ca trust
listen on 127.0.0.1 smtps pki mx.example.org auth <creds>
listen on 127.0.0.1 smtps pki mx.example.org auth-optional
listen on 127.0.0.1 smtps pki mx.example.org auth-optional <creds>
listen on 127.0.0.1 tls pki MX.example.org
listen on 127.0.0.1 tag T
listen on 127.0.0.1 hostname mail.example.org
listen on 127.0.0.1 hostname mail.example.org tag T no-dsn mask-src received-auth proxy-v2
listen on 127.0.0.1 hostnames <own>
listen on 127.0.0.1 hostnames { 127.0.0.1 = mail.example.org }
listen on 127.0.0.1 smtps pki mx.example.org auth <creds> senders <sendermap>
listen on 127.0.0.1 smtps pki mx.example.org auth <creds> senders <sendermap> masquerade
action a1 mbox
action a1 maildir
action a1 maildir "~/Maildir"
action a1 maildir junk
action a1 maildir "/var/m/%{dest.user:lowercase}" junk
action a1 maildir "%{user.directory}/Mail" alias <aliases>
action a1 mbox alias <aliases>
action a1 mbox alias { root = joe }
action a1 maildir virtual <users>
action a1 maildir virtual { "@" = joe }
action a1 maildir virtual <users> userbase <bases>
action a1 maildir "/var/m" virtual <users> user vmail
action a1 mda "/usr/bin/procmail -f -"
action a1 mda "/usr/bin/procmail -f -" virtual <users> user vmail
action a1 mda "/usr/bin/procmail" wrapper w
action a1 maildir wrapper w
action a1 lmtp "/run/lmtp"
action a1 lmtp "/run/lmtp" rcpt-to
action a1 lmtp "/run/lmtp" rcpt-to virtual <users>
action a1 lmtp "localhost:24"
action a1 lmtp localhost:24 alias <aliases>
action a1 lmtp "/run/lmtp" user vmail
action a1 forward-only
action a1 forward-only alias <aliases>
action a1 forward-only virtual <users>
action a1 expand-only alias <aliases>
action a1 maildir ttl 1d
action a1 maildir alias <aliases> ttl 1d
action a1 relay ttl 1h
action a1 relay helo mx.example.org
action a1 relay src 127.0.0.1
action a1 relay src <sources>
action a1 relay src { 127.0.0.1, "::1" }
action a1 relay src <sources> helo-src <own>
action a1 relay host smtp.example.net
action a1 relay host "smtp.example.net"
action a1 relay host smtp://smtp.example.net
action a1 relay host smtp+tls://smtp.example.net:587
action a1 relay host smtp+notls://smtp.example.net
action a1 relay host smtps://smtp.example.net
action a1 relay host lmtp://localhost:24
action a1 relay host smtp://127.0.0.1:10027
action a1 relay host smtp://[::1]:10027
action a1 relay host "smtp://[::1]:10027"
action a1 relay host smtps://label@smtp.example.net auth <secrets>
action a1 relay host smtps://label@smtp.example.net auth { label = "joe:secret" }
action a1 relay host smtp://label@smtp.example.net auth <secrets>
action a1 relay host <hosts>
action a1 relay host { smtp.example.net, "smtp://b.example.net" }
action a1 relay domain <route>
action a1 relay domain { a.example = "smtp://b.example" }
action a1 relay domain <route> auth <secrets>
action a1 relay backup
action a1 relay backup mx mx2.example.org
action a1 relay pki mx.example.org
action a1 relay ca trust
action a1 relay tls
action a1 relay tls no-verify
action a1 relay mail-from "joe@example.org"
action a1 relay mail-from joe
action a1 relay mail-from joe@example.org
action a1 relay mail-from "@example.org"
action a1 relay srs
action a1 relay pki mx.example.org tls no-verify helo mx.example.org src 127.0.0.1 ttl 1d
match for any action out
match action in
match reject
match from any action in
match from any for any reject
match for any from any reject
match !for any reject
match ! for any reject
match !from any reject
match !from local for any reject
match from local for local action in
match from socket for any action out
match !from socket for any action out
match from auth for any action out
match !from auth for any reject
match from auth joe for any action out
match from auth "joe@example.org" for any action out
match from auth <people> for any action out
match from auth regex "^joe" for any action out
match from auth regex <patterns> for any action out
match !from auth <people> for any reject
match from rdns for any reject
match !from rdns for any reject
match from rdns "host.example" for any reject
match from rdns <list> for any reject
match from rdns regex "^dyn" for any reject
match from rdns regex { "^dyn", "dsl" } for any reject
match from src 192.0.2.1 for any action out
match from src "192.0.2.0/24" for any action out
match from src 192.0.2.0/24 for any action out
match from src <nets> for any action out
match from src { 192.0.2.0/24, 10.0.0.1 } for any action out
match from src { "2001:db8::/32", "[::1]" } for any action out
match from src 2001:db8::1 for any action out
match from src regex "^192" for any action out
match !from src <nets> for any reject
match from mail-from "joe@example.org" for any action out
match from mail-from <mails> for any action out
match from mail-from regex "joe" for any action out
match !from mail-from <mails> for any reject
match from any mail-from "@spam.example" for any reject
match mail-from <mails> for any reject
match !mail-from <mails> for any reject
match mail-from regex "x" for any reject
match mail-from "<>" for any reject
match from any rcpt-to <mails> action in
match from any rcpt-to regex "x" action in
match from any for rcpt-to <mails> action in
match from any for rcpt-to joe@example.org action in
match from any for rcpt-to regex "x" action in
match from any !for rcpt-to <mails> reject
match from any for domain example.org action in
match from any for domain "example.org" action in
match from any for domain { example.org, "*.example.org" } action in
match from any for domain <list> action in
match from any !for domain <list> reject
match from any for domain regex "example" action in
match from any for domain regex <patterns> action in
match from any for domain EXAMPLE.ORG action in
match from any for local action in
match !for local reject
match auth from any for any action out
match from any auth for any action out
match !auth from any for any reject
match auth joe from any for any action out
match auth <people> from any for any action out
match auth regex "joe" from any for any action out
match tls from any for any action out
match !tls from any for any reject
match helo mx.example.org from any for any reject
match helo <list> from any for any reject
match !helo regex "x" from any for any reject
match tag T for any action out
match tag <tags> for any action out
match !tag T for any reject
match tag regex "^T" for any action out
smtp ciphers "HIGH:!aNULL:!MD5"
smtp limit max-mails 100
smtp limit max-rcpt 100
smtp limit max-rcpt 100 max-mails 10
smtp max-message-size 35M
smtp max-message-size "35M"
smtp max-message-size 36700160
smtp max-message-size 1.5M
smtp max-message-size 35m
smtp max-message-size 2g
smtp sub-addr-delim "-"
smtp sub-addr-delim '_'
smtp sub-addr-delim _
queue ttl 4d
queue ttl 36h
mda wrapper w2 "/usr/bin/spamc | %{mda}"
mta limit inet4
mta limit inet6
mta limit for domain gmail.com inet4
ca other cert "@W@/c.pem"
ca "*" cert "@W@/c.pem"
pki other cert "@W@/c.pem" key "@W@/k.pem"
pki other key "@W@/k.pem" cert "@W@/c.pem" dhe auto
pki mx.example.org dhe auto
pki mx.example.org dhe none
pki mx.example.org dhe legacy
srs key backup "old"
srs ttl 5d
listen on 127.0.0.1 tag a-b_c.d
action a1 maildir "a\ b"
table t1 { "a\"b", 'c"d' }
table t1 { root@localhost }
table t1 { "@" = joe }
table t1 { a+b@example.org }
table t1 { _joe = ann }
table t1 { :a }
table t1 { a/b:c@d[e]|f;g }
""".strip().splitlines() + [
    'lan_addr = "127.0.0.1"\nlisten on $lan_addr',
    'lan_addr = 127.0.0.1\nlisten on $lan_addr',
    'opts = "port 587 tls pki mx.example.org"\nlisten on 127.0.0.1 $opts',
    'd = "{ a.example, b.example }"\nmatch for domain $d action in',
    '# a comment \\\n  which goes on\nmatch for local reject # trailing',
    'match for \\\n\tlocal \\\n\taction "in"',
    'pki other cert "@W@/c.pem"\npki other key "@W@/k.pem"',
    'pki "*" cert "@W@/c.pem"\npki "*" key "@W@/k.pem"\nlisten on 127.0.0.1 tls pki "*"',
    'pki OTHER.example cert "@W@/c.pem"\npki other.example key "@W@/k.pem"',
    'action a1 mda "/bin/x \\\n   -y"',
    'table t1 { a\\\nb }',
    'listen on 127.0.0.1 port 25 # x\n\tmatch\tfor\tlocal\taction\tin',
]

# By both.
REFUSED = r"""
bounce warn-interval 1h 2h
include "/nonexistent/x"
table t1 { "a", b = "c" }
table t1 getpwnam:/x
table t1 file:relative
table t1 { }
table t1 { listen }
table list { a }
listen on lo port 0
listen on socket port 25
listen on 127.0.0.1 auth
listen on 127.0.0.1 pki mx.example.org
listen on 127.0.0.1 tls pki nosuch
listen on 127.0.0.1 smtps tls pki mx.example.org
listen on 127.0.0.1 tag two tag three
listen on 127.0.0.1 no-dsn no-dsn
listen on 127.0.0.1 senders <list>
listen on 127.0.0.1 filter nosuch
action a1 mbox alias aliases
action a1 maildir virtual <users> alias <aliases>
action a1 mbox wrapper nosuch
action a1 forward-only user joe
action "in" mbox
action a1 relay backup host smtp.example.net
action a1 relay tls verify
action a1 relay tls tls
match from src 10 for any action out
match tag T tag U for any action out
match from any from local reject
match for any for local reject
match tls tls reject
match for any action nosuch
match for domain <nosuch> action in
match for domain <users> action in
match from any for any reject action in
match from any for any
match for any action "in" reject
smtp limit nosuch 10
smtp max-message-size 35MB
mda wrapper w "x"
mta limit session-mail-per-session 100
pki mx.example.org dhe wrong
pki
filter f phase commit match auth bypass
match for local action in extra
accept from any for local deliver to mbox
nosuch statement
match for local action in;
""".strip().splitlines() + [
    'listen on socket\nlisten on socket',
]

# By ours alone: numbers, names and lists are read with less ado, and OpenSMTPD 7 has some.
OURS = r"""
bounce warn-interval 3600
include @W@/inc.conf
table t1 { a, b, }
table t1 { 10.0.0.1, 10.0.0.0/8, 12 }
table t1 { 12 = a }
table t1 @W@/aliases
listen on 127.0.0.1 tls verify pki mx.example.org
listen on 127.0.0.1 tls pki mx.example.org pki mx.example.org
listen on 127.0.0.1 tls pki mx.example.org ciphers "HIGH:!aNULL" 
listen on 127.0.0.1 tls pki mx.example.org protocols "TLSv1.2,TLSv1.3"
listen on 127.0.0.1 tls pki mx.example.org protocols "tlsv1.3"
action a1 mbox user vmail
action a1 maildir ttl 86400
action a1 relay ciphers "HIGH"
action a1 relay protocols "TLSv1.2,TLSv1.3"
action a1 relay auth <secrets>
action a1 relay host a.example host b.example
action a1 relay domain <route> host smtp.example.net
match auth <creds> from any for any action out
match from auth <creds> for any action out
smtp sub-addr-delim +
smtp sub-addr-delim "+-"
queue ttl 4w
queue ttl 4
srs ttl 1h
table t1 { @example.org }
table t1 { *.example.org }
table t1 { (a) }
""".strip().splitlines() + [
    'table t1 {\n\ta\n\tb\n}',
    'table t1 { a\n\tb\n}',
    'table t1 { a,\n\tb }',
]

# By theirs alone, and what ours says.
THEIRS = {
    # What we don't have is named.
    'action a1 mbox wrapper w': '"wrapper" of action "a1" wants "mbox" with a path',
    'action a1 lmtp "/run/lmtp" wrapper w': '"wrapper" is not an option',
    'queue compression': '"compression" is not supported',
    'queue encryption': '"encryption" is not supported',
    'queue encryption 0123456789abcdef0123456789abcdef': '"encryption" is not supported',
    'scheduler limit max-inflight 5000': '"scheduler" is not supported',
    'admd mx.example.org': '"admd" is not supported',
    'proc p "/bin/true"': '"proc" is not supported',
    'proc p "/bin/true" user joe group joe chroot "/x"': '"proc" is not supported',
    'filter f proc-exec "/bin/true"': '"filter" is not supported',
    'filter f phase connect match !rdns disconnect "550 go away"': '"filter" is not supported',
    'filter f phase rcpt-to match rcpt-to <mails> rewrite "a@b.org"': '"filter" is not supported',
    # Limits have other names.
    'mda limit max-session 50': 'unknown limit "mda limit max-session"',
    'mda limit task-hiwat 50 task-lowat 30': 'unknown limit "mda limit task-hiwat"',
    'mta max-deferred 100': 'unknown limit "mta max-deferred"',
    'mta limit max-conn-per-host 10': 'unknown limit "max-conn-per-host"',
    'mta limit conn-delay-host 0 conn-delay-relay 0': 'unknown limit "conn-delay-host"',
    # Twice is a slip, and so is the wrong order.
    'd = a.example\nd = b.example\nmatch for domain $d action in': 'macro "d" was defined',
    'queue ttl 1d\nqueue ttl 2d': '"queue ttl" is set a second time',
    'smtp limit max-mails 100\nsmtp limit max-mails 10': 'is set a second time',
    'srs key "a b"': '"srs key" is set a second time',
    'bounce warn-interval 2h, 1h': '"1h" is not later',
    # Theirs finds out later, or never.
    'd = "a.example"\nmatch for domain "$d" action in': '"$d" is not a domain',
    'listen on 127.0.0.1 tls': "TLS needs a certificate",
    'action a1 relay host tls://smtp.example.net': 'not "tls://smtp.example.net"',
    'action a1 relay host smtp+tls://label@smtp.example.net': 'needs "auth <table>"',
    'action a1 lmtp "localhost"': "or host:port",
    'match mail-from "" for any reject': '"" can\'t be a table\'s key',
    # Names stand in lines of the log, strings in theirs.
    'listen on 127.0.0.1 tag "a long tag"': "without blanks",
    'action "a b" maildir': "without blanks",
    'action a1 mda "/bin/sh -c \'cat >\n/dev/null\'"': "is not closed in its line",
    # Ours wants more said.
    'action a1 expand-only': 'needs "alias" or "virtual"',
    'action a1 relay helo-src <own>': '"helo-src" needs "src"',
    'smtp max-message-size 500B': "is from 1K to 1T",
    'smtp sub-addr-delim "x"': "punctuation",
}


class Files:
    """The statements' configurations, where both find them, and the pki that they name."""

    def __init__(self, folder, root):
        self.folder = folder
        folder.mkdir()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / "k.pem", "-out",
            folder / "c.pem", "-subj", "/CN=mx.example.org"], check=True, capture_output=True)
        (folder / "k.pem").chmod(0o600)
        (folder / "aliases").write_text("a: b\n")
        (folder / "inc.conf").write_text("match for local reject\n")
        self.statements = [*TAKEN, *REFUSED, *OURS, *THEIRS]
        for number, statement in enumerate(self.statements):
            text = (BEFORE + statement + AFTER).replace("@W@", str(folder))
            (folder / f"{number}.conf").write_text(text)
        for path in folder.iterdir():
            path.chmod(0o600)
        self.mirror = root / str(folder).lstrip("/")
        shutil.copytree(folder, self.mirror)

    def theirs(self, host):
        """Whether theirs takes each, in one go."""
        host.run("sh", "-c", f"cd {self.folder} && for i in *.conf; do "
            "/usr/sbin/smtpd -n -f $PWD/$i >$i.out 2>&1 && mv $i.out $i.ok; done")
        return {statement: (self.mirror / f"{number}.conf.ok").exists()
            for number, statement in enumerate(self.statements)}

    def ours(self, smtpd):
        """What ours says of each: nothing when it takes it."""
        def ask(number):
            result = subprocess.run([smtpd, "-n", "-f", self.folder / f"{number}.conf"],
                capture_output=True, text=True, timeout=20)
            text = result.stdout + result.stderr
            assert result.returncode in (0, 78), (self.statements[number], text)
            return text if result.returncode else ""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return dict(zip(self.statements, pool.map(ask, range(len(self.statements)))))


@pytest.fixture
def files(tmp_path):
    theirs = Theirs(tmp_path)
    try:
        files = Files(tmp_path / "w", theirs.host.root.path)
        yield files, theirs.host
    finally:
        theirs.end()


def test_both_take_the_same_statements(files, stage):
    files, host = files
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(files.theirs, host)
        ours, theirs = files.ours(stage / "usr/sbin/smtpd"), waiting.result()
    wrong = [("theirs", statement) for statement in files.statements
        if theirs[statement] != (statement in TAKEN or statement in THEIRS)]
    wrong += [("ours", statement, ours[statement]) for statement in files.statements
        if (ours[statement] == "") != (statement in TAKEN or statement in OURS)]
    wrong += [("words", statement, ours[statement]) for statement, words in THEIRS.items()
        if words not in ours[statement]]
    assert not wrong, "\n".join(map(str, wrong))
