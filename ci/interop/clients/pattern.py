"""The records that every client writes and verifies: a function of their number, so that each byte can be checked.

Topic `T` of `n` records over `p` partitions: record i goes to partition i % p, and is the (i // p)-th there.
"""


def key(i):
    return b"key-%d" % i


def value(i):
    unit = b"value-%d-" % i
    size = 20 + (i * 7919) % 180
    return (unit * (size // len(unit) + 1))[:size]


def header(i):
    return ("number", b"%d" % i)


def check(i, got_key, got_value, got_headers, where):
    """Stops the program with a clear text when a record is not the i-th."""
    headers = [(name, bytes(data)) for name, data in (got_headers or [])]
    if got_key != key(i) or got_value != value(i) or headers != [header(i)]:
        raise SystemExit(
            f"record {i} at {where} differs: key={got_key!r} value={got_value!r} headers={headers!r}, "
            f"wanted key={key(i)!r} value={value(i)!r} headers={[header(i)]!r}"
        )
