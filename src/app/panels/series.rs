//! What a run told, as lines to plot and as a table. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::app::permalink::Tab;
use crate::app::{AppState, Control};
use crate::engine::{BlockId, Lane, Point, RunLog, ScorePoint, Stage};

/// Which lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Of what.
    pub tab: Tab,
    /// Over the logarithm?
    pub log: bool,
    /// With a moving average?
    pub smooth: bool,
    /// With what the model is ahead of the one beside it?
    pub difference: bool,
    /// Kinds of questions with a line of their own.
    pub kinds: BTreeSet<String>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Series {
    pub name: String,
    /// Number of its colour.
    pub colour: usize,
    /// Dashed?
    pub dashed: bool,
    /// Behind the others: the raw values of a smoothed line.
    pub faint: bool,
    /// Few points, each of them marked?
    pub marked: bool,
    pub points: Vec<[f64; 2]>,
}

/// The lines of a choice, each of at most about `most` points; values are log10 where the choice says so.
#[must_use]
pub fn lines(state: &AppState, choice: &Choice, most: usize) -> Vec<Series> {
    let log = &state.log;
    let mut out = Vec::new();
    for lane in Lane::ALL {
        let (points, name) = (log.points(lane), log.name(lane));
        match choice.tab {
            Tab::Loss => {
                put(&mut out, choice, name.clone(), lane as usize, points, |p| p.loss.into());
                let with_picture = scores_of(log, lane).filter(|s| s.stage.is_some());
                let held = with_picture.map(|s| [s.step as f64, s.own.loss]).collect();
                if state.shows(Control::Scores) {
                    push(&mut out, format!("{name}, held-out"), lane as usize, true, held);
                }
            }
            Tab::Accuracy => accuracy(&mut out, log, lane, &choice.kinds),
            Tab::Norms => norms(&mut out, log, lane, choice, state.beside.is_some()),
            Tab::Rate => push(&mut out, name, lane as usize, lane == Lane::Control, curve(points, |p| p.learning_rate)),
            Tab::Throughput => {
                put(&mut out, choice, name, lane as usize, points, |p| p.throughput);
            }
            Tab::Cost | Tab::Depths => {}
        }
    }
    for line in &mut out {
        // Scores come seldom; a single one would else not be seen at all.
        line.marked = choice.tab == Tab::Accuracy || line.name.ends_with("held-out");
        if choice.log && choice.tab.has_log() {
            line.points.retain(|p| p[1] > 0.0);
            line.points.iter_mut().for_each(|p| p[1] = p[1].log10());
        }
        line.points.retain(|p| p[1].is_finite());
        line.points = decimated(std::mem::take(&mut line.points), most);
    }
    out.retain(|line| !line.points.is_empty());
    out
}

fn curve(points: &[Point], value: impl Fn(&Point) -> f64) -> Vec<[f64; 2]> {
    points.iter().map(|p| [p.step as f64, value(p)]).collect()
}

fn scores_of(log: &RunLog, lane: Lane) -> impl Iterator<Item = &ScorePoint> {
    log.scores.iter().filter(move |s| s.lane == lane)
}

fn push(out: &mut Vec<Series>, name: String, colour: usize, dashed: bool, points: Vec<[f64; 2]>) {
    out.push(Series { name, colour, dashed, faint: false, marked: false, points });
}

/// A line; where smoothing is chosen its raw values behind it.
fn put(
    out: &mut Vec<Series>,
    choice: &Choice,
    name: String,
    colour: usize,
    points: &[Point],
    value: impl Fn(&Point) -> f64,
) {
    let raw = curve(points, value);
    if choice.smooth && choice.tab.has_smooth() {
        let starts: Vec<f64> = starts(points).into_iter().map(|(_, step)| step).collect();
        let smooth = smoothed(&raw, &starts);
        let name_raw = format!("{name}, each step");
        out.push(Series { name: name_raw, colour, dashed: false, faint: true, marked: false, points: raw });
        push(out, name, colour, false, smooth);
    } else {
        push(out, name, colour, false, raw);
    }
}

fn accuracy(out: &mut Vec<Series>, log: &RunLog, lane: Lane, kinds: &BTreeSet<String>) {
    let of = |value: &dyn Fn(&ScorePoint) -> Option<f64>| -> Vec<[f64; 2]> {
        scores_of(log, lane).filter(|s| s.stage.is_some()).filter_map(|s| Some([s.step as f64, value(s)?])).collect()
    };
    let name = log.name(lane);
    push(out, format!("{name}, own pictures"), lane as usize, false, of(&|s| Some(s.own.all.value())));
    push(out, format!("{name}, swapped pictures"), lane as usize, true, of(&|s| Some(s.swapped.all.value())));
    for (i, kind) in kinds.iter().enumerate() {
        let points = of(&|s| s.own.kinds.get(kind).map(|k| k.value()));
        push(out, format!("{name}, {kind}"), i + 2, lane == Lane::Control, points);
    }
    // What the language model knows by itself, without a picture.
    if let Some(start) = scores_of(log, lane).find(|s| s.stage.is_none()) {
        let end = log.steps().max(1) as f64;
        let level = start.own.all.value();
        push(out, "language model alone".to_owned(), 6, true, vec![[0.0, level], [end, level]]);
    }
}

