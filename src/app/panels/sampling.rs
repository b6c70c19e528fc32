//! How a model from files chooses its words, folded away.

use eframe::egui::{DragValue, Grid, TextEdit, Ui};

use super::widgets::small;
use crate::engine::Settings;
use crate::engine::answers::assistant::Options;

/// What people choose here.
pub struct Form {
    /// How tokens are chosen.
    pub settings: Settings,
    /// Most tokens of an answer.
    pub limit: usize,
    /// The system message; empty: none.
    pub system: String,
}

impl Default for Form {
    fn default() -> Self {
        Self { settings: Settings::default(), limit: Options::default().limit, system: String::new() }
    }
}

impl Form {
    /// What the session wants to know.
    #[must_use]
    pub fn options(&self) -> Options {
        Options { sampling: self.settings, limit: self.limit, ..Options::default() }
    }
}

pub(super) fn sampling_ui(ui: &mut Ui, form: &mut Form) {
    let s = &mut form.settings;
    let share = |v| DragValue::new(v).speed(0.01).max_decimals(2);
    let rows = [
        (
            "Temperature",
            "0: always the likeliest token. 1: as the model has learned. Above: more surprising",
            share(&mut s.temperature).range(0.0..=5.0),
        ),
        ("Top-k", "Only so many likeliest tokens; 0: all", DragValue::new(&mut s.top_k).range(0..=100_000)),
        (
            "Top-p",
            "Only the likeliest tokens that together have this probability; 1: all",
            share(&mut s.top_p).range(0.01..=1.0),
        ),
        (
            "Min-p",
            "Only tokens with this share of the likeliest one's probability; 0: all",
            share(&mut s.min_p).range(0.0..=1.0),
        ),
        (
            "Repetition penalty",
            "Above 1: tokens that occurred become less likely",
            share(&mut s.repetition_penalty).range(0.1..=10.0),
        ),
        ("Seed", "The same seed makes the same choices", DragValue::new(&mut s.seed)),
        ("Limit", "Most tokens of an answer", DragValue::new(&mut form.limit).range(1..=100_000)),
    ];
    Grid::new("sampling").num_columns(2).show(ui, |ui| {
        for (name, hover, value) in rows {
            let label = ui.label(name).on_hover_text(hover);
            ui.add(value).labelled_by(label.id).on_hover_text(hover);
            ui.end_row();
        }
    });
    if s.temperature == 0.0 {
        ui.label(small("At temperature 0 chance has no part: filters and seed change nothing."));
    }
    let label = ui.label("System message").on_hover_text("Who the model is to be; told before the conversation");
    let field = TextEdit::multiline(&mut form.system).desired_rows(2).desired_width(f32::INFINITY);
    ui.add(field.hint_text("the model's own")).labelled_by(label.id);
}
