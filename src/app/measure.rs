//! The window measured while it trains: times between frames, memory of the process.

use std::sync::{Arc, Mutex, PoisonError};

use eframe::egui;

use super::AppState;
use crate::engine::{Command, Stage, Steps};
use crate::platform;

/// Seconds before the first frame that counts: kernels are compiled, fonts drawn.
const WARM_UP_SECS: f64 = 10.0;

/// What was measured.
#[derive(Debug, Default)]
pub struct Measurement {
    secs: f64,
    start: Option<f64>,
    last: f64,
    last_memory: f64,
    /// Times between frames, milliseconds.
    pub frames: Vec<f64>,
    /// Bytes of the process, every few seconds.
    resident: Vec<u64>,
    /// Optimiser steps that were made meanwhile.
    pub steps: u64,
    steps_seen: u64,
}

impl Measurement {
    /// To be filled for so many seconds after a warm-up.
    #[must_use]
    pub fn of(secs: f64) -> Self {
        Self { secs, ..Self::default() }
    }

    /// The frame time below which this share of the frames lies, milliseconds; 0 without frames.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.frames.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() as f64 * share) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    /// Memory of the process at the beginning and at the end, MiB: the median of a tenth of the readings each.
    #[must_use]
    pub fn memory(&self) -> (f64, f64) {
        let tenth = (self.resident.len() / 10).max(1).min(self.resident.len());
        let median = |part: &[u64]| {
            let mut sorted = part.to_vec();
            sorted.sort_unstable();
            sorted.get(sorted.len() / 2).map_or(0.0, |b| *b as f64 / f64::from(1 << 20))
        };
        (median(&self.resident[..tenth]), median(&self.resident[self.resident.len() - tenth..]))
    }

    /// Once per frame; true when it is over.
    fn frame(&mut self, steps: u64) -> bool {
        let now = platform::now_secs();
        let start = *self.start.get_or_insert(now);
        let took = now - std::mem::replace(&mut self.last, now);
        let made = steps.saturating_sub(std::mem::replace(&mut self.steps_seen, steps));
        if now - start < WARM_UP_SECS {
            return false;
        }
        self.frames.push(took * 1e3);
        self.steps += made;
        if now - self.last_memory > 2.0 {
            self.last_memory = now;
            self.resident.extend(platform::resident_bytes());
        }
        now - start > WARM_UP_SECS + self.secs
    }
}

/// Keeps a measured window busy: it repaints without pause and trains all stages over and over.
pub(super) fn drive(
    measurement: &Arc<Mutex<Measurement>>,
    ctx: &egui::Context,
    state: &mut AppState,
    out: &mut Vec<Command>,
) {
    let over = measurement.lock().unwrap_or_else(PoisonError::into_inner).frame(state.log.steps());
    if over {
        ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        return;
    }
    ctx.request_repaint();
    if state.done.contains(&Stage::Vision) && !state.running() {
        state.done.clear();
        out.push(Command::Reset);
    }
    if state.preset.is_some() && !state.running() {
        state.steps = Some(Steps::All);
        out.push(Command::Train(Steps::All));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_memory() {
        let mut m = Measurement::of(1.0);
        assert!(m.quantile(0.95) < f64::EPSILON);
        m.frames = (1..=100).map(f64::from).collect();
        m.resident = (1..=40).map(|i| i << 20).collect();
        assert!((m.quantile(0.95) - 96.0).abs() < 1e-9 && (m.quantile(1.0) - 100.0).abs() < 1e-9);
        assert_eq!(m.memory(), (3.0, 39.0));
    }
}
