//! Servers that are killed, over and over, on the same directory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kvasir_proto::Value;
use kvasir_testing::{Client, Program, Rng, Server, poll_every, seed_from_environment, show};

use super::author::{ACCOUNTS, Author, read_accounts};
use super::files::{self, LogFiles};

/// Clients that write at the same time.
const AUTHORS: usize = 6;
/// Keys that nobody changes, so that a snapshot takes a while.
const BALLAST: usize = 4_000;
/// How long a client may be without an answer before the server counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// Kills of a test, unless `KVASIR_KILLS` names another number.
const USUAL_KILLS: usize = 60;

/// What the server is doing when it is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    Writing,
    Saving,
    Rewriting,
    /// Rewrites that begin by themselves, one after the other.
    Rotating,
    Loading,
}

const MOMENTS: [Moment; 5] =
    [Moment::Writing, Moment::Saving, Moment::Rewriting, Moment::Rotating, Moment::Loading];

/// How often servers were killed.
#[derive(Default, Debug)]
struct Tally {
    kills: usize,
    /// While a snapshot or a rewrite was under way.
    in_snapshot: usize,
    in_rewrite: usize,
    /// While the log was being loaded.
    in_loading: usize,
    /// Logs that were cut as a loss of power could have done.
    cuts: usize,
    acknowledged: u64,
}

/// A server, its clients, and what they know.
pub(crate) struct Trial {
    pub(crate) server: Server,
    pub(crate) authors: Vec<Author>,
    accounts: Vec<i64>,
    pub(crate) rng: Rng,
    label: String,
}

impl Trial {
    /// A server with so many shards and this `appendfsync`, and some keys.
    pub(crate) fn start(shards: usize, policy: &str, more: &[&str], rng: Rng) -> Self {
        let mut args = vec!["--appendonly", "yes", "--appendfsync", policy];
        args.extend(["--auto-aof-rewrite-percentage", "0"]);
        args.extend(more);
        let server = Server::builder(Program::Kvasir).shards(shards).args(&args).start();
        Self::with(server, policy, rng)
    }

    /// As [`start`](Self::start), with a server that runs already.
    pub(crate) fn with(server: Server, policy: &str, mut rng: Rng) -> Self {
        let asks = policy == "everysec";
        let author = |id| Author::new(id, rng.fork(), asks);
        let authors = (0..AUTHORS).map(author).collect();
        let label = format!("{policy}, KVASIR_SEED={}", seed_from_environment());
        let mut trial = Self { server, authors, accounts: vec![0; ACCOUNTS], rng, label };
        trial.fill();
        if asks {
            // Part of what no loss of power takes.
            assert_eq!(show(&trial.server.client().run("WAITAOF 1 0 0")), "[1 0]");
        }
        trial
    }

    fn fill(&mut self) {
        let mut client = self.server.client();
        let key = |index: usize| [format!("ballast:{index}"), format!("{index:0120}")];
        let keys: Vec<usize> = (0..BALLAST).collect();
        let requests = keys.chunks(200).map(|chunk| {
            let mut words = vec!["MSET".to_owned()];
            words.extend(chunk.iter().flat_map(|index| key(*index)));
            words
        });
        client.pipeline(&requests.collect::<Vec<_>>());
    }

    /// Names this round in what a failure says.
    pub(crate) fn label(&mut self, round: &str) -> String {
        format!("{}, {round}", self.label)
    }

    /// Has all clients write, until each has been acknowledged so many operations or the server is
    /// gone; `meanwhile` runs beside them.
    pub(crate) fn write(
        &mut self,
        most: usize,
        meanwhile: impl FnOnce(&mut Server, &mut Rng, &AtomicU64),
    ) {
        let acknowledged = AtomicU64::new(0);
        let addr = self.server.addr();
        thread::scope(|scope| {
            for author in &mut self.authors {
                let acknowledged = &acknowledged;
                scope.spawn(move || {
                    if let Some(mut client) = Client::try_connect(addr) {
                        client.set_patience(PATIENCE);
                        author.work(&mut client, most, acknowledged);
                    }
                });
            }
            meanwhile(&mut self.server, &mut self.rng, &acknowledged);
        });
    }

