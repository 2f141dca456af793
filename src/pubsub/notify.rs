//! Keyspace notifications: what a shard's journal records, as messages to subscribers.

use kvasir_shard::{Change, ChangeKind, ChangeMask};

use crate::config::notify::KeyspaceEvents;
use crate::route::core::CoreState;

/// The changes that must be recorded for these classes of events.
pub(crate) fn changes_of(events: KeyspaceEvents) -> ChangeMask {
    let channels = KeyspaceEvents::KEYSPACE.or(KeyspaceEvents::KEYEVENT);
    if !events.meets(channels) || !events.without(channels).meets(EVERY_CLASS) {
        return ChangeMask::NONE;
    }
    let mut mask = ChangeMask::ALL
        .without(ChangeKind::Modified)
        .without(ChangeKind::Flushed)
        .without(ChangeKind::Swapped);
    for (kind, class) in [
        (ChangeKind::New, KeyspaceEvents::NEW),
        (ChangeKind::Set, KeyspaceEvents::STRING),
        (ChangeKind::Expired, KeyspaceEvents::EXPIRED),
        (ChangeKind::Evicted, KeyspaceEvents::EVICTED),
        (ChangeKind::Missed, KeyspaceEvents::KEY_MISS),
    ] {
        if !events.contains(class) {
            mask = mask.without(kind);
        }
    }
    mask
}

/// Every class of events.
const EVERY_CLASS: KeyspaceEvents =
    KeyspaceEvents::ALL.or(KeyspaceEvents::KEY_MISS).or(KeyspaceEvents::NEW);

/// The name of the event and its class; nothing for changes that have none.
fn event_of(kind: ChangeKind) -> Option<(&'static str, KeyspaceEvents)> {
    Some(match kind {
        ChangeKind::New => ("new", KeyspaceEvents::NEW),
        ChangeKind::Set => ("set", KeyspaceEvents::STRING),
        ChangeKind::Deleted => ("del", KeyspaceEvents::GENERIC),
        ChangeKind::Expire => ("expire", KeyspaceEvents::GENERIC),
        ChangeKind::Persist => ("persist", KeyspaceEvents::GENERIC),
        ChangeKind::Expired => ("expired", KeyspaceEvents::EXPIRED),
        ChangeKind::Evicted => ("evicted", KeyspaceEvents::EVICTED),
        ChangeKind::RenamedFrom => ("rename_from", KeyspaceEvents::GENERIC),
        ChangeKind::RenamedTo => ("rename_to", KeyspaceEvents::GENERIC),
        ChangeKind::MovedFrom => ("move_from", KeyspaceEvents::GENERIC),
        ChangeKind::MovedTo => ("move_to", KeyspaceEvents::GENERIC),
        ChangeKind::Missed => ("keymiss", KeyspaceEvents::KEY_MISS),
        ChangeKind::Event(name) => (name, class_of(name)),
        ChangeKind::Modified
        | ChangeKind::ElementExpired(_)
        | ChangeKind::Flushed
        | ChangeKind::Swapped => return None,
    })
}

/// The class of an event that a command has recorded under its name. The names of lists, sets,
/// sorted sets, hashes and streams begin with the letter of their type, but for these.
fn class_of(event: &str) -> KeyspaceEvents {
    match event {
        "copy_to" | "restore" => KeyspaceEvents::GENERIC,
        "set" | "setrange" | "setbit" | "append" | "incrby" | "incrbyfloat" | "pfadd" | "delex" => {
            KeyspaceEvents::STRING
        }
        "sortstore" | "rpush" | "rpop" => KeyspaceEvents::LIST,
        "georadiusstore" | "geosearchstore" => KeyspaceEvents::SORTED_SET,
        _ => match event.as_bytes().first() {
            Some(b'l') => KeyspaceEvents::LIST,
            Some(b's') => KeyspaceEvents::SET,
            Some(b'h') => KeyspaceEvents::HASH,
            Some(b'z') => KeyspaceEvents::SORTED_SET,
            Some(b'x') => KeyspaceEvents::STREAM,
            _ => KeyspaceEvents::GENERIC,
        },
    }
}

impl CoreState {
    /// Publishes a change, if the configuration asks for it: first under the key's channel, then
    /// under the event's.
    pub(crate) fn notify(&mut self, change: Change<'_>) {
        let events = self.keyspace_events;
        if events.is_empty() {
            return;
        }
        let Some((event, class)) = event_of(change.kind) else { return };
        if !events.contains(class) {
            return;
        }
        let Change { db, key, .. } = change;
        let channel = |kind: &str, name: &[u8]| {
            let mut channel = format!("__{kind}@{db}__:").into_bytes();
            channel.extend_from_slice(name);
            channel
        };
        if events.contains(KeyspaceEvents::KEYSPACE) {
            self.note_notice(channel("keyspace", key), event.as_bytes());
        }
        if events.contains(KeyspaceEvents::KEYEVENT) {
            self.note_notice(channel("keyevent", event.as_bytes()), key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_may_hear_is_recorded() {
        let recorded = |letters: &str| {
            let mask = changes_of(KeyspaceEvents::parse(letters.as_bytes()).unwrap());
            let kinds = [ChangeKind::New, ChangeKind::Set, ChangeKind::Deleted, ChangeKind::Missed];
            kinds.map(|kind| mask.contains(kind))
        };
        assert_eq!(recorded(""), [false; 4]);
        assert_eq!(recorded("K"), [false; 4]);
        assert_eq!(recorded("A"), [false; 4]);
        assert_eq!(recorded("KA"), [false, true, true, false]);
        assert_eq!(recorded("Enm"), [true, false, true, true]);
    }

    #[test]
    fn events_have_the_peers_classes() {
        let check = |event: &str, letter: &str| {
            let class = KeyspaceEvents::parse(letter.as_bytes()).unwrap();
            assert_eq!(class_of(event), class, "{event}");
        };
        for (events, letter) in [
            ("lpush rpush lpop rpop linsert lset lrem ltrim sortstore", "l"),
            ("sadd srem spop sinterstore sunionstore sdiffstore", "s"),
            ("hset hincrby hincrbyfloat hdel hexpire hexpired hpersist", "h"),
            ("zadd zincr zrem zpopmin zrangestore zunionstore geosearchstore", "z"),
            ("xadd xdel xtrim xsetid xgroup-create xgroup-setid", "t"),
            ("setrange setbit append incrby incrbyfloat pfadd", "$"),
            ("copy_to restore", "g"),
        ] {
            events.split(' ').for_each(|event| check(event, letter));
        }
    }
}
