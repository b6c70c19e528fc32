//! What a run told: curves, scores, attention over time. Plain data, kept small, and part of a run file.

use serde::{Deserialize, Serialize};

use super::beside::Beside;
use super::event::Event;
use super::outline::BlockId;
use super::snapshots::Snapshots;
use super::words::{Lane, StepEvent};
use crate::train::depths::Depths;
use crate::train::evaluate::Scores;
use crate::train::stage::Stage;

/// A point of a lane's curves; after long runs a mean over several steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Point {
    /// Optimiser steps since the start, all stages, from 1.
    pub step: u64,
    pub stage: Stage,
    /// Update within the stage.
    pub update: u64,
    /// Loss, nats per token.
    #[serde(with = "crate::train::floats")]
    pub loss: f32,
    #[serde(with = "crate::train::floats")]
    pub grad_norm: f32,
    #[serde(with = "crate::train::floats")]
    pub learning_rate: f64,
    #[serde(with = "crate::train::floats")]
    pub throughput: f64,
}

/// Held-out accuracy at a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ScorePoint {
    pub lane: Lane,
    /// Optimiser steps since the start.
    pub step: u64,
    /// Stage; none: the language model alone, without a picture.
    pub stage: Option<Stage>,
    pub own: Scores,
    pub swapped: Scores,
}

/// Gradient norms at a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct NormPoint {
    pub lane: Lane,
    /// Optimiser steps since the start.
    pub step: u64,
    #[serde(with = "crate::train::floats")]
    pub norms: Vec<(BlockId, f32)>,
}

/// What each depth of the tower knew at a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthsPoint {
    /// Optimiser steps since the start.
    pub step: u64,
    /// Stage in progress or done; none before stage 1.
    pub stage: Option<Stage>,
    /// Updates done in it.
    pub update: u64,
    /// What was found.
    pub found: Depths,
}

/// Everything a run told that is worth keeping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunLog {
    /// Curves of the linked model.
    pub hive: Vec<Point>,
    /// Curves of the model beside it.
    pub control: Vec<Point>,
    /// What that is; not said by older programs, which had the flattened control alone.
    #[serde(default)]
    pub beside: Option<Beside>,
    /// Accuracy.
    pub scores: Vec<ScorePoint>,
    /// Gradient norms per block.
    pub norms: Vec<NormPoint>,
    /// What each depth of the tower knew, each time it was measured.
    #[serde(default)]
    pub depths: Vec<DepthsPoint>,
    /// Attention of the pinned question over the steps.
    #[serde(skip)]
    pub snapshots: Snapshots,
}

/// Points of a curve at most; then neighbours are merged, so that a curve stays smooth and small after hours.
pub const MOST_POINTS: usize = 8192;
const MOST_NORMS: usize = 1024;
/// No run comes to this step.
const LATEST: u64 = 1 << 53;

impl RunLog {
    /// A lane's name in words.
    #[must_use]
    pub fn name(&self, lane: Lane) -> String {
        match lane {
            Lane::Hive => "HIVE".to_owned(),
            Lane::Control => self.beside.as_ref().unwrap_or(&Beside::Flattened).name(),
        }
    }

    /// Curves of a lane.
    #[must_use]
    pub fn points(&self, lane: Lane) -> &[Point] {
        match lane {
            Lane::Hive => &self.hive,
            Lane::Control => &self.control,
        }
    }

    fn points_mut(&mut self, lane: Lane) -> &mut Vec<Point> {
        match lane {
            Lane::Hive => &mut self.hive,
            Lane::Control => &mut self.control,
        }
    }

