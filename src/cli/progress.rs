//! What a command says on standard error while it works: on a terminal one line that is rewritten, in a file or a pipe a line
//! every ten seconds, and in either a line at the end of each stage. Several jobs at a time would write over each other's line:
//! they write whole lines everywhere, one a minute. No colours and no escape codes, so `NO_COLOR` has nothing to switch off.

use std::io::IsTerminal as _;

use super::output::warn;
use crate::platform::now_secs;
use crate::train::trainer::Report;

/// Seconds between two lines where no terminal listens.
const LOG_SECS: f64 = 10.0;
/// The same where several jobs write.
const JOBS_SECS: f64 = 60.0;
/// Seconds between two versions of a terminal's line.
const TERMINAL_SECS: f64 = 0.2;
/// Columns of a terminal that does not tell.
const COLUMNS: usize = 80;

/// Which line is written when, and how.
struct Pace {
    /// Columns of the terminal whose line is rewritten; none: whole lines.
    columns: Option<usize>,
    /// Seconds between two lines.
    pause: f64,
    /// When a line was written last.
    last: f64,
    /// Characters of the line that stands on the terminal.
    standing: usize,
}

impl Pace {
    /// For one of so many jobs.
    fn new(columns: Option<usize>, jobs: usize, now: f64) -> Self {
        let columns = columns.filter(|_| jobs <= 1);
        // A terminal shows the first line at once; a log has its first after the pause.
        let (pause, last) = match columns {
            Some(_) => (TERMINAL_SECS, f64::NEG_INFINITY),
            None => (if jobs > 1 { JOBS_SECS } else { LOG_SECS }, now),
        };
        Self { columns, pause, last, standing: 0 }
    }

    /// What to write of a line now; nothing most of the time.
    fn show(&mut self, now: f64, line: impl FnOnce() -> String) -> Option<String> {
        if now - self.last < self.pause {
            return None;
        }
        self.last = now;
        let line = line();
        Some(if self.columns.is_some() { self.rewrite(&line) } else { line + "\n" })
    }

    /// What to write of the last line of a stage.
    fn end(&mut self, now: f64, line: &str) -> String {
        self.last = now;
        let text = if self.columns.is_some() { self.rewrite(line) } else { line.to_owned() };
        self.standing = 0;
        text + "\n"
    }

    /// The line over the one that stands, cut before the last column, where some terminals wrap.
    fn rewrite(&mut self, line: &str) -> String {
        let most = self.columns.map_or(usize::MAX, |c| c.saturating_sub(1));
        let line: String = line.chars().take(most).collect();
        let before = std::mem::replace(&mut self.standing, line.chars().count());
        format!("\r{line:<before$}")
    }
}

/// Columns of the terminal behind standard error, `COLUMNS` before what the system says; none where there is no terminal.
fn columns() -> Option<usize> {
    let terminal = std::io::stderr();
    terminal.is_terminal().then(|| {
        let set = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| *c > 0);
        let told = || terminal_size::terminal_size_of(&terminal).map(|(width, _)| usize::from(width.0));
        set.or_else(told).filter(|c| *c > 0).unwrap_or(COLUMNS)
    })
}

/// The progress of a command.
pub(super) struct Progress(Pace);

impl Progress {
    pub(super) fn new() -> Self {
        Self::beside(1)
    }

    /// Of one of so many jobs at a time.
    pub(super) fn beside(jobs: usize) -> Self {
        Self(Pace::new(columns(), jobs, now_secs()))
    }

    /// How far it is; the line is made only if it is time for one.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        if let Some(text) = self.0.show(now_secs(), line) {
            warn(&text);
        }
    }

    /// `doing` so many bytes.
    pub(super) fn bytes(&mut self, doing: &str, done: u64, total: u64) {
        self.show(|| format!("{doing} {} of {} MB", done / 1_000_000, total / 1_000_000));
    }

    /// The last line of a stage.
    pub(super) fn end(&mut self, line: &str) {
        warn(&self.0.end(now_secs(), line));
    }
}

impl Drop for Progress {
    /// What failed is told on a line of its own.
    fn drop(&mut self) {
        if self.0.standing > 0 {
            warn("\n");
        }
    }
}

