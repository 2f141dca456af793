//! Logs that end in the middle of a record or of a transaction, as a machine leaves them that has
//! stopped while they were written.

use kvasir_proto::Value;
use kvasir_testing::{Client, Rng, seed_from_environment, show};

use super::files::{self, LogFiles, bytes};
use super::kills::Trial;

/// Tails of a trial.
const ROUNDS: usize = 15;

/// What a log may end with that is no whole record or transaction.
fn fragments() -> Vec<Vec<u8>> {
    let set = Client::encode(&["SET", "torn", "value"]);
    let mut transaction = Client::encode(&["MULTI"]);
    transaction.extend(&set);
    let mut ending = transaction.clone();
    ending.extend(b"*1\r\n$4\r\nEXE");
    let half = set[..set.len() / 2].to_vec();
    let mut fragments = vec![transaction, ending, half];
    fragments.extend(
        [&b"*"[..], b"*3\r\n", b"*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$5\r\nval"].map(<[u8]>::to_vec),
    );
    fragments
}

/// Tears the log of a server with so many shards, over and over.
pub(crate) fn run(shards: usize) {
    let rng = Rng::new(seed_from_environment() ^ 0x7a11 ^ shards as u64);
    let mut trial = Trial::start(shards, "always", &[], rng);
    for round in 0..ROUNDS {
        trial.write(10, |_, _, _| {});
        // Nothing is under way: this is what all of them have been acknowledged.
        let lower = trial.acknowledged();
        let floor = files_of(&trial).last_bytes();
        trial.write(8, |_, _, _| {});
        trial.server.kill();
        let files = files_of(&trial);
        if trial.rng.one_in(2) {
            let later = usize::try_from(files.last_bytes() - floor).expect("a small file");
            files::cut(files.last(), floor + trial.rng.below(later + 1) as u64);
        } else {
            let fragments = fragments();
            let fragment: &Vec<u8> = trial.rng.pick(&fragments);
            files::add(files.last(), fragment);
        }
        let torn = std::fs::read(files.last()).expect("read the log");
        if whole_bytes(&torn) < torn.len() {
            assert_refused(&mut trial);
        }
        trial.server.start_again();
        assert_eq!(show(&trial.server.client().run("EXISTS torn")), "0");
        trial.judge(&lower, &format!("tail {round}"));
        // What was dropped does not come back, and what was not is not dropped later.
        let mended = std::fs::read(files.last()).expect("read the log");
        assert!(mended.starts_with(&torn[..whole_bytes(&torn)]), "what is whole stays");
        trial.server.kill();
        trial.server.start_again_with(&["--aof-load-truncated", "no"]);
        let lower = trial.acknowledged();
        trial.judge(&lower, &format!("tail {round}, once more"));
        trial.server.kill();
        trial.server.start_again();
    }
}

fn files_of(trial: &Trial) -> LogFiles {
    LogFiles::of(trial.server.dir()).expect("there is a log")
}

/// Without `aof-load-truncated` a torn log is refused and left as it is.
fn assert_refused(trial: &mut Trial) {
    let path = files_of(trial).last().to_owned();
    let (lines, before) = (trial.server.log().lines().count(), bytes(&path));
    trial.server.launch_again(&["--aof-load-truncated", "no"]);
    assert_eq!(trial.server.wait_for_exit().code(), Some(1));
    let log = trial.server.log();
    let said = "Unexpected end of file reading the append only file appendonly.aof.1.incr.aof";
    assert!(log.lines().skip(lines).any(|line| line.contains(said)), "{log}");
    assert_eq!(bytes(&path), before, "a log that is refused is left as it is");
}

/// How much of a log is whole records and transactions.
fn whole_bytes(text: &[u8]) -> usize {
    let (mut at, mut whole, mut in_transaction) = (0, 0, false);
    while let Ok(Some((Value::Array(words), length))) = Value::parse(&text[at..]) {
        match words[0].as_bytes() {
            Some(b"MULTI") => in_transaction = true,
            Some(b"EXEC") => in_transaction = false,
            _ => {}
        }
        at += length;
        if !in_transaction {
            whole = at;
        }
    }
    whole
}