fn norms(out: &mut Vec<Series>, log: &RunLog, lane: Lane, choice: &Choice, both: bool) {
    let dashed = lane == Lane::Control;
    let named = |what: &str| if both { format!("{}, {what}", log.name(lane)) } else { what.to_owned() };
    put(out, choice, named("whole model"), 6, log.points(lane), |p| p.grad_norm.into());
    out.iter_mut().rev().take(1).for_each(|line| line.dashed = dashed);
    let mut blocks: BTreeMap<BlockId, Vec<[f64; 2]>> = BTreeMap::new();
    let mut order: Vec<BlockId> = Vec::new();
    for point in log.norms.iter().filter(|n| n.lane == lane) {
        for (id, norm) in &point.norms {
            let points = blocks.entry(*id).or_default();
            if points.is_empty() {
                order.push(*id);
            }
            points.push([point.step as f64, f64::from(*norm)]);
        }
    }
    for (i, id) in order.into_iter().enumerate() {
        let points = blocks.remove(&id).unwrap_or_default();
        // Six colours; the second round is dashed.
        push(out, named(&id.title()), i % 6, dashed || i / 6 % 2 == 1, points);
    }
}

/// A moving average over about twenty points; it starts anew at the steps `starts`, so that no stage leans on another.
#[must_use]
pub fn smoothed(points: &[[f64; 2]], starts: &[f64]) -> Vec<[f64; 2]> {
    let mut mean = points.first().map_or(0.0, |p| p[1]);
    let follow = |[x, y]: &[f64; 2]| {
        mean = if starts.contains(x) { *y } else { mean + (y - mean) * (2.0 / 21.0) };
        [*x, mean]
    };
    points.iter().map(follow).collect()
}

/// At most about `most` points: of each bucket the lowest and the highest, so that no spike is lost, and both ends.
#[must_use]
pub fn decimated(points: Vec<[f64; 2]>, most: usize) -> Vec<[f64; 2]> {
    let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else { return points };
    if points.len() <= most.max(4) {
        return points;
    }
    let size = points.len().div_ceil((most.max(4) - 2) / 2);
    let mut out = vec![first];
    for bucket in points[1..points.len() - 1].chunks(size) {
        let by_value = |a: &&[f64; 2], b: &&[f64; 2]| a[1].total_cmp(&b[1]);
        let (Some(low), Some(high)) = (bucket.iter().min_by(by_value), bucket.iter().max_by(by_value)) else {
            continue;
        };
        let (a, b) = if low[0] <= high[0] { (low, high) } else { (high, low) };
        out.push(*a);
        if a != b {
            out.push(*b);
        }
    }
    out.push(last);
    out
}

/// Steps at which the stages begin.
#[must_use]
pub fn stage_starts(log: &RunLog) -> Vec<(Stage, f64)> {
    starts(&log.hive)
}

fn starts(points: &[Point]) -> Vec<(Stage, f64)> {
    let mut out: Vec<(Stage, f64)> = Vec::new();
    for p in points {
        if out.last().is_none_or(|(s, _)| *s != p.stage) {
            out.push((p.stage, p.step as f64));
        }
    }
    out
}

/// All points and scores as one table with a header that names the units.
#[must_use]
pub fn csv(log: &RunLog) -> String {
    let mut out = String::from(
        "row,lane,step (optimiser steps),stage,update (steps of the stage),loss (nats per token),gradient norm,\
         learning rate,throughput (samples per second),questions,own pictures (share exact),\
         swapped pictures (share exact),questions asked\n",
    );
    for lane in Lane::ALL {
        let name = log.name(lane);
        for p in log.points(lane) {
            let (step, stage, update) = (p.step, p.stage.number(), p.update);
            let _ = writeln!(
                out,
                "step,{name},{step},{stage},{update},{},{},{},{},,,,",
                p.loss, p.grad_norm, p.learning_rate, p.throughput
            );
        }
        for s in scores_of(log, lane) {
            let stage = s.stage.map_or_else(String::new, |s| s.number().to_string());
            let all = [("all", &s.own.all, Some(&s.swapped.all))].into_iter();
            let kinds = s.own.kinds.iter().map(|(k, own)| (k.as_str(), own, s.swapped.kinds.get(k)));
            for (kind, own, swapped) in all.chain(kinds) {
                let loss = if kind == "all" { s.own.loss.to_string() } else { String::new() };
                let swapped = swapped.map_or_else(String::new, |v| v.value().to_string());
                let _ = writeln!(
                    out,
                    "score,{name},{},{stage},,{loss},,,,{kind},{},{swapped},{}",
                    s.step,
                    own.value(),
                    own.of
                );
            }
        }
    }
    out
}
