//! Prints `docs/commands.md`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().lock().write_all(kvasir_server::commands::page::render().as_bytes())
}
