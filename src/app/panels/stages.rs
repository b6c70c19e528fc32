//! Top bar: the three stages, and how training is started, stopped and taken step by step.

use eframe::egui::{Align, Button, Color32, Context, DragValue, Key, Layout, Popup, Rect, Ui, Vec2};

use super::{beside, recipe, widgets};
use crate::app::actions::Action;
use crate::app::{AppState, Control, theme};
use crate::engine::{Command, Stage, Steps};

/// What people type and choose here.
pub struct Form {
    /// Steps of the button that makes several.
    steps: u64,
    /// Seed while it is being typed.
    seed: Option<u64>,
    /// What trains beside the model.
    beside: beside::Form,
    /// Recipe editor.
    pub recipe: recipe::Form,
}

impl Default for Form {
    fn default() -> Self {
        Self { steps: 10, seed: None, beside: beside::Form::default(), recipe: recipe::Form::default() }
    }
}

/// The stage that the next step belongs to; none when all are done.
#[must_use]
pub fn next_stage(state: &AppState) -> Option<Stage> {
    match state.stage {
        None => Some(Stage::Connector),
        Some(now) if state.done.contains(&now) => Stage::of(now.number() + 1),
        now => now,
    }
}

/// Draws the panel.
pub fn stages_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    keys(ui.ctx(), state, out);
    if state.shows(Control::StageBar) {
        ui.horizontal_wrapped(|ui| Stage::ALL.into_iter().for_each(|stage| chip_ui(ui, state, stage, out)));
    }
    ui.horizontal_wrapped(|ui| {
        run_ui(ui, state, out);
        step_ui(ui, state, form, out);
        start_ui(ui, state, form, out);
        if state.shows(Control::Recipe) {
            let hover = "How the stage trains: steps, learning rate, batch and more";
            ui.toggle_value(&mut form.recipe.open, "Recipe").on_hover_text(hover);
        }
        progress_ui(ui, state);
    });
    warnings_ui(ui, state);
    if state.shows(Control::Recipe) && form.recipe.open {
        recipe::recipe_ui(ui, state, next_stage(state), &mut form.recipe, out);
    }
}

/// Space, S and R, while nobody types or holds the focus elsewhere.
fn keys(ctx: &Context, state: &AppState, out: &mut Vec<Action>) {
    // A focused button takes the space bar itself, and so does the canvas.
    if state.preset.is_none() || ctx.egui_wants_keyboard_input() || Popup::is_any_open(ctx) {
        return;
    }
    if state.shows(Control::Run) && widgets::pressed(ctx, Key::Space) {
        toggle(state, out);
    }
    if state.shows(Control::Step) && !state.running() && next_stage(state).is_some() && widgets::pressed(ctx, Key::S) {
        out.push(Action::Train(Steps::Count(1)));
    }
    if state.shows(Control::Reset) && widgets::pressed(ctx, Key::R) {
        out.push(Command::Reset.into());
    }
}

fn toggle(state: &AppState, out: &mut Vec<Action>) {
    if state.running() {
        out.push(Action::Pause);
    } else if next_stage(state).is_some() {
        out.push(Action::Train(Steps::Stage));
    }
}

/// Updates made and to make in a stage.
fn updates(state: &AppState, stage: Stage) -> Option<(u64, u64)> {
    let of = state.preset.as_ref()?.stage(stage)?.steps;
    let done = match state.stage {
        _ if state.done.contains(&stage) => of,
        Some(now) if now == stage => state.update.min(of),
        _ => 0,
    };
    Some((done, of))
}

fn chip_ui(ui: &mut Ui, state: &AppState, stage: Stage, out: &mut Vec<Action>) {
    let n = stage.number();
    let done = state.done.contains(&stage);
    let now = state.stage == Some(stage) && !done;
    let count = updates(state, stage);
    let progress = match count {
        None => "not in this preset".to_owned(),
        Some((_, of)) if done => format!("done, {of} updates"),
        Some((made, of)) if now => format!("{made} of {of}"),
        Some((_, of)) => format!("{of} updates"),
    };
    let (trained, kept) = widgets::trains(stage);
    let title = format!("{}{n} {} ({progress})", if done { "✔ " } else { "" }, widgets::sentence(stage.name()));
    let locks = if kept.is_empty() {
        format!("🔓 trains {trained}")
    } else {
        format!("🔓 trains {trained}  🔒 keeps {kept}")
    };
    let job = widgets::lines(ui, &[&title], &[&locks]);
    let button = Button::new(job).selected(state.stage == Some(stage)).min_size(Vec2::new(250.0, 40.0));
    let response = ui.add_enabled(count.is_some(), button);
    let share = count.map_or(0.0, |(made, of)| made as f32 / of.max(1) as f32);
    bar(ui, response.rect, share, theme::stage(stage, ui.visuals().dark_mode));
    let hover = if now {
        format!("In progress. It trains {trained}.")
    } else {
        format!("Enter stage {n} with the weights as they are. It trains {trained}.")
    };
    let response = response.accessible_name(format!("Stage {n}, {}, {progress}", stage.name())).on_hover_text(hover);
    let whole = if kept.is_empty() { format!("Trains {trained}.") } else { format!("Trains {trained}, keeps {kept}.") };
    widgets::describe(&response, whole);
    // A click on the stage in progress would begin it again and lose its place.
    if response.clicked() && !now {
        out.push(Command::Enter(stage).into());
    }
}

