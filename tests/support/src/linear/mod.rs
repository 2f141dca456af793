//! A linearizability checker for recorded histories.
//!
//! A history says of every operation when it was invoked, when its reply came, and what the reply
//! was. It is linearizable when each operation can be given one moment between the two at which it
//! took effect, such that a sequential [`Model`] that executes them in that order gives the same
//! replies. Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects",
//! 1990, defines it; Wing and Gong, "Testing and verifying concurrent objects", 1993, give the
//! search; Lowe, "Testing for linearizability", 2017, adds the memory of visited configurations.
//!
//! Deviations: one configuration is a set of operations already placed and the state they lead to;
//! the search is over time-ordered invocations and replies in a linked list, from which a placed
//! operation is lifted and to which it is put back on the way back. An operation that changes
//! nothing is placed as soon as its reply fits, without alternatives: any order in which it comes
//! later stays one when it is moved forward to there. The work is bounded by
//! [`MOST_CONFIGURATIONS`]; a caller keeps histories short (see [`check`]) so that the bound is
//! hardly ever met.

pub mod draws;
pub mod keyspace;
pub mod wire;

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;

/// The most configurations that are visited before the checker gives up on a history.
pub const MOST_CONFIGURATIONS: usize = 1_000_000;

/// What the operations should do, one at a time.
pub trait Model {
    /// Everything that decides the outcome of later operations.
    type State: Clone + Eq + Hash;
    /// An operation with its arguments.
    type Op: fmt::Debug;
    /// The reply to an operation.
    type Reply: fmt::Debug + PartialEq;

    /// Executes one operation: the state after it and its reply.
    fn apply(state: &Self::State, op: &Self::Op) -> (Self::State, Self::Reply);

    /// Whether an operation with this reply leaves every state as it is. The search may place it
    /// as soon as its reply fits, and need not try to place it later: that shortens it most.
    fn only_looks(_op: &Self::Op, _reply: &Self::Reply) -> bool {
        false
    }
}

/// One operation as a client saw it. Times are in any unit, on one clock for all clients.
#[derive(Clone, Debug)]
pub struct Event<Op, Reply> {
    /// Which client sent it; only for reports.
    pub client: usize,
    /// What was asked.
    pub op: Op,
    /// No earlier than this the operation can have taken effect.
    pub invoked: u64,
    /// The reply and the time when it had come; `None` when the connection broke before, in which
    /// case the operation may have taken effect at any time after, or never.
    pub returned: Option<(u64, Reply)>,
}

/// What the checker found.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An order that explains every reply exists.
    Linearizable,
    /// No order does. The longest explained beginning is given, as indices into the history.
    Violation {
        /// The operations of the longest explained beginning, in their order.
        explained: Vec<usize>,
    },
    /// The bound of [`MOST_CONFIGURATIONS`] was reached.
    Undecided,
}

/// Decides whether a history of `M`'s operations is linearizable from a known `initial` state.
///
/// The time is exponential in the number of operations that overlap at one moment and linear in
/// the history's length: a caller splits a long run at moments when no operation is under way,
/// where it also learns the state by reading it.
pub fn check<M: Model>(initial: &M::State, history: &[Event<M::Op, M::Reply>]) -> Verdict {
    Search::<M>::new(initial.clone(), history).run()
}

/// A configuration's set of placed operations.
type Placed = Box<[u64]>;

/// The list's anchor: it comes before the first entry and after the last.
const ANCHOR: usize = 0;

/// An invocation or a reply in the time-ordered list.
#[derive(Clone, Copy)]
struct Entry {
    op: usize,
    /// For an invocation, where the entry of its reply is; `None` for a reply.
    reply_at: Option<usize>,
    before: usize,
    after: usize,
}

/// An operation that has been placed.
struct Placing<State> {
    /// Its invocation's entry.
    at: usize,
    /// The state before it.
    state: State,
    /// Whether no other operation needs to be tried in its place.
    forced: bool,
}

/// What became of an attempt to place an operation.
#[derive(PartialEq, Eq)]
enum Attempt {
    Placed,
    /// Its reply does not fit.
    Unfit,
    /// It leads to a configuration that has been visited, from which there is no way on.
    Visited,
}

