//! MIGRATE: keys move to another server.
//!
//! While they are on their way their keys stay locked, so that nobody changes what has been read;
//! everybody else is served. What the other server has not acknowledged stays here.

use std::time::Duration;

use kvasir_proto::{Args, append_request};

use crate::commands::arguments::{integer, is_word};
use crate::commands::context::Coordination;
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, KeyFlags, KeySpec, LockScope,
};
use crate::commands::effect::LoggedWords;
use crate::errors::CommandError;
use crate::persist::owned;
use crate::persist::rdb::WriteOptions;
use crate::persist::rdb::dump;
use crate::route::carrier::{Delivery, Failure, Outcome, Target};
use crate::route::core::CoreState;
use crate::route::engine::ShardId;
use crate::route::message::ClientView;
use crate::route::transaction::{Request, Transaction, shard_context};

/// Where the options begin.
const OPTIONS_AT: usize = 6;
/// Between two looks whether the other server has answered, or has room.
const WAIT: Duration = Duration::from_micros(200);
/// How long each step may take for a timeout that is not positive, in milliseconds.
const USUAL_TIMEOUT_MS: u64 = 1000;

const KEYS_AND_KEY: CommandError = CommandError::Other(
    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
);
const NOT_CONNECTED: CommandError =
    CommandError::Other("IOERR error or timeout connecting to the client");
const NOT_SENT: CommandError =
    CommandError::Other("IOERR error or timeout writing to target instance");
const NOT_ANSWERED: CommandError =
    CommandError::Other("IOERR error or timeout reading to target instance");

pub(super) const MIGRATE: Command = Command {
    name: "migrate",
    summary: "Atomically transfers a key from one instance to another.",
    complexity: "This command actually executes a DUMP+DEL in the source instance, and a \
        RESTORE in the target instance. See the pages of these commands for time \
        complexity. Also an O(N) data transfer between the two instances is \
        performed.",
    since: "2.6.0",
    group: Group::Generic,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
    acl: Categories::DANGEROUS,
    tips: &["nondeterministic_output"],
    keys: &[
        KeySpec::at(3).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::after("KEYS", -2)
            .range(-1, 1, 0)
            .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE).or(KeyFlags::INCOMPLETE)),
    ],
    find_keys: Some(find_migrated),
    args: &[
        Arg::string("host"),
        Arg::integer("port"),
        Arg::one_of("key-selector", &[Arg::key("key", 0), Arg::token("empty-string", "")]),
        Arg::integer("destination-db"),
        Arg::integer("timeout"),
        Arg::token("copy", "COPY").optional().since("3.0.0"),
        Arg::token("replace", "REPLACE").optional().since("3.0.0"),
        Arg::one_of(
            "authentication",
            &[
                Arg::string("auth").after("AUTH").since("4.0.7").display("password"),
                Arg::block("auth2", &[Arg::string("username"), Arg::string("password")])
                    .after("AUTH2")
                    .since("6.0.0"),
            ],
        )
        .optional(),
        Arg::key("keys", 1).after("KEYS").optional().multiple().since("3.0.6").display("key"),
    ],
    history: &[
        ("3.0.0", "Added the `COPY` and `REPLACE` options."),
        ("3.0.6", "Added the `KEYS` option."),
        ("4.0.7", "Added the `AUTH` option."),
        ("6.0.0", "Added the `AUTH2` option."),
    ],
    secrets: Some(migrate_secrets),
    handler: Handler::Global(LockScope::Keys, migrate),
    ..Command::BASE
};

const MOVED_KEY: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);

/// The one key, or those after `KEYS`; with both the request is malformed and has none. A password
/// may be that word as well.
fn find_migrated(args: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    match keys_word(args) {
        None => found(3, MOVED_KEY),
        Some(word) if args.at(3).is_empty() => {
            (word + 1..args.len()).for_each(|index| found(index, MOVED_KEY));
        }
        Some(_) => {}
    }
}

