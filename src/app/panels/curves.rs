//! What training told so far as curves: loss, accuracy, gradient norms, learning rate, throughput; a table of costs.

use eframe::egui::{Align2, FontId, Id, Role, TextStyle, Ui, Vec2b, WidgetInfo};
use egui_plot::{
    Corner, GridMark, HoverPosition, Legend, Line, LineStyle, MarkerShape, Plot, PlotPoint, PlotPoints, Points, Text,
    VLine,
};

use super::cost::cost_ui;
use super::format::{at_step, short};
use super::series::{self, Choice, Series};
use super::{compare, depths, raster};
use crate::app::actions::Action;
use crate::app::permalink::Tab;
use crate::app::{AppState, Control, theme};
use crate::engine::{Command, Lane, Stage};

/// Points of a line at most.
const MOST: usize = 1000;
const HEIGHT: f32 = 230.0;

/// What the drawn lines were made from; other lines are made only when it changes.
#[derive(Clone, Debug, Default, PartialEq)]
struct Key {
    choice: Choice,
    lengths: [usize; 4],
    steps: [u64; 2],
    control: bool,
}

/// What people type and choose here.
#[derive(Default)]
pub struct Form {
    /// What is plotted.
    pub choice: Choice,
    /// The table of depths.
    pub depths: depths::Form,
    key: Option<Key>,
    lines: Vec<(Series, Vec<PlotPoint>)>,
    stages: Vec<(Stage, f64)>,
}

/// The numbers of now in one line, e.g. `loss 1.234 · step 120 of 1200 · held-out accuracy 0.42 (swapped 0.26)`.
#[must_use]
pub fn summary(state: &AppState) -> String {
    let mut parts = Vec::new();
    if let Some(p) = state.log.hive.last() {
        parts.push(format!("loss {:.3}", p.loss));
    }
    if let Some(stage) = state.stage {
        let of = state.preset.as_ref().and_then(|p| p.stage(stage)).map_or(0, |r| r.steps);
        parts.push(format!("step {} of {of}", state.update));
    }
    if let Some(s) = state.log.scores.iter().rev().find(|s| s.lane == Lane::Hive && s.stage.is_some()) {
        let (own, swapped) = (s.own.all.value(), s.swapped.all.value());
        parts.push(format!("held-out accuracy {own:.2} (swapped {swapped:.2})"));
    }
    if parts.is_empty() { "no training steps yet".into() } else { parts.join(" · ") }
}

/// The same of the control.
fn control_summary(state: &AppState) -> Option<String> {
    let loss = state.log.control.last()?.loss;
    let score = state.log.scores.iter().rev().find(|s| s.lane == Lane::Control && s.stage.is_some());
    let score = score.map_or_else(String::new, |s| {
        format!(" · held-out accuracy {:.2} (swapped {:.2})", s.own.all.value(), s.swapped.all.value())
    });
    Some(format!("{}, loss {loss:.3}{score}", state.log.name(Lane::Control)))
}

/// Draws the panel.
pub fn curves_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if !state.shows(Control::Curves) {
        return;
    }
    form.choice.tab = tabs(ui, state, out);
    ui.label(summary(state));
    if let Some(text) = control_summary(state) {
        ui.label(text);
    }
    if let Some(text) = compare::text(&state.log).filter(|_| state.shows(Control::Scores)) {
        ui.label(text);
    }
    if form.choice.tab == Tab::Cost {
        cost_ui(ui, state);
    } else if form.choice.tab == Tab::Depths {
        depths::depths_ui(ui, state, &mut form.depths, out);
    } else {
        refresh(state, form);
        options(ui, state, form, out);
        if form.lines.is_empty() {
            ui.label("Curves appear here once training runs.");
        } else {
            ui.scope(|ui| {
                // The legend's letters: egui's small ones are too small for a classroom.
                ui.style_mut().text_styles.insert(TextStyle::Small, FontId::proportional(11.0));
                plot(ui, form);
            });
        }
    }
}

/// The tab that is shown.
fn tabs(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) -> Tab {
    let shown = |t: Tab| match t {
        Tab::Accuracy => state.shows(Control::Scores),
        Tab::Norms => state.shows(Control::Norms),
        Tab::Cost => state.shows(Control::Cost),
        Tab::Depths => state.shows(Control::Depths),
        Tab::Loss | Tab::Rate | Tab::Throughput => true,
    };
    let mut tab = if shown(state.tab) { state.tab } else { Tab::Loss };
    ui.horizontal_wrapped(|ui| {
        for t in Tab::ALL.into_iter().filter(|t| shown(*t)) {
            ui.selectable_value(&mut tab, t, t.name());
        }
    });
    if tab != state.tab {
        out.push(Action::Tab(tab));
    }
    tab
}

