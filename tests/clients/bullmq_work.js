// BullMQ against the server at the port given: a thousand jobs, some of them delayed, by priority,
// repeated, failing at first, or parents of others.
"use strict";

const assert = require("node:assert/strict");
const { FlowProducer, Queue, QueueEvents, Worker } = require("bullmq");

const connection = { host: "127.0.0.1", port: Number(process.argv[2]), maxRetriesPerRequest: null };

async function waitUntil(what, condition) {
  const deadline = Date.now() + 60000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function numbers(count) {
  return Array.from({ length: count }, (_, n) => n);
}

// Plain jobs, delayed ones, and ones that fail at first, done by several workers at once.
async function manyJobs() {
  const queue = new Queue("many", { connection });
  const events = new QueueEvents("many", { connection });
  await events.waitUntilReady();
  let completed = 0;
  events.on("completed", () => completed++);
  const done = new Map();
  const early = [];
  const work = async (job) => {
    if (job.data.at && Date.now() < job.data.at) early.push(job.data);
    if (job.name === "fails" && job.attemptsMade === 0) throw new Error("once");
    done.set(job.data.n, (done.get(job.data.n) || 0) + 1);
    return job.data.n;
  };
  const workers = numbers(3).map(() => new Worker("many", work, { connection, concurrency: 10 }));
  await queue.addBulk(numbers(400).map((n) => ({ name: "plain", data: { n } })));
  const delayed = numbers(200).map((i) => {
    const delay = 20 + (i % 100);
    return { name: "delayed", data: { n: 400 + i, at: Date.now() + delay }, opts: { delay } };
  });
  await queue.addBulk(delayed);
  await queue.addBulk(
    numbers(100).map((i) => ({
      name: "fails",
      data: { n: 600 + i },
      opts: { attempts: 3, backoff: { type: "fixed", delay: 5 } },
    })),
  );
  await waitUntil("all jobs are done", () => done.size === 700);
  await waitUntil("all are told", () => completed === 700);
  assert.ok([...done.values()].every((times) => times === 1), "each is done once");
  assert.deepEqual(early, []);
  const counts = await queue.getJobCounts();
  assert.equal(counts.completed, 700);
  assert.equal(counts.waiting + counts.active + counts.delayed + counts.failed, 0);
  const job = await queue.add("awaited", { n: 7 });
  assert.equal(await job.waitUntilFinished(events, 20000), 7);
  await Promise.all(workers.map((worker) => worker.close()));
  await events.close();
  await queue.obliterate({ force: true });
  await queue.close();
}

// One worker takes jobs by their priority.
async function priorities() {
  const queue = new Queue("ranked", { connection });
  const ranks = numbers(200).map((n) => ((n * 7) % 50) + 1);
  await queue.addBulk(ranks.map((priority) => ({ name: "job", data: {}, opts: { priority } })));
  const seen = [];
  const work = async (job) => {
    seen.push(job.opts.priority);
  };
  const worker = new Worker("ranked", work, { connection, concurrency: 1 });
  await waitUntil("all jobs are done", () => seen.length === ranks.length);
  assert.deepEqual(seen, [...ranks].sort((a, b) => a - b));
  await worker.close();
  await queue.obliterate({ force: true });
  await queue.close();
}

// A job that comes again and again, until its number of times is used up.
async function repeats() {
  const queue = new Queue("repeated", { connection });
  let times = 0;
  const work = async () => {
    times++;
  };
  const worker = new Worker("repeated", work, { connection });
  await queue.upsertJobScheduler("ticking", { every: 20, limit: 10 }, { name: "tick" });
  await waitUntil("it has come ten times", () => times === 10);
  await queue.removeJobScheduler("ticking");
  assert.deepEqual(await queue.getJobSchedulers(), []);
  await worker.close();
  await queue.obliterate({ force: true });
  await queue.close();
}

// Parents that wait for their children, which lie in another queue.
async function flows() {
  const flow = new FlowProducer({ connection });
  const sums = [];
  const children = new Worker("children", async (job) => job.data.n, { connection, concurrency: 5 });
  const work = async (job) => {
    const values = Object.values(await job.getChildrenValues());
    sums.push(values.reduce((sum, value) => sum + value, 0));
  };
  const parents = new Worker("parents", work, { connection, concurrency: 5 });
  const trees = numbers(18).map(() => ({
    name: "parent",
    queueName: "parents",
    children: numbers(4).map((n) => ({ name: "child", queueName: "children", data: { n } })),
  }));
  await flow.addBulk(trees);
  await waitUntil("all parents are done", () => sums.length === trees.length);
  assert.ok(sums.every((sum) => sum === 6), `${sums}`);
  await Promise.all([children.close(), parents.close(), flow.close()]);
  for (const name of ["children", "parents"]) {
    const queue = new Queue(name, { connection });
    await queue.obliterate({ force: true });
    await queue.close();
  }
}

async function main() {
  await manyJobs();
  await priorities();
  await repeats();
  await flows();
  process.stdout.write("bullmq: done\n");
  process.exit(0);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