struct Search<'a, M: Model> {
    history: &'a [Event<M::Op, M::Reply>],
    entries: Vec<Entry>,
    state: M::State,
    placed: Placed,
    visited: HashSet<(Placed, M::State)>,
    /// Placed invocations with the state before each.
    trail: Vec<Placing<M::State>>,
    longest: Vec<usize>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(state: M::State, history: &'a [Event<M::Op, M::Reply>]) -> Self {
        let placed = vec![0; history.len().div_ceil(64)].into_boxed_slice();
        Self {
            history,
            entries: timeline(history),
            state,
            placed,
            visited: HashSet::new(),
            trail: Vec::new(),
            longest: Vec::new(),
        }
    }

    fn run(mut self) -> Verdict {
        let mut next = self.place_lookers();
        while self.entries[ANCHOR].after != ANCHOR {
            if self.visited.len() > MOST_CONFIGURATIONS {
                return Verdict::Undecided;
            }
            let found = next.filter(|&at| at != ANCHOR && self.entries[at].reply_at.is_some());
            next = if let Some(at) = found {
                match self.place(at, false) {
                    Attempt::Placed => self.place_lookers(),
                    Attempt::Unfit | Attempt::Visited => Some(self.entries[at].after),
                }
            } else {
                // A dead end, or a reply whose operation is not placed yet: no other operation may
                // come before it.
                match self.take_back() {
                    None => return Verdict::Violation { explained: self.longest },
                    next => next,
                }
            };
        }
        Verdict::Linearizable
    }

    /// Places the operations that change nothing and whose replies fit. Yields the first entry
    /// afterwards; nothing when that leads to where the search has been.
    fn place_lookers(&mut self) -> Option<usize> {
        let mut at = self.entries[ANCHOR].after;
        while at != ANCHOR && self.entries[at].reply_at.is_some() {
            let Event { op, returned, .. } = &self.history[self.entries[at].op];
            let looks = returned.as_ref().is_some_and(|(_, reply)| M::only_looks(op, reply));
            let attempt = if looks { self.place(at, true) } else { Attempt::Unfit };
            at = match attempt {
                Attempt::Placed => self.entries[ANCHOR].after,
                Attempt::Unfit => self.entries[at].after,
                Attempt::Visited => return None,
            };
        }
        Some(self.entries[ANCHOR].after)
    }

    /// Tries to let the operation of the invocation at `at` take effect next.
    fn place(&mut self, at: usize, forced: bool) -> Attempt {
        let op = self.entries[at].op;
        let event = &self.history[op];
        let (state, reply) = M::apply(&self.state, &event.op);
        if event.returned.as_ref().is_some_and(|(_, seen)| *seen != reply) {
            return Attempt::Unfit;
        }
        let mut placed = self.placed.clone();
        placed[op / 64] |= 1 << (op % 64);
        if !self.visited.insert((placed.clone(), state.clone())) {
            return Attempt::Visited;
        }
        self.placed = placed;
        let state = std::mem::replace(&mut self.state, state);
        self.trail.push(Placing { at, state, forced });
        self.lift(at);
        if self.trail.len() > self.longest.len() {
            self.longest = self.trail.iter().map(|placing| self.entries[placing.at].op).collect();
        }
        Attempt::Placed
    }

    /// Undoes the last placing that has alternatives; yields the entry after it, where the search
    /// goes on.
    fn take_back(&mut self) -> Option<usize> {
        loop {
            let Placing { at, state, forced } = self.trail.pop()?;
            let op = self.entries[at].op;
            self.placed[op / 64] &= !(1 << (op % 64));
            self.state = state;
            self.put_back(at);
            if !forced {
                return Some(self.entries[at].after);
            }
        }
    }

    fn lift(&mut self, at: usize) {
        let reply = self.entries[at].reply_at.expect("invariant: only invocations are lifted");
        for entry in [at, reply] {
            let Entry { before, after, .. } = self.entries[entry];
            self.entries[before].after = after;
            self.entries[after].before = before;
        }
    }

    fn put_back(&mut self, at: usize) {
        let reply = self.entries[at].reply_at.expect("invariant: only invocations are lifted");
        // In the reverse order of lifting: the neighbours noted in an entry are then right again.
        for entry in [reply, at] {
            let Entry { before, after, .. } = self.entries[entry];
            self.entries[before].after = entry;
            self.entries[after].before = entry;
        }
    }
}

/// The invocations and replies of a history in the order of time, as a linked list with an anchor.
///
/// Of two at the same time the invocation comes first: then the operations count as overlapping,
/// which can only excuse a history, never accuse it. An operation without a reply gets one at the
/// end of time, whatever the reply.
fn timeline<Op, Reply>(history: &[Event<Op, Reply>]) -> Vec<Entry> {
    let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * history.len());
    for (op, event) in history.iter().enumerate() {
        let end = event.returned.as_ref().map_or(u64::MAX, |&(time, _)| time);
        assert!(event.invoked <= end, "an operation returned before it was invoked");
        moments.push((event.invoked, false, op));
        moments.push((end, true, op));
    }
    moments.sort_unstable();
    let last = moments.len();
    let mut entries = vec![Entry { op: usize::MAX, reply_at: None, before: last, after: 1 }];
    let mut invoked_at = vec![ANCHOR; history.len()];
    for (index, &(_, is_reply, op)) in moments.iter().enumerate() {
        let at = index + 1;
        let after = if at == last { ANCHOR } else { at + 1 };
        entries.push(Entry { op, reply_at: None, before: index, after });
        if is_reply {
            entries[invoked_at[op]].reply_at = Some(at);
        } else {
            invoked_at[op] = at;
        }
    }
    if last == 0 {
        entries[ANCHOR].after = ANCHOR;
    }
    entries
}

/// A history as text, one operation a line in the order of invocation, for a failed test's report.
pub fn describe<Op: fmt::Debug, Reply: fmt::Debug>(history: &[Event<Op, Reply>]) -> String {
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|&index| history[index].invoked);
    let first = order.first().map_or(0, |&index| history[index].invoked);
    let mut lines = Vec::with_capacity(history.len());
    for index in order {
        let Event { client, op, invoked, returned } = &history[index];
        let begin = invoked - first;
        let line = match returned {
            Some((end, reply)) => format!("{begin}..{} {op:?} -> {reply:?}", end - first),
            None => format!("{begin}.. {op:?} -> no reply"),
        };
        lines.push(format!("[{index}] client {client}: {line}"));
    }
    lines.join("\n")
}
