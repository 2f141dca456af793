//! A throw-away copy of Valkey's source tree in which `src/valkey-server` is our server.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kvasir_testing::{cache_dir, peers};
use tempfile::TempDir;

/// The tree, removed when dropped. What the suite writes to is its own; the rest are links.
pub(crate) struct Tree {
    dir: TempDir,
}

impl Tree {
    /// Builds the tree around a server's executable.
    pub(crate) fn build(server: &Path) -> Self {
        // A short path: the servers' unix sockets lie below it, and those may have 108 bytes.
        let dir = TempDir::with_prefix("kv").expect("create a temporary directory");
        let tree = Self { dir };
        let suite = peers::prefix().join("suite");
        link_entries(&suite, tree.root(), &["src", "tests"]);
        link_entries(&suite.join("tests"), &tree.root().join("tests"), &["tmp"]);
        link_entries(&suite.join("src"), &tree.root().join("src"), &[]);
        fs::create_dir(tree.root().join("tests/tmp")).expect("create tests/tmp");
        tree.wrap("valkey-server", server);
        for name in ["cli", "benchmark", "check-aof", "check-rdb", "sentinel"] {
            let name = format!("valkey-{name}");
            tree.wrap(&name, &peers::program(&name));
        }
        tree
    }

    /// Where the suite's runner starts.
    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Makes `src/NAME` a script that becomes `program` under the name that the suite called it
    /// by: the process keeps its id, which the suite looks for in the log.
    fn wrap(&self, name: &str, program: &Path) {
        let script = self.root().join("src").join(name);
        let program = program.canonicalize().expect("the program exists");
        let text = format!("#!/bin/bash\nexec -a \"$0\" '{}' \"$@\"\n", program.display());
        fs::write(&script, text).expect("write a wrapper script");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&script, mode).expect("make the wrapper executable");
    }
}

/// Puts a failed unit's output where it outlives the tree.
pub(crate) fn keep_output(name: &str, output: &str) -> PathBuf {
    let kept = cache_dir("tcl-suite").join(name);
    fs::write(&kept, output).expect("keep the unit's output");
    kept
}

/// Links every entry of one directory into another that is created for it, except some.
fn link_entries(from: &Path, to: &Path, except: &[&str]) {
    fs::create_dir_all(to).expect("create a directory of the tree");
    for entry in fs::read_dir(from).expect("list a directory of the suite") {
        let entry = entry.expect("read a directory of the suite");
        let name = entry.file_name();
        if !except.iter().any(|&skipped| name == skipped) {
            symlink(entry.path(), to.join(&name)).expect("link an entry of the suite");
        }
    }
}
