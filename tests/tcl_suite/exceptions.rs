//! The list of the suite's tests that need not pass: `tests/suite/exceptions.txt`.
//!
//! A line is `unit shards test name # reason`, with the shard counts as `1,2`. Instead of a test's
//! name, `tag:NAME` leaves out the unit's blocks with that tag: for blocks that fail before their
//! first test.

/// What an exception leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// One test, by its exact name.
    Test(String),
    /// All blocks with a tag.
    Tag(String),
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) line: usize,
    pub(crate) unit: String,
    pub(crate) shards: Vec<usize>,
    pub(crate) subject: Subject,
}

/// Reads the list; a malformed line or one without a reason fails the test.
pub(crate) fn load() -> Vec<Exception> {
    let path = kvasir_testing::source_root().join("tests/suite/exceptions.txt");
    let text = std::fs::read_to_string(&path).expect("read tests/suite/exceptions.txt");
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let parsed = lines.map(|(index, line)| {
        parse(index + 1, line).unwrap_or_else(|| {
            panic!("exceptions.txt:{}: not `unit shards test # reason`: {line}", index + 1)
        })
    });
    parsed.collect()
}

fn parse(number: usize, line: &str) -> Option<Exception> {
    let (entry, reason) = line.rsplit_once(" # ")?;
    let (unit, rest) = entry.split_once(' ')?;
    let (shards, name) = rest.trim_start().split_once(' ')?;
    let shards: Vec<usize> = shards.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    let name = name.trim();
    let subject = match name.strip_prefix("tag:") {
        Some(tag) => Subject::Tag(tag.to_owned()),
        None => Subject::Test(name.to_owned()),
    };
    let is_unit = unit.starts_with("unit/") || unit.starts_with("integration/");
    let complete = is_unit && !name.is_empty() && reason.trim().len() >= 8;
    complete.then(|| Exception { line: number, unit: unit.to_owned(), shards, subject })
}

/// The suite's own form of the list: a test's name a line.
pub(crate) fn skip_file(exceptions: &[Exception]) -> String {
    let names = exceptions.iter().filter_map(|exception| match &exception.subject {
        Subject::Test(name) => Some(format!("{name}\n")),
        Subject::Tag(_) => None,
    });
    names.collect()
}

#[test]
fn a_line_is_a_unit_shard_counts_a_name_and_a_reason() {
    let parsed = parse(3, "unit/protocol  1,2  Protocol desync test #1 # needs lists").unwrap();
    assert_eq!(parsed.unit, "unit/protocol");
    assert_eq!(parsed.shards, [1, 2]);
    assert_eq!(parsed.subject, Subject::Test("Protocol desync test #1".to_owned()));
    let tag = parse(1, "unit/pause 2 tag:needs:repl # needs replication").unwrap();
    assert_eq!(tag.subject, Subject::Tag("needs:repl".to_owned()));
    for wrong in
        ["unit/x 1 name", "unit/x 1 name # ", "unit/x one name # a reason", "x 1 n # reason"]
    {
        assert_eq!(parse(1, wrong), None, "{wrong}");
    }
}
