//! Elements, and their order.

use std::cmp::Ordering;

use kvasir_proto::number::parse_f64;
use kvasir_shard::{OwnedData, ValueRef};

use super::Found;
use super::options::SortOptions;
use super::pattern::{Lookup, Pattern};
use crate::errors::CommandError;

/// The elements of a collection in its own order.
#[derive(Default)]
pub(super) struct Elements {
    elements: Vec<Vec<u8>>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    List,
    Set,
    SortedSet,
}

impl Elements {
    /// The elements of a list, a set or a sorted set; none of another value.
    pub(super) fn of(data: OwnedData) -> Self {
        let text = |value: ValueRef<'_>| value.to_vec().expect("invariant: names are strings");
        match data {
            OwnedData::List(list) => {
                let mut elements = Vec::with_capacity(list.len());
                list.range(0, list.len(), |element| elements.push(element.to_vec()));
                Self { elements, kind: Kind::List }
            }
            OwnedData::Set(members) => {
                let elements = members.iter().map(|member| text(member.name)).collect();
                Self { elements, kind: Kind::Set }
            }
            OwnedData::SortedSet(members) => {
                let scored = members.iter().map(|member| (member.score, text(member.name)));
                let mut scored: Vec<_> = scored.collect();
                scored.sort_unstable_by(|a, b| by_score(a.0, b.0).then_with(|| a.1.cmp(&b.1)));
                let elements = scored.into_iter().map(|(_, member)| member).collect();
                Self { elements, kind: Kind::SortedSet }
            }
            _ => Self::default(),
        }
    }

    /// A lookup of the pattern for each element.
    pub(super) fn lookups(&self, pattern: &Pattern<'_>) -> Vec<Lookup> {
        self.elements.iter().map(|element| pattern.lookup(element)).collect()
    }

    /// The elements that are answered, in their order. `by` is what they are sorted by, if not by
    /// themselves.
    pub(super) fn sorted(
        self,
        options: &SortOptions<'_>,
        by: Option<Vec<Found>>,
    ) -> Result<Vec<Vec<u8>>, CommandError> {
        let Self { mut elements, kind } = self;
        let range = options.range(elements.len());
        if options.keeps_order {
            // A set has no order: what is stored of it, and what a script is told, is the same
            // whatever its encoding is.
            let is_told = options.store.is_some() || options.scripted;
            if kind == Kind::Set && is_told {
                elements.sort_unstable();
            }
            if options.is_descending && (kind != Kind::Set || is_told) {
                elements.reverse();
            }
        } else if options.is_text {
            elements = sorted_as_text(elements, kind, by, options.is_descending);
        } else {
            elements = sorted_as_numbers(elements, by.as_deref(), options.is_descending)?;
        }
        elements.truncate(range.end);
        elements.drain(..range.start);
        Ok(elements)
    }
}

fn directed(order: Ordering, is_descending: bool) -> Ordering {
    if is_descending { order.reverse() } else { order }
}

/// Nothing comes before any text. Elements with equal texts keep their order; those of a set have
/// none, and come as texts themselves, so that what is stored of them can be repeated.
fn sorted_as_text(
    mut elements: Vec<Vec<u8>>,
    kind: Kind,
    by: Option<Vec<Found>>,
    is_descending: bool,
) -> Vec<Vec<u8>> {
    let Some(by) = by else {
        elements.sort_unstable_by(|a, b| directed(a.cmp(b), is_descending));
        return elements;
    };
    let mut keyed: Vec<_> = by.into_iter().zip(elements).collect();
    let between_equals = |a: &Vec<u8>, b: &Vec<u8>| match kind {
        Kind::Set => a.cmp(b),
        Kind::List | Kind::SortedSet => Ordering::Equal,
    };
    keyed.sort_by(|a, b| {
        directed(a.0.cmp(&b.0).then_with(|| between_equals(&a.1, &b.1)), is_descending)
    });
    keyed.into_iter().map(|(_, element)| element).collect()
}

