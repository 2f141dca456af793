//! How ready the kernel is to kill this process when memory runs out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::choice::OomScoreAdj;
use crate::config::groups::Process;
use crate::config::kind::io_reason;

/// The scores that the kernel takes.
const SCORE_MAX: i32 = 1000;
/// The index of a primary's score in `oom-score-adj-values`.
const PRIMARY: usize = 0;

/// The score, and the one to go back to.
#[derive(Debug)]
pub(super) struct OomScore {
    file: PathBuf,
    /// The score from before we have first changed it; nothing while it is not ours.
    base: Option<i32>,
}

impl OomScore {
    pub(super) fn new() -> Self {
        Self { file: "/proc/self/oom_score_adj".into(), base: None }
    }

    /// Follows the configuration. Untouched at first, the score is left alone; untouched again, it
    /// is what it was before.
    pub(super) fn apply(&mut self, process: &Process) -> Result<(), String> {
        self.follow(process).map_err(|error| {
            tracing::warn!("Unable to change oom_score_adj: {}", io_reason(&error));
            "Failed to set current oom_score_adj. Check server logs.".to_owned()
        })
    }

    fn follow(&mut self, process: &Process) -> io::Result<()> {
        let choice = process.oom_score_adj;
        let base = match (choice, self.base) {
            (OomScoreAdj::Untouched, None) => return Ok(()),
            (_, Some(base)) => base,
            (_, None) => read(&self.file)?,
        };
        let score = i32::from(process.oom_scores[PRIMARY]);
        let (score, base) = match choice {
            OomScoreAdj::Untouched => (base, None),
            OomScoreAdj::Relative => (base + score, Some(base)),
            OomScoreAdj::Absolute => (score, Some(base)),
        };
        fs::write(&self.file, format!("{}\n", score.clamp(-SCORE_MAX, SCORE_MAX)))?;
        self.base = base;
        Ok(())
    }
}

fn read(file: &Path) -> io::Result<i32> {
    fs::read_to_string(file)?.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_score_follows_and_returns() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("score");
        let mut score = OomScore { file: file.clone(), base: None };
        let mut check = |written: Option<&str>, lines: &str, expected: &str| {
            if let Some(text) = written {
                fs::write(&file, text).unwrap();
            }
            let config = Config::from_text(lines).unwrap();
            let outcome = score.apply(&config.process);
            let text = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!((outcome, text.trim()), (Ok(()), expected), "{lines}");
        };
        check(Some("100\n"), "oom-score-adj no", "100");
        check(None, "oom-score-adj relative\noom-score-adj-values 5 6 7", "105");
        check(None, "oom-score-adj relative\noom-score-adj-values 950 960 970", "1000");
        check(None, "oom-score-adj absolute\noom-score-adj-values 5 6 7", "5");
        check(None, "oom-score-adj no", "100");
        check(Some("50"), "oom-score-adj no", "50");

        fs::remove_file(&file).unwrap();
        let config = Config::from_text("oom-score-adj yes").unwrap();
        let refused = score.apply(&config.process).unwrap_err();
        assert_eq!(refused, "Failed to set current oom_score_adj. Check server logs.");
    }
}
