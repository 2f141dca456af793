//! One event as one line of text.

use std::fmt::Write;

use jiff::Zoned;

use super::Settings;
use crate::config::choice::{LogFormat, LogLevel, TimestampFormat};

/// The peers' severities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// For developers.
    Debug,
    /// Rarely useful detail.
    Verbose,
    /// What an operator wants to see.
    Notice,
    /// What needs attention.
    Warning,
}

impl Severity {
    pub(super) fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR | tracing::Level::WARN => Self::Warning,
            tracing::Level::INFO => Self::Notice,
            tracing::Level::DEBUG => Self::Verbose,
            tracing::Level::TRACE => Self::Debug,
        }
    }

    /// Whether it is written at this level.
    pub(super) fn passes(self, level: LogLevel) -> bool {
        match level {
            LogLevel::Debug => true,
            LogLevel::Verbose => self >= Self::Verbose,
            LogLevel::Notice => self >= Self::Notice,
            LogLevel::Warning => self >= Self::Warning,
            LogLevel::Nothing => false,
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Debug => '.',
            Self::Verbose => '-',
            Self::Notice => '*',
            Self::Warning => '#',
        }
    }

    /// The word of the logfmt format, where the peers call verbose `info`.
    fn logfmt_word(self) -> &'static str {
        match self {
            Self::Verbose => "info",
            other => other.word(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Verbose => "verbose",
            Self::Notice => "notice",
            Self::Warning => "warning",
        }
    }
}

/// A field's value, as JSON writes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldValue {
    /// A number or a boolean, written bare.
    Bare(String),
    /// Anything else, written as a string.
    Text(String),
}

/// An event, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, FieldValue)>,
}

impl Line {
    /// A message without fields.
    pub(super) fn plain(severity: Severity, message: String) -> Self {
        Self { severity, message, fields: Vec::new() }
    }

    /// The line for the present moment, its end included.
    pub(super) fn render(&self, settings: &Settings) -> Vec<u8> {
        self.render_at(settings, &Zoned::now())
    }

    pub(super) fn render_at(&self, settings: &Settings, now: &Zoned) -> Vec<u8> {
        let moment = moment(settings.timestamp(), now);
        let pid = std::process::id();
        let role = settings.role();
        let mut out = String::with_capacity(self.message.len() + 64);
        match settings.format() {
            LogFormat::Peer => {
                let sign = self.severity.sign();
                push(&mut out, format_args!("{pid}:{} {moment} {sign} ", role as u8 as char));
                push_without_controls(&mut out, &self.message_and_fields());
            }
            LogFormat::Logfmt => {
                let (role, level) = (role.word(), self.severity.logfmt_word());
                push(
                    &mut out,
                    format_args!("pid={pid} role={role} timestamp=\"{moment}\" level={level} "),
                );
                let message = self.message_and_fields().replace('"', "'");
                out.push_str("message=\"");
                push_without_controls(&mut out, &message);
                out.push('"');
            }
            LogFormat::Json => self.push_json(&mut out, now, role.word()),
        }
        out.push('\n');
        out.into_bytes()
    }

    fn message_and_fields(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            let (FieldValue::Bare(value) | FieldValue::Text(value)) = value;
            let gap = if text.is_empty() { "" } else { " " };
            push(&mut text, format_args!("{gap}{name}={value}"));
        }
        text
    }

    fn push_json(&self, out: &mut String, now: &Zoned, role: &str) {
        let moment = moment(TimestampFormat::Iso8601, now);
        let (pid, level) = (std::process::id(), self.severity.word());
        push(
            out,
            format_args!(
                r#"{{"timestamp":"{moment}","level":"{level}","pid":{pid},"role":"{role}","message":"#
            ),
        );
        push_json_string(out, &self.message);
        for (name, value) in &self.fields {
            out.push(',');
            push_json_string(out, name);
            out.push(':');
            match value {
                FieldValue::Bare(text) => out.push_str(text),
                FieldValue::Text(text) => push_json_string(out, text),
            }
        }
        out.push('}');
    }
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("invariant: a string takes any text");
}

fn moment(format: TimestampFormat, now: &Zoned) -> String {
    match format {
        TimestampFormat::Peer => now.strftime("%d %b %Y %H:%M:%S.%3f").to_string(),
        TimestampFormat::Iso8601 => now.strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string(),
        TimestampFormat::Milliseconds => now.timestamp().as_millisecond().to_string(),
    }
}

/// One event is one line, whatever a client's data put into it.
fn push_without_controls(out: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
}

fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                push(out, format_args!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
