//! Elements that go from one list to another: LMOVE, RPOPLPUSH, LMOVEM, and those of them that
//! wait for an element.
//!
//! The elements are copied from the source, pushed, and only then popped: the events come in the
//! peers' order, and a destination of another type is noticed before anything has changed.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{Direction, End, ListMut, ListRef, ValueType};
use std::ops::ControlFlow;

use super::arguments::{end_of_word, pop_command, pop_event, positive, push_event};
use crate::commands::arguments::{Options, is_word};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{
    Arg, Arity, Attempt, Blocking, Command, Deprecation, Flags, Group, Handler, KeyFlags, KeySpec,
    Patience, SpreadAttempt, SpreadCoordination, SpreadOutcome,
};
use crate::commands::effect::LoggedWords;
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

/// How several elements come to lie at the destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// Each was popped and pushed before the next.
    OneByOne,
    /// As they lay at the source.
    Bulk,
}

/// What is replied with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// The one element.
    Element,
    /// An array of them.
    Array,
}

/// What moves, from where to where.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    from: End,
    to: End,
    count: usize,
    /// Nothing moves unless there are so many.
    exactly: bool,
    order: Order,
    shape: Shape,
    /// What is logged in place of a command that waits.
    impatient: Option<Impatient>,
}

/// The elements that move, in the order in which they will lie.
type Batch = Vec<Box<[u8]>>;

impl Transfer {
    const fn of_one(from: End, to: End, shape: Shape) -> Self {
        let order = Order::OneByOne;
        Self { from, to, count: 1, exactly: false, order, shape, impatient: None }
    }

    /// RPOPLPUSH.
    fn rotation(_: Args<'_>) -> Result<Self, CommandError> {
        Ok(Self::of_one(End::Back, End::Front, Shape::Element))
    }

    /// BRPOPLPUSH.
    fn rotation_later(args: Args<'_>) -> Result<Self, CommandError> {
        let impatient = Some(Impatient { name: "RPOPLPUSH", end: 3 });
        Ok(Self { impatient, ..Self::rotation(args)? })
    }

    /// LMOVE.
    fn single(args: Args<'_>) -> Result<Self, CommandError> {
        Ok(Self::of_one(end_of_word(args.at(3))?, end_of_word(args.at(4))?, Shape::Element))
    }

    /// BLMOVE.
    fn single_later(args: Args<'_>) -> Result<Self, CommandError> {
        let impatient = Some(Impatient { name: "LMOVE", end: 5 });
        Ok(Self { impatient, ..Self::single(args)? })
    }

    /// LMOVEM.
    fn several(args: Args<'_>) -> Result<Self, CommandError> {
        Self::with_amount(args, 5)
    }

    /// BLMOVEM, which has a timeout before the amount.
    fn several_later(args: Args<'_>) -> Result<Self, CommandError> {
        Self::with_amount(args, 6)
    }

    fn with_amount(args: Args<'_>, first: usize) -> Result<Self, CommandError> {
        let (from, to) = (end_of_word(args.at(3))?, end_of_word(args.at(4))?);
        let mut transfer = Self::of_one(from, to, Shape::Array);
        let mut options = Options::new(args, first);
        let Some(word) = options.next() else { return Ok(transfer) };
        transfer.exactly = is_word(word, "EXACTLY");
        let error = match transfer.exactly {
            true => "ERR exactly should be greater than 0",
            false if is_word(word, "COUNT") => "ERR count should be greater than 0",
            false => return Err(CommandError::Syntax),
        };
        transfer.count = positive(options.value()?, error)?;
        let order = options.value()?;
        transfer.order = if is_word(order, "OBO") {
            Order::OneByOne
        } else if is_word(order, "BULK") {
            Order::Bulk
        } else {
            return Err(CommandError::Syntax);
        };
        if options.next().is_some() { Err(CommandError::Syntax) } else { Ok(transfer) }
    }

