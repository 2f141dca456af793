//! The project's style as a test: what neither rustfmt nor clippy checks.
//!
//! Each rule is one test, so that a failure says at once what is wrong; a rule looks at every file
//! that git knows or would add.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kvasir_testing::source_root;

/// Lines of a Rust file without its tests: above the first a file is named, above the second the
/// test fails.
const LONG_FILE: usize = 800;
const LONGEST_FILE: usize = 1_500;
/// The widest line, in characters.
const WIDTH: usize = 100;

/// A file of the project, with its path below the project's root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        has_extension(&self.path, "rs")
    }

    /// Programs and scripts: what has to be plain and narrow.
    fn is_program(&self) -> bool {
        let scripted = ["py", "js", "sh"].iter().any(|end| has_extension(&self.path, end));
        self.is_rust() || scripted || self.text.starts_with("#!/")
    }

    /// The lines before the file's own tests, which by convention end it.
    fn lines_without_tests(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        tests.unwrap_or(lines.len())
    }

    /// Whether a line, by its index, belongs to tests: a file of tests or the tests of a file.
    fn is_test_line(&self, index: usize) -> bool {
        let whole = self.path.starts_with("tests/") || self.path.ends_with("tests.rs");
        whole || index >= self.lines_without_tests()
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Every text file of the project.
fn sources() -> Vec<Source> {
    let root = source_root();
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(&root);
    let output = git.output().expect("git lists the project's files");
    assert!(output.status.success(), "git ls-files: {}", output.status);
    let names = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let read = |name: &str| {
        // A file may be deleted and not yet committed, or hold no text.
        let text = fs::read_to_string(root.join(name)).ok()?;
        Some(Source { path: name.to_owned(), text })
    };
    let found: Vec<Source> = names.lines().filter_map(read).collect();
    assert!(found.iter().any(Source::is_rust), "no source was found");
    found
}

/// Fails with all faults that a rule finds, a line each.
#[track_caller]
fn report(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

/// The places, as `path:line: text`, of the lines for which `is_fault` holds.
fn faulty_lines(
    sources: &[Source],
    is_fault: impl Fn(&Source, usize, &str) -> bool,
) -> Vec<String> {
    let of_source = |source| {
        let lines = source_lines(source).filter(|&(index, line)| is_fault(source, index, line));
        lines.map(|(index, line)| place(source, index, line)).collect::<Vec<_>>()
    };
    sources.iter().flat_map(of_source).collect()
}

fn source_lines(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.text.lines().enumerate()
}

fn place(source: &Source, index: usize, line: &str) -> String {
    format!("{}:{}: {}", source.path, index + 1, line.trim())
}

#[test]
fn programs_are_ascii() {
    let programs: Vec<Source> = sources().into_iter().filter(Source::is_program).collect();
    report("not ASCII", &faulty_lines(&programs, |_, _, line| !line.is_ascii()));
}

#[test]
fn lines_are_narrow() {
    let programs: Vec<Source> = sources().into_iter().filter(Source::is_program).collect();
    // A string that must be whole, such as an error's text, may be as long as it is.
    let is_wide = |_: &Source, _: usize, line: &str| {
        line.chars().count() > WIDTH && !line.contains('"') && !line.contains("://")
    };
    report(&format!("wider than {WIDTH} columns"), &faulty_lines(&programs, is_wide));
}

#[test]
fn every_module_says_what_it_is() {
    let rust = sources().into_iter().filter(Source::is_rust);
    let silent = rust.filter(|source| !source.text.trim_start().starts_with("//!"));
    report("no //! at the top", &silent.map(|source| source.path).collect::<Vec<_>>());
}

#[test]
fn files_stay_short() {
    let mut too_long = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let lines = source.lines_without_tests();
        if lines > LONGEST_FILE {
            too_long.push(format!("{}: {lines} lines", source.path));
        } else if lines > LONG_FILE {
            eprintln!("warning: {} has {lines} lines, aim below {LONG_FILE}", source.path);
        }
    }
    report(&format!("longer than {LONGEST_FILE} lines"), &too_long);
}

#[test]
fn nothing_is_left_for_later() {
    let programs: Vec<Source> = sources().into_iter().filter(Source::is_program).collect();
    // Spelt in halves, since this file is looked at too.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let macros = [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("db", "g!(")];
    let is_left = |_: &Source, _: usize, line: &str| {
        words.iter().chain(&macros).any(|word| line.contains(word))
    };
    report("left for later", &faulty_lines(&programs, is_left));
}

#[test]
fn nothing_depends_on_one_machine() {
    let machine = [concat!("/wo", "rk/"), concat!("/ro", "ot/."), concat!("/ho", "me/")];
    let is_bound =
        |_: &Source, _: usize, line: &str| machine.iter().any(|path| line.contains(path));
    report("names a path of one machine", &faulty_lines(&sources(), is_bound));
}

#[test]
fn documents_have_one_title() {
    let documents = sources().into_iter().filter(|source| has_extension(&source.path, "md"));
    let faulty = documents.filter(|source| titles(&source.text) != 1);
    report("not exactly one `# Title`", &faulty.map(|source| source.path).collect::<Vec<_>>());
}

/// Titles of the first level outside fenced code.
fn titles(text: &str) -> usize {
    let mut in_code = false;
    let mut count = 0;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        count += usize::from(!in_code && line.starts_with("# "));
    }
    count
}

