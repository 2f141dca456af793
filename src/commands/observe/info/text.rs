//! The form of the text: sections with a heading, fields with a colon.

use std::fmt::{Display, Write};

/// The text under construction.
#[derive(Default)]
pub(super) struct Text {
    out: String,
}

impl Text {
    /// Begins a section.
    pub(super) fn section(&mut self, title: &str) {
        if !self.out.is_empty() {
            self.out.push_str("\r\n");
        }
        self.line(format_args!("# {title}"));
    }

    /// Adds a field.
    pub(super) fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name}:{value}"));
    }

    /// Adds several fields that are numbers.
    pub(super) fn numbers<const N: usize>(&mut self, fields: [(&str, u64); N]) {
        for (name, value) in fields {
            self.field(name, value);
        }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    fn line(&mut self, line: impl Display) {
        write!(self.out, "{line}\r\n").expect("invariant: writing to a string does not fail");
    }
}

/// A name without the characters that the form of the text gives a meaning to.
pub(super) fn safe(name: &str) -> String {
    name.replace(['#', ':', '\n', '\r'], "_")
}
