//! What a script's calls leave for monitors and for the command log.
//!
//! Both wait until the script is sure not to begin again: who looks on sees each call once. The log
//! of a command is on the core of its client, and has the calls of a script before the script.

use std::collections::VecDeque;
use std::sync::Arc;

use kvasir_proto::Args;

use super::super::clients::{is_shown, monitor_line, request_bytes};
use super::super::core::{Core, CoreState};
use super::super::engine::ShardId;
use super::super::message::{Control, OwnedArgs, ReplyTo};
use super::Run;
use crate::commands::table::Entry;
use crate::metrics::command_log::Measured;

/// Lines or calls that are kept while a script runs; the oldest go.
const KEPT_MAX: usize = 1024;

/// A call that belongs in the command log.
#[derive(Debug)]
pub struct LoggedCall {
    pub(in crate::route) entry: &'static Entry,
    pub(in crate::route) measured: Measured,
    pub(in crate::route) args: OwnedArgs,
}

/// What one script has left.
#[derive(Default)]
pub(super) struct Traces {
    lines: VecDeque<Arc<[u8]>>,
    calls: VecDeque<LoggedCall>,
}

/// What the scripts of a core have left and has not been handed on.
#[derive(Default)]
pub(super) struct News {
    lines: VecDeque<Arc<[u8]>>,
    calls: Vec<(ShardId, ReplyTo, Vec<LoggedCall>)>,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.calls.is_empty()
    }
}

fn keep<T>(kept: &mut VecDeque<T>, one: T) {
    if kept.len() == KEPT_MAX {
        kept.pop_front();
    }
    kept.push_back(one);
}

impl CoreState {
    /// Notes a call that has run. It is shown `at_once` if others are that run elsewhere.
    pub(super) fn note_call(
        &mut self,
        run: &mut Run,
        entry: &'static Entry,
        nanoseconds: u64,
        args: Args<'_>,
        reply_bytes: usize,
        at_once: bool,
    ) {
        run.calls = run.calls.saturating_add(1);
        if at_once {
            self.show_call(entry, args, run.view.db);
        } else if self.shared.monitored()
            && let Some(line) = self.line_of_call(entry, args, run.view.db)
        {
            keep(&mut run.traces.lines, line);
        }
        let measured = Measured { nanoseconds, request_bytes: request_bytes(args), reply_bytes };
        if self.metrics.command_log.concerns(measured) {
            let args = OwnedArgs::new(args);
            keep(&mut run.traces.calls, LoggedCall { entry, measured, args });
        }
    }

    fn line_of_call(&self, entry: &'static Entry, args: Args<'_>, db: u32) -> Option<Arc<[u8]>> {
        let line = || monitor_line(self.now.unix_us, &format!("{db} lua"), entry, args).into();
        is_shown(entry).then(line)
    }

    /// Shows a call that has run elsewhere to the monitors of every core.
    pub(in crate::route) fn show_call(&mut self, entry: &'static Entry, args: Args<'_>, db: u32) {
        if self.shared.monitored()
            && let Some(line) = self.line_of_call(entry, args, db)
        {
            self.scripts.news.lines.push_back(line);
        }
    }

    /// Hands on what a script has left that will not begin again.
    pub(super) fn release_traces(&mut self, run: &mut Run) {
        let Traces { lines, calls } = std::mem::take(&mut run.traces);
        self.scripts.news.lines.extend(lines);
        if calls.is_empty() {
            return;
        }
        let (home, to) = run.client;
        if home == self.id {
            self.log_calls(to, calls);
        } else {
            self.scripts.news.calls.push((home, to, calls.into()));
        }
    }

    /// Enters calls into the command log.
    pub(in crate::route) fn log_calls(
        &mut self,
        to: ReplyTo,
        calls: impl IntoIterator<Item = LoggedCall>,
    ) {
        for LoggedCall { entry, measured, args } in calls {
            self.log_command(entry, measured, args.view(), to);
        }
    }
}

impl Core {
    /// Sends what scripts have left where it belongs.
    pub(crate) fn spread_script_news(&mut self) {
        if self.state.scripts.news.is_empty() {
            return;
        }
        let News { lines, calls } = std::mem::take(&mut self.state.scripts.news);
        for line in lines {
            self.show_everywhere(&line);
        }
        for (home, to, calls) in calls {
            self.outboxes.control(home, Control::Calls(to, calls));
        }
    }
}
