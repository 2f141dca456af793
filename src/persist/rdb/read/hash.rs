//! Reading hashes, with and without field deadlines.

use std::io::Read;

use super::{Form as PackedForm, located, packed, plain};
use crate::persist::rdb::VALKEY_VERSION_MIN;
use crate::persist::rdb::code;
use crate::persist::rdb::elements::Elements;
use crate::persist::rdb::error::{RdbError, RdbErrorKind};
use crate::persist::rdb::input::Input;
use crate::persist::rdb::packed::zipmap;
use crate::persist::rdb::value::Hash;

/// Redis's deadlines have 48 bits.
const REDIS_DEADLINE_MAX: u64 = (1 << 48) - 1;
/// How Valkey writes that a field has no deadline.
const VALKEY_NO_DEADLINE: i64 = -1;

/// The forms of a hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Zipmap,
    Ziplist,
    Listpack,
    /// Valkey: field, value, deadline in eight bytes.
    Deadlines,
    /// Redis 7.4's candidates: deadline as a length, field, value.
    RedisCandidate,
    /// Redis: the first deadline; then time after it as a length, field, value.
    Redis,
    /// Redis 7.4's candidates: a listpack of field, value, deadline.
    ListpackCandidate,
    /// Redis: the first deadline; then a listpack of field, value, deadline.
    ListpackDeadlines,
}

impl Form {
    /// The form that a type's number stands for in this version; `None` if it is no hash.
    pub(super) fn of_type(value_type: u8, version: u16) -> Option<Self> {
        let is_valkey = version >= VALKEY_VERSION_MIN;
        Some(match value_type {
            code::HASH => Self::Plain,
            code::HASH_ZIPMAP => Self::Zipmap,
            code::HASH_ZIPLIST => Self::Ziplist,
            code::HASH_LISTPACK => Self::Listpack,
            code::HASH_DEADLINES if is_valkey => Self::Deadlines,
            code::HASH_DEADLINES => Self::RedisCandidate,
            code::HASH_LISTPACK_DEADLINES_RC if !is_valkey => Self::ListpackCandidate,
            code::HASH_REDIS_DEADLINES if !is_valkey => Self::Redis,
            code::HASH_LISTPACK_DEADLINES if !is_valkey => Self::ListpackDeadlines,
            _ => return None,
        })
    }
}

/// Reads a hash.
pub(super) fn read<R: Read>(input: &mut Input<R>, form: Form) -> Result<Hash, RdbError> {
    let mut hash = match form {
        Form::Plain => of_entries(plain(input, 2)?),
        Form::Zipmap => of_entries(zipmap_entries(input)?),
        Form::Ziplist => of_entries(packed(input, PackedForm::Ziplist)?),
        Form::Listpack => of_entries(packed(input, PackedForm::Listpack)?),
        Form::Deadlines => each(input, 10, valkey_entry)?,
        Form::RedisCandidate => each(input, 3, |input, entries| redis_entry(input, entries, None))?,
        Form::Redis => {
            let first = first_deadline(input)?;
            each(input, 3, |input, entries| redis_entry(input, entries, Some(first)))?
        }
        Form::ListpackCandidate => triples(input)?,
        Form::ListpackDeadlines => {
            first_deadline(input)?;
            triples(input)?
        }
    };
    if hash.is_empty() {
        return Err(input.error(RdbErrorKind::EmptyCollection));
    }
    if !hash.entries.len().is_multiple_of(2) {
        return Err(input.corrupt("a hash with a field without value"));
    }
    if !hash.entries.are_distinct(2) {
        return match form {
            Form::Ziplist => located(input, "Hash ziplist", Err("a field twice")),
            Form::Listpack => located(input, "Hash listpack", Err("a field twice")),
            _ => Err(input.corrupt("a hash with a field twice")),
        };
    }
    if hash.deadlines.iter().all(Option::is_none) {
        hash.deadlines = Vec::new();
    }
    Ok(hash)
}

fn of_entries(entries: Elements) -> Hash {
    Hash { entries, deadlines: Vec::new() }
}

fn zipmap_entries<R: Read>(input: &mut Input<R>) -> Result<Elements, RdbError> {
    let mut entries = Elements::default();
    let outcome = zipmap::read(input.string()?, &mut entries);
    located(input, "Zipmap", outcome)?;
    Ok(entries)
}

/// A count, then as many entries, of which each takes at least `bytes_min` bytes.
fn each<R: Read>(
    input: &mut Input<R>,
    bytes_min: u64,
    entry: impl Fn(&mut Input<R>, &mut Elements) -> Result<Option<u64>, RdbError>,
) -> Result<Hash, RdbError> {
    let mut hash = Hash::default();
    for _ in 0..input.count(bytes_min)? {
        let deadline = entry(input, &mut hash.entries)?;
        hash.deadlines.push(deadline);
    }
    Ok(hash)
}

fn valkey_entry<R: Read>(
    input: &mut Input<R>,
    entries: &mut Elements,
) -> Result<Option<u64>, RdbError> {
    entries.push(input.string()?);
    entries.push(input.string()?);
    match i64::from_le_bytes(input.array()?) {
        VALKEY_NO_DEADLINE => Ok(None),
        deadline => {
            let deadline = u64::try_from(deadline);
            deadline.map(Some).map_err(|_| input.corrupt("a field with a negative deadline"))
        }
    }
}

/// An entry with its deadline before it: 0 for none, otherwise one more than the time after the
/// first deadline, or where there is no first one the deadline itself.
fn redis_entry<R: Read>(
    input: &mut Input<R>,
    entries: &mut Elements,
    first: Option<u64>,
) -> Result<Option<u64>, RdbError> {
    let deadline = match (input.length()?, first) {
        (0, _) => None,
        (after, Some(first)) => Some(first.saturating_add(after - 1)),
        (deadline, None) => Some(deadline),
    };
    if deadline.is_some_and(|deadline| deadline > REDIS_DEADLINE_MAX) {
        return Err(input.corrupt("a field with a deadline beyond all time"));
    }
    entries.push(input.string()?);
    entries.push(input.string()?);
    Ok(deadline)
}

fn first_deadline<R: Read>(input: &mut Input<R>) -> Result<u64, RdbError> {
    Ok(u64::from_le_bytes(input.array()?))
}

/// A listpack of fields, values and deadlines, 0 for none.
fn triples<R: Read>(input: &mut Input<R>) -> Result<Hash, RdbError> {
    let mut hash = Hash::default();
    let mut position = 0_usize;
    let mut is_sound = true;
    let outcome = PackedForm::Listpack.read(input.string()?, |item| {
        if position % 3 < 2 {
            item.push_to(&mut hash.entries);
        } else {
            let deadline = item.as_int().and_then(|deadline| u64::try_from(deadline).ok());
            is_sound &= deadline.is_some_and(|deadline| deadline <= REDIS_DEADLINE_MAX);
            hash.deadlines.push(deadline.filter(|deadline| *deadline > 0));
        }
        position += 1;
    });
    located(input, "Listpack", outcome)?;
    if is_sound && position.is_multiple_of(3) {
        Ok(hash)
    } else {
        Err(input.corrupt("a hash whose listpack is not field, value and deadline"))
    }
}
