//! What commands lock, shard by shard.

use kvasir_proto::Args;

use crate::commands::definition::{Flags, Handler, KeyFlags, LockScope};
use crate::commands::table::Entry;
use crate::errors::CommandError;
use crate::route::core::Core;
use crate::route::engine::ShardId;
use crate::route::locks::{Fingerprint, Mode, Scope};
use crate::route::shard_map::ShardMap;

impl Core {
    /// What a command of this shard alone locks: its keys, by its own key specifications, or all of
    /// the shard for reading.
    pub(in crate::route) fn scope_of(
        &self,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
    ) -> Scope {
        Self::scope_by(self.state.shared.map, entry, args, db)
    }

    /// As [`scope_of`](Self::scope_of), where the keys are by this map.
    pub(in crate::route) fn scope_by(
        map: ShardMap,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
    ) -> Scope {
        if let Handler::Placed { .. } = entry.command.handler {
            return Scope::Everything(Mode::Read);
        }
        let mut keys = Vec::new();
        let found = entry.keys(args, |index, flags| {
            let hash = map.key(args.at(index)).hash;
            keys.extend(
                dbs_of(entry, args, db)
                    .map(|db| (map.fingerprint(db, hash), mode_of(entry, flags))),
            );
        });
        // A request whose keys cannot be told is malformed: it touches none, and will say so.
        debug_assert!(found.is_ok() || keys.is_empty(), "an error comes before the first key");
        Scope::Keys(keys)
    }

    /// The locks of a command on each shard that it names.
    pub(in crate::route) fn scopes_by_shard(
        &self,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
    ) -> Result<Vec<(ShardId, Scope)>, CommandError> {
        let mut scopes = Vec::new();
        self.add_scopes(entry, args, db, &mut scopes)?;
        Ok(scopes)
    }

    /// Adds the locks of a command to those of others. Nothing is added on failure.
    pub(in crate::route) fn add_scopes(
        &self,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
        scopes: &mut Vec<(ShardId, Scope)>,
    ) -> Result<(), CommandError> {
        let map = self.state.shared.map;
        let everywhere = |mode, scopes: &mut Vec<_>| {
            for shard in (0..map.shards()).map(ShardId) {
                let scope = Scope::Everything(mode);
                match scope_on(scopes, shard) {
                    Some(joined) => joined.join(scope),
                    None => scopes.push((shard, scope)),
                }
            }
        };
        let scope = match entry.command.handler {
            Handler::Global(scope, _) => Some(scope.resolve(args)),
            _ => entry.command.beyond(args),
        };
        match scope {
            Some(LockScope::Shared) => {
                everywhere(Mode::Read, scopes);
                return Ok(());
            }
            Some(LockScope::Exclusive) => {
                everywhere(Mode::Write, scopes);
                return Ok(());
            }
            Some(LockScope::None) => return Ok(()),
            Some(LockScope::Chosen(_)) => unreachable!("a choice is one of the others"),
            Some(LockScope::Keys) | None => {}
        }
        if let Handler::Placed { .. } = entry.command.handler {
            everywhere(Mode::Read, scopes);
            return Ok(());
        }
        self.add_scopes_of_keys(entry, args, db, scopes)
    }

    /// Adds the locks of the keys that a request names.
    pub(in crate::route) fn add_scopes_of_keys(
        &self,
        entry: &'static Entry,
        args: Args<'_>,
        db: u32,
        scopes: &mut Vec<(ShardId, Scope)>,
    ) -> Result<(), CommandError> {
        let map = self.state.shared.map;
        entry.keys(args, |index, flags| {
            let key = map.key(args.at(index));
            for db in dbs_of(entry, args, db) {
                let lock = (map.fingerprint(db, key.hash), mode_of(entry, flags));
                add_lock(scopes, map.owner_of_slot(key.slot), lock);
            }
        })
    }
}

/// The databases in which a command uses its keys: the client's, and perhaps another.
fn dbs_of(entry: &'static Entry, args: Args<'_>, db: u32) -> impl Iterator<Item = u32> + use<> {
    let other = entry.command.other_db.and_then(|other_db| other_db(args));
    std::iter::once(db).chain(other.filter(|other| *other != db))
}

pub(super) fn scope_on(scopes: &mut [(ShardId, Scope)], shard: ShardId) -> Option<&mut Scope> {
    scopes.iter_mut().find(|(other, _)| *other == shard).map(|(_, scope)| scope)
}

/// Adds a lock of a key of a shard.
pub(in crate::route) fn add_lock(
    scopes: &mut Vec<(ShardId, Scope)>,
    shard: ShardId,
    lock: (Fingerprint, Mode),
) {
    match scope_on(scopes, shard) {
        Some(Scope::Keys(keys)) => keys.push(lock),
        Some(everything) => everything.join(Scope::Keys(vec![lock])),
        None => scopes.push((shard, Scope::Keys(vec![lock]))),
    }
}

/// What a command with these key flags needs of the key. `XREADGROUP` says that it only reads, and
/// changes what belongs to the group.
pub(in crate::route) fn mode_of(entry: &'static Entry, flags: KeyFlags) -> Mode {
    let waits = matches!(entry.command.handler, Handler::Blocking(_));
    let reads = flags.has(KeyFlags::RO) && !(waits && entry.command.flags.has(Flags::WRITE));
    if reads { Mode::Read } else { Mode::Write }
}