/// Makes the lines again if they have changed.
fn refresh(state: &AppState, form: &mut Form) {
    let log = &state.log;
    let last = |lane: Lane| log.points(lane).last().map_or(0, |p| p.step);
    let key = Key {
        choice: form.choice.clone(),
        lengths: [log.hive.len(), log.control.len(), log.scores.len(), log.norms.len()],
        steps: [last(Lane::Hive), last(Lane::Control)],
        control: state.beside.is_some(),
    };
    if form.key.as_ref() == Some(&key) {
        return;
    }
    let with_points = |line: Series| {
        let points = line.points.iter().map(|p| PlotPoint::new(p[0], p[1])).collect();
        (line, points)
    };
    let mut lines = series::lines(state, &form.choice, MOST);
    if form.choice.difference {
        lines.extend(compare::lines(log, &form.choice, MOST));
    }
    form.lines = lines.into_iter().map(with_points).collect();
    form.stages = series::stage_starts(log);
    form.key = Some(key);
}

fn options(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    ui.horizontal_wrapped(|ui| {
        let tab = form.choice.tab;
        if tab.has_smooth() {
            ui.checkbox(&mut form.choice.smooth, "Smooth").on_hover_text("Moving average over about 20 steps");
        }
        if tab.has_log() {
            ui.checkbox(&mut form.choice.log, "Log scale");
        }
        if compare::has_lines(&state.log, &form.choice) {
            let hover = "What the model is ahead of the one beside it, at each step";
            ui.checkbox(&mut form.choice.difference, "Difference").on_hover_text(hover);
        }
        if tab == Tab::Accuracy {
            let kinds: Vec<String> =
                state.log.scores.last().map(|s| s.own.kinds.keys().cloned().collect()).unwrap_or_default();
            for kind in kinds {
                let mut on = form.choice.kinds.contains(&kind);
                if ui.checkbox(&mut on, &kind).on_hover_text("A line for this kind of question").changed() {
                    if on {
                        form.choice.kinds.insert(kind)
                    } else {
                        form.choice.kinds.remove(&kind)
                    };
                }
            }
            if state.preset.is_some() && ui.button("Score now").clicked() {
                out.push(Command::Evaluate.into());
            }
        }
        if state.shows(Control::Export) && !form.lines.is_empty() {
            export(ui, state, form, out);
        }
    });
}

fn export(ui: &mut Ui, state: &AppState, form: &Form, out: &mut Vec<Action>) {
    let stem = state.preset.as_ref().map_or("hive", |p| p.name.as_str()).to_owned();
    if ui.button("CSV…").on_hover_text("All points and scores of all curves as a table").clicked() {
        let table = series::csv(&state.log).into_bytes();
        out.push(Action::Save(format!("{stem}-curves.csv"), table));
    }
    if ui.button("PNG…").on_hover_text("The curves that are shown as a picture").clicked() {
        let lines: Vec<Series> = form.lines.iter().map(|(line, _)| line.clone()).collect();
        let tab = form.choice.tab;
        let (unit, log) = (tab.unit(), form.choice.log && tab.has_log());
        let plot = raster::Plot { lines: &lines, stages: &form.stages, unit, log };
        if let Some(bytes) = raster::plot_png(&plot) {
            let name = format!("{stem}-{}.png", tab.name().replace(' ', "-"));
            out.push(Action::Save(name, bytes));
        }
    }
}

