//! What the suite's runner printed about a unit, and what of it is not as expected.

use crate::exceptions::{Exception, Subject};

/// The outcome of one unit.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: Vec<String>,
    /// The failed tests with what the suite says about each.
    failed: Vec<(String, String)>,
    skipped: Vec<String>,
    /// Reasons for which the suite left out whole blocks.
    ignored: Vec<String>,
    /// Whether the unit ran to its end.
    complete: bool,
}

impl Report {
    /// Reads the lines `[ok]: name (3 ms)`, `[err]: name in tests/unit/x.tcl`, ... of the runner.
    pub(crate) fn parse(output: &str) -> Self {
        let mut report = Self::default();
        let mut in_failure = false;
        for line in output.lines() {
            // The closing summary repeats the failures.
            if line.contains("The End") {
                break;
            }
            let Some((kind, text)) = labelled(line) else {
                if let (true, Some((_, detail))) = (in_failure, report.failed.last_mut()) {
                    detail.push_str("\n    ");
                    detail.push_str(line);
                }
                continue;
            };
            in_failure = matches!(kind, "err" | "exception");
            let before_parenthesis = text.rsplit_once(" (").map_or(text, |(name, _)| name);
            match kind {
                "ok" => report.passed.push(before_parenthesis.to_owned()),
                "skip" => report.skipped.push(text.to_owned()),
                "ignore" => report.ignored.push(text.to_owned()),
                "err" => {
                    let name = text.rsplit_once(" in tests/").map_or(text, |(name, _)| name);
                    report.failed.push((name.to_owned(), String::new()));
                }
                "exception" => report.failed.push((format!("exception: {text}"), String::new())),
                _ if kind.ends_with(" done") => report.complete = true,
                _ => {}
            }
        }
        report
    }

    /// One line of counts.
    pub(crate) fn summary(&self) -> String {
        let (passed, failed, skipped) = (self.passed.len(), self.failed.len(), self.skipped.len());
        let blocks = self.ignored.len();
        format!("{passed} passed, {failed} failed, {skipped} listed, {blocks} blocks left out")
    }

    /// Failures that the list does not excuse, and a unit that did not run to its end, or should
    /// have named tests and has run none.
    pub(crate) fn unexpected(&self, listed: &[Exception], has_names: bool) -> Vec<String> {
        let unlisted = self.failed.iter().filter(|(name, _)| !is_listed(listed, name));
        let mut faults: Vec<String> =
            unlisted.map(|(name, detail)| format!("FAILED: {name}{detail}")).collect();
        if !self.complete {
            faults.push("the unit did not run to its end".to_owned());
        }
        if has_names && self.passed.is_empty() && self.skipped.is_empty() {
            faults.push("the unit ran no test".to_owned());
        }
        faults
    }

    /// Exceptions that name nothing which the unit has.
    pub(crate) fn stale(&self, listed: &[Exception]) -> Vec<String> {
        let stale = listed.iter().filter(|exception| match &exception.subject {
            Subject::Test(name) => !self.skipped.contains(name),
            Subject::Tag(tag) => !self.ignored.iter().any(|why| why.contains(tag.as_str())),
        });
        stale
            .map(|one| format!("exceptions.txt:{}: no such thing: {:?}", one.line, one.subject))
            .collect()
    }

    /// Names listed tests that pass, for whoever prunes the list.
    pub(crate) fn print_listed_that_pass(&self, listed: &[Exception]) {
        for exception in listed {
            let Subject::Test(name) = &exception.subject else {
                continue;
            };
            let failed = self.failed.iter().any(|(failed, _)| failed == name);
            if self.passed.contains(name) && !failed {
                eprintln!("exceptions.txt:{}: passes: {name}", exception.line);
            }
        }
    }
}

fn is_listed(listed: &[Exception], name: &str) -> bool {
    listed.iter().any(|one| matches!(&one.subject, Subject::Test(listed) if listed == name))
}

/// Splits `[kind]: text`.
fn labelled(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
[ready]: 123
Testing unit/x
[ok]: A test (with parentheses) (12 ms)
[err]: Another in tests/unit/x.tcl
Expected 'a' to be equal to 'b'
[skip]: Third
[ignore]: Tag: cluster denied
[1/1 done]: unit/x (3 seconds)

                   The End
*** [err]: Another in tests/unit/x.tcl
";

    fn listed(subject: Subject) -> Vec<Exception> {
        vec![Exception { line: 1, unit: "unit/x".to_owned(), shards: vec![1], subject }]
    }

    #[test]
    fn the_runners_lines_are_understood() {
        let report = Report::parse(OUTPUT);
        assert_eq!(report.passed, ["A test (with parentheses)"]);
        assert_eq!(report.summary(), "1 passed, 1 failed, 1 listed, 1 blocks left out");
        let faults = report.unexpected(&[], true);
        assert_eq!(faults, ["FAILED: Another\n    Expected 'a' to be equal to 'b'"]);
        let listed = listed(Subject::Test("Another".to_owned()));
        assert!(report.unexpected(&listed, true).is_empty());
    }

    #[test]
    fn stale_exceptions_and_units_that_stop_early_are_faults() {
        let report = Report::parse(OUTPUT);
        assert!(report.stale(&listed(Subject::Test("Third".to_owned()))).is_empty());
        assert!(report.stale(&listed(Subject::Tag("cluster".to_owned()))).is_empty());
        assert_eq!(report.stale(&listed(Subject::Test("Fourth".to_owned()))).len(), 1);
        assert_eq!(report.stale(&listed(Subject::Tag("needs:repl".to_owned()))).len(), 1);
        let cut = Report::parse("[ok]: A (1 ms)\n[exception]: the client died\n");
        assert_eq!(cut.unexpected(&[], true).len(), 2);
        assert_eq!(Report::parse("").unexpected(&[], true).len(), 2);
    }

    #[test]
    fn a_unit_without_names_passes_by_its_end_alone() {
        let unnamed = |output| Report::parse(output).unexpected(&[], false).len();
        assert_eq!(unnamed("[1/1 done]: integration/aof-race (3 seconds)\n"), 0);
        assert_eq!(unnamed("[exception]: Executing test client: not equal\n"), 2);
        let wrong = "[err]: Expected 1 in tests/integration/x.tcl\n[1/1 done]: x (3 seconds)\n";
        assert_eq!(unnamed(wrong), 1);
        assert_eq!(unnamed(""), 1);
    }
}
