//! Lookup of commands by name.
use super::definition::{Command, KeyFlags};
use crate::errors::CommandError;
use kvasir_proto::Args;
/// A command in the table.
#[derive(Debug)]
pub struct Entry {
    /// Its definition.
    pub command: &'static Command,
    /// Its number.
    pub id: u16,
    /// First key.
    pub first_key: Option<usize>,
}
impl Entry {
    /// Calls `visit` for each key.
    pub fn keys(
        &self,
        _args: Args<'_>,
        _visit: impl FnMut(usize, KeyFlags),
    ) -> Result<(), CommandError> {
        Ok(())
    }
}
/// How many there are.
pub fn len() -> usize {
    0
}
/// Finds it.
pub fn resolve(_args: Args<'_>) -> Result<&'static Entry, CommandError> {
    Err(CommandError::Syntax)
}
