//! Latency events: what took longer than `latency-monitor-threshold`, by kind.

use std::collections::BTreeMap;

/// Seconds of which an event keeps a sample.
const SAMPLES_MAX: usize = 160;

/// What can take long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Event {
    /// A command.
    Command,
    /// Evicting keys.
    EvictionCycle,
    /// Removing keys that were due.
    ExpireCycle,
    /// A command that is meant to be fast.
    FastCommand,
}

impl Event {
    const ALL: [Self; 4] =
        [Self::Command, Self::EvictionCycle, Self::ExpireCycle, Self::FastCommand];

    /// As `LATENCY` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::EvictionCycle => "eviction-cycle",
            Self::ExpireCycle => "expire-cycle",
            Self::FastCommand => "fast-command",
        }
    }

    /// The event of a name.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name().as_bytes() == name)
    }
}

/// The worst of one second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The second, of the Unix epoch.
    pub second: u64,
    /// What it took, in milliseconds.
    pub ms: u64,
}

/// What is known of one kind of event.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Series {
    /// The last seconds in which it happened, the oldest first.
    pub samples: Vec<Sample>,
    /// The worst ever, in milliseconds.
    pub ms_max: u64,
    /// All of them together, in milliseconds.
    pub ms_sum: u64,
    /// How often it happened.
    pub count: u64,
}

/// Mean, spread and frequency of the samples of a series.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Summary {
    /// Samples.
    pub samples: usize,
    /// Their mean, milliseconds.
    pub mean_ms: u64,
    /// The mean absolute deviation from it, milliseconds.
    pub deviation_ms: u64,
    /// Seconds between them, on average.
    pub period_s: f64,
}

impl Series {
    fn add_sample(&mut self, sample: Sample) {
        match self.samples.last_mut() {
            Some(last) if last.second == sample.second => last.ms = last.ms.max(sample.ms),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.remove(0);
                }
                self.samples.push(sample);
            }
        }
    }

    fn record(&mut self, sample: Sample) {
        self.ms_max = self.ms_max.max(sample.ms);
        self.ms_sum += sample.ms;
        self.count += 1;
        self.add_sample(sample);
    }

    /// Adds that of another core.
    fn add(&mut self, other: &Self) {
        self.ms_max = self.ms_max.max(other.ms_max);
        self.ms_sum += other.ms_sum;
        self.count += other.count;
        let mut samples = std::mem::take(&mut self.samples);
        samples.extend(&other.samples);
        samples.sort_by_key(|sample| sample.second);
        for sample in samples {
            self.add_sample(sample);
        }
    }

    /// Its samples in short. There is at least one.
    pub fn summary(&self, now_s: u64) -> Summary {
        let count = self.samples.len().max(1) as u64;
        let mean_ms = self.samples.iter().map(|sample| sample.ms).sum::<u64>() / count;
        let deviations = self.samples.iter().map(|sample| sample.ms.abs_diff(mean_ms));
        let oldest_s = self.samples.first().map_or(now_s, |sample| sample.second);
        let period_s = now_s.saturating_sub(oldest_s).max(1) as f64 / count as f64;
        let deviation_ms = deviations.sum::<u64>() / count;
        Summary { samples: self.samples.len(), mean_ms, deviation_ms, period_s }
    }
}

/// The events of one core, or of all.
#[derive(Clone, Default, Debug)]
pub struct Events(BTreeMap<Event, Series>);

impl Events {
    /// Notes an event that took long.
    #[cold]
    pub fn record(&mut self, event: Event, unix_s: u64, nanoseconds: u64) {
        let sample = Sample { second: unix_s, ms: nanoseconds / 1_000_000 };
        self.0.entry(event).or_default().record(sample);
    }

    /// Adds those of another core.
    pub fn add(&mut self, other: &Self) {
        for (event, series) in &other.0 {
            self.0.entry(*event).or_default().add(series);
        }
    }

    /// What is known of an event.
    pub fn series(&self, event: Event) -> Option<&Series> {
        self.0.get(&event)
    }

    /// Every event that has happened.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Event, &Series)> {
        self.0.iter().map(|(event, series)| (*event, series))
    }

    /// Forgets these events, or all; returns those that were known.
    pub fn reset(&mut self, events: Option<&[Event]>) -> Vec<Event> {
        let forgotten = |event: &Event| events.is_none_or(|events| events.contains(event));
        let known: Vec<Event> = self.0.keys().copied().filter(forgotten).collect();
        self.0.retain(|event, _| !known.contains(event));
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_worst_of_a_second_is_kept() {
        let mut events = Events::default();
        for (second, ms) in [(10, 5), (10, 9), (10, 2), (12, 3)] {
            events.record(Event::Command, second, ms * MS);
        }
        let series = events.series(Event::Command).unwrap();
        let samples = [Sample { second: 10, ms: 9 }, Sample { second: 12, ms: 3 }];
        assert_eq!(series.samples, samples);
        assert_eq!((series.ms_max, series.ms_sum, series.count), (9, 19, 4));
        let summary = series.summary(14);
        let expected = Summary { samples: 2, mean_ms: 6, deviation_ms: 3, period_s: 2.0 };
        assert_eq!(summary, expected);
    }

    #[test]
    fn cores_are_merged_by_second_and_the_oldest_go() {
        let (mut one, mut other) = (Events::default(), Events::default());
        for second in 0..160 {
            one.record(Event::Command, 2 * second, MS);
            other.record(Event::Command, 2 * second + 1, 2 * MS);
        }
        other.record(Event::FastCommand, 1, MS);
        one.add(&other);
        let series = one.series(Event::Command).unwrap();
        assert_eq!(series.samples.len(), SAMPLES_MAX);
        assert_eq!(series.samples[0], Sample { second: 160, ms: 1 });
        assert!(series.samples.is_sorted_by_key(|sample| sample.second));
        assert_eq!(series.count, 320);
        assert_eq!(one.iter().len(), 2);
    }

    #[test]
    fn reset_tells_what_it_has_forgotten() {
        let mut events = Events::default();
        events.record(Event::Command, 1, MS);
        assert_eq!(events.reset(Some(&[Event::FastCommand])), []);
        assert_eq!(events.reset(Some(&[Event::Command])), [Event::Command]);
        assert_eq!(events.reset(None), []);
        assert_eq!(Event::named(b"command"), Some(Event::Command));
        assert_eq!(Event::named(b"COMMAND"), None);
    }
}
