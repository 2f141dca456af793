//! The report of `LATENCY DOCTOR`: what took long, and what could be done about it.

use std::fmt::Write;

use crate::config::groups::Monitoring;
use crate::metrics::latency::{Event, Events};

/// The report on these events.
pub(super) fn report(events: &Events, now_s: u64, config: &Monitoring) -> String {
    if events.iter().len() == 0 {
        return if config.latency_threshold_ms == 0 {
            "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this instance. \
             \"CONFIG SET latency-monitor-threshold <milliseconds>\" enables it.\n"
                .to_owned()
        } else {
            "Dave, no latency spike has been observed since this instance was started or its \
             latency events were reset.\n"
                .to_owned()
        };
    }
    let mut report = String::from("Dave, latency spikes have been observed in this instance.\n\n");
    for (number, (event, series)) in (1..).zip(events.iter()) {
        let summary = series.summary(now_s);
        writeln!(
            report,
            "{number}. {}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} \
             sec). Worst all time event {}ms.",
            event.name(),
            summary.samples,
            summary.mean_ms,
            summary.deviation_ms,
            summary.period_s,
            series.ms_max
        )
        .expect("invariant: writing to a string does not fail");
    }
    report.push_str("\nHere is some advice for you:\n\n");
    for (event, _) in events.iter() {
        advise(event, config, &mut report);
    }
    report
}

fn advise(event: Event, config: &Monitoring, report: &mut String) {
    let threshold_us = config.latency_threshold_ms.saturating_mul(1000);
    let off = config.slow_us_min < 0 || config.slow_len_max == 0;
    let coarse = u64::try_from(config.slow_us_min).is_ok_and(|us| us > threshold_us);
    let setting = format!("'CONFIG SET commandlog-execution-slower-than {threshold_us}'");
    match event {
        Event::Command => {
            if off {
                report.extend([
                    "- The command log of slow commands is off. Enable it with ",
                    &setting,
                    ", so that it names the commands that take long.\n",
                ]);
            } else if coarse {
                report.extend([
                    "- The command log leaves out commands that are slow enough to be events \
                     here. Lower its threshold with ",
                    &setting,
                    ".\n",
                ]);
            }
            report.push_str(
                "- 'COMMANDLOG GET -1 slow' shows which commands take long. A command over many \
                 keys or a large value holds up its shard: ask for less at a time.\n",
            );
        }
        Event::EvictionCycle => report.push_str(
            "- Keys are evicted faster than they are meant to come in. Raise 'maxmemory', or let \
             keys expire before memory runs short.\n",
        ),
        Event::FastCommand => report.push_str(
            "- Commands that do little take long: the process does not get the processors that \
             its shards are pinned to. Look for other busy processes, a limit on processor time \
             of the container, more shards than processors, or a busy host of the virtual \
             machine.\n",
        ),
        Event::ExpireCycle => report.push_str(
            "- Many or large keys expire at the same moment. Spread their expiry over a few \
             seconds.\n",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_follows_the_events_and_the_configuration() {
        let mut config = Monitoring::default();
        let mut events = Events::default();
        assert!(report(&events, 10, &config).contains("disabled"));
        config.latency_threshold_ms = 5;
        assert!(report(&events, 10, &config).contains("no latency spike"));
        events.record(Event::Command, 8, 7_000_000);
        config.slow_us_min = -1;
        let off = report(&events, 10, &config);
        assert!(off.contains("1. command: 1 latency spikes (average 7ms, mean deviation 0ms"));
        assert!(off.contains("slower-than 5000'"), "{off}");
        (config.slow_us_min, config.slow_len_max) = (10_000, 128);
        assert!(report(&events, 10, &config).contains("Lower its threshold"));
        config.slow_us_min = 1;
        assert!(!report(&events, 10, &config).contains("threshold"));
    }
}
