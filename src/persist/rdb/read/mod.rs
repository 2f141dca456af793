//! Reading values of every type.

mod hash;
mod stream;

use std::io::Read;

use super::code;
use super::elements::Elements;
use super::error::{RdbError, RdbErrorKind};
use super::input::Input;
use super::packed::{Fault, Item, intset, listpack, ziplist};
use super::value::{SortedSet, Value};

/// The characters of a module type's name, six bits each.
const MODULE_NAME: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const MODULE_NAME_LEN: usize = 9;

/// Reads a value of the type with this number, from a source of this version.
pub fn read_value<R: Read>(
    input: &mut Input<R>,
    value_type: u8,
    version: u16,
) -> Result<Value, RdbError> {
    Ok(match value_type {
        code::STRING => Value::String(input.string_owned()?),
        code::LIST => Value::List(plain(input, 1)?),
        code::LIST_ZIPLIST => Value::List(packed(input, Form::Ziplist)?),
        code::LIST_QUICKLIST => Value::List(quicklist(input, Form::Ziplist)?),
        code::LIST_QUICKLIST_2 => Value::List(quicklist(input, Form::Listpack)?),
        code::SET => set(input, |input| plain(input, 1))?,
        code::SET_LISTPACK => set(input, |input| packed(input, Form::Listpack))?,
        code::SET_INTSET => Value::Set(integers(input)?),
        code::ZSET => sorted_set(input, text_score, 2)?,
        code::ZSET_2 => sorted_set(input, binary_score, 9)?,
        code::ZSET_ZIPLIST => packed_sorted_set(input, Form::Ziplist)?,
        code::ZSET_LISTPACK => packed_sorted_set(input, Form::Listpack)?,
        code::STREAM => stream::read(input, stream::Form::First)?,
        code::STREAM_2 => stream::read(input, stream::Form::Second)?,
        code::STREAM_3 => stream::read(input, stream::Form::Third)?,
        code::MODULE_PRE_GA | code::MODULE_2 => return Err(module(input)),
        _ => match hash::Form::of_type(value_type, version) {
            Some(form) => Value::Hash(hash::read(input, form)?),
            None => return Err(input.error(RdbErrorKind::UnknownType(value_type))),
        },
    })
}

/// The packed encodings that hold any elements.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Ziplist,
    Listpack,
}

impl Form {
    /// The name in errors.
    fn name(self) -> &'static str {
        match self {
            Self::Ziplist => "Ziplist",
            Self::Listpack => "Listpack",
        }
    }

    /// Visits every element of a packed collection; how many there are.
    fn read<'a>(self, bytes: &'a [u8], visit: impl FnMut(Item<'a>)) -> Result<usize, Fault> {
        match self {
            Self::Ziplist => ziplist::read(bytes, visit),
            Self::Listpack => listpack::read(bytes, visit),
        }
    }
}

/// Turns what is wrong with a packed collection into an error at the present offset.
fn located<R: Read, T>(
    input: &Input<R>,
    what: &'static str,
    outcome: Result<T, Fault>,
) -> Result<T, RdbError> {
    outcome.map_err(|how| input.error(RdbErrorKind::Packed(what, how)))
}

fn not_empty<R: Read>(input: &Input<R>, elements: Elements) -> Result<Elements, RdbError> {
    if elements.is_empty() { Err(input.error(RdbErrorKind::EmptyCollection)) } else { Ok(elements) }
}

/// A count, then for each so many strings.
fn plain<R: Read>(input: &mut Input<R>, strings: usize) -> Result<Elements, RdbError> {
    let mut elements = Elements::default();
    for _ in 0..input.count(strings as u64)? * strings {
        elements.push(input.string()?);
    }
    not_empty(input, elements)
}

/// All elements of one packed collection, as they are.
fn packed<R: Read>(input: &mut Input<R>, form: Form) -> Result<Elements, RdbError> {
    let mut elements = Elements::default();
    let outcome = form.read(input.string()?, |item| item.push_to(&mut elements));
    located(input, form.name(), outcome)?;
    not_empty(input, elements)
}

