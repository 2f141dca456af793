//! The process title, which `ps` shows in place of the command line.

use crate::config::{Config, title};
use crate::server::process::TitleMemory;

/// The title and where it is written.
#[derive(Debug)]
pub struct Title {
    /// The program as it was called.
    program: String,
    memory: TitleMemory,
}

impl Title {
    /// Takes over the memory that shows the title; nothing where the kernel does not tell where
    /// that is. `program` is the program as it was called.
    ///
    /// To be called before any other thread is started; see [`TitleMemory::take_over`].
    pub fn take_over(program: String) -> Option<Self> {
        TitleMemory::take_over().map(|memory| Self { program, memory })
    }

    /// Writes the title that the configuration asks for.
    pub(super) fn show(&mut self, config: &Config) {
        if let Some(title) = text(&self.program, config) {
            self.memory.write(title.as_bytes());
        }
    }
}

/// The template with the values of this server; nothing for a template that is not valid, which
/// the configuration has refused before.
fn text(program: &str, config: &Config) -> Option<String> {
    title::expand(&config.process.title_template, |name| variable(program, config, name))
}

fn variable(program: &str, config: &Config, name: &str) -> Option<String> {
    let network = &config.network;
    let shown = |name: &str| {
        let found = config.get(&[name.as_bytes()]);
        let text = found.first().map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        text.unwrap_or_default()
    };
    Some(match name {
        "title" => program.to_owned(),
        "listen-addr" if network.port == 0 => format!("unixsocket:{}", shown("unixsocket")),
        "listen-addr" => {
            let address = network.bind.first().map_or("*", String::as_str);
            format!("{address}:{}", network.port)
        }
        // Neither a node of a cluster nor a sentinel.
        "server-mode" => String::new(),
        "port" | "tls-port" | "unixsocket" => shown(name),
        "config-file" => config.file().map_or("-".into(), |file| file.display().to_string()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, expected: &str) {
        let config = Config::from_text(config).unwrap();
        assert_eq!(text("src/kvasir-server", &config).as_deref(), Some(expected), "{config:?}");
    }

    #[test]
    fn variables_have_the_servers_values() {
        check("port 7000\nbind 127.0.0.1 ::1", "src/kvasir-server 127.0.0.1:7000");
        check("bind \"\"", "src/kvasir-server *:6379");
        check("port 0\nunixsocket /tmp/s", "src/kvasir-server unixsocket:/tmp/s");
        let all = "proc-title-template \"T {port} {tls-port} {unixsocket} {config-file} {title}\"";
        check(&format!("{all}\nunixsocket /s"), "T 6379 0 /s - src/kvasir-server");
    }
}
