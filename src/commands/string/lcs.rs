//! LCS: the longest common subsequence of two strings.

use kvasir_proto::{Args, Encoder};

use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

/// Cells of the comparison table that are computed at most: it is of quadratic size, and one
/// command must not hold its core or take memory without end.
const CELLS_MAX: usize = 1 << 28;

pub(super) const LCS: Command = Command {
    name: "lcs",
    summary: "Finds the longest common substring.",
    complexity: "O(N*M) where N and M are the lengths of s1 and s2, respectively",
    since: "7.0.0",
    group: Group::String,
    arity: Arity::at_least(3),
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1).range(1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key1", 0),
        Arg::key("key2", 0),
        Arg::token("len", "LEN").optional(),
        Arg::token("idx", "IDX").optional(),
        Arg::integer("min-match-len").after("MINMATCHLEN").optional(),
        Arg::token("withmatchlen", "WITHMATCHLEN").optional(),
    ],
    handler: Handler::Multi { whole: lcs, spread: lcs_spread },
    ..Command::BASE
};

/// What LCS answers with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Text,
    Length,
    Indexes { min_len: usize, with_len: bool },
}

fn form(args: Args<'_>) -> Result<Form, CommandError> {
    let (mut length, mut indexes, mut with_len, mut min_len) = (false, false, false, 0);
    let mut options = Options::new(args, 3);
    while let Some(word) = options.next() {
        if is_word(word, "IDX") {
            indexes = true;
        } else if is_word(word, "LEN") {
            length = true;
        } else if is_word(word, "WITHMATCHLEN") {
            with_len = true;
        } else if is_word(word, "MINMATCHLEN") && options.left() > 0 {
            min_len = usize::try_from(integer(options.value()?)?).unwrap_or(0);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    match (length, indexes) {
        (true, true) => Err(CommandError::Other(
            "ERR If you want both the length and indexes, please just use IDX.",
        )),
        (true, false) => Ok(Form::Length),
        (false, true) => Ok(Form::Indexes { min_len, with_len }),
        (false, false) => Ok(Form::Text),
    }
}

fn lcs(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    // Both are looked up, which may tell of a miss, before the type of either matters.
    let (a, b) = (text(context, args.at(1)), text(context, args.at(2)));
    let (a, b) = (a?, b?);
    answer(&a, &b, form(args)?, context.string_max, reply)
}

fn text(context: &mut ShardContext<'_>, key: &[u8]) -> Result<Vec<u8>, CommandError> {
    let key = context.key(key);
    let not_a_string = CommandError::Other("ERR The specified keys must contain string values");
    context.read(&key).map_or(Ok(Vec::new()), |value| value.to_vec().ok_or(not_a_string))
}

fn lcs_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let view = request.view;
        let tasks = [1, 2].map(|index| {
            let key: Box<[u8]> = request.args().at(index).into();
            let owner = request.owner(&key);
            (owner, move |state: &mut CoreState| text(&mut shard_context(state, view), &key))
        });
        let mut texts = transaction.last_hop(tasks).await.into_iter();
        let mut next = || texts.next().expect("invariant: a result for each key");
        let (a, b) = (next()?, next()?);
        let form = form(request.args())?;
        let string_max = request.shared.config.load().clients.bulk_bytes_max as usize;
        let mut result = Ok(());
        let reply = request.encode(|reply| result = answer(&a, &b, form, string_max, reply));
        result.map(|()| reply)
    })
}

/// A run of equal bytes: where it begins and ends in each string, inclusively.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Match {
    a: (usize, usize),
    b: (usize, usize),
}

/// Compares two texts and replies. The table of the comparison may not take more than
/// `proto-max-bulk-len`, `string_max`, as with the peers.
fn answer(
    a: &[u8],
    b: &[u8],
    form: Form,
    string_max: usize,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let cells_max = CELLS_MAX.min(string_max / size_of::<u32>());
    if (a.len() + 1).saturating_mul(b.len() + 1) > cells_max {
        return Err(CommandError::Other(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = LengthTable::new(a, b);
    let Form::Indexes { min_len, with_len } = form else {
        if form == Form::Length {
            reply.integer(i64::from(table.longest()));
        } else {
            reply.bulk(&table.trace(a, b).0);
        }
        return Ok(());
    };
    let (_, mut matches) = table.trace(a, b);
    matches.retain(|m| m.a.1 + 1 - m.a.0 >= min_len);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.len());
    for m in &matches {
        reply.array(if with_len { 3 } else { 2 });
        for (from, to) in [m.a, m.b] {
            reply.array(2);
            reply.integer(from as i64);
            reply.integer(to as i64);
        }
        if with_len {
            reply.integer((m.a.1 + 1 - m.a.0) as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(i64::from(table.longest()));
    Ok(())
}

/// The length of the longest common subsequence of every pair of prefixes.
struct LengthTable {
    cells: Vec<u32>,
    width: usize,
    height: usize,
}

impl LengthTable {
    fn new(a: &[u8], b: &[u8]) -> Self {
        let (width, height) = (b.len() + 1, a.len() + 1);
        let mut table = Self { cells: vec![0; width * height], width, height };
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                let longest = if x == y {
                    table.at(i, j) + 1
                } else {
                    table.at(i, j + 1).max(table.at(i + 1, j))
                };
                table.cells[(i + 1) * width + j + 1] = longest;
            }
        }
        table
    }

    fn at(&self, a: usize, b: usize) -> u32 {
        self.cells[a * self.width + b]
    }

    fn longest(&self) -> u32 {
        self.at(self.height - 1, self.width - 1)
    }

    /// The subsequence, and the runs that it consists of from the last to the first.
    fn trace(&self, a: &[u8], b: &[u8]) -> (Vec<u8>, Vec<Match>) {
        let (mut i, mut j) = (a.len(), b.len());
        let mut text = Vec::new();
        let mut matches: Vec<Match> = Vec::new();
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                text.push(a[i]);
                match matches.last_mut() {
                    Some(last) if last.a.0 == i + 1 && last.b.0 == j + 1 => {
                        (last.a.0, last.b.0) = (i, j);
                    }
                    _ => matches.push(Match { a: (i, i), b: (j, j) }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        text.reverse();
        (text, matches)
    }
}
