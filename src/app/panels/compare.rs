//! What the model is ahead of the one beside it: as a line over the steps, and in words with its uncertainty. Pure.

use super::series::{Choice, Series, decimated, smoothed, stage_starts};
use crate::app::permalink::Tab;
use crate::engine::{Lane, RunLog, ScorePoint, Share};

/// Colour of the difference's line.
const COLOUR: usize = 3;

/// A share's difference, and two standard errors of it: what chance may do to it.
#[must_use]
pub fn gap(a: &Share, b: &Share) -> (f64, f64) {
    let variance = |s: &Share| s.value() * (1.0 - s.value()) / (s.of as f64).max(1.0);
    (a.value() - b.value(), 2.0 * (variance(a) + variance(b)).sqrt())
}

/// Scores of both at the same steps.
fn pairs(log: &RunLog) -> impl Iterator<Item = (&ScorePoint, &ScorePoint)> {
    let of = |lane: Lane| log.scores.iter().filter(move |s| s.lane == lane && s.stage.is_some());
    of(Lane::Hive).filter_map(move |a| Some((a, of(Lane::Control).find(|b| b.step == a.step && b.stage == a.stage)?)))
}

/// The last difference of their answers, in a sentence.
#[must_use]
pub fn text(log: &RunLog) -> Option<String> {
    let (a, b) = pairs(log).last()?;
    let (gap, chance) = gap(&a.own.all, &b.own.all);
    let verdict = if gap.abs() > chance { "more than chance does" } else { "chance may do that" };
    Some(format!(
        "{} minus {}: {gap:+.2} of the answers, uncertain by {chance:.2} ({} questions each, two standard errors): {verdict}",
        log.name(Lane::Hive),
        log.name(Lane::Control),
        a.own.all.of,
    ))
}

/// Is there a difference to draw?
#[must_use]
pub fn has_lines(log: &RunLog, choice: &Choice) -> bool {
    !log.control.is_empty() && (choice.tab == Tab::Accuracy || choice.tab == Tab::Loss && !choice.log)
}

/// The line of the difference, of at most about `most` points; that of answers between lines two standard errors away.
#[must_use]
pub fn lines(log: &RunLog, choice: &Choice, most: usize) -> Vec<Series> {
    if !has_lines(log, choice) {
        return Vec::new();
    }
    let name = format!("{} minus {}", log.name(Lane::Hive), log.name(Lane::Control));
    let line = |name: &str, dashed, points| Series {
        name: name.to_owned(),
        colour: COLOUR,
        dashed,
        faint: false,
        marked: !dashed && choice.tab == Tab::Accuracy,
        points: decimated(points, most),
    };
    if choice.tab == Tab::Loss {
        let others = log.points(Lane::Control);
        let at = |step: u64| others.binary_search_by_key(&step, |p| p.step).ok().map(|i| others[i].loss);
        let gap = |p: &crate::engine::Point| Some([p.step as f64, f64::from(p.loss - at(p.step)?)]);
        let mut points: Vec<[f64; 2]> = log.points(Lane::Hive).iter().filter_map(gap).collect();
        if choice.smooth {
            let starts: Vec<f64> = stage_starts(log).into_iter().map(|(_, step)| step).collect();
            points = smoothed(&points, &starts);
        }
        return vec![line(&name, false, points)];
    }
    let found: Vec<(f64, f64, f64)> = pairs(log)
        .map(|(a, b)| {
            let (gap, chance) = gap(&a.own.all, &b.own.all);
            (a.step as f64, gap, chance)
        })
        .collect();
    let of = |sign: f64| found.iter().map(|(step, gap, chance)| [*step, gap + sign * chance]).collect();
    let band = "two standard errors";
    vec![line(&name, false, of(0.0)), line(band, true, of(1.0)), line(band, true, of(-1.0))]
}