    /// What each client has been acknowledged.
    pub(crate) fn acknowledged(&self) -> Vec<usize> {
        self.authors.iter().map(Author::acknowledged).collect()
    }

    /// Reads everything and compares it with what must be there: at least so many operations of
    /// each client.
    pub(crate) fn judge(&mut self, lower: &[usize], round: &str) {
        let label = self.label(round);
        let mut client = self.server.client();
        for (author, lower) in self.authors.iter_mut().zip(lower) {
            let found = author.read(&mut client);
            author.judge(&found, *lower, &mut self.accounts, &label);
        }
        assert_eq!(read_accounts(&mut client), self.accounts, "{label}: the accounts");
        assert_eq!(self.accounts.iter().sum::<i64>(), 0, "{label}: amounts are moved only");
        let ballast = self.rng.below(BALLAST);
        let value = client.call(&["GET".to_owned(), format!("ballast:{ballast}")]);
        let value = value.as_bytes().map(<[u8]>::to_vec);
        assert_eq!(value, Some(format!("{ballast:0120}").into_bytes()), "{label}: {ballast}");
    }
}

/// Waits until so many operations have been acknowledged.
pub(crate) fn await_count(acknowledged: &AtomicU64, count: u64) {
    let pause = Duration::from_micros(100);
    let reached = || (acknowledged.load(Ordering::Relaxed) >= count).then_some(());
    let reached = poll_every(pause, PATIENCE, reached);
    assert!(reached.is_some(), "the clients are not answered any more");
}

fn kills() -> usize {
    match std::env::var("KVASIR_KILLS") {
        Ok(text) => text.parse().expect("KVASIR_KILLS is a number"),
        Err(_) => USUAL_KILLS,
    }
}

/// Kills a server again and again.
pub(crate) fn run(shards: usize, policy: &str) {
    let rng = Rng::new(seed_from_environment() ^ shards as u64);
    let mut trial = Trial::start(shards, policy, &[], rng);
    let mut tally = Tally::default();
    for round in 0.. {
        if tally.kills >= kills() {
            break;
        }
        let moment = *trial.rng.pick(&MOMENTS);
        let before = LogFiles::of(trial.server.dir()).expect("there is a log");
        let floor = before.last_bytes();
        trial.write(usize::MAX, |server, rng, acknowledged| {
            torment(server, rng, acknowledged, moment, &mut tally);
        });
        let label = format!("round {round}, {moment:?}");
        let after = LogFiles::of(trial.server.dir()).expect("there is a log");
        after.check_order(&label);
        let mut lower: Vec<usize> = match policy {
            "always" => trial.acknowledged(),
            _ => trial.authors.iter().map(Author::durable).collect(),
        };
        if policy != "always" && trial.rng.one_in(3) {
            lose_power(&mut trial.rng, (&before, floor), &after);
            lower.fill(0);
            tally.cuts += 1;
        }
        if moment == Moment::Loading {
            kill_while_loading(&mut trial.server, &mut trial.rng, &mut tally);
        }
        trial.server.start_again();
        trial.judge(&lower, &label);
    }
    eprintln!("{shards} shards, {policy}: {tally:?}");
    let met = [tally.in_snapshot, tally.in_rewrite, tally.in_loading];
    assert!(tally.kills < 50 || met.iter().all(|met| *met > 0), "not every moment was met");
}

/// Kills the server while its clients write.
fn torment(
    server: &mut Server,
    rng: &mut Rng,
    acknowledged: &AtomicU64,
    moment: Moment,
    tally: &mut Tally,
) {
    let mut admin = server.client();
    await_count(acknowledged, 20 + rng.below(150) as u64);
    let lines: &[&str] = match moment {
        Moment::Writing | Moment::Loading => &[],
        Moment::Saving => &["BGSAVE"],
        Moment::Rewriting => &["BGREWRITEAOF"],
        Moment::Rotating => {
            &["CONFIG SET auto-aof-rewrite-min-size 1 auto-aof-rewrite-percentage 1"]
        }
    };
    for line in lines {
        admin.run(line);
    }
    let now = acknowledged.load(Ordering::Relaxed);
    let more = if moment == Moment::Rotating { 600 } else { 80 };
    await_count(acknowledged, now + rng.below(more) as u64);
    let info = admin.run("INFO persistence");
    let info = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
    tally.in_snapshot += usize::from(info.contains("rdb_bgsave_in_progress:1"));
    tally.in_rewrite += usize::from(info.contains("aof_rewrite_in_progress:1"));
    server.kill();
    tally.kills += 1;
    tally.acknowledged += acknowledged.load(Ordering::Relaxed);
}

