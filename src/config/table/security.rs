//! Passwords, access lists and dangerous commands.

use super::{ACL, I64_MAX};
use crate::config::choice::{Choice, ChoiceEnum, ProtectedAction};
use crate::config::parameter::{Effect, Parameter};

/// Channels of a new user.
const PUBSUB_DEFAULT: &[Choice] = &[("allchannels", 1), ("resetchannels", 0)];

/// Whose payloads are checked in depth.
const SANITIZE: &[Choice] = &[("no", 0), ("yes", 1), ("clients", 2)];

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::text("requirepass", "", "default user's password")
        .sensitive()
        .effect(Effect::DefaultPassword)
        .works(|c, v| c.security.password = v.bytes().into()),
    Parameter::plain_text("aclfile", "", "path of external user file").immutable().later(ACL),
    Parameter::choice(
        "acl-pubsub-default",
        PUBSUB_DEFAULT,
        "resetchannels",
        "channel permissions new users start with",
    )
    .later(ACL),
    Parameter::number("acllog-max-len", (0, I64_MAX), "128", "entries kept by ACL LOG")
        .works(|c, v| c.security.acl_log_len_max = v.number()),
    Parameter::choice(
        "enable-protected-configs",
        ProtectedAction::CHOICES,
        "no",
        "who may change protected settings",
    )
    .immutable()
    .works(|c, v| c.security.protected_configs = v.choice()),
    Parameter::choice("enable-debug-command", ProtectedAction::CHOICES, "no", "who may call DEBUG")
        .immutable()
        .works(|c, v| c.security.debug_command = v.choice()),
    Parameter::choice(
        "enable-module-command",
        ProtectedAction::CHOICES,
        "no",
        "who may call MODULE",
    )
    .immutable(),
    Parameter::choice(
        "sanitize-dump-payload",
        SANITIZE,
        "no",
        "deep checks of RESTORE and RDB payloads, which are always made",
    ),
];
