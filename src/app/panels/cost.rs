//! What a training step costs, per model: time, dispatches, arithmetic, memory.

use eframe::egui::{Grid, Ui};

use super::format::{bytes, compact, short};
use crate::app::AppState;
use crate::engine::StepCost;

/// A row of the table: its name, and its text for a model that takes so many seconds per step, if measured.
type Row = (&'static str, fn(&StepCost, Option<f64>) -> String);

const UNKNOWN: &str = "not measured yet";

const ROWS: [Row; 7] = [
    ("time per step", |_, secs| secs.map_or_else(|| UNKNOWN.into(), |s| format!("{} ms", short(s * 1e3)))),
    ("dispatches per step", |c, _| c.dispatches.to_string()),
    ("arithmetic per step", |c, _| format!("{} MFLOP", short(c.flops / 1e6))),
    ("achieved", |c, secs| secs.map_or_else(|| UNKNOWN.into(), |s| format!("{} GFLOP/s", short(c.flops / s / 1e9)))),
    ("parameters trained", |c, _| format!("{} of {}", compact(c.trained), compact(c.parameters))),
    ("parameters, gradients and moments", |c, _| bytes(c.parameter_bytes)),
    ("activations and other temporaries", |c, _| bytes(c.temporary_bytes)),
];

/// Draws the panel.
pub fn cost_ui(ui: &mut Ui, state: &AppState) {
    let Some(first) = state.costs.first() else {
        ui.label("The cost of a step is known once a stage is entered.");
        return;
    };
    ui.label(format!("A training step of stage {}", first.stage.number()));
    Grid::new("cost").striped(true).num_columns(1 + state.costs.len()).show(ui, |ui| {
        ui.label("");
        for cost in &state.costs {
            ui.strong(state.log.name(cost.lane));
        }
        ui.end_row();
        for (name, text) in ROWS {
            ui.label(name);
            for cost in &state.costs {
                let secs = state.step_secs.get(&cost.lane).copied().filter(|s| *s > 0.0);
                ui.label(text(&cost.step, secs));
            }
            ui.end_row();
        }
    });
    if let [hive, other] = &state.costs[..] {
        let memory = |c: &StepCost| (c.parameter_bytes + c.temporary_bytes) as f64;
        ui.label(format!(
            "{} takes {} times the arithmetic and {} times the memory of {}.",
            state.log.name(hive.lane),
            short(hive.step.flops / other.step.flops.max(1.0)),
            short(memory(&hive.step) / memory(&other.step).max(1.0)),
            state.log.name(other.lane),
        ));
    }
    ui.label("Time and achieved arithmetic are measured here and now; other windows on the same GPU slow them down.");
}
