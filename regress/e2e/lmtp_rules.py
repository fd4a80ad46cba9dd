"""An instance that hands mail to another mail server by LMTP, and mail for that."""

USERBASE = "userbase { bob = 2000:2000:/home/bob, ann = 2001:2001:/home/ann, zoe = 2:2:/home/zoe }"


def make(make_postern, *actions):
    """users.test by the first of the actions, users1.test by the second."""
    names = [f"action \"{number}\" lmtp {action}" for number, action in enumerate(actions)]
    rules = [f"match from any for domain \"{'users.test' if number == 0 else f'users{number}.test'}\" "
        f"action \"{number}\"" for number in range(len(actions))]
    return make_postern(rules="\n".join(names + ['action "own" maildir virtual <accounts>'] + rules +
        ['match from any for domain <accounts> action "own"']),
        extra="queue retry-first 1s\nqueue retry-max 2s\n")


def send(postern, *recipients, body="hello\r\n", sender="alice@example.test"):
    with postern.smtp() as client:
        client.sendmail(sender, recipients,
            f"From: {sender}\r\nSubject: x\r\n\r\n{body}".encode(), ["BODY=8BITMIME"])