/// How far a chip's stage is, along its lower edge.
fn bar(ui: &Ui, rect: Rect, share: f32, colour: Color32) {
    let track = Rect::from_min_max(rect.left_bottom() - Vec2::new(0.0, 4.0), rect.right_bottom());
    let full = Rect::from_min_size(track.min, Vec2::new(track.width() * share.clamp(0.0, 1.0), track.height()));
    ui.painter().rect_filled(track, 1.0, ui.visuals().widgets.noninteractive.bg_stroke.color);
    ui.painter().rect_filled(full, 1.0, colour);
}

fn run_ui(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    if !state.shows(Control::Run) {
        return;
    }
    let next = next_stage(state);
    let (sign, name) = match next {
        _ if state.running() => ("⏸", "Pause".to_owned()),
        Some(stage) if state.stage != Some(stage) || state.update == 0 => {
            ("▶", format!("Start stage {}", stage.number()))
        }
        _ => ("▶", "Run".to_owned()),
    };
    let ready = state.preset.is_some();
    let button = Button::new(format!("{sign} {name}")).min_size(Vec2::new(120.0, 0.0));
    let hover = if state.running() { "Pause after this step (space)" } else { "Train to the end of the stage (space)" };
    let why = if ready { "All stages are done. Reset, or enter a stage again." } else { "Hive is starting." };
    let enabled = ready && (state.running() || next.is_some());
    let response =
        ui.add_enabled(enabled, button).accessible_name(name).on_hover_text(hover).on_disabled_hover_text(why);
    if response.clicked() {
        toggle(state, out);
    }
    let all = Button::new("Run all stages").selected(state.runs_all());
    let hover = if state.runs_all() {
        "Make this stage the last"
    } else {
        "Train this stage and those after it, one after the other"
    };
    if ui.add_enabled(ready && next.is_some(), all).on_hover_text(hover).clicked() {
        out.push(Action::Train(if state.runs_all() { Steps::Stage } else { Steps::All }));
    }
}

fn step_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if !state.shows(Control::Step) {
        return;
    }
    let ready = state.preset.is_some() && !state.running() && next_stage(state).is_some();
    ui.separator();
    if ui.add_enabled(ready, Button::new("Step")).on_hover_text("One optimiser step (S)").clicked() {
        out.push(Action::Train(Steps::Count(1)));
    }
    let count = form.steps;
    let name = format!("Step {count}");
    if ui.add_enabled(ready, Button::new(name)).on_hover_text("So many optimiser steps, then pause").clicked() {
        out.push(Action::Train(Steps::Count(count)));
    }
    let value = DragValue::new(&mut form.steps).range(2..=1000);
    ui.add(value).accessible_name("Steps at a time").on_hover_text("Steps at a time: drag, or click and type");
}

/// From where training starts: reset, seed, control.
fn start_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    let ready = state.preset.is_some();
    if [Control::Reset, Control::Seed, Control::Control].into_iter().any(|control| state.shows(control)) {
        ui.separator();
    }
    if state.shows(Control::Reset) {
        let hover = "Back to the start weights; what it has learned is lost (R)";
        if ui.add_enabled(ready, Button::new("⟲ Reset")).accessible_name("Reset").on_hover_text(hover).clicked() {
            out.push(Command::Reset.into());
        }
    }
    if state.shows(Control::Seed)
        && let Some(seed) = state.preset.as_ref().map(|p| p.seed)
    {
        seed_ui(ui, seed, form, out);
    }
    if state.shows(Control::Control) {
        beside::beside_ui(ui, state, &mut form.beside, out);
    }
}

fn seed_ui(ui: &mut Ui, seed: u64, form: &mut Form, out: &mut Vec<Action>) {
    let label = ui.label("Seed");
    let mut value = form.seed.unwrap_or(seed);
    let response = ui.add(DragValue::new(&mut value).range(0..=u64::from(u32::MAX)).speed(0.1));
    let busy = response.dragged() || response.has_focus();
    response.labelled_by(label.id).on_hover_text("Start values and data. A change starts training again.");
    if value != seed && !busy {
        // Only now: each number on the way would open a model of its own.
        out.push(Action::Seed(value));
    }
    form.seed = busy.then_some(value);
}

fn progress_ui(ui: &mut Ui, state: &AppState) {
    let text = match next_stage(state) {
        None => "✔ All stages are done.".to_owned(),
        Some(stage) if state.running() => {
            let left = updates(state, stage).map_or(0, |(made, of)| of - made);
            let step: f64 = state.step_secs.values().sum();
            if step > 0.0 { format!("{} left", duration(left as f64 * step)) } else { "starting".to_owned() }
        }
        Some(_) => return,
    };
    ui.with_layout(Layout::left_to_right(Align::Center), |ui| ui.label(text));
}

fn duration(secs: f64) -> String {
    let secs = secs.round() as u64;
    if secs < 90 { format!("about {secs} s") } else { format!("about {} min", (secs + 30) / 60) }
}

/// What a stage that was left out means for those after it.
fn warnings_ui(ui: &mut Ui, state: &AppState) {
    let Some(now) = state.stage else { return };
    for stage in Stage::ALL.into_iter().filter(|s| *s < now && !state.done.contains(s)) {
        let n = stage.number();
        let begun = state.log.hive.iter().any(|p| p.stage == stage);
        let text = match stage {
            _ if begun => format!("Stage {n} cut short: it made fewer updates than its recipe says."),
            Stage::Connector => format!("Stage {n} skipped: the links are untrained; watch what happens."),
            Stage::Adaptation | Stage::Vision => {
                format!("Stage {n} skipped: the language model has not learned to use the links; watch what happens.")
            }
        };
        widgets::warning(ui, &text);
    }
}