fn plot(ui: &mut Ui, form: &Form) {
    let tab = form.choice.tab;
    let log = form.choice.log && tab.has_log();
    let dark = ui.visuals().dark_mode;
    let real = move |v: f64| if log { 10_f64.powf(v) } else { v };
    let top = form.lines.iter().flat_map(|(_, p)| p).map(|p| p.y).fold(f64::NEG_INFINITY, f64::max);
    // The stages' names stand where the legend is not.
    let (level, anchor) = if tab == Tab::Accuracy { (0.0, Align2::LEFT_BOTTOM) } else { (top, Align2::LEFT_TOP) };
    // Accuracy rises, the others fall: the legend stands where the lines are not.
    let corner = if tab == Tab::Accuracy { Corner::LeftTop } else { Corner::RightTop };
    // Every tab has its own memory, so that each fits its own values; the steps are common to all of them.
    let mut plot = Plot::new(("curves", tab.name(), log))
        .height(HEIGHT)
        .link_axis(Id::unique("curves"), Vec2b::new(true, false))
        .link_cursor(Id::unique("curves"), Vec2b::new(true, false))
        .legend(Legend::default().position(corner).follow_insertion_order(true).text_style(TextStyle::Small))
        // The wheel scrolls the column; with Ctrl it zooms.
        .allow_scroll(false)
        .allow_boxed_zoom(true)
        .x_axis_label("optimiser steps")
        .y_axis_label(tab.unit())
        .y_axis_formatter(move |mark, _| {
            if !log {
                at_step(mark.value, mark.step_size)
            } else if mark.step_size < 0.2 {
                String::new()
            } else {
                short(real(mark.value))
            }
        })
        .label_formatter(move |at| {
            Some(match at {
                HoverPosition::NearDataPoint { plot_name, position, .. } => {
                    format!("{plot_name}\nstep {:.0}\n{}", position.x, short(real(position.y)))
                }
                HoverPosition::Elsewhere { position } => {
                    format!("step {:.0}\n{}", position.x, short(real(position.y)))
                }
            })
        });
    if tab == Tab::Accuracy {
        plot = plot.include_y(0.0).include_y(1.0);
    }
    plot = plot
        .y_grid_spacer(move |input| if log { log_marks(input.bounds) } else { even_marks(input.bounds, 7.0, 0.0) })
        .x_grid_spacer(|input| even_marks(input.bounds, 7.0, 1.0));
    let shown = plot.show(ui, |plot| {
        for (stage, step) in &form.stages {
            let name = format!("stage {}", stage.number());
            let colour = theme::stage(*stage, dark);
            plot.vline(
                VLine::new(String::new(), *step).color(colour).style(LineStyle::dotted_dense()).allow_hover(false),
            );
            let label = Text::new(String::new(), PlotPoint::new(*step, level), name).color(colour);
            plot.text(label.anchor(anchor).allow_hover(false));
        }
        for (line, points) in &form.lines {
            let mut colour = theme::series(line.colour, dark);
            if line.faint {
                colour = colour.gamma_multiply(0.3);
            }
            let style = if line.dashed { LineStyle::dashed_dense() } else { LineStyle::Solid };
            // The legend shows colours only.
            let name = if line.dashed { format!("{} (dashed)", line.name) } else { line.name.clone() };
            let drawn = Line::new(name.clone(), PlotPoints::Borrowed(points.as_slice()));
            if line.marked {
                let shape = if line.dashed { MarkerShape::Diamond } else { MarkerShape::Circle };
                let marks = Points::new(name, PlotPoints::Borrowed(points.as_slice()));
                plot.points(marks.color(colour).shape(shape).radius(3.0).allow_hover(false));
            }
            // Two scores at one step are two points; egui would fill what lies between.
            let drawn = drawn.allow_band(false);
            plot.line(drawn.color(colour).style(style).width(if line.faint { 1.0 } else { 1.8 }));
        }
    });
    let name = format!("plot of {} over optimiser steps, {} lines", tab.name(), form.lines.len());
    shown.response.widget_info(|| WidgetInfo::labeled(Role::Figure, true, &name));
}

/// Lines of a grid at multiples of 1, 2 or 5 times a power of ten, at most about `most` of them and no closer than
/// `least`. The plot's own lie at powers of ten, so that often only one or two of them have room for a number.
#[must_use]
pub fn even_marks((low, high): (f64, f64), most: f64, least: f64) -> Vec<GridMark> {
    let wanted = (high - low) / most;
    if !wanted.is_normal() || wanted < 0.0 {
        return Vec::new();
    }
    let power = 10_f64.powf(wanted.log10().floor());
    let step_size = [1.0, 2.0, 5.0].map(|m| m * power).into_iter().find(|step| *step >= wanted);
    let step_size = step_size.unwrap_or(10.0 * power).max(least);
    let (first, last) = ((low / step_size).ceil() as i64, (high / step_size).floor() as i64);
    (first..=last).map(|k| GridMark { value: k as f64 * step_size, step_size }).collect()
}

/// Lines of a grid over a logarithm: 1 to 9 times each power of ten, the powers strongest.
fn log_marks((low, high): (f64, f64)) -> Vec<GridMark> {
    let decades = low.floor().max(-12.0) as i32..=high.ceil().min(12.0) as i32;
    let in_decade = |k: i32| {
        (1..10).map(move |m| GridMark {
            value: f64::from(k) + f64::from(m).log10(),
            step_size: match m {
                1 => 1.0,
                2 | 5 => 0.3,
                _ => 0.1,
            },
        })
    };
    decades.flat_map(in_decade).filter(|mark| (low..=high).contains(&mark.value)).collect()
}
