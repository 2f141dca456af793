//! Scripts of clients.

mod eval;
mod fcall;
mod function;
mod script;

use super::context::Coordination;
use super::definition::Command;
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::script::{Kill, busy_error};
use crate::route::transaction::{Request, Transaction};

/// The family's commands, sorted by name.
pub(super) const COMMANDS: &[&Command] = &[
    &eval::EVAL,
    &eval::EVAL_RO,
    &eval::EVALSHA,
    &eval::EVALSHA_RO,
    &fcall::FCALL,
    &fcall::FCALL_RO,
    &function::FUNCTION,
    &script::SCRIPT,
];

/// Ends the functions, or the other scripts, that run on any core and have not written.
fn kill(transaction: Transaction, request: Request, functions: bool) -> Coordination {
    Box::pin(async move {
        let kill = move |state: &mut CoreState| state.scripts.kill(functions);
        match transaction.on_all(kill).await.into_iter().max().unwrap_or(Kill::Idle) {
            Kill::Done => Ok(request.ok()),
            Kill::Written => Err(CommandError::Other(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. \
                 You can either wait the script termination or kill the server in a hard way using \
                 the SHUTDOWN NOSAVE command.",
            )),
            Kill::Other => {
                let config = request.shared.config.load();
                Err(busy_error(!functions, config.process.redis_compatibility))
            }
            Kill::Idle => Err(CommandError::Other("NOTBUSY No scripts in execution right now.")),
        }
    })
}
