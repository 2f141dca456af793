//! What happens a second, as a mean over the last samples.

use super::counters::Counters;

/// Time between samples.
pub const SAMPLE_US: u64 = 100_000;
/// Samples that a rate is the mean of.
const SAMPLES: usize = 16;

/// The last samples of one figure.
#[derive(Clone, Copy, Default, Debug)]
struct Samples([u64; SAMPLES]);

impl Samples {
    fn mean(self) -> u64 {
        self.0.iter().sum::<u64>() / SAMPLES as u64
    }
}

/// The present rates: the mean of 16 samples, one each 100 ms, as the peers compute them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Rates {
    /// Commands a second.
    pub commands: u64,
    /// Bytes received a second.
    pub net_in: u64,
    /// Bytes sent a second.
    pub net_out: u64,
    /// Rounds of the loop a second.
    pub cycles: u64,
    /// Nanoseconds a round.
    pub cycle_ns: u64,
}

impl Rates {
    /// Adds those of another core. The duration of a round becomes that of the slowest core's.
    pub fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.net_in += other.net_in;
        self.net_out += other.net_out;
        self.cycles += other.cycles;
        self.cycle_ns = self.cycle_ns.max(other.cycle_ns);
    }
}

/// Turns counters into rates.
#[derive(Clone, Default, Debug)]
pub struct Sampler {
    last: Counters,
    last_us: Option<u64>,
    next: usize,
    commands: Samples,
    net_in: Samples,
    net_out: Samples,
    cycles: Samples,
    cycle_ns: Samples,
}

impl Sampler {
    /// When the next sample is due, on the monotonic clock.
    pub fn due_us(&self) -> u64 {
        self.last_us.map_or(0, |us| us + SAMPLE_US)
    }

    /// Takes a sample. The first one only says where counting begins.
    pub fn sample(&mut self, now_us: u64, counters: &Counters) {
        let last = std::mem::replace(&mut self.last, *counters);
        let Some(last_us) = self.last_us.replace(now_us) else { return };
        let elapsed_us = (now_us - last_us).max(1);
        // Counters that were reset in between begin at zero.
        let risen = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let rate = |now: u64, before: u64| {
            (u128::from(risen(now, before)) * 1_000_000 / u128::from(elapsed_us)) as u64
        };
        let cycles = risen(counters.cycles, last.cycles);
        let at = self.next;
        self.commands.0[at] = rate(counters.commands_processed, last.commands_processed);
        self.net_in.0[at] = rate(counters.net_in, last.net_in);
        self.net_out.0[at] = rate(counters.net_out, last.net_out);
        self.cycles.0[at] = rate(counters.cycles, last.cycles);
        self.cycle_ns.0[at] = risen(counters.cycle_ns, last.cycle_ns) / cycles.max(1);
        self.next = (at + 1) % SAMPLES;
    }

    /// Forgets the samples.
    pub fn reset(&mut self) {
        let last_us = self.last_us;
        *self = Self { last_us, ..Self::default() };
    }

    /// The rates now.
    pub fn rates(&self) -> Rates {
        Rates {
            commands: self.commands.mean(),
            net_in: self.net_in.mean(),
            net_out: self.net_out.mean(),
            cycles: self.cycles.mean(),
            cycle_ns: self.cycle_ns.mean(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_reached_after_all_samples() {
        let mut sampler = Sampler::default();
        let mut counters = Counters::default();
        for step in 0..=16 {
            assert_eq!(sampler.due_us(), step * SAMPLE_US, "due every 100 ms");
            sampler.sample(step * SAMPLE_US, &counters);
            counters.commands_processed += 250;
            counters.cycles += 5;
            counters.cycle_ns += 5_000;
        }
        let rates = sampler.rates();
        assert_eq!((rates.commands, rates.cycles, rates.cycle_ns), (2_500, 50, 1_000));
        assert_eq!(rates.net_in, 0);
    }

    #[test]
    fn a_late_sample_counts_for_the_time_that_it_covers() {
        let mut sampler = Sampler::default();
        let mut counters = Counters::default();
        sampler.sample(5, &counters);
        counters.net_in = 16_000;
        sampler.sample(1_000_005, &counters);
        assert_eq!(sampler.rates().net_in, 1_000);
        sampler.reset();
        assert_eq!(sampler.rates(), Rates::default());
        sampler.sample(1_000_005 + SAMPLE_US, &Counters { net_in: 16, ..Counters::default() });
        assert_eq!(sampler.rates().net_in, 10);
    }
}
