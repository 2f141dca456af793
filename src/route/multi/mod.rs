//! Transactions that a client composes: `MULTI`, `EXEC`, `WATCH`; and commands as parts of others.

mod part;

pub use part::Answer;
pub(super) use part::Ran;
