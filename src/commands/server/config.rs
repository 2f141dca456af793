//! `CONFIG`: reading and changing the configuration while the server runs.
//!
//! A change is made on the first core, so that changes are made one after the other; then every
//! core follows it, and only then the client is answered.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kvasir_proto::{Args, Encoder};

use super::rewrite;
use crate::commands::context::{Coordination, LocalContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::commands::help::help;
use crate::config::Config;
use crate::config::parameter::{Effect, Flags as ParameterFlags};
use crate::config::rewrite::{RewriteError, RewriteOptions};
use crate::config::set::{ApplyEffect, SetContext, SetError};
use crate::config::table;
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::engine::ShardId;
use crate::route::settings::Host;
use crate::route::transaction::{Request, Transaction};

/// The core on which the configuration is changed.
pub(super) const CONFIG_CORE: ShardId = ShardId(0);
/// How often a rewrite of the file is looked after.
const REWRITE_POLL: Duration = Duration::from_millis(1);

pub(super) const CONFIG: Command = Command {
    name: "config",
    summary: "A container for server configuration commands.",
    complexity: "Depends on subcommand.",
    since: "2.0.0",
    group: Group::Server,
    arity: Arity::at_least(2),
    subcommands: &[&CONFIG_GET, &CONFIG_HELP, &CONFIG_RESETSTAT, &CONFIG_REWRITE, &CONFIG_SET],
    ..Command::BASE
};

pub(super) const CONFIG_GET: Command = Command {
    name: "get",
    summary: "Returns the effective values of configuration parameters.",
    complexity: "O(N) when N is the number of configuration parameters provided",
    since: "2.0.0",
    group: Group::Server,
    arity: Arity::at_least(3),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::string("parameter").multiple()],
    history: &[("7.0.0", "Added the ability to pass multiple pattern parameters in one call")],
    handler: Handler::Local(get),
    ..Command::BASE
};

fn get(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let patterns: Vec<&[u8]> = args.tail(2).iter().collect();
    let found = context.state.shared.config.load().get(&patterns);
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(&name);
        reply.bulk(&value);
    }
    Ok(())
}

pub(super) const CONFIG_SET: Command = Command {
    name: "set",
    summary: "Sets configuration parameters in-flight.",
    complexity: "O(N) when N is the number of configuration parameters provided",
    since: "2.0.0",
    group: Group::Server,
    arity: Arity::at_least(4),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    args: &[Arg::block("data", &[Arg::string("parameter"), Arg::string("value")]).multiple()],
    history: &[("7.0.0", "Added the ability to set multiple parameters in one call.")],
    secrets: Some(set_secrets),
    handler: Handler::Global(LockScope::None, set),
    ..Command::BASE
};

/// The values of parameters that are secrets.
fn set_secrets(args: Args<'_>) -> Vec<usize> {
    let secret = |index: &usize| {
        table::lookup(args.at(index - 1))
            .is_some_and(|name| name.parameter.flags.contains(ParameterFlags::SENSITIVE))
    };
    (3..args.len()).step_by(2).filter(secret).collect()
}

fn set(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let words = request.args().tail(2);
        if !words.len().is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        let words: Vec<Vec<u8>> = words.iter().map(<[u8]>::to_vec).collect();
        let (key, client) = (request.connection, request.client);
        let local = transaction
            .on(request.home, move |state| {
                let connection = state.connection(key).filter(|c| c.client.id == client);
                connection.is_some_and(|connection| connection.client.socket.loopback)
            })
            .await;
        let change = move |state: &mut CoreState| change_config(state, &words, local);
        transaction
            .on(CONFIG_CORE, change)
            .await
            .map_err(|error| CommandError::Custom(error.to_string()))?;
        transaction.on_all(CoreState::apply_config).await;
        rewrite::follow(&transaction, &request.shared).await;
        Ok(request.ok())
    })
}

/// Checks, carries out and publishes a change: names and values by turns.
fn change_config(state: &mut CoreState, words: &[Vec<u8>], local: bool) -> Result<(), SetError> {
    let old = state.shared.config.load_full();
    let pairs: Vec<(&[u8], &[u8])> =
        words.chunks_exact(2).map(|pair| (&pair[0][..], &pair[1][..])).collect();
    let protected_permitted = Config::permits(old.security.protected_configs, local);
    let change = old.set(&pairs, SetContext { loading: state.loading, protected_permitted })?;
    let mut effects = Effects(state.shared.host.get().map(|host| &**host));
    let config = change.apply(&old, &mut effects)?;
    state.shared.config.store(Arc::new(config));
    Ok(())
}

/// The process, if there is one: a simulation has none.
struct Effects<'a>(Option<&'a dyn Host>);

impl ApplyEffect for Effects<'_> {
    fn apply(&mut self, effect: Effect, config: &Config) -> Result<(), String> {
        self.0.map_or(Ok(()), |host| host.apply(effect, config))
    }
}

pub(super) const CONFIG_RESETSTAT: Command = Command {
    name: "resetstat",
    summary: "Resets the server's statistics.",
    complexity: "O(1)",
    since: "2.0.0",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    handler: Handler::Global(LockScope::None, reset_stat),
    ..Command::BASE
};

fn reset_stat(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        transaction.on_all(CoreState::reset_figures).await;
        Ok(request.ok())
    })
}

pub(super) const CONFIG_REWRITE: Command = Command {
    name: "rewrite",
    summary: "Persists the effective configuration to file.",
    complexity: "O(1)",
    since: "2.8.0",
    group: Group::Server,
    arity: Arity::exactly(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    handler: Handler::Global(LockScope::None, rewrite_config),
    ..Command::BASE
};

fn rewrite_config(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        rewrite_file(&transaction, false).await?;
        Ok(request.ok())
    })
}

/// Rewrites the configuration file on a thread of its own, since the disk may keep it waiting.
/// `all` writes every parameter, those at their default too.
pub(super) async fn rewrite_file(transaction: &Transaction, all: bool) -> Result<(), CommandError> {
    let config = transaction.on(CONFIG_CORE, |state| state.shared.config.load_full()).await;
    let outcome: Arc<OnceLock<Result<(), RewriteError>>> = Arc::default();
    let written = Arc::clone(&outcome);
    let work = move || {
        // The lock is new and this is the only place where it is set.
        let _ = written.set(config.rewrite(RewriteOptions { all, users: None }));
    };
    std::thread::Builder::new()
        .name("config-rewrite".into())
        .spawn(work)
        .map_err(|error| CommandError::Custom(format!("ERR Rewriting config file: {error}")))?;
    loop {
        match outcome.get() {
            None => transaction.sleep(REWRITE_POLL).await,
            Some(Ok(())) => {
                tracing::info!("CONFIG REWRITE executed with success.");
                return Ok(());
            }
            Some(Err(error)) => {
                tracing::warn!("CONFIG REWRITE failed: {error}");
                return Err(CommandError::Custom(error.to_string()));
            }
        }
    }
}

pub(super) const CONFIG_HELP: Command = help(Group::Server, "5.0.0", CONFIG_HELP_LINES);

const CONFIG_HELP_LINES: &[&str] = &[
    "GET <pattern> [<pattern> ...]",
    "    Names and values of the parameters that match a pattern.",
    "RESETSTAT",
    "    Set the counters that INFO shows back to zero.",
    "REWRITE",
    "    Write the configuration to the file that the server was started with.",
    "SET <parameter> <value> [<parameter> <value> ...]",
    "    Change parameters, all or none.",
];