/// Nothing counts as 0. Elements with equal numbers are ordered as text.
fn sorted_as_numbers(
    elements: Vec<Vec<u8>>,
    by: Option<&[Found]>,
    is_descending: bool,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let scores: Option<Vec<f64>> = match by {
        None => elements.iter().map(|element| score(element)).collect(),
        Some(by) => by.iter().map(|found| found.as_deref().map_or(Some(0.0), score)).collect(),
    };
    let invalid = CommandError::Other("ERR One or more scores can't be converted into double");
    let mut keyed: Vec<_> = scores.ok_or(invalid)?.into_iter().zip(elements).collect();
    keyed.sort_unstable_by(|a, b| {
        directed(by_score(a.0, b.0).then_with(|| a.1.cmp(&b.1)), is_descending)
    });
    Ok(keyed.into_iter().map(|(_, element)| element).collect())
}

/// Zeros of either sign are equal; there is no NaN.
fn by_score(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

/// A text as the C library's `strtod` reads it, which the peers use here: blanks before it do not
/// matter, a zero byte ends it, nothing is 0.
fn score(text: &[u8]) -> Option<f64> {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0B;
    let start = text[..end].iter().position(|byte| !is_blank(byte)).unwrap_or(end);
    if end == 0 { Some(0.0) } else { parse_f64(&text[start..end]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn numbers_are_read_as_the_c_library_reads_them() {
        for (text, number) in
            [("", 0.0), (" 1", 1.0), ("\t-2.5", -2.5), ("1\0x", 1.0), ("inf", f64::INFINITY)]
        {
            assert_eq!(score(text.as_bytes()), Some(number), "{text:?}");
        }
        for text in ["x", "1x", "1 ", "nan", " "] {
            assert_eq!(score(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn equal_numbers_are_ordered_as_text_and_nothing_is_zero() {
        let by = vec![Some(b"1".to_vec()), None, Some(b"-1".to_vec()), Some(b"1".to_vec())];
        let elements = texts(&["b", "c", "d", "a"]);
        let sorted = sorted_as_numbers(elements.clone(), Some(&by), false).unwrap();
        assert_eq!(sorted, texts(&["d", "c", "a", "b"]));
        let sorted = sorted_as_numbers(elements, Some(&by), true).unwrap();
        assert_eq!(sorted, texts(&["b", "a", "c", "d"]));
    }

    #[test]
    fn nothing_comes_before_any_text() {
        let by = vec![Some(b"x".to_vec()), None, Some(b"".to_vec())];
        let sorted = sorted_as_text(texts(&["a", "b", "c"]), Kind::List, Some(by), false);
        assert_eq!(sorted, texts(&["b", "c", "a"]));
    }

    #[test]
    fn unsorted_elements_are_reversed_where_they_have_an_order() {
        let sorted = |kind, store| {
            let elements = Elements { elements: texts(&["b", "a", "c"]), kind };
            let options = SortOptions {
                keeps_order: true,
                is_descending: true,
                store,
                limit: Some((1, 2)),
                ..SortOptions::default()
            };
            elements.sorted(&options, None).unwrap()
        };
        let target = Some(b"target".as_slice());
        for store in [None, target] {
            assert_eq!(sorted(Kind::List, store), texts(&["a", "b"]));
            assert_eq!(sorted(Kind::SortedSet, store), texts(&["a", "b"]));
        }
        assert_eq!(sorted(Kind::Set, None), texts(&["a", "c"]));
        assert_eq!(sorted(Kind::Set, target), texts(&["b", "a"]));
    }

    #[test]
    fn equal_texts_keep_the_order_of_a_list_and_give_a_set_one() {
        let by = || Some(vec![None, None, Some(b"".to_vec())]);
        let sorted = |kind, is_descending| {
            sorted_as_text(texts(&["b", "a", "c"]), kind, by(), is_descending)
        };
        assert_eq!(sorted(Kind::List, false), texts(&["b", "a", "c"]));
        assert_eq!(sorted(Kind::Set, false), texts(&["a", "b", "c"]));
        assert_eq!(sorted(Kind::List, true), texts(&["c", "b", "a"]));
        assert_eq!(sorted(Kind::Set, true), texts(&["c", "b", "a"]));
    }

    #[test]
    fn ranges_stay_within_the_elements() {
        let range = |limit| SortOptions { limit, ..SortOptions::default() }.range(5);
        assert_eq!(range(None), 0..5);
        assert_eq!(range(Some((1, 2))), 1..3);
        assert_eq!(range(Some((-10, 100))), 0..5);
        assert_eq!(range(Some((9, 2))), 5..5);
        assert_eq!(range(Some((2, i64::MAX))), 2..5);
        assert_eq!(range(Some((2, -1))), 2..5);
        assert_eq!(range(Some((2, 0))), 2..2);
    }
}
