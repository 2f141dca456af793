"""Real work with redis-py against the server at the port given, in RESP2 and in RESP3."""

import sys
import threading
import time

import redis

KEYS = 5_000


def wait_until(what, condition, patience_s=20):
    """Polls a condition; a server that never meets it fails the script."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"waited in vain: {what}")
        time.sleep(0.005)


def fails(error, call, *args):
    try:
        call(*args)
    except error as raised:
        return str(raised)
    sys.exit(f"no error from {call} {args}")


def strings(r):
    assert r.set("greeting", "hello") is True
    assert r.get("greeting") == b"hello"
    assert r.get("missing") is None
    assert r.set("greeting", "again", nx=True) is None
    assert r.set("greeting", "bye", get=True) == b"hello"
    assert r.append("greeting", "!") == 4
    assert r.getrange("greeting", 0, 1) == b"by"
    assert r.setrange("greeting", 6, "x") == 7
    assert r.strlen("greeting") == 7
    binary = bytes(range(256)) * 20_000
    r.set("binary", binary)
    assert r.get("binary") == binary
    assert r.incrbyfloat("float", "1.5") == 1.5
    assert "not an integer" in fails(redis.ResponseError, r.incr, "greeting")
    assert r.getdel("greeting") == b"bye!\0\0x"


def many_keys(r):
    pipe = r.pipeline(transaction=False)
    for n in range(KEYS):
        pipe.set(f"key:{n}", n)
    assert pipe.execute() == [True] * KEYS
    names = [f"key:{n}" for n in range(KEYS)]
    assert r.mget(names) == [str(n).encode() for n in range(KEYS)]
    assert r.dbsize() >= KEYS
    assert set(r.scan_iter("key:*", count=500)) == {name.encode() for name in names}
    assert len(r.keys("key:1*")) == sum(1 for n in range(KEYS) if str(n).startswith("1"))
    assert r.mset({f"m:{n}": "v" * n for n in range(500)}) is True
    assert r.exists(*[f"m:{n}" for n in range(500)], "missing") == 500
    assert r.msetnx({"m:1": "x", "n:1": "x"}) is False
    assert r.get("n:1") is None
    assert r.unlink(*names[: KEYS // 2]) == KEYS // 2
    assert r.delete(*names) == KEYS - KEYS // 2


def counters(host_port, protocol):
    """Several threads count on the same keys; no increment may be lost."""

    def count():
        with redis.Redis(port=host_port, protocol=protocol) as mine:
            for n in range(500):
                mine.incr(f"counter:{n % 5}")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with redis.Redis(port=host_port) as r:
        assert sum(int(v) for v in r.mget([f"counter:{n}" for n in range(5)])) == 4_000


def times_to_live(r):
    r.set("short", "v", px=30)
    r.set("long", "v", ex=1_000)
    r.set("plain", "v")
    assert 990 < r.ttl("long") <= 1_000
    assert r.ttl("plain") == -1 and r.ttl("missing") == -2
    assert r.expire("plain", 500) and r.persist("plain") and r.ttl("plain") == -1
    assert r.expire("long", 2_000, lt=True) is False
    assert r.getex("long", ex=300) == b"v" and r.ttl("long") <= 300
    pipe = r.pipeline(transaction=False)
    for n in range(2_000):
        pipe.set(f"fleeting:{n}", n, px=20 + n % 50)
    pipe.execute()
    wait_until("keys expire", lambda: r.dbsize() < 2_000 and not r.keys("fleeting:*"))
    wait_until("a key expires", lambda: r.get("short") is None)


def moves(r):
    r.set("a", "1", ex=100)
    assert r.rename("a", "b") and r.ttl("b") > 90
    assert r.copy("b", "c") and not r.copy("b", "c")
    assert r.copy("b", "c", replace=True)
    r.set("d", "2")
    assert r.renamenx("c", "d") is False
    assert "no such key" in fails(redis.ResponseError, r.rename, "missing", "x")
    assert r.touch("b", "c", "missing") == 2
    assert r.type("b") == b"string"


def bits(r):
    for n in range(0, 1_000, 3):
        r.setbit("bits", n, 1)
    assert r.bitcount("bits") == 334
    assert r.bitpos("bits", 0) == 1
    r.set("other", b"\xff" * 10)
    assert r.bitop("AND", "both", "bits", "other") == 125
    assert r.bitcount("both") == 27
    field = r.bitfield("field").set("u8", 0, 200).incrby("u8", 0, 100)
    assert field.execute() == [0, 44]


def server(r, protocol):
    assert r.ping() is True
    assert r.echo("x") == b"x"
    assert r.info()["role"] == "master"
    assert r.info("keyspace")["db0"]["keys"] > 0
    assert r.client_setname("worker") and r.client_getname() in ("worker", b"worker")
    assert any(c["name"] == "worker" for c in r.client_list())
    assert int(r.config_get("databases")["databases"]) == 16
    assert r.command_count() > 50
    assert r.object("encoding", "d") in (b"int", "int")
    assert "unknown command" in fails(redis.ResponseError, r.execute_command, "NONSENSE", "x")
    assert "wrong number" in fails(redis.ResponseError, r.execute_command, "GET")
    if protocol == 3:
        assert isinstance(r.execute_command("CONFIG", "GET", "maxclients"), dict)
    with redis.Redis(port=r.connection_pool.connection_kwargs["port"], db=3) as third:
        third.set("elsewhere", 1)
        assert third.dbsize() == 1
        third.flushdb()
    assert r.get("elsewhere") is None


def main():
    port = int(sys.argv[1])
    for protocol in (2, 3):
        with redis.Redis(port=port, protocol=protocol) as r:
            r.flushall()
            strings(r)
            many_keys(r)
            counters(port, protocol)
            times_to_live(r)
            moves(r)
            bits(r)
            server(r, protocol)
            r.flushall()
            assert r.dbsize() == 0
    print("redis-py: done")


main()
