//! Tests of the log.

use std::fs;
use std::path::PathBuf;

use jiff::Zoned;
use tempfile::TempDir;

use super::format::{FieldValue, Line, Severity};
use super::*;

/// A log into a file of its own, and whatever `events` logs.
struct Fixture {
    _directory: TempDir,
    file: PathBuf,
    log: Log,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log");
        let log = Log { file: Some(file.clone()), level: LogLevel::Notice, ..Log::default() };
        Self { _directory: directory, file, log }
    }

    fn run(&self, events: impl FnOnce(&Logging)) -> String {
        let (logging, subscriber) = Logging::new(&self.log).unwrap();
        tracing::subscriber::with_default(subscriber, || events(&logging));
        drop(logging);
        fs::read_to_string(&self.file).unwrap()
    }
}

fn rendered(format: LogFormat, timestamp: TimestampFormat, line: &Line) -> String {
    let settings = Settings::new(&Log { format, timestamp, ..Log::default() });
    let now: Zoned = "2026-11-02T03:04:05.067+01:00[+01:00]".parse().unwrap();
    let text = String::from_utf8(line.render_at(&settings, &now)).unwrap();
    text.replace(&std::process::id().to_string(), "PID")
}

fn sample() -> Line {
    Line {
        severity: Severity::Verbose,
        message: "Accepted \"x\"\n".into(),
        fields: vec![
            ("port", FieldValue::Bare("6379".into())),
            ("peer", FieldValue::Text("a\\b".into())),
        ],
    }
}

#[test]
fn the_formats() {
    let check = |format, timestamp, expected: &str| {
        assert_eq!(rendered(format, timestamp, &sample()), expected);
    };
    check(
        LogFormat::Peer,
        TimestampFormat::Peer,
        "PID:M 02 Nov 2026 03:04:05.067 - Accepted \"x\"\\n port=6379 peer=a\\b\n",
    );
    check(
        LogFormat::Peer,
        TimestampFormat::Milliseconds,
        "PID:M 1793585045067 - Accepted \"x\"\\n port=6379 peer=a\\b\n",
    );
    check(
        LogFormat::Logfmt,
        TimestampFormat::Iso8601,
        "pid=PID role=primary timestamp=\"2026-11-02T03:04:05.067+01:00\" level=info \
         message=\"Accepted 'x'\\n port=6379 peer=a\\b\"\n",
    );
    check(
        LogFormat::Json,
        TimestampFormat::Peer,
        "{\"timestamp\":\"2026-11-02T03:04:05.067+01:00\",\"level\":\"verbose\",\"pid\":PID,\
         \"role\":\"primary\",\"message\":\"Accepted \\\"x\\\"\\n\",\"port\":6379,\
         \"peer\":\"a\\\\b\"}\n",
    );
}

#[test]
fn the_signs_of_the_levels() {
    for (severity, sign) in [
        (Severity::Debug, " . x"),
        (Severity::Verbose, " - x"),
        (Severity::Notice, " * x"),
        (Severity::Warning, " # x"),
    ] {
        let line = Line::plain(severity, "x".into());
        let text = rendered(LogFormat::Peer, TimestampFormat::Peer, &line);
        assert!(text.trim_end().ends_with(sign), "{text}");
    }
}

#[test]
fn levels_roles_and_formats_change_while_running() {
    let fixture = Fixture::new();
    let text = fixture.run(|logging| {
        let log_all = |mark: &str| {
            tracing::warn!("{mark} warning");
            tracing::info!("{mark} notice");
            tracing::debug!("{mark} verbose");
            tracing::trace!("{mark} debug");
        };
        log_all("1");
        logging.reconfigure(&Log { level: LogLevel::Debug, ..fixture.log.clone() });
        logging.set_role(Role::Replica);
        log_all("2");
        logging.reconfigure(&Log { level: LogLevel::Nothing, ..fixture.log.clone() });
        log_all("3");
        let json = Log { format: LogFormat::Json, ..fixture.log.clone() };
        logging.reconfigure(&json);
        log_all("4");
    });
    let ends: Vec<String> = text
        .lines()
        .map(|line| line.split(' ').skip(5).collect::<Vec<_>>().join(" "))
        .take(6)
        .collect();
    assert_eq!(
        ends,
        ["# 1 warning", "* 1 notice", "# 2 warning", "* 2 notice", "- 2 verbose", ". 2 debug"]
    );
    assert!(text.contains(&format!("{}:S ", std::process::id())));
    assert!(text.lines().last().unwrap().contains("\"message\":\"4 notice\""));
    assert!(!text.contains("3 warning") && !text.contains("3 notice"));
}

#[test]
fn events_of_libraries_are_quieter() {
    let text = Fixture::new().run(|_| {
        tracing::info!(target: "somelib", "chatter");
        tracing::warn!(target: "somelib", "trouble");
    });
    assert!(!text.contains("chatter") && text.contains("trouble"));
}

#[test]
fn a_log_that_was_moved_away_goes_on_in_a_new_file() {
    let fixture = Fixture::new();
    let moved = fixture.file.with_extension("old");
    let text = fixture.run(|logging| {
        tracing::info!("before");
        logging.flush();
        fs::rename(&fixture.file, &moved).unwrap();
        tracing::info!("after");
    });
    assert!(fs::read_to_string(&moved).unwrap().contains("before"));
    assert!(text.contains("after") && !text.contains("before"));
}

#[test]
fn dropped_lines_are_reported() {
    let fixture = Fixture::new();
    let text = fixture.run(|logging| {
        logging.settings.dropped.store(3, Ordering::Relaxed);
        tracing::info!("next");
    });
    assert!(text.contains("# 3 log lines were dropped"), "{text}");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let log = Log { file: Some("/nonexistent/directory/log".into()), ..Log::default() };
    assert!(Logging::new(&log).is_err());
}
