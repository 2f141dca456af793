//! Tests of the table as a whole.

use std::collections::HashSet;

use super::*;
use crate::config::Config;
use crate::config::kind::{Kind, Notation};
use crate::config::parameter::{Disposition, Flags};
use crate::config::set::SetContext;

/// Every name that Valkey 9.1 or Redis 8.0 shows for CONFIG GET *.
const PEER_NAMES: &str = include_str!("names.txt");

#[test]
fn names_are_unique_and_in_lower_case() {
    let mut seen = HashSet::new();
    for name in names() {
        assert!(seen.insert(name.name), "{} twice", name.name);
        assert_eq!(name.name, name.name.to_ascii_lowercase());
        assert!(!name.parameter.summary.is_empty());
    }
    assert_eq!(seen.len(), NAMES.len());
}

#[test]
fn every_name_of_the_peers_is_there() {
    assert_eq!(PEER_NAMES.lines().count(), 241);
    for name in PEER_NAMES.lines() {
        let found = lookup(name.as_bytes()).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(!found.parameter.is_hidden(), "{name} is shown by the peers");
    }
}

#[test]
fn what_works_has_a_typed_field() {
    for row in rows() {
        let works = row.disposition == Disposition::Works;
        assert!(!works || row.store.is_some(), "{} works without a field", row.name);
        let ignored = row.disposition == Disposition::Ignored;
        assert!(!ignored || row.store.is_none(), "{} is ignored with a field", row.name);
    }
}

#[test]
fn defaults_parse_and_come_back() {
    let config = Config::default();
    for (index, row) in rows().iter().enumerate() {
        let shown = row.kind.show(&row.default_value());
        if !matches!(row.kind, Kind::Directory) {
            assert_eq!(String::from_utf8_lossy(&shown), row.default, "{}", row.name);
        }
        assert_eq!(shown, config.show(index));
    }
}

#[test]
fn bounds_fit_the_fields() {
    let mut config = Config::default();
    for (index, row) in rows().iter().enumerate() {
        let Kind::Number { lower, upper, notation } = row.kind else {
            continue;
        };
        for bound in [lower, upper] {
            let text =
                if notation == Notation::Octal { format!("{bound:o}") } else { bound.to_string() };
            let value = row.parse(&[text.as_bytes()], None);
            // A bound beyond i64 cannot be written in decimal, which the peers read as i64.
            if i64::try_from(bound).is_ok() || notation == Notation::Memory {
                config.put(index, value.unwrap());
            }
        }
    }
}

/// As the CONFIG sanity test of the peers: setting what is there changes nothing.
#[test]
fn setting_the_present_value_changes_nothing() {
    let config = Config::default();
    let context = SetContext { protected_permitted: true, ..SetContext::default() };
    for name in names() {
        if name.parameter.flags.contains(Flags::IMMUTABLE) {
            continue;
        }
        let shown = config.get(&[name.name.as_bytes()]).remove(0).1;
        let change = config.set(&[(name.name.as_bytes(), &shown)], context).unwrap();
        assert!(change.changed.is_empty(), "{}", name.name);
    }
}

#[test]
fn every_value_comes_back() {
    let samples = |kind: Kind| -> Vec<String> {
        match kind {
            Kind::Flag => vec!["yes".into(), "no".into()],
            Kind::Number { lower, upper, notation: Notation::Octal } => {
                vec![format!("{lower:o}"), format!("{upper:o}")]
            }
            Kind::Number { lower, upper, .. } => {
                let upper = upper.min(i64::MAX.into());
                vec![lower.to_string(), upper.to_string(), i128::midpoint(lower, upper).to_string()]
            }
            // The first name of a code is the one that is shown.
            Kind::Choice(choices) | Kind::ChoiceSet(choices) => {
                let mut seen = HashSet::new();
                choices.iter().filter(|(_, code)| seen.insert(*code)).map(|c| c.0.into()).collect()
            }
            Kind::Text(_) => vec!["some text".into(), "1.2.3.4".into(), "::1".into()],
            Kind::Directory => vec!["/".into()],
            Kind::Save => vec![String::new(), "1 0 900 7".into()],
            Kind::OutputLimits => vec!["normal 1 2 3 slave 4 5 6 pubsub 7 8 9".into()],
            Kind::OomScores => vec!["-2000 0 2000".into()],
            Kind::Events => vec![String::new(), "AKE".into(), "g$Km".into()],
            Kind::Addresses => vec![String::new(), "127.0.0.1 -::1".into()],
            Kind::Primary => vec!["host 6379".into()],
            Kind::Percentiles => vec![String::new(), "0 50 99.95 100".into()],
        }
    };
    for row in rows() {
        let mut accepted = 0;
        for sample in samples(row.kind) {
            let words: Vec<&[u8]> = if row.kind.takes_words() {
                crate::config::parameter::split_spaces(sample.as_bytes())
            } else {
                vec![sample.as_bytes()]
            };
            // A row's own check may refuse a sample; one of them must pass.
            let Ok(value) = row.parse(&words, Some(&row.default_value())) else {
                continue;
            };
            if row.clamp.is_none() {
                assert_eq!(row.kind.show(&value), sample.as_bytes(), "{}", row.name);
            }
            accepted += 1;
        }
        assert!(accepted > 0, "{} takes no sample", row.name);
    }
}

#[test]
fn the_nearest_name() {
    assert_eq!(nearest(b"maxmemry"), Some("maxmemory"));
    assert_eq!(nearest(b"append-only"), Some("appendonly"));
    assert_eq!(nearest(b"tcp_backlog"), Some("tcp-backlog"));
    assert_eq!(nearest(b"xyzzy"), None);
    assert_eq!(nearest(b""), None);
}