/// Where the word `KEYS` is among the options.
fn keys_word(args: Args<'_>) -> Option<usize> {
    let mut at = OPTIONS_AT;
    while let Some(word) = args.get(at).filter(|_| at + 1 < args.len()) {
        if is_word(word, "KEYS") {
            return Some(at);
        }
        at += 1 + secrets_after(word);
    }
    None
}

/// How many secrets follow an option.
fn secrets_after(word: &[u8]) -> usize {
    if is_word(word, "AUTH") {
        1
    } else if is_word(word, "AUTH2") {
        2
    } else {
        0
    }
}

/// Names and passwords.
fn migrate_secrets(args: Args<'_>) -> Vec<usize> {
    let mut secrets = Vec::new();
    let mut at = OPTIONS_AT;
    while let Some(word) = args.get(at).filter(|word| !is_word(word, "KEYS")) {
        let count = secrets_after(word);
        secrets.extend((at + 1..=at + count).filter(|index| *index < args.len()));
        at += 1 + count;
    }
    secrets
}

/// What a request asks for.
struct Wanted<'a> {
    copies: bool,
    replaces: bool,
    /// The words of `AUTH`.
    credentials: Vec<&'a [u8]>,
    /// Where its keys are among the arguments.
    keys: std::ops::Range<usize>,
    db: i64,
    patience: Duration,
}

impl<'a> Wanted<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let (mut copies, mut replaces) = (false, false);
        let (mut credentials, mut keys) = (Vec::new(), 3..4);
        let mut at = OPTIONS_AT;
        while let Some(word) = args.get(at) {
            let secrets = secrets_after(word);
            if is_word(word, "COPY") {
                copies = true;
            } else if is_word(word, "REPLACE") {
                replaces = true;
            } else if secrets > 0 {
                let words = (at + 1..=at + secrets).map(|index| args.get(index));
                credentials = words.collect::<Option<_>>().ok_or(CommandError::Syntax)?;
            } else if is_word(word, "KEYS") {
                if !args.at(3).is_empty() {
                    return Err(KEYS_AND_KEY);
                }
                keys = at + 1..args.len();
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1 + secrets;
        }
        let timeout_ms = integer(args.at(5))?;
        let db = integer(args.at(4))?;
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        let timeout_ms = if timeout_ms == 0 { USUAL_TIMEOUT_MS } else { timeout_ms };
        let patience = Duration::from_millis(timeout_ms);
        Ok(Self { copies, replaces, credentials, keys, db, patience })
    }
}

fn migrate(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let wanted = Wanted::parse(args)?;
        let parcels = read(&transaction, &request, &wanted).await;
        if parcels.is_empty() {
            return Ok(b"+NOKEY\r\n".to_vec());
        }
        let text = |index| String::from_utf8_lossy(args.at(index)).into_owned();
        let greeting = (!wanted.credentials.is_empty()).then(|| {
            let mut greeting = Vec::new();
            let words: Vec<_> =
                [&b"AUTH"[..]].into_iter().chain(wanted.credentials.iter().copied()).collect();
            append_request(&mut greeting, words);
            greeting
        });
        let (keys, requests): (Vec<_>, Vec<_>) =
            parcels.into_iter().map(|parcel| (parcel.key, parcel.restore)).unzip();
        let delivery = Delivery {
            target: Target { host: text(1), port: text(2) },
            patience: wanted.patience,
            greeting,
            db: wanted.db,
            requests,
        };
        let Outcome { accepted, failure } = deliver(&transaction, &request, delivery).await?;
        if !wanted.copies {
            let gone = keys.into_iter().zip(accepted).filter(|(_, accepted)| *accepted);
            remove(&transaction, &request, gone.map(|(key, _)| key)).await;
        }
        match failure {
            None => Ok(request.ok()),
            Some(Failure::Connect) => Err(NOT_CONNECTED),
            Some(Failure::Write) => Err(NOT_SENT),
            Some(Failure::Read) => Err(NOT_ANSWERED),
            Some(Failure::Refused(error)) => {
                Err(CommandError::quoting("ERR Target instance replied with error: ", &error, ""))
            }
        }
    })
}