    /// Copies what moves; `None` when there is nothing or not enough.
    fn copy(&self, list: ListRef<'_>) -> Option<Batch> {
        let len = list.len();
        let count = self.count.min(len);
        if count == 0 || (self.exactly && count < self.count) {
            return None;
        }
        let (first, direction) = match self.from {
            End::Front => (0, Direction::Forward),
            End::Back => (len - 1, Direction::Backward),
        };
        let mut batch = Batch::with_capacity(count);
        list.visit(first, direction, |element| {
            batch.push(element.into());
            if batch.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let is_reversed = match self.order {
            Order::OneByOne => self.to == End::Front,
            Order::Bulk => self.from == End::Back,
        };
        if is_reversed {
            batch.reverse();
        }
        Some(batch)
    }

    /// Logs what moves several elements, which the peers have no command for: its first half. The
    /// second is [`log_push`](Self::log_push), and their order matters within one list.
    fn log_pop(&self, context: &mut ShardContext<'_>, from: &[u8], count: usize) {
        if self.shape == Shape::Array {
            context.log_popped(pop_command(self.from), from, count);
        }
    }

    fn log_push(&self, context: &mut ShardContext<'_>, to: &[u8], batch: &Batch) {
        if self.shape == Shape::Array {
            let elements = batch.iter().map(|element| &**element);
            match self.to {
                End::Back => context.log_on("RPUSH", to, elements),
                End::Front => context.log_on("LPUSH", to, elements.rev()),
            }
        }
    }

    fn push(&self, list: &mut ListMut<'_>, batch: &Batch) {
        match self.to {
            End::Back => batch.iter().for_each(|element| list.push(End::Back, element)),
            End::Front => batch.iter().rev().for_each(|element| list.push(End::Front, element)),
        }
        list.event(push_event(self.to));
    }

    fn pop(&self, list: &mut ListMut<'_>, count: usize) {
        for _ in 0..count {
            list.pop(self.from, |_| ()).expect("invariant: the elements were copied just now");
        }
    }

    /// Moves between lists of one shard.
    fn run(
        &self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
    ) -> Result<Option<Batch>, CommandError> {
        let (from, to) = (context.key(args.at(1)), context.key(args.at(2)));
        let Some(list) = context.shard.list_at(context.db, &from, true)? else { return Ok(None) };
        let Some(batch) = self.copy(list) else {
            // A destination of another type is an error all the same.
            context.shard.list_at(context.db, &to, false)?;
            return Ok(None);
        };
        if from.bytes == to.bytes {
            context.shard.update_list(context.db, &from, |list| {
                self.pop(list, batch.len());
                self.push(list, &batch);
                list.event(pop_event(self.from));
            })?;
        } else {
            context.shard.update_list(context.db, &to, |list| self.push(list, &batch))?;
            context.shard.update_list(context.db, &from, |list| {
                self.pop(list, batch.len());
                list.event(pop_event(self.from));
            })?;
        }
        context.changed(batch.len() as u64);
        self.log_pop(context, from.bytes, batch.len());
        self.log_push(context, to.bytes, &batch);
        Ok(Some(batch))
    }

    /// Moves between lists of two shards.
    async fn run_between(
        self,
        transaction: &Transaction,
        request: &Request,
    ) -> Result<Option<Batch>, CommandError> {
        let view = request.view;
        let (from, to) = (request.args().at(1), request.args().at(2));
        let (from_owner, to_owner) = (request.owner(from), request.owner(to));
        let (from, to): (Box<[u8]>, Box<[u8]>) = (from.into(), to.into());
        let name = from.clone();
        let copy = move |state: &mut CoreState| -> Result<Option<Batch>, CommandError> {
            let context = shard_context(state, view);
            let key = context.key(&name);
            let list = context.shard.list_at(context.db, &key, true)?;
            Ok(list.and_then(|list| self.copy(list)))
        };
        let Some(batch) = transaction.on(from_owner, copy).await? else { return Ok(None) };
        let count = batch.len();
        let push = move |state: &mut CoreState| -> Result<Batch, CommandError> {
            let mut context = shard_context(state, view);
            let key = context.key(&to);
            context.shard.update_list(context.db, &key, |list| self.push(list, &batch))?;
            self.log_push(&mut context, key.bytes, &batch);
            Ok(batch)
        };
        let batch = transaction.on(to_owner, push).await?;
        let pop = move |state: &mut CoreState| -> Result<(), CommandError> {
            let mut context = shard_context(state, view);
            let key = context.key(&from);
            context.shard.update_list(context.db, &key, |list| {
                self.pop(list, count);
                list.event(pop_event(self.from));
            })?;
            context.changed(count as u64);
            self.log_pop(&mut context, key.bytes, count);
            Ok(())
        };
        transaction.on(from_owner, pop).await?;
        Ok(Some(batch))
    }

    fn encode(&self, moved: Option<&Batch>, reply: &mut Encoder<'_>) {
        match (moved, self.shape) {
            (Some(batch), Shape::Element) => reply.bulk(&batch[0]),
            (Some(batch), Shape::Array) => {
                reply.array(batch.len());
                for element in batch {
                    reply.bulk(element);
                }
            }
            (None, Shape::Array) if !self.exactly => reply.array(0),
            (None, _) => reply.null(),
        }
    }

    /// Runs a command that does not wait.
    fn answer(
        &self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> Result<(), CommandError> {
        let moved = self.run(context, args)?;
        self.encode(moved.as_ref(), reply);
        Ok(())
    }

    /// Tries a command that waits.
    fn attempt(
        &self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> Result<Attempt, CommandError> {
        let Some(batch) = self.run(context, args)? else { return Ok(Attempt::Wait) };
        self.encode(Some(&batch), reply);
        if let Some(impatient) = self.impatient {
            context.log_as(&impatient.words(args));
        }
        Ok(Attempt::Done)
    }
}

/// The command that does without waiting what another does.
#[derive(Clone, Copy, Debug)]
struct Impatient {
    name: &'static str,
    /// Its arguments are the other's up to here.
    end: usize,
}

impl Impatient {
    fn words<'a>(self, args: Args<'a>) -> LoggedWords<'a> {
        let mut words: LoggedWords<'a> = args.iter().take(self.end).collect();
        words[0] = self.name.as_bytes();
        words
    }
}

/// Reads what a command is to move.
type Parser = fn(Args<'_>) -> Result<Transfer, CommandError>;

fn spread(transaction: Transaction, request: Request, parse: Parser) -> Coordination {
    Box::pin(async move {
        let transfer = parse(request.args())?;
        let moved = transfer.run_between(&transaction, &request).await?;
        Ok(request.encode(|reply| transfer.encode(moved.as_ref(), reply)))
    })
}

fn spread_attempt(transaction: Transaction, request: Request, parse: Parser) -> SpreadCoordination {
    Box::pin(async move {
        let transfer = parse(request.args())?;
        Ok(match transfer.run_between(&transaction, &request).await? {
            None => SpreadOutcome::Wait,
            moved => {
                if let Some(impatient) = transfer.impatient {
                    transaction.log_as(request.view.db, &impatient.words(request.args()));
                }
                SpreadOutcome::Done(request.encode(|reply| transfer.encode(moved.as_ref(), reply)))
            }
        })
    })
}

pub(super) const LMOVE: Command = Command {
    name: "lmove",
    summary: "Returns an element after popping it from one list and pushing it to another. \
        Deletes the list if the last element was moved.",
    complexity: "O(1)",
    since: "6.2.0",
    group: Group::List,
    arity: Arity::exactly(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    args: &[
        Arg::key("source", 0),
        Arg::key("destination", 1),
        Arg::one_of("wherefrom", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
        Arg::one_of("whereto", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
    ],
    handler: Handler::Multi { whole: lmove, spread: lmove_spread },
    ..Command::BASE
};

fn lmove(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    Transfer::single(args)?.answer(context, args, reply)
}

fn lmove_spread(transaction: Transaction, request: Request) -> Coordination {
    spread(transaction, request, Transfer::single)
}

pub(super) const RPOPLPUSH: Command = Command {
    name: "rpoplpush",
    summary: "Returns the last element of a list after removing and pushing it to another \
        list. Deletes the list if the last element was popped.",
    complexity: "O(1)",
    since: "1.2.0",
    group: Group::List,
    arity: Arity::exactly(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    args: &[Arg::key("source", 0), Arg::key("destination", 1)],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
    }),
    handler: Handler::Multi { whole: rpoplpush, spread: rpoplpush_spread },
    ..Command::BASE
};

fn rpoplpush(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    Transfer::rotation(args)?.answer(context, args, reply)
}

fn rpoplpush_spread(transaction: Transaction, request: Request) -> Coordination {
    spread(transaction, request, Transfer::rotation)
}

pub(super) const LMOVEM: Command = Command {
    name: "lmovem",
    summary: "Moves up to (or exactly) a number of elements from one list to another and returns \
        them. Deletes the source list if it becomes empty.",
    complexity: "O(N) where N is the number of elements moved.",
    since: "8.10.0",
    group: Group::List,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    args: &[
        Arg::key("source", 0),
        Arg::key("destination", 1),
        Arg::one_of("wherefrom", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
        Arg::one_of("whereto", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
        HOW_MANY,
    ],
    handler: Handler::Multi { whole: lmovem, spread: lmovem_spread },
    ..Command::BASE
};

/// How many elements LMOVEM and BLMOVEM move, and in which order.
const HOW_MANY: Arg = Arg::block(
    "how-many",
    &[
        Arg::one_of(
            "selector",
            &[Arg::integer("count").after("COUNT"), Arg::integer("exactly").after("EXACTLY")],
        ),
        Arg::one_of("ordering", &[Arg::token("obo", "OBO"), Arg::token("bulk", "BULK")]),
    ],
)
.optional();

fn lmovem(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    Transfer::several(args)?.answer(context, args, reply)
}

fn lmovem_spread(transaction: Transaction, request: Request) -> Coordination {
    spread(transaction, request, Transfer::several)
}

pub(super) const BLMOVE: Command = Command {
    name: "blmove",
    summary: "Pops an element from a list, pushes it to another list and returns it. Blocks \
        until an element is available otherwise. Deletes the list if the last element \
        was moved.",
    complexity: "O(1)",
    since: "6.2.0",
    group: Group::List,
    arity: Arity::exactly(6),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::BLOCKING),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    args: &[
        Arg::key("source", 0),
        Arg::key("destination", 1),
        Arg::one_of("wherefrom", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
        Arg::one_of("whereto", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
        Arg::double("timeout"),
    ],
    handler: Handler::Blocking(&Blocking {
        patience: blmove_patience,
        awaits: ValueType::List,
        shares: false,
        notices_loss: false,
        whole: blmove,
        spread: SpreadAttempt::By(blmove_spread),
        nothing: |reply| reply.null_array(),
        not_waiting: |reply| reply.null(),
    }),
    ..Command::BASE
};

fn blmove_patience(args: Args<'_>) -> Result<Patience, CommandError> {
    Transfer::single_later(args)?;
    Patience::of_seconds(args.at(5))
}

fn blmove(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    Transfer::single_later(args)?.attempt(context, args, reply)
}

fn blmove_spread(transaction: Transaction, request: Request) -> SpreadCoordination {
    spread_attempt(transaction, request, Transfer::single_later)
}

pub(super) const BRPOPLPUSH: Command = Command {
    name: "brpoplpush",
    summary: "Pops an element from a list, pushes it to another list and returns it. Block \
        until an element is available otherwise. Deletes the list if the last element \
        was popped.",
    complexity: "O(1)",
    since: "2.2.0",
    group: Group::List,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::BLOCKING),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    args: &[Arg::key("source", 0), Arg::key("destination", 1), Arg::double("timeout")],
    history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
    deprecated: Some(Deprecation {
        since: "6.2.0",
        replaced_by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
    }),
    handler: Handler::Blocking(&Blocking {
        patience: brpoplpush_patience,
        awaits: ValueType::List,
        shares: false,
        notices_loss: false,
        whole: brpoplpush,
        spread: SpreadAttempt::By(brpoplpush_spread),
        nothing: |reply| reply.null_array(),
        not_waiting: |reply| reply.null(),
    }),
    ..Command::BASE
};

fn brpoplpush_patience(args: Args<'_>) -> Result<Patience, CommandError> {
    Transfer::rotation_later(args)?;
    Patience::of_seconds(args.at(3))
}

fn brpoplpush(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    Transfer::rotation_later(args)?.attempt(context, args, reply)
}

fn brpoplpush_spread(transaction: Transaction, request: Request) -> SpreadCoordination {
    spread_attempt(transaction, request, Transfer::rotation_later)
}

pub(super) const BLMOVEM: Command = Command {
    name: "blmovem",
    summary: "Moves up to (or exactly) a number of elements from one list to another and returns \
        them. Blocks until the elements are available otherwise. Deletes the source list if it \
        becomes empty.",
    complexity: "O(N) where N is the number of elements moved.",
    since: "8.10.0",
    group: Group::List,
    arity: Arity::at_least(6),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::BLOCKING),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    args: &[
        Arg::key("source", 0),
        Arg::key("destination", 1),
        Arg::one_of("wherefrom", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
        Arg::one_of("whereto", &[Arg::token("left", "LEFT"), Arg::token("right", "RIGHT")]),
        Arg::double("timeout"),
        HOW_MANY,
    ],
    handler: Handler::Blocking(&Blocking {
        patience: blmovem_patience,
        awaits: ValueType::List,
        shares: false,
        notices_loss: false,
        whole: blmovem,
        spread: SpreadAttempt::By(blmovem_spread),
        nothing: |reply| reply.null_array(),
        not_waiting: |reply| reply.null_array(),
    }),
    ..Command::BASE
};

fn blmovem_patience(args: Args<'_>) -> Result<Patience, CommandError> {
    Transfer::several_later(args)?;
    Patience::of_seconds(args.at(5))
}

fn blmovem(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<Attempt, CommandError> {
    Transfer::several_later(args)?.attempt(context, args, reply)
}

fn blmovem_spread(transaction: Transaction, request: Request) -> SpreadCoordination {
    spread_attempt(transaction, request, Transfer::several_later)
}
