//! Elements of a list, a set or a sorted set in another order: SORT, `SORT_RO`.
//!
//! What is sorted by and what is answered may be values of other keys, whose names are made of the
//! elements and so may live on any shard. When they do not all live on one shard, all shards are
//! locked: the keys are known only once the elements are.

mod options;
mod order;
mod pattern;

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, End, List, ListLimits, OwnedData, OwnedValue, ValueRef, ValueType};

use self::options::{Access, SortOptions};
use self::order::Elements;
use self::pattern::{Lookup, Pattern};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, KeyFlags, KeySpec,
};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::engine::ShardId;
use crate::route::transaction::{Request, Transaction, shard_context};

/// A value that a pattern led to; `None` if there is none.
type Found = Option<Vec<u8>>;

const SORT_NOTE: &str = "For the optional BY/GET keyword. It is marked 'unknown' because \
    the key names derive from the content of the key we sort";
const SORT_NOTE_2: &str = "For the optional STORE keyword. It is marked 'unknown' because \
    the keyword can appear anywhere in the argument array";
pub(super) const SORT: Command = Command {
    name: "sort",
    summary: "Sorts the elements in a list, a set, or a sorted set, optionally storing the \
        result.",
    complexity: "O(N+M*log(M)) where N is the number of elements in the list or set to sort, \
        and M the number of returned elements. When the elements are not sorted, \
        complexity is O(N).",
    since: "1.0.0",
    group: Group::Generic,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    acl: Categories::SET.or(Categories::SORTEDSET).or(Categories::LIST).or(Categories::DANGEROUS),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
        KeySpec::UNKNOWN.flags(KeyFlags::RO.or(KeyFlags::ACCESS)).notes(SORT_NOTE),
        KeySpec::UNKNOWN.flags(KeyFlags::OW.or(KeyFlags::UPDATE)).notes(SORT_NOTE_2),
    ],
    find_keys: Some(options::find_keys),
    beyond: Some(options::lock_scope),
    args: &[
        Arg::key("key", 0),
        Arg::pattern("by-pattern").key_spec(1).after("BY").optional().display("pattern"),
        Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
            .after("LIMIT")
            .optional(),
        Arg::pattern("get-pattern")
            .key_spec(1)
            .after("GET")
            .optional()
            .multiple_token()
            .display("pattern"),
        Arg::one_of("order", &[Arg::token("asc", "ASC"), Arg::token("desc", "DESC")]).optional(),
        Arg::token("sorting", "ALPHA").optional(),
        Arg::key("destination", 2).after("STORE").optional(),
    ],
    handler: Handler::Multi { whole: sort, spread: sort_spread },
    ..Command::BASE
};

fn sort(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    sort_here(context, args, Access::ReadWrite, reply)
}

fn sort_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move { sort_between(&transaction, &request, Access::ReadWrite).await })
}

pub(super) const SORT_RO: Command = Command {
    name: "sort_ro",
    summary: "Returns the sorted elements of a list, a set, or a sorted set.",
    complexity: "O(N+M*log(M)) where N is the number of elements in the list or set to sort, \
        and M the number of returned elements. When the elements are not sorted, \
        complexity is O(N).",
    since: "7.0.0",
    group: Group::Generic,
    arity: Arity::at_least(2),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    acl: Categories::SET.or(Categories::SORTEDSET).or(Categories::LIST).or(Categories::DANGEROUS),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
        KeySpec::UNKNOWN.flags(KeyFlags::RO.or(KeyFlags::ACCESS)).notes(SORT_NOTE),
    ],
    find_keys: Some(options::find_key),
    beyond: Some(options::lock_scope),
    args: &[
        Arg::key("key", 0),
        Arg::pattern("by-pattern").key_spec(1).after("BY").optional().display("pattern"),
        Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
            .after("LIMIT")
            .optional(),
        Arg::pattern("get-pattern")
            .key_spec(1)
            .after("GET")
            .optional()
            .multiple_token()
            .display("pattern"),
        Arg::one_of("order", &[Arg::token("asc", "ASC"), Arg::token("desc", "DESC")]).optional(),
        Arg::token("sorting", "ALPHA").optional(),
    ],
    handler: Handler::Multi { whole: sort_ro, spread: sort_ro_spread },
    ..Command::BASE
};

fn sort_ro(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    sort_here(context, args, Access::ReadOnly, reply)
}

fn sort_ro_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move { sort_between(&transaction, &request, Access::ReadOnly).await })
}

/// Sorts when everything lives on this shard.
fn sort_here(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    access: Access,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let scripted = context.scripted;
    let options = SortOptions { scripted, ..SortOptions::parse(args, access)? };
    let elements = load(context, args.at(1))?;
    let by = options.sorted_by().map(|by| find_all(context, &elements.lookups(by)));
    let elements = elements.sorted(&options, by)?;
    let rows = rows(&options, &elements);
    let values = find_all(context, &rows);
    match options.store {
        None => encode(reply, values.iter()),
        Some(target) => {
            let count = values.len();
            store(context, target, &values)?;
            reply.integer(count as i64);
        }
    }
    Ok(())
}

