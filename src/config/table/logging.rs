//! What is logged, how and where.

use crate::config::choice::{Choice, ChoiceEnum, LogFormat, LogLevel, TimestampFormat};
use crate::config::parameter::{Effect, Parameter};

/// The facilities of syslog with their codes.
const SYSLOG_FACILITIES: &[Choice] = &[
    ("user", 1),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::choice("loglevel", LogLevel::CHOICES, "notice", "log verbosity")
        .effect(Effect::Log)
        .works(|c, v| c.log.level = v.choice()),
    Parameter::plain_text("logfile", "", "log path, empty means stdout")
        .immutable()
        .works(|c, v| c.log.file = v.path()),
    Parameter::choice("log-format", LogFormat::CHOICES, "legacy", "legacy or logfmt lines")
        .effect(Effect::Log)
        .works(|c, v| c.log.format = v.choice()),
    Parameter::choice(
        "log-timestamp-format",
        TimestampFormat::CHOICES,
        "legacy",
        "legacy, ISO 8601 or milliseconds",
    )
    .effect(Effect::Log)
    .works(|c, v| c.log.timestamp = v.choice()),
    Parameter::flag("syslog-enabled", "no", "logs to syslog")
        .immutable()
        .works(|c, v| c.log.syslog = v.flag()),
    Parameter::plain_text("syslog-ident", "valkey", "syslog program name")
        .immutable()
        .works(|c, v| c.log.syslog_ident = v.string()),
    Parameter::choice("syslog-facility", SYSLOG_FACILITIES, "local0", "syslog facility")
        .immutable()
        .works(|c, v| c.log.syslog_facility = v.code()),
    Parameter::flag("hide-user-data-from-log", "yes", "redacts keys and values in logs")
        .works(|c, v| c.log.hide_user_data = v.flag()),
    Parameter::flag("crash-log-enabled", "yes", "prints a report upon a crash")
        .effect(Effect::CrashReport)
        .works(|c, v| c.log.crash_report = v.flag()),
    Parameter::flag("crash-memcheck-enabled", "yes", "tests memory upon a crash"),
];
