//! Members taken out of a shard, for what joins several sorted sets, and the ways to join them.

use std::cmp::Ordering;

use ahash::AHashMap;
use kvasir_shard::{Elements, SourceRef, ValueRef};

/// Members with scores in one buffer.
#[derive(Clone, Default, Debug)]
pub(in crate::commands) struct Gathered {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    end: usize,
    score: f64,
}

impl Gathered {
    /// All members of a source.
    pub(in crate::commands) fn all(source: &SourceRef<'_>) -> Self {
        let mut gathered = Self::default();
        gathered.items.reserve_exact(source.len());
        source.for_each(|name, score| gathered.push(name, score));
        gathered
    }

    fn push(&mut self, name: ValueRef<'_>, score: f64) {
        name.write_to(&mut self.bytes);
        self.items.push(Item { end: self.bytes.len(), score });
    }

    pub(in crate::commands) fn len(&self) -> usize {
        self.items.len()
    }

    /// The members in the order in which they were added.
    pub(in crate::commands) fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        let mut start = 0;
        self.items.iter().map(move |item| {
            let name = &self.bytes[start..item.end];
            start = item.end;
            (name, item.score)
        })
    }
}

/// The scores of one set's members in another; `None` where it does not have the member.
pub(in crate::commands) fn scores_in(
    source: Option<&SourceRef<'_>>,
    names: &Gathered,
) -> Vec<Option<f64>> {
    names.iter().map(|(name, _)| source.and_then(|source| source.score(name))).collect()
}

/// How the scores of one member become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aggregate {
    Sum,
    Min,
    Max,
    /// The sum of the weights, whatever the scores: without weights, the number of sets.
    Count,
}

impl Aggregate {
    /// A score with its set's weight.
    fn weighted(self, score: f64, weight: f64) -> f64 {
        let product = if self == Self::Count { weight } else { score * weight };
        if product.is_nan() { 0.0 } else { product }
    }

    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum | Self::Count => {
                let sum = a + b;
                // Opposite infinities.
                if sum.is_nan() { 0.0 } else { sum }
            }
            Self::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// Members of a result in order.
pub(super) struct Joined<'a> {
    members: Vec<(f64, &'a [u8])>,
}

impl<'a> Joined<'a> {
    fn new(mut members: Vec<(f64, &'a [u8])>) -> Self {
        members.sort_unstable_by(|a, b| {
            let by_score = a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal);
            by_score.then_with(|| a.1.cmp(b.1))
        });
        Self { members }
    }

    /// The members of any of the sets, which come with their weights.
    pub(super) fn union(sets: &'a [(Gathered, f64)], aggregate: Aggregate) -> Self {
        let most = sets.iter().map(|(set, _)| set.len()).max().unwrap_or(0);
        let mut scores: AHashMap<&[u8], f64> = AHashMap::with_capacity(most);
        for (set, weight) in sets {
            for (name, score) in set.iter() {
                let score = aggregate.weighted(score, *weight);
                scores
                    .entry(name)
                    .and_modify(|present| *present = aggregate.join(*present, score))
                    .or_insert(score);
            }
        }
        Self::new(scores.into_iter().map(|(name, score)| (score, name)).collect())
    }

    /// The members of a set that all the others have. The others come as their scores for each
    /// member, and their weights.
    pub(super) fn intersection(
        first: &'a Gathered,
        weight: f64,
        others: &[(Vec<Option<f64>>, f64)],
        aggregate: Aggregate,
    ) -> Self {
        let joined = first.iter().enumerate().filter_map(|(at, (name, score))| {
            let mut total = aggregate.weighted(score, weight);
            for (scores, weight) in others {
                total = aggregate.join(total, aggregate.weighted(scores[at]?, *weight));
            }
            Some((total, name))
        });
        Self::new(joined.collect())
    }

    /// The members of a set that none of the others has.
    pub(super) fn difference(first: &'a Gathered, others: &[Vec<Option<f64>>]) -> Self {
        let is_alone = |at: usize| others.iter().all(|scores| scores[at].is_none());
        let left = first.iter().enumerate().filter(|(at, _)| is_alone(*at));
        Self::new(left.map(|(_, (name, score))| (score, name)).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ValueRef<'a>, f64)> {
        self.members.iter().map(|(score, name)| (ValueRef::Bytes(name), *score))
    }

    /// The members to be stored.
    pub(super) fn elements(&self) -> Elements {
        let bytes = self.members.iter().map(|(_, name)| name.len() + 12).sum();
        let mut elements = Elements::with_capacity(bytes);
        self.iter().for_each(|(name, score)| elements.push_scored(name, score, None));
        elements
    }
}
