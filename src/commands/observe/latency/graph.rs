//! The graph of `LATENCY GRAPH`: a column a sample, drawn with characters, as the peers draw it.

use std::fmt::Write;

use crate::metrics::latency::Series;

/// Samples side by side; more go on below.
const COLUMNS: usize = 80;
/// Lines that a column rises.
const ROWS: usize = 4;
/// What a column ends with on its highest line, by a third of the line.
const TOPS: [char; 3] = ['_', 'o', '#'];

/// A heading with the extremes, and the graph.
pub(super) fn text(event: &str, series: &Series, now_s: u64) -> String {
    let ms = || series.samples.iter().map(|sample| sample.ms);
    let (low, high) = (ms().min().unwrap_or(0), ms().max().unwrap_or(0));
    let worst = series.ms_max;
    let mut text = String::new();
    let heading = format!("{event} - high {high} ms, low {low} ms (all time high {worst} ms)");
    writeln!(text, "{heading}\n{}", "-".repeat(COLUMNS)).expect(INFALLIBLE);
    let columns: Vec<Column> = series
        .samples
        .iter()
        .map(|sample| {
            let steps = (ROWS * TOPS.len()) as u64;
            let height = (sample.ms - low) * steps / (high - low).max(1);
            let label = age(now_s.saturating_sub(sample.second));
            Column { height: height.min(steps - 1) as usize, label }
        })
        .collect();
    let parts: Vec<String> = columns.chunks(COLUMNS).map(part).collect();
    text.push_str(&parts.join("\n"));
    text
}

const INFALLIBLE: &str = "invariant: writing to a string does not fail";

struct Column {
    /// In thirds of a line.
    height: usize,
    label: String,
}

/// The columns that stand side by side, with their labels below, read downwards.
fn part(columns: &[Column]) -> String {
    let mut text = String::new();
    let mut line = |draw: &dyn Fn(&Column) -> char| {
        text.extend(columns.iter().map(draw));
        text.push('\n');
    };
    for row in 0..ROWS {
        let below = (ROWS - row - 1) * TOPS.len();
        line(&|column| match column.height.checked_sub(below) {
            None => ' ',
            Some(third) => TOPS.get(third).copied().unwrap_or('|'),
        });
    }
    line(&|_| ' ');
    let labels = columns.iter().map(|column| column.label.len()).max().unwrap_or(0);
    for at in 0..labels {
        line(&|column| column.label.as_bytes().get(at).map_or(' ', |byte| char::from(*byte)));
    }
    text
}

/// How long ago, in the largest unit that fits.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::latency::{Event, Events};

    #[test]
    fn columns_rise_with_the_latency() {
        let mut events = Events::default();
        for (ago_s, ms) in [(4_000, 10), (120, 20), (59, 30), (0, 70)] {
            events.record(Event::Command, 10_000 - ago_s, ms * 1_000_000);
        }
        let text = text("command", events.series(Event::Command).unwrap(), 10_000);
        let mut lines = text.lines();
        let heading = "command - high 70 ms, low 10 ms (all time high 70 ms)";
        assert_eq!(lines.next(), Some(heading));
        assert_eq!(lines.next(), Some(&*"-".repeat(80)));
        let rest: Vec<&str> = lines.collect();
        assert_eq!(rest, ["   #", "   |", "  o|", "_#||", "    ", "1250", "hm9s", "  s "]);
    }

    #[test]
    fn equal_latencies_make_a_flat_graph() {
        let mut events = Events::default();
        for second in 0..81 {
            events.record(Event::Command, second, 5_000_000);
        }
        let text = text("command", events.series(Event::Command).unwrap(), 81);
        assert_eq!(text.lines().filter(|line| line.starts_with('_')).count(), 2);
    }
}
