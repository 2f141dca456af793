// Real work with ioredis against the server at the port given.
"use strict";

const assert = require("node:assert/strict");
const Redis = require("ioredis");

const KEYS = 5000;
const port = Number(process.argv[2]);

async function waitUntil(what, condition) {
  const deadline = Date.now() + 20000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function strings(r) {
  assert.equal(await r.set("greeting", "hello"), "OK");
  assert.equal(await r.get("greeting"), "hello");
  assert.equal(await r.get("missing"), null);
  assert.equal(await r.set("greeting", "again", "NX"), null);
  assert.equal(await r.getset("greeting", "bye"), "hello");
  const binary = Buffer.alloc(3_000_000, Buffer.from([0, 13, 10, 255]));
  await r.set("binary", binary);
  assert.ok(binary.equals(await r.getBuffer("binary")));
  await assert.rejects(r.incr("greeting"), /not an integer/);
}

async function manyKeys(r) {
  const pipeline = r.pipeline();
  for (let n = 0; n < KEYS; n++) pipeline.set(`key:${n}`, n);
  for (let n = 0; n < KEYS; n++) pipeline.get(`key:${n}`);
  const results = await pipeline.exec();
  results.forEach(([error, reply], index) => {
    assert.equal(error, null);
    assert.equal(reply, index < KEYS ? "OK" : String(index - KEYS));
  });
  const names = Array.from({ length: KEYS }, (_, n) => `key:${n}`);
  assert.deepEqual(await r.mget(names), names.map((_, n) => String(n)));
  assert.equal(await r.mset(new Map([["m:1", "a"], ["m:2", "b"], ["m:3", "c"]])), "OK");
  assert.equal(await r.msetnx("m:1", "x", "n:1", "x"), 0);
  assert.equal(await r.exists("m:1", "m:2", "m:3", "n:1"), 3);
  const found = new Set();
  for await (const batch of r.scanStream({ match: "key:*", count: 400 })) {
    batch.forEach((name) => found.add(name));
  }
  assert.equal(found.size, KEYS);
  assert.equal(await r.del(...names), KEYS);
}

async function manyConnections() {
  const clients = Array.from({ length: 20 }, () => new Redis(port, { enableAutoPipelining: true }));
  await Promise.all(
    clients.map((client) =>
      Promise.all(Array.from({ length: 200 }, (_, n) => client.incr(`counter:${n % 7}`))),
    ),
  );
  const counts = await clients[0].mget(...Array.from({ length: 7 }, (_, n) => `counter:${n}`));
  assert.equal(counts.reduce((sum, count) => sum + Number(count), 0), 4000);
  await Promise.all(clients.map((client) => client.quit()));
}

async function timesToLive(r) {
  await r.set("long", "v", "EX", 1000);
  assert.ok((await r.ttl("long")) > 990);
  await Promise.all(
    Array.from({ length: 500 }, (_, n) => r.set(`fleeting:${n}`, n, "PX", 10 + (n % 40))),
  );
  await waitUntil("keys expire", async () => (await r.keys("fleeting:*")).length === 0);
  assert.equal(await r.getex("long", "PERSIST"), "v");
  assert.equal(await r.ttl("long"), -1);
}

async function server(r) {
  assert.equal(await r.ping(), "PONG");
  assert.match(await r.info("server"), /tcp_port:/);
  assert.equal(await r.client("SETNAME", "worker"), "OK");
  assert.match(await r.client("LIST"), /name=worker/);
  await assert.rejects(r.call("NONSENSE"), /unknown command/);
  const prefixed = new Redis(port, { keyPrefix: "app:", db: 2 });
  await prefixed.set("x", "1");
  assert.deepEqual(await prefixed.keys("*"), ["app:x"]);
  await prefixed.quit();
}

async function main() {
  const r = new Redis(port);
  await r.flushall();
  await strings(r);
  await manyKeys(r);
  await manyConnections();
  await timesToLive(r);
  await server(r);
  await r.flushall();
  await r.quit();
  process.stdout.write("ioredis: done\n");
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