/// Steps of training: loss, rate and time left as they go by.
pub(super) struct Steps {
    label: String,
    steps: u64,
    start: f64,
    first: u64,
    smooth: f64,
    progress: Progress,
    /// Step and loss so far, for curves.
    pub(super) losses: Vec<(u64, f32)>,
}

impl Steps {
    pub(super) fn new(label: String, steps: u64) -> Self {
        Self::beside(label, steps, 1)
    }

    /// In one of so many jobs at a time.
    pub(super) fn beside(label: String, steps: u64, jobs: usize) -> Self {
        let progress = Progress::beside(jobs);
        Self { label, steps, start: now_secs(), first: 0, smooth: 0.0, progress, losses: Vec::new() }
    }

    pub(super) fn show(&mut self, report: &Report) {
        if self.losses.is_empty() {
            self.first = report.update - 1;
            self.smooth = f64::from(report.loss);
        }
        self.smooth = 0.95 * self.smooth + 0.05 * f64::from(report.loss);
        self.losses.push((report.update, report.loss));
        let rate = (report.update - self.first) as f64 / (now_secs() - self.start).max(1e-3);
        let left = (self.steps - report.update) as f64 / rate.max(1e-9);
        let (label, step, steps, loss) = (&self.label, report.update, self.steps, self.smooth);
        self.progress.show(|| format!("{label} {step}/{steps}  loss {loss:.3}  {rate:.1} steps/s  {left:.0} s left"));
    }

    /// The stage's last line, with `more` behind it.
    pub(super) fn end(&mut self, more: &str) {
        let (secs, steps) = (now_secs() - self.start, self.losses.len());
        let line = format!("{} {steps} steps in {secs:.0} s, loss {:.3}. {more}", self.label, self.smooth);
        self.progress.end(line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pace: &mut Pace, lines: &[(f64, &str)]) -> Vec<Option<String>> {
        lines.iter().map(|(now, line)| pace.show(*now, || (*line).to_owned())).collect()
    }

    #[test]
    fn a_log_has_a_line_every_ten_seconds_and_one_at_the_end() {
        let mut pace = Pace::new(None, 1, 100.0);
        let long = "x".repeat(300);
        let lines = [(100.0, "a"), (109.9, "b"), (110.0, "c"), (119.9, "d"), (125.0, long.as_str())];
        let want = [None, None, Some("c\n".to_owned()), None, Some(format!("{long}\n"))];
        assert_eq!(said(&mut pace, &lines), want);
        assert_eq!(pace.end(126.0, "done"), "done\n");
        // The next stage of the same command begins with a pause, too.
        assert_eq!(said(&mut pace, &[(127.0, "e"), (136.0, "f")]), [None, Some("f\n".to_owned())]);
    }

    #[test]
    fn a_terminal_has_one_line_that_never_wraps() {
        let mut pace = Pace::new(Some(8), 1, 0.0);
        let lines = [(0.0, "loading"), (0.1, "no"), (0.2, "four"), (0.4, "longer than it")];
        let want = ["\rloading", "\rfour   ", "\rlonger "].map(|s| Some(s.to_owned()));
        let said = said(&mut pace, &lines);
        assert_eq!(said, [want[0].clone(), None, want[1].clone(), want[2].clone()]);
        assert_eq!(pace.end(0.5, "äöü"), "\räöü    \n");
        // Nothing of that line is left to be covered.
        assert_eq!(pace.end(0.6, "b"), "\rb\n");
        assert!(Pace::new(Some(1), 1, 0.0).end(0.0, "abc") == "\r\n");
    }

    #[test]
    fn several_jobs_write_whole_lines_on_a_terminal_too() {
        let mut pace = Pace::new(Some(8), 2, 0.0);
        let lines = [(0.0, "a"), (59.9, "b"), (60.0, "longer than it"), (100.0, "c")];
        assert_eq!(said(&mut pace, &lines), [None, None, Some("longer than it\n".to_owned()), None]);
        assert_eq!(pace.end(101.0, "done"), "done\n");
    }
}