/// Starts the server some times, and kills it before it is ready.
fn kill_while_loading(server: &mut Server, rng: &mut Rng, tally: &mut Tally) {
    for _ in 0..=rng.below(3) {
        server.launch_again(&["--key-load-delay", "200"]);
        let addr = server.addr();
        let connect = || Client::try_connect(addr);
        let client = poll_every(Duration::from_millis(1), PATIENCE, connect);
        let mut client = client.expect("the server listens while it loads");
        let mut was_loading = false;
        for _ in 0..=rng.below(200) {
            let sent = client.try_send_raw(b"PING\r\n");
            let Some((reply, _)) = client.try_read().ok().filter(|_| sent) else { break };
            was_loading = matches!(reply, Value::Error(_));
            if !was_loading {
                break;
            }
        }
        server.kill();
        tally.kills += 1;
        tally.in_loading += usize::from(was_loading);
    }
}

/// Cuts the log as a loss of power could have done that came before the last flush: nothing of what
/// was there at the round's beginning is lost, nor what a later file builds on.
fn lose_power(rng: &mut Rng, (before, floor): (&LogFiles, u64), after: &LogFiles) {
    let floor = if before.last() == after.last() { floor } else { 0 };
    let unsafe_bytes = after.last_bytes() - floor;
    if unsafe_bytes > 0 {
        let length = floor + rng.below(usize::try_from(unsafe_bytes).expect("a small file")) as u64;
        files::cut(after.last(), length);
    }
}

/// Turns the log on while clients write, and kills the server before or after it is there.
pub(crate) fn turn_on(shards: usize) {
    let mut rng = Rng::new(seed_from_environment() ^ 0x7075 ^ shards as u64);
    let mut whole = 0;
    for round in 0..8 {
        let args = ["--appendfsync", "always"];
        let server = Server::builder(Program::Kvasir).shards(shards).args(&args).start();
        let mut trial = Trial::with(server, "always", rng.fork());
        trial.write(usize::MAX, |server, rng, acknowledged| {
            let mut admin = server.client();
            await_count(acknowledged, 50);
            admin.run("CONFIG SET appendonly yes");
            // With an odd number the log is there; otherwise it may be.
            if round % 2 == 1 {
                let pause = Duration::from_millis(1);
                let is_on = || (turns_on(&mut admin) == Some(false)).then_some(());
                assert!(poll_every(pause, PATIENCE, is_on).is_some(), "the log is begun");
            }
            await_count(acknowledged, acknowledged.load(Ordering::Relaxed) + rng.below(60) as u64);
            server.kill();
        });
        let is_there = LogFiles::of(trial.server.dir()).is_some();
        assert!(is_there || round % 2 == 0, "the log is there and has no manifest");
        trial.server.start_again_with(&["--appendonly", "yes"]);
        if is_there {
            let lower = trial.acknowledged();
            trial.judge(&lower, &format!("round {round}"));
            whole += 1;
        } else {
            let size = trial.server.client().run("DBSIZE");
            assert_eq!(size, Value::Integer(0), "there was no log");
        }
    }
    assert!(whole >= 4);
}

/// Whether the log is being begun; `None` when it is not asked for.
fn turns_on(admin: &mut Client) -> Option<bool> {
    let info = admin.run("INFO persistence");
    let info = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
    let is = |field: &str| info.contains(&format!("{field}:1"));
    let busy = is("aof_rewrite_in_progress") || is("aof_rewrite_scheduled");
    is("aof_enabled").then(|| busy || is("aof_pending_rewrite"))
}
