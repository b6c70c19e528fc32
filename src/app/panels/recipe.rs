//! Recipe editor: the numbers of a stage, checked while they are typed.

use eframe::egui::{Button, TextEdit, Ui};

use super::widgets;
use crate::app::actions::Action;
use crate::app::{AppState, theme};
use crate::engine::{Stage, StageRecipe, assets};

/// Fields: label, and what it means.
const FIELDS: [(&str, &str); 8] = [
    ("Steps", "Optimiser steps of the stage"),
    ("Learning rate", "Peak of the schedule"),
    ("Warm-up ratio", "Share of the steps in which the rate climbs to its peak"),
    ("Floor", "Lowest rate at the end, as a share of the peak"),
    ("Batch", "Rows per micro-batch"),
    ("Accumulate", "Micro-batches per optimiser step"),
    ("Max grad norm", "Gradients with a larger norm are scaled down; 0 is never"),
    ("Weight decay", "How fast matrices shrink, times the rate"),
];

/// What people type here.
#[derive(Default)]
pub struct Form {
    /// Is the editor shown?
    pub open: bool,
    /// What the texts were filled from.
    filled: Option<(Stage, StageRecipe)>,
    texts: [String; FIELDS.len()],
}

fn texts(r: &StageRecipe) -> [String; FIELDS.len()] {
    [
        r.steps.to_string(),
        r.learning_rate.to_string(),
        r.warmup_ratio.to_string(),
        r.floor.to_string(),
        r.batch.to_string(),
        r.accumulate.to_string(),
        r.max_grad_norm.to_string(),
        r.weight_decay.to_string(),
    ]
}

fn whole(field: usize, text: &str) -> Result<usize, String> {
    let label = FIELDS[field].0;
    text.trim().parse().ok().ok_or_else(|| format!("{label} is \"{text}\"; it must be a whole number, like 100"))
}

fn number(field: usize, text: &str) -> Result<f64, String> {
    let label = FIELDS[field].0;
    let value = text.trim().parse().ok().filter(|v: &f64| v.is_finite());
    value.ok_or_else(|| format!("{label} is \"{text}\"; it must be a number, like 0.01"))
}

/// The recipe in the texts; what has no field stays as it was.
fn parse(texts: &[String; FIELDS.len()], old: &StageRecipe) -> Result<StageRecipe, String> {
    Ok(StageRecipe {
        steps: whole(0, &texts[0])? as u64,
        learning_rate: number(1, &texts[1])?,
        warmup_ratio: number(2, &texts[2])?,
        floor: number(3, &texts[3])?,
        batch: whole(4, &texts[4])?,
        accumulate: whole(5, &texts[5])?,
        max_grad_norm: number(6, &texts[6])?,
        weight_decay: number(7, &texts[7])?,
        ..old.clone()
    })
}

/// Can the stage go on with this recipe? If not: a sentence.
fn check(state: &AppState, stage: Stage, recipe: &StageRecipe) -> Result<(), String> {
    let made = if state.stage == Some(stage) { state.update } else { 0 };
    if recipe.steps <= made {
        return Err(format!("Steps is {}; it must be above the {made} that are made", recipe.steps));
    }
    let Some(mut preset) = state.preset.clone() else { return Ok(()) };
    preset.stages = vec![(stage, recipe.clone())];
    preset.check().map_err(|e| e.to_string())
}

/// Draws the editor of the stage that comes next.
pub(super) fn recipe_ui(ui: &mut Ui, state: &AppState, stage: Option<Stage>, form: &mut Form, out: &mut Vec<Action>) {
    let Some(stage) = stage else {
        ui.label("All stages are done; there is no recipe left to change. Enter a stage again, or reset.");
        return;
    };
    let Some(old) = state.preset.as_ref().and_then(|p| p.stage(stage)).cloned() else {
        ui.label(format!("This preset has no stage {}.", stage.number()));
        return;
    };
    if form.filled.as_ref().is_none_or(|(s, r)| *s != stage || *r != old) {
        form.texts = texts(&old);
        form.filled = Some((stage, old.clone()));
    }
    ui.horizontal_wrapped(|ui| {
        ui.strong(format!("Recipe of stage {}", stage.number()));
        for ((label, hover), text) in FIELDS.iter().zip(&mut form.texts) {
            // Label and field stay together where the row is broken.
            ui.horizontal(|ui| {
                let label = ui.label(*label);
                let edit = TextEdit::singleline(text).desired_width(56.0);
                ui.add(edit).labelled_by(label.id).on_hover_text(*hover);
            });
        }
    });
    let texts = form.texts.clone();
    let parsed = parse(&texts, &old).and_then(|recipe| check(state, stage, &recipe).map(|()| recipe));
    ui.horizontal_wrapped(|ui| {
        let changed = parsed.as_ref().is_ok_and(|recipe| *recipe != old);
        let hover = "Used from the next step on; what it has learned stays";
        let apply = ui.add_enabled(changed, Button::new("Apply")).on_hover_text(hover);
        let why = if parsed.is_ok() { "Nothing is changed." } else { "One of the numbers cannot be used." };
        if apply.on_disabled_hover_text(why).clicked()
            && let Ok(recipe) = &parsed
        {
            out.push(Action::Recipe(stage, Box::new(recipe.clone())));
        }
        if ui.button("Undo").on_hover_text("The recipe in use").clicked() {
            form.filled = None;
        }
        if ui.button("Preset's own").on_hover_text("The recipe that the preset came with").clicked()
            && let Some(own) = own(state, stage)
        {
            form.texts = self::texts(&own);
        }
        if let Err(reason) = &parsed {
            let colour = theme::bad(ui);
            widgets::marked(ui, "⚠", colour, &format!("{}.", widgets::sentence(reason)));
        }
    });
}

fn own(state: &AppState, stage: Stage) -> Option<StageRecipe> {
    let preset = assets::preset(&state.preset.as_ref()?.name).ok()?;
    preset.stage(stage).cloned()
}