/// A key's value as the request that brings it to life again.
struct Parcel {
    key: Box<[u8]>,
    restore: Vec<u8>,
}

/// What the keys that exist hold, in the order of the arguments.
async fn read(transaction: &Transaction, request: &Request, wanted: &Wanted<'_>) -> Vec<Parcel> {
    let (view, replaces) = (request.view, wanted.replaces);
    let of_shards = request.by_shard(wanted.keys.clone(), 1);
    let tasks = of_shards.into_iter().map(|(shard, portion)| {
        let read = move |state: &mut CoreState| {
            let parcels = portion.groups().filter_map(|group| {
                let restore = restore_request(state, view, group.key(), replaces)?;
                Some((group.position, Parcel { key: group.key().into(), restore }))
            });
            parcels.collect::<Vec<_>>()
        };
        (shard, read)
    });
    let mut parcels: Vec<_> = transaction.hop(tasks).await.into_iter().flatten().collect();
    parcels.sort_by_key(|(position, _)| *position);
    parcels.into_iter().map(|(_, parcel)| parcel).collect()
}

fn restore_request(
    state: &mut CoreState,
    view: ClientView,
    key: &[u8],
    replaces: bool,
) -> Option<Vec<u8>> {
    let mut context = shard_context(state, view);
    let name = context.key(key);
    context.read(&name)?;
    let value = context.shard.copy(context.db, &name)?;
    let now_ms = context.shard.now_ms();
    // One that is due lives on for as long as can be said.
    let ttl_ms = value.deadline_ms.map_or(0, |at| at.saturating_sub(now_ms).max(1));
    let options = WriteOptions { compress: context.settings.dump_compresses };
    let payload = dump::seal(&owned::to_dump(value.data), options);
    let ttl = ttl_ms.to_string();
    let mut words = vec![&b"RESTORE"[..], key, ttl.as_bytes(), &payload];
    words.extend(replaces.then_some(&b"REPLACE"[..]));
    let mut bytes = Vec::new();
    append_request(&mut bytes, words);
    Some(bytes)
}

/// Hands the delivery over and waits for its outcome. How long that takes is bounded by the
/// client's timeout, for each reply.
async fn deliver(
    transaction: &Transaction,
    request: &Request,
    mut delivery: Delivery,
) -> Result<Outcome, CommandError> {
    let carrier = request.shared.carrier.get().ok_or(NOT_CONNECTED)?;
    let receipt = loop {
        match carrier.carry(delivery) {
            Ok(receipt) => break receipt,
            Err(back) => delivery = back,
        }
        transaction.sleep(WAIT).await;
    };
    loop {
        if let Some(outcome) = receipt.get() {
            return Ok(outcome.clone());
        }
        transaction.sleep(WAIT).await;
    }
}

/// Removes what has arrived.
async fn remove(
    transaction: &Transaction,
    request: &Request,
    keys: impl Iterator<Item = Box<[u8]>>,
) {
    let mut of_shards: Vec<(ShardId, Vec<Box<[u8]>>)> = Vec::new();
    for key in keys {
        let owner = request.owner(&key);
        match of_shards.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, keys)) => keys.push(key),
            None => of_shards.push((owner, vec![key])),
        }
    }
    let view = request.view;
    let tasks = of_shards.into_iter().map(|(shard, keys)| {
        let remove = move |state: &mut CoreState| {
            let mut context = shard_context(state, view);
            let mut removed = LoggedWords::from_slice(&[b"DEL"]);
            for key in &keys {
                let key = context.key(key);
                if context.shard.remove(context.db, &key) {
                    removed.push(key.bytes);
                }
            }
            context.changed(removed.len() as u64 - 1);
            if removed.len() > 1 {
                context.log_as(&removed);
            }
        };
        (shard, remove)
    });
    transaction.last_hop(tasks).await;
}
