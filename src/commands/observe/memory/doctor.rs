//! The report of `MEMORY DOCTOR`: what is odd about the use of memory.

use crate::metrics::memory::MemoryReport;

/// Below this there is nothing to say.
const USED_MIN: u64 = 5 << 20;
/// What is wasted beside this is not worth a word.
const WASTE_MIN: u64 = 10 << 20;
/// A client on average.
const CLIENT_MAX: u64 = 200 << 10;

/// The report; thresholds are the peers'.
pub(super) fn report(memory: &MemoryReport, clients: u64) -> String {
    if memory.used < USED_MIN {
        return "Hi Sam, this instance is empty or uses very little memory: there is nothing to \
                examine yet. Please come back when it has some data.\n"
            .to_owned();
    }
    let wastes = |whole: u64, part: u64, share: f64| {
        whole.saturating_sub(part) > WASTE_MIN && whole as f64 > part as f64 * share
    };
    let mut findings: Vec<&str> = Vec::new();
    if memory.peak as f64 > memory.used as f64 * 1.5 {
        findings.push(
            "Peak memory: this instance has used more than 150% of what it uses now. What the \
             peak left behind is used again by new data; MEMORY PURGE returns to the system what \
             the allocator still holds of it.",
        );
    }
    if wastes(memory.rss, memory.used, 1.4) {
        findings.push(
            "High total RSS: the process occupies more than 1.4 times what is in use. After a \
             large peak that is expected; otherwise sizes of values change in a way that leaves \
             gaps in memory.",
        );
    }
    if wastes(memory.active, memory.allocated, 1.1) {
        findings.push(
            "High allocator fragmentation: more than a tenth of the pages in use is gaps. It \
             comes from a large peak, or from values that change their sizes a lot.",
        );
    }
    if wastes(memory.resident, memory.active, 1.1) {
        findings.push(
            "High allocator RSS overhead: the allocator holds more than a tenth beyond the pages \
             in use. MEMORY PURGE returns it to the system.",
        );
    }
    if wastes(memory.rss, memory.resident, 1.1) {
        findings.push(
            "High process RSS overhead: more than a tenth of the process lies outside of the \
             allocator.",
        );
    }
    if memory.clients / clients.max(1) > CLIENT_MAX {
        findings.push(
            "Big client buffers: clients use more than 200K each, on average. CLIENT LIST shows \
             which: those that do not read, or send and fetch very large values or pipelines.",
        );
    }
    if findings.is_empty() {
        return "Hi Sam, there is no memory problem that I can see in this instance.\n".to_owned();
    }
    let findings = findings.join("\n\n * ");
    format!("Sam, I have found something in the memory of this instance:\n\n * {findings}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_has_its_cause() {
        let mb = |n: u64| n << 20;
        let healthy = MemoryReport {
            used: mb(100),
            peak: mb(100),
            rss: mb(105),
            allocated: mb(100),
            active: mb(102),
            resident: mb(104),
            ..MemoryReport::default()
        };
        let check = |memory: MemoryReport, words: &str| {
            let report = report(&memory, 10);
            assert!(report.contains(words), "{words}: {report}");
        };
        check(MemoryReport::default(), "very little memory");
        check(healthy, "no memory problem");
        check(MemoryReport { peak: mb(151), ..healthy }, "Peak memory");
        check(MemoryReport { rss: mb(150), resident: mb(148), ..healthy }, "High total RSS");
        check(MemoryReport { active: mb(120), ..healthy }, "allocator fragmentation");
        check(MemoryReport { resident: mb(130), ..healthy }, "allocator RSS");
        check(MemoryReport { rss: mb(130), ..healthy }, "process RSS");
        check(MemoryReport { clients: mb(3), ..healthy }, "client buffers");
    }
}