/// Sorts what lives on several shards.
async fn sort_between(
    transaction: &Transaction,
    request: &Request,
    access: Access,
) -> Result<Vec<u8>, CommandError> {
    let args = request.args();
    let view = request.view;
    let options = SortOptions { scripted: view.scripted, ..SortOptions::parse(args, access)? };
    let key: Box<[u8]> = args.at(1).into();
    let read = move |state: &mut CoreState| load(&mut shard_context(state, view), &key);
    let elements = transaction.on(request.owner(args.at(1)), read).await?;
    let by = match options.sorted_by() {
        Some(by) => Some(find_between(transaction, request, elements.lookups(by)).await),
        None => None,
    };
    let elements = elements.sorted(&options, by)?;
    let values = find_between(transaction, request, rows(&options, &elements)).await;
    let Some(target) = options.store else {
        return Ok(request.encode(|reply| encode(reply, values.iter())));
    };
    let count = values.len();
    let owner = request.owner(target);
    let target: Box<[u8]> = target.into();
    let write =
        move |state: &mut CoreState| store(&mut shard_context(state, view), &target, &values);
    for stored in transaction.last_hop([(owner, write)]).await {
        stored?;
    }
    Ok(request.encode(|reply| reply.integer(count as i64)))
}

/// The elements of a key, in the order in which its type has them.
fn load(context: &mut ShardContext<'_>, key: &[u8]) -> Result<Elements, CommandError> {
    let key = context.key(key);
    let Some(value) = context.read(&key) else { return Ok(Elements::default()) };
    let value_type = value.value_type();
    if !matches!(value_type, ValueType::List | ValueType::Set | ValueType::SortedSet) {
        return Err(CommandError::WrongType);
    }
    let value = context.shard.copy(context.db, &key);
    Ok(Elements::of(value.expect("invariant: it was found just now").data))
}

/// What is answered of each element, one after the other.
fn rows<'a>(options: &'a SortOptions<'_>, elements: &'a [Vec<u8>]) -> Vec<Lookup> {
    let of_element =
        |element: &'a Vec<u8>| options.get.iter().map(move |pattern| pattern.lookup(element));
    if options.get.is_empty() {
        elements.iter().map(|element| Pattern::Element.lookup(element)).collect()
    } else {
        elements.iter().flat_map(of_element).collect()
    }
}

/// The values that lookups lead to on this shard.
fn find_all(context: &mut ShardContext<'_>, lookups: &[Lookup]) -> Vec<Found> {
    lookups.iter().map(|lookup| find(context, lookup)).collect()
}

fn find(context: &mut ShardContext<'_>, lookup: &Lookup) -> Found {
    match lookup {
        Lookup::Value(value) => Some(value.clone()),
        Lookup::Nothing => None,
        Lookup::Key(key) => {
            let key = context.key(key);
            context.read(&key).and_then(|value| value.to_vec())
        }
        Lookup::Field { key, field } => {
            let key = context.key(key);
            let hash = context.read_hash(&key).ok().flatten()?;
            hash.get(field).as_ref().and_then(ValueRef::to_vec)
        }
    }
}

/// The values that lookups lead to, wherever they live.
async fn find_between(
    transaction: &Transaction,
    request: &Request,
    lookups: Vec<Lookup>,
) -> Vec<Found> {
    let view = request.view;
    let mut values: Vec<Found> = Vec::with_capacity(lookups.len());
    let mut parts: Vec<(ShardId, Vec<(usize, Lookup)>)> = Vec::new();
    for (position, lookup) in lookups.into_iter().enumerate() {
        let (value, lookup) = match lookup {
            Lookup::Value(value) => (Some(value), None),
            other => (None, Some(other)),
        };
        values.push(value);
        let Some(lookup) = lookup else { continue };
        let Some(key) = lookup.key() else { continue };
        let owner = request.owner(key);
        match parts.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, part)) => part.push((position, lookup)),
            None => parts.push((owner, vec![(position, lookup)])),
        }
    }
    let tasks = parts.into_iter().map(|(shard, part)| {
        (shard, move |state: &mut CoreState| {
            let mut context = shard_context(state, view);
            let found =
                |(position, lookup): (usize, Lookup)| (position, find(&mut context, &lookup));
            part.into_iter().map(found).collect::<Vec<_>>()
        })
    });
    for (position, value) in transaction.hop(tasks).await.into_iter().flatten() {
        values[position] = value;
    }
    values
}

fn encode<'a>(reply: &mut Encoder<'_>, values: impl ExactSizeIterator<Item = &'a Found>) {
    reply.array(values.len());
    for value in values {
        match value {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
    }
}

/// Stores values as a list over whatever the key holds; nothing leaves no key.
fn store(
    context: &mut ShardContext<'_>,
    target: &[u8],
    values: &[Found],
) -> Result<(), CommandError> {
    let key = context.key(target);
    if values.is_empty() {
        if context.shard.remove(context.db, &key) {
            context.changed(1);
        }
        return Ok(());
    }
    let limits: ListLimits = context.shard.encoding_limits().list;
    let mut list = List::new();
    for value in values {
        list.push(End::Back, value.as_deref().unwrap_or_default(), limits);
    }
    let value = OwnedValue::new(OwnedData::List(list), None);
    context.shard.put(context.db, &key, value, ChangeKind::Modified)?;
    context.shard.journal.record(ChangeKind::Event("sortstore"), context.db, key.bytes);
    context.changed(values.len() as u64);
    Ok(())
}