/// A list as a list of nodes: packed ones, and in the newer form single elements too.
fn quicklist<R: Read>(input: &mut Input<R>, form: Form) -> Result<Elements, RdbError> {
    let mut elements = Elements::default();
    for _ in 0..input.count(1)? {
        let node = match form {
            Form::Ziplist => code::NODE_PACKED,
            Form::Listpack => input.length()?,
        };
        match node {
            code::NODE_PLAIN => match input.string()? {
                b"" => return Err(input.corrupt("a list node without content")),
                element => elements.push(element),
            },
            code::NODE_PACKED => {
                // Empty nodes were written by servers with a certain bug; they hold nothing.
                let outcome = form.read(input.string()?, |item| item.push_to(&mut elements));
                located(input, form.name(), outcome)?;
            }
            _ => return Err(input.corrupt("a list node of an unknown kind")),
        }
    }
    not_empty(input, elements)
}

fn set<R: Read>(
    input: &mut Input<R>,
    read: impl FnOnce(&mut Input<R>) -> Result<Elements, RdbError>,
) -> Result<Value, RdbError> {
    let members = read(input)?;
    if !members.are_distinct(1) {
        return Err(input.corrupt("a set with a member twice"));
    }
    Ok(Value::Set(members))
}

fn integers<R: Read>(input: &mut Input<R>) -> Result<Elements, RdbError> {
    let mut members = Elements::default();
    let outcome = intset::read(input.string()?, &mut members);
    located(input, "Intset", outcome)?;
    not_empty(input, members)
}

/// A sorted set with each member before its score, both taking at least `bytes_min` bytes.
fn sorted_set<R: Read>(
    input: &mut Input<R>,
    score: impl Fn(&mut Input<R>) -> Result<f64, RdbError>,
    bytes_min: u64,
) -> Result<Value, RdbError> {
    let mut set = SortedSet::default();
    for _ in 0..input.count(bytes_min)? {
        set.members.push(input.string()?);
        set.scores.push(score(input)?);
    }
    checked(input, set)
}

fn packed_sorted_set<R: Read>(input: &mut Input<R>, form: Form) -> Result<Value, RdbError> {
    let mut set = SortedSet::default();
    let mut is_member = false;
    let outcome = form.read(input.string()?, |item| {
        is_member = !is_member;
        if is_member {
            item.push_to(&mut set.members);
        } else {
            // What is no number is refused below.
            set.scores.push(item.as_f64().unwrap_or(f64::NAN));
        }
    });
    let name = match form {
        Form::Ziplist => "Zset ziplist",
        Form::Listpack => "Zset listpack",
    };
    located(input, name, outcome)?;
    if is_member {
        return located(input, name, Err("a member without score"));
    }
    checked(input, set)
}

fn checked<R: Read>(input: &Input<R>, set: SortedSet) -> Result<Value, RdbError> {
    if set.members.is_empty() {
        Err(input.error(RdbErrorKind::EmptyCollection))
    } else if set.scores.iter().any(|score| score.is_nan()) {
        Err(input.corrupt("a sorted set with a score that is no number"))
    } else if !set.members.are_distinct(1) {
        Err(input.corrupt("a sorted set with a member twice"))
    } else {
        Ok(Value::SortedSet(set))
    }
}

/// A score as text: its length in a byte, or one of three lengths that stand for no text.
fn text_score<R: Read>(input: &mut Input<R>) -> Result<f64, RdbError> {
    Ok(match input.byte()? {
        253 => f64::NAN,
        254 => f64::INFINITY,
        255 => f64::NEG_INFINITY,
        len => {
            let mut text = Vec::new();
            input.bytes_into(u64::from(len), &mut text)?;
            kvasir_proto::number::parse_f64(&text).unwrap_or(f64::NAN)
        }
    })
}

fn binary_score<R: Read>(input: &mut Input<R>) -> Result<f64, RdbError> {
    Ok(f64::from_le_bytes(input.array()?))
}

/// The refusal of a module's value: the type's name is in its id, above ten bits of version.
fn module<R: Read>(input: &mut Input<R>) -> RdbError {
    match input.length() {
        Ok(id) => input.error(RdbErrorKind::Module(module_name(id))),
        Err(error) => error,
    }
}

/// The name of a module's type, from its id.
pub(super) fn module_name(id: u64) -> String {
    let letter =
        |at: usize| MODULE_NAME[(id >> (10 + 6 * (MODULE_NAME_LEN - 1 - at))) as usize & 63];
    (0..MODULE_NAME_LEN).map(|at| char::from(letter(at))).collect()
}
