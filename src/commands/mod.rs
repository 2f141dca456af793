//! The commands: one definition each, beside its handler, in a family's topic file.

pub mod context;
pub mod definition;
pub mod table;
