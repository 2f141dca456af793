//! `LOLWUT`: a picture, and the version.

use kvasir_proto::{Args, Encoder};

use crate::commands::arguments::{integer, is_word};
use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler};
use crate::errors::CommandError;
use crate::identity;

/// Width and height of the picture.
const COLUMNS: usize = 66;
const ROWS: usize = 20;
/// Elementary cellular automata whose pictures are worth looking at.
const RULES: [u8; 8] = [22, 30, 45, 73, 90, 105, 110, 150];

pub(super) const LOLWUT: Command = Command {
    name: "lolwut",
    summary: "Displays computer art and the server version",
    since: "5.0.0",
    group: Group::Server,
    arity: Arity::at_least(1),
    flags: Flags::READONLY.or(Flags::FAST),
    args: &[Arg::integer("version").after("VERSION").optional()],
    handler: Handler::Local(lolwut),
    ..Command::BASE
};

/// Which picture the peers' versions would show makes no difference here.
fn lolwut(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    if let (Some(word), Some(version)) = (args.get(1), args.get(2))
        && is_word(word, "VERSION")
    {
        integer(version)?;
    }
    let seed = context.state.now.unix_us;
    let rule = RULES[(seed % RULES.len() as u64) as usize];
    let picture = picture(rule, seed);
    let text = format!("{picture}\nRule {rule}. Kvasir ver. {}\n", identity::OWN_VERSION);
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// Generations of a one-dimensional automaton on a ring: a cell's next state is the bit of the rule
/// that it and its neighbours number.
fn picture(rule: u8, seed: u64) -> String {
    let mut cells = first_generation(seed);
    let mut text = String::with_capacity(ROWS * (COLUMNS + 1));
    for _ in 0..ROWS {
        text.extend(cells.iter().map(|alive| if *alive { '#' } else { ' ' }));
        text.push('\n');
        cells = std::array::from_fn(|at| {
            let left = cells[(at + COLUMNS - 1) % COLUMNS];
            let right = cells[(at + 1) % COLUMNS];
            let number = u8::from(left) << 2 | u8::from(cells[at]) << 1 | u8::from(right);
            rule >> number & 1 == 1
        });
    }
    text
}

/// A few cells, scattered by the bits of the seed.
fn first_generation(seed: u64) -> [bool; COLUMNS] {
    let mut cells = [false; COLUMNS];
    cells[COLUMNS / 2] = true;
    for shift in [0, 16, 32] {
        let mixed = (seed >> shift).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        cells[mixed as usize % COLUMNS] = true;
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_their_size_and_follow_from_the_seed() {
        for rule in RULES {
            let text = picture(rule, 12_345);
            assert_eq!(text.lines().count(), ROWS);
            assert!(text.lines().all(|line| line.len() == COLUMNS));
            assert_eq!(text, picture(rule, 12_345));
        }
        assert_ne!(picture(30, 1), picture(30, 2));
    }
}