    /// Optimiser steps of the linked model so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.hive.last().map_or(0, |p| p.step)
    }

    /// Is it such as a run tells?
    ///
    /// # Errors
    /// A sentence about what is not.
    pub fn check(&self) -> Result<(), String> {
        for lane in Lane::ALL {
            let points = self.points(lane);
            let rise = points.windows(2).all(|pair| pair[0].step < pair[1].step);
            if !rise || points.last().is_some_and(|p| p.step > LATEST) {
                return Err("the steps of a curve do not rise".to_owned());
            }
        }
        let others = self.scores.iter().map(|s| s.step).chain(self.norms.iter().map(|n| n.step));
        if others.chain(self.depths.iter().map(|d| d.step)).any(|step| step > LATEST) {
            return Err("something is told of a step that no run comes to".to_owned());
        }
        let table = |found: &Depths| found.shares.iter().all(|row| row.len() == found.attributes.len());
        if !self.depths.iter().all(|point| table(&point.found)) {
            return Err("a table of the depths has rows of another length".to_owned());
        }
        Ok(())
    }

    /// Takes in what belongs here.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Step(e) => self.step(e),
            Event::Norms { lane, norms, .. } => {
                let step = self.points(*lane).last().map_or(0, |p| p.step);
                self.norms.push(NormPoint { lane: *lane, step, norms: norms.clone() });
                if self.norms.len() > MOST_NORMS {
                    let mut odd = false;
                    self.norms.retain(|_| {
                        odd = !odd;
                        odd
                    });
                }
            }
            Event::Scores { lane, stage, own, swapped, .. } => {
                let step = self.points(*lane).last().map_or(0, |p| p.step);
                let (own, swapped) = ((**own).clone(), (**swapped).clone());
                self.scores.push(ScorePoint { lane: *lane, step, stage: *stage, own, swapped });
            }
            Event::Snapshot { maps, .. } => {
                let step = self.steps();
                self.snapshots.push(step, maps);
            }
            Event::Depths { stage, update, found } => {
                let point =
                    DepthsPoint { step: self.steps(), stage: *stage, update: *update, found: (**found).clone() };
                self.depths.push(point);
            }
            Event::Recovered { stage, update } => self.forget_after(*stage, *update),
            Event::Opened(opened) => {
                *self = opened.log.as_deref().cloned().unwrap_or_default();
                self.beside.clone_from(&opened.beside);
            }
            _ => {}
        }
    }

    fn step(&mut self, e: &StepEvent) {
        let points = self.points_mut(e.lane);
        let step = points.last().map_or(0, |p| p.step) + 1;
        points.push(Point {
            step,
            stage: e.stage,
            update: e.update,
            loss: e.loss,
            grad_norm: e.grad_norm,
            learning_rate: e.learning_rate,
            throughput: e.samples as f64 / e.secs.max(1e-9),
        });
        if points.len() > MOST_POINTS {
            *points = merged(points);
        }
    }

    /// After a recovery: points of updates that will be made again are dropped.
    fn forget_after(&mut self, stage: Option<Stage>, update: u64) {
        let late = |s: Stage, u: u64| stage.is_none_or(|now| s > now || (s == now && u > update));
        for lane in Lane::ALL {
            let points = self.points_mut(lane);
            while points.last().is_some_and(|p| late(p.stage, p.update)) {
                points.pop();
            }
        }
        let step = self.steps();
        self.scores.retain(|s| s.step <= step);
        self.norms.retain(|n| n.step <= step);
        self.depths.retain(|d| d.step <= step);
        self.snapshots.forget_after(step);
    }
}

/// The older half of a curve at half its resolution: each pair of neighbours becomes their mean. Points of different stages
/// are never merged.
fn merged(points: &[Point]) -> Vec<Point> {
    let (old, new) = points.split_at(points.len() / 2);
    let mut out: Vec<Point> = Vec::with_capacity(points.len());
    let mut rest = old;
    while let Some((a, tail)) = rest.split_first() {
        match tail.split_first() {
            Some((b, tail)) if a.stage == b.stage => {
                out.push(Point {
                    loss: (a.loss + b.loss) * 0.5,
                    grad_norm: (a.grad_norm + b.grad_norm) * 0.5,
                    throughput: (a.throughput + b.throughput) * 0.5,
                    ..*b
                });
                rest = tail;
            }
            _ => {
                out.push(*a);
                rest = tail;
            }
        }
    }
    out.extend_from_slice(new);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn step(lane: Lane, stage: Stage, update: u64) -> Event {
        let (grad_norm, learning_rate, secs) = (1.0, 1e-3, 0.5);
        Event::Step(StepEvent {
            lane,
            stage,
            update,
            of: 100,
            loss: update as f32,
            grad_norm,
            learning_rate,
            secs,
            samples: 8,
        })
    }

    #[test]
    fn curves_stay_small_and_keep_their_ends() {
        let mut log = RunLog::default();
        for update in 1..=100_000 {
            log.apply(&step(Lane::Hive, Stage::Connector, update));
        }
        assert!(log.hive.len() <= MOST_POINTS);
        assert_eq!(log.steps(), 100_000);
        assert!(log.hive.windows(2).all(|w| w[0].step < w[1].step && w[0].loss < w[1].loss));
    }

    #[test]
    fn a_recovery_drops_what_will_be_made_again() {
        let mut log = RunLog::default();
        for (stage, updates) in [(Stage::Connector, 5), (Stage::Adaptation, 9)] {
            (1..=updates).for_each(|u| log.apply(&step(Lane::Hive, stage, u)));
        }
        log.apply(&Event::Recovered { stage: Some(Stage::Adaptation), update: 3 });
        assert_eq!(log.steps(), 8);
        log.apply(&step(Lane::Hive, Stage::Adaptation, 4));
        assert_eq!(log.steps(), 9);
    }
}
