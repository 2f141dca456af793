//! Makes a stream that shows a difference as short as it gets.

use std::time::{Duration, Instant};

use crate::compare::Difference;
use crate::generate::Request;

/// How often, and for how long, a stream is run again at most.
const MOST_RUNS: usize = 400;
const MOST_TIME: Duration = Duration::from_secs(60);

/// Removes requests as long as the last one that is left still differs: ever smaller runs of them,
/// as in delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing
/// input", 2002). `run` finds the first request of a stream that differs. `None` when none does
/// when the stream is run again by itself.
pub(crate) fn minimise(
    stream: &[Request],
    mut run: impl FnMut(&[Request]) -> Option<Difference>,
) -> Option<(Vec<Request>, Difference)> {
    let mut runs = 0;
    let begin = Instant::now();
    let mut fails = |stream: &[Request]| {
        runs += 1;
        let tired = runs > MOST_RUNS || begin.elapsed() > MOST_TIME;
        if tired { None } else { run(stream) }
    };
    let mut difference = fails(stream)?;
    let mut stream = stream[..=difference.at].to_vec();
    let mut chunk = stream.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at < stream.len() {
            let end = (at + chunk).min(stream.len());
            let shorter: Vec<Request> = [&stream[..at], &stream[end..]].concat();
            match fails(&shorter) {
                Some(found) => {
                    stream = shorter[..=found.at].to_vec();
                    difference = found;
                }
                None => at = end,
            }
        }
        chunk /= 2;
    }
    Some((stream, difference))
}

/// A stream as command lines that `valkey-cli` would take.
pub(crate) fn as_lines(stream: &[Request]) -> String {
    let lines = stream.iter().map(|request| {
        let words: Vec<String> = request.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn quoted(word: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        return String::from_utf8_lossy(word).into_owned();
    }
    format!("\"{}\"", word.escape_ascii())
}
