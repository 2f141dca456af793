//! Deadlines of fields and members: what HEXPIRE, SEXPIRE and their kin have in common.

use itoa::Buffer;
use kvasir_proto::{Args, Encoder};
use kvasir_shard::{DEADLINE_MAX, HashMut, Key, OutOfMemory, SetMut, ZsetMut};

use super::arguments::{ExpiryUnit, integer};
use super::context::ShardContext;
use super::effect::LoggedWords;
use super::element_names::{FIELDS, MEMBERS, Naming};
use super::generic::expire::Conditions;
use crate::errors::CommandError;

/// Answers for an element that does not exist.
const MISSING: i64 = -2;
/// Answers for an element without a deadline.
const NO_DEADLINE: i64 = -1;
/// The conditions did not hold.
const UNMET: i64 = 0;
/// The deadline was set or taken away.
const CHANGED: i64 = 1;
/// The moment has passed: the element was removed.
const REMOVED: i64 = 2;

/// Whose deadlines a command is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elements {
    /// Fields of a hash.
    Fields,
    /// Members of a set.
    Members,
    /// Members of a sorted set.
    Scored,
}

/// The names of a family's events.
struct Events {
    set: &'static str,
    expired: &'static str,
    persisted: &'static str,
}

/// What is known of an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Missing,
    Lasting,
    /// Until this moment, in milliseconds of the Unix epoch.
    Expiring(u64),
}

impl Standing {
    /// As the views tell it: `None` for a missing element, `Some(None)` for one without deadline.
    #[expect(
        clippy::option_option,
        reason = "a missing element is another thing than a lasting one"
    )]
    fn of(deadline_ms: Option<Option<u64>>) -> Self {
        match deadline_ms {
            None => Self::Missing,
            Some(None) => Self::Lasting,
            Some(Some(deadline_ms)) => Self::Expiring(deadline_ms),
        }
    }

    fn deadline(self) -> Option<u64> {
        match self {
            Self::Missing | Self::Lasting => None,
            Self::Expiring(deadline_ms) => Some(deadline_ms),
        }
    }
}

/// A collection that is being changed, as these commands see it.
trait Deadlines {
    fn standing(&self, name: &[u8]) -> Standing;
    fn set_deadline(&mut self, name: &[u8], deadline_ms: Option<u64>) -> Result<bool, OutOfMemory>;
    fn expire(&mut self, name: &[u8]) -> bool;
    fn event(&mut self, name: &'static str);
}

macro_rules! deadlines_of {
    ($view:ident) => {
        impl Deadlines for $view<'_, '_> {
            fn standing(&self, name: &[u8]) -> Standing {
                Standing::of(self.view().deadline(name))
            }

            fn set_deadline(
                &mut self,
                name: &[u8],
                deadline_ms: Option<u64>,
            ) -> Result<bool, OutOfMemory> {
                self.set_deadline(name, deadline_ms)
            }

            fn expire(&mut self, name: &[u8]) -> bool {
                self.expire(name)
            }

            fn event(&mut self, name: &'static str) {
                self.event(name);
            }
        }
    };
}

deadlines_of!(HashMut);
deadlines_of!(SetMut);
deadlines_of!(ZsetMut);

impl Elements {
    fn naming(self) -> Naming {
        match self {
            Self::Fields => FIELDS,
            Self::Members | Self::Scored => MEMBERS,
        }
    }

    fn events(self) -> Events {
        match self {
            Self::Fields => Events { set: "hexpire", expired: "hexpired", persisted: "hpersist" },
            Self::Members => Events { set: "sexpire", expired: "sexpired", persisted: "spersist" },
            Self::Scored => Events { set: "zexpire", expired: "zexpired", persisted: "zpersist" },
        }
    }

    /// Logs that elements have got a deadline.
    pub fn log_deadline(
        self,
        context: &mut ShardContext<'_>,
        key: &[u8],
        deadline_ms: u64,
        names: &[&[u8]],
    ) {
        if names.is_empty() || !context.logs() {
            return;
        }
        let (mut moment, mut count) = (Buffer::new(), Buffer::new());
        let (command, before) = match self {
            Self::Fields => ("HPEXPIREAT", "FIELDS"),
            Self::Members => ("SPEXPIREAT", "MEMBERS"),
            Self::Scored => ("ZPEXPIREAT", "MEMBERS"),
        };
        let fixed: [&[u8]; 3] = [
            moment.format(deadline_ms.min(DEADLINE_MAX)).as_bytes(),
            before.as_bytes(),
            count.format(names.len()).as_bytes(),
        ];
        context.log_on(command, key, fixed.into_iter().chain(names.iter().copied()));
    }

    /// Logs that elements have been removed.
    pub fn log_removal(self, context: &mut ShardContext<'_>, key: &[u8], names: &[&[u8]]) {
        let command = match self {
            Self::Fields => "HDEL",
            Self::Members => "SREM",
            Self::Scored => "ZREM",
        };
        if !names.is_empty() {
            context.log_on(command, key, names.iter().copied());
        }
    }

    /// Lets `change` have the collection at a key; it returns how many elements it has changed.
    fn update(
        self,
        context: &mut ShardContext<'_>,
        key: &Key<'_>,
        change: impl FnOnce(&mut dyn Deadlines) -> Result<u64, CommandError>,
    ) -> Result<(), CommandError> {
        let (shard, db) = (&mut *context.shard, context.db);
        let changes = match self {
            Self::Fields => shard.update_hash(db, key, |hash| change(hash))??,
            Self::Members => shard.update_set(db, key, |set| change(set))??,
            Self::Scored => shard.update_zset(db, key, |zset| change(zset))??,
        };
        context.changed(changes);
        Ok(())
    }

