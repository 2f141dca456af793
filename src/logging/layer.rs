//! The `tracing` layer that turns events into lines.

use std::fmt::Debug;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Settings;
use super::format::{FieldValue, Line, Severity};
use super::writer::Writer;

/// Events of these crates are the server's own.
const OWN_CRATES: &str = "kvasir";

/// Formats an event on the core that logs it and hands the line to the writer.
pub(super) struct LineLayer {
    settings: Arc<Settings>,
    writer: Arc<Writer>,
}

impl LineLayer {
    pub(super) fn new(settings: Arc<Settings>, writer: Arc<Writer>) -> Self {
        Self { settings, writer }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let severity = Severity::of(*metadata.level());
        let own = metadata.target().starts_with(OWN_CRATES);
        severity.passes(self.settings.level()) && (own || severity == Severity::Warning)
    }
}

impl<S: Subscriber> Layer<S> for LineLayer {
    /// Call sites keep the answer, so that a line below the level costs one load. A change of the
    /// level has them ask again.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let severity = Severity::of(*event.metadata().level());
        let mut line = Line::plain(severity, String::new());
        event.record(&mut line);
        self.writer.line(severity, line.render(&self.settings));
    }
}

impl Line {
    fn record(&mut self, field: &Field, value: FieldValue) {
        match value {
            FieldValue::Bare(text) | FieldValue::Text(text) if field.name() == "message" => {
                self.message = text;
            }
            value => self.fields.push((field.name(), value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record(field, FieldValue::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, FieldValue::Text(value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, FieldValue::Bare(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, FieldValue::Bare(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, FieldValue::Bare(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let finite = value.is_finite();
        let text = value.to_string();
        self.record(field, if finite { FieldValue::Bare(text) } else { FieldValue::Text(text) });
    }
}
