//! Running functions: FCALL and its read-only form.
//!
//! What they do is in [`crate::route::script`].

use super::eval::{EVAL, EVAL_RO};
use crate::commands::definition::{Arg, Command, Handler, ScriptKind, ScriptSource};

/// A function takes the arguments of a script, but for the first.
const FUNCTION_ARGS: &[Arg] = &[
    Arg::string("function"),
    Arg::integer("numkeys"),
    Arg::key("key", 0).optional().multiple(),
    Arg::string("arg").optional().multiple(),
];

pub(super) const FCALL: Command = Command {
    name: "fcall",
    summary: "Invokes a function.",
    complexity: "Depends on the function that is executed.",
    since: "7.0.0",
    args: FUNCTION_ARGS,
    handler: Handler::Script(ScriptKind { source: ScriptSource::Function, read_only: false }),
    ..EVAL
};

pub(super) const FCALL_RO: Command = Command {
    name: "fcall_ro",
    summary: "Invokes a read-only function.",
    complexity: "Depends on the function that is executed.",
    args: FUNCTION_ARGS,
    handler: Handler::Script(ScriptKind { source: ScriptSource::Function, read_only: true }),
    ..EVAL_RO
};