    /// What is known of the named elements.
    fn standings(
        self,
        context: &mut ShardContext<'_>,
        key: &Key<'_>,
        names: Args<'_>,
    ) -> Result<Vec<Standing>, CommandError> {
        Ok(match self {
            Self::Fields => {
                let hash = context.read_hash(key)?;
                names
                    .iter()
                    .map(|name| Standing::of(hash.and_then(|hash| hash.deadline(name))))
                    .collect()
            }
            Self::Members => {
                let set = context.read_set(key)?;
                names
                    .iter()
                    .map(|name| Standing::of(set.and_then(|set| set.deadline(name))))
                    .collect()
            }
            Self::Scored => {
                let zset = context.read_zset(key)?;
                names
                    .iter()
                    .map(|name| Standing::of(zset.and_then(|zset| zset.deadline(name))))
                    .collect()
            }
        })
    }
}

/// The deadline that an argument means, in milliseconds of the Unix epoch. Zero and moments that
/// have passed are allowed, negative numbers are not.
pub fn deadline(
    amount: &[u8],
    unit: ExpiryUnit,
    now_ms: u64,
    command: &'static str,
) -> Result<u64, CommandError> {
    let amount = integer(amount)?;
    let deadline = if amount >= 0 { unit.deadline(amount, now_ms) } else { None };
    deadline
        .and_then(|deadline| u64::try_from(deadline).ok())
        .ok_or(CommandError::InvalidExpire(command))
}

/// Gives elements a deadline; one that has passed removes them at once, whatever the conditions.
pub fn expire(
    elements: Elements,
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    unit: ExpiryUnit,
    command: &'static str,
) -> Result<(), CommandError> {
    let naming = elements.naming();
    let at = naming.position(args, 3).ok_or(naming.mismatch())?;
    let conditions = Conditions::parse(Args::new(args.buffer(), &args.ranges()[3..at]))?;
    let names = naming.counted(args, at + 1, 1)?;
    let now_ms = context.shard.now_ms();
    let due_ms = context.shard.due_ms();
    let new = deadline(args.at(2), unit, now_ms, command)?;
    let key = context.key(args.at(1));
    let mut changed = LoggedWords::new();
    elements.update(context, &key, |collection| {
        reply.array(names.len());
        for name in names.iter() {
            let answer = match collection.standing(name) {
                Standing::Missing => MISSING,
                _ if new <= due_ms => {
                    collection.expire(name);
                    REMOVED
                }
                standing if !conditions.hold(standing.deadline(), new as i64) => UNMET,
                _ => {
                    collection.set_deadline(name, Some(new))?;
                    CHANGED
                }
            };
            if answer > UNMET {
                changed.push(name);
            }
            reply.integer(answer);
        }
        if !changed.is_empty() {
            let events = elements.events();
            collection.event(if new <= due_ms { events.expired } else { events.set });
        }
        Ok(changed.len() as u64)
    })?;
    if new <= due_ms {
        elements.log_removal(context, key.bytes, &changed);
    } else {
        elements.log_deadline(context, key.bytes, new, &changed);
    }
    Ok(())
}

/// Takes the deadlines of elements away.
pub fn persist(
    elements: Elements,
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let names = elements.naming().third(args)?;
    let key = context.key(args.at(1));
    elements.update(context, &key, |collection| {
        reply.array(names.len());
        let mut changes = 0;
        for name in names.iter() {
            let answer = match collection.standing(name) {
                Standing::Missing => MISSING,
                Standing::Lasting => NO_DEADLINE,
                Standing::Expiring(_) => {
                    collection.set_deadline(name, None)?;
                    changes += 1;
                    CHANGED
                }
            };
            reply.integer(answer);
        }
        if changes > 0 {
            collection.event(elements.events().persisted);
        }
        Ok(changes)
    })
}

/// From which moment, and in which unit, an answer counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Form {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

impl Form {
    /// The answer for a deadline. Seconds are rounded to the nearest, as the peers do.
    fn answer(self, deadline_ms: u64, now_ms: u64) -> i64 {
        let left_ms = deadline_ms.saturating_sub(now_ms);
        let answer = match self {
            Self::Seconds => (left_ms + 500) / 1000,
            Self::Milliseconds => left_ms,
            Self::UnixSeconds => (deadline_ms + 500) / 1000,
            Self::UnixMilliseconds => deadline_ms,
        };
        answer as i64
    }
}

/// Tells the deadlines of elements.
pub fn tell(
    elements: Elements,
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
    form: Form,
) -> Result<(), CommandError> {
    let naming = elements.naming();
    // A wrong count is a syntax error here, and here alone, in the peers.
    let names = naming
        .third(args)
        .map_err(|error| if error == naming.mismatch() { CommandError::Syntax } else { error })?;
    let key = context.key(args.at(1));
    let now_ms = context.shard.now_ms();
    reply.array(names.len());
    for standing in elements.standings(context, &key, names)? {
        reply.integer(match standing {
            Standing::Missing => MISSING,
            Standing::Lasting => NO_DEADLINE,
            Standing::Expiring(deadline_ms) => form.answer(deadline_ms, now_ms),
        });
    }
    Ok(())
}