#[test]
fn unsafe_code_is_where_the_architecture_says() {
    let all = sources();
    let architecture = all.iter().find(|source| source.path == "ARCHITECTURE.md");
    let listed = architecture.map_or("", |source| source.text.as_str());
    let forms = ["unsafe {", "unsafe fn ", "unsafe impl ", "unsafe trait ", "unsafe extern "];
    let has_unsafe = |source: &&Source| {
        let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        source.is_rust()
            && code.into_iter().any(|line| forms.iter().any(|form| is_code(line, form)))
    };
    let unlisted = all.iter().filter(has_unsafe).filter(|source| !listed.contains(&source.path));
    let faults: Vec<String> = unlisted.map(|source| source.path.clone()).collect();
    report("unsafe code in a module that ARCHITECTURE.md does not name", &faults);
}

/// Whether a line contains a form other than within quotes.
fn is_code(line: &str, form: &str) -> bool {
    line.find(form).is_some_and(|at| !line[..at].contains('"'))
}

#[test]
fn tests_wait_for_conditions_and_all_run() {
    let rust: Vec<Source> = sources().into_iter().filter(Source::is_rust).collect();
    let banned =
        [concat!("thread::", "sleep"), concat!("#[ig", "nore"), concat!("#[should_", "panic")];
    let is_banned = |source: &Source, index: usize, line: &str| {
        // The one place that polls for a condition.
        let polls = source.path == "tests/support/src/wait.rs";
        !polls && source.is_test_line(index) && banned.iter().any(|word| line.contains(word))
    };
    report("sleeps, is ignored, or passes by panicking", &faulty_lines(&rust, is_banned));
}

#[test]
fn every_dependency_has_a_reason() {
    let manifests = sources().into_iter().filter(|source| source.path.ends_with("Cargo.toml"));
    let faults: Vec<String> = manifests.flat_map(|source| unexplained(&source)).collect();
    report("no comment above the dependency", &faults);
}

/// Dependencies on other projects' crates that no comment line explains. A comment explains the
/// lines up to the next comment or empty line.
fn unexplained(manifest: &Source) -> Vec<String> {
    let (mut in_dependencies, mut explained) = (false, false);
    let mut faults = Vec::new();
    for (index, line) in source_lines(manifest) {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        }
        match line.chars().next() {
            Some('#') => explained = true,
            None | Some('[') => explained = false,
            Some(_) if !in_dependencies || explained => {}
            Some(_) if line.contains("path = ") || line.contains(".workspace = ") => {}
            Some(_) => faults.push(place(manifest, index, line)),
        }
    }
    faults
}

#[test]
fn scripts_can_be_executed() {
    use std::os::unix::fs::PermissionsExt;

    let scripts = sources().into_iter().filter(|source| source.text.starts_with("#!/"));
    let is_inert = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 == 0)
    };
    let inert = scripts.filter(|source| is_inert(&source_root().join(&source.path)));
    report("not executable", &inert.map(|source| source.path).collect::<Vec<_>>());
}
