//! Bottom bar: the adapter and whether it computes right, memory, frame times, and what takes time.

use eframe::egui::{Button, ComboBox, Label, ProgressBar, RichText, Ui};

use crate::app::actions::Action;
use crate::app::{AppState, Control, theme};
use crate::engine::{AdapterKind, AdapterSummary, Command, GpuOptions, SelfTest};

/// Width from which everything fits into a row.
const ROW: f32 = 1200.0;

/// The adapter's kind in words.
fn kind(kind: AdapterKind) -> &'static str {
    match kind {
        AdapterKind::Hardware => "graphics processor",
        AdapterKind::Software => "software adapter",
    }
}

/// Draws the panel.
pub fn status_ui(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    // A single row where there is room: its height must not change with what it says, or everything above would jump.
    if ui.available_width() > ROW {
        ui.horizontal(|ui| row_ui(ui, state, out));
    } else {
        ui.horizontal_wrapped(|ui| row_ui(ui, state, out));
    }
}

fn row_ui(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    if state.shows(Control::Adapter) {
        adapter_ui(ui, state, out);
    }
    if state.shows(Control::SelfTest) {
        self_test_ui(ui, state, out);
    }
    if state.shows(Control::Status) {
        figures_ui(ui, state);
        busy_ui(ui, state);
    }
}

fn adapter_ui(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    let Some(used) = &state.adapter else {
        ui.label("No adapter yet");
        ui.separator();
        return;
    };
    let hover = details(used);
    if state.adapters.len() > 1 {
        let label = ui.label("Adapter");
        let combo = ComboBox::from_id_salt("adapter").selected_text(&used.name).truncate().width(180.0);
        let response = combo.show_ui(ui, |ui| {
            for adapter in &state.adapters {
                let text = format!("{} ({}, {})", adapter.name, kind(adapter.kind), adapter.backend);
                let chosen = adapter.name == used.name;
                if ui.selectable_label(chosen, text).on_hover_text(details(adapter)).clicked() && !chosen {
                    let options = GpuOptions { adapter: Some(adapter.name.clone()), ..GpuOptions::default() };
                    out.push(Command::Adapter(options).into());
                }
            }
        });
        response.response.labelled_by(label.id).on_hover_text(hover);
        ui.label(format!("({})", kind(used.kind)));
    } else {
        ui.label(format!("{} ({})", used.name, kind(used.kind))).on_hover_text(hover);
    }
    ui.separator();
}

fn details(adapter: &AdapterSummary) -> String {
    let mut text = format!("{}\nDriver {}\n{}", adapter.name, adapter.driver, adapter.backend);
    if !adapter.features.is_empty() {
        text += &format!("\nHas {}", adapter.features.join(", "));
    }
    for (name, value) in &adapter.limits {
        text += &format!("\n{value} {name}");
    }
    text
}

/// The self-test in a few words.
fn verdict(test: &SelfTest) -> String {
    match test.faults() {
        Some((op, _)) => format!("⚠ self-test failed: {op}"),
        None if test.of == 0 => "self-test not run yet".to_owned(),
        None if test.done < test.of => format!("self-test {}/{}", test.done, test.of),
        None => format!("✔ self-test passed ({} cases, {:.1} s)", test.of, test.secs),
    }
}

fn self_test_ui(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    let test = &state.self_test;
    let text = verdict(test);
    if let Some((_, lines)) = test.faults() {
        let colour = theme::bad(ui);
        ui.label(RichText::new(text).color(colour).strong()).on_hover_text(lines);
    } else {
        ui.label(text).on_hover_text("Operations are computed here and compared with a slow, exact reference.");
    }
    let running = test.done < test.of;
    let button = ui.add_enabled(state.adapter.is_some() && !running, Button::new("Run the full self-test").small());
    let hover = "All cases of all operations, forward and backward; some seconds to a minute";
    let why = if running { "The self-test is running." } else { "There is no adapter yet." };
    if button.on_hover_text(hover).on_disabled_hover_text(why).clicked() {
        out.push(Command::Verify.into());
    }
    ui.separator();
}

fn figures_ui(ui: &mut Ui, state: &AppState) {
    for (figure, value) in &state.figures {
        let (words, meaning) = figure.words(*value);
        ui.label(words).on_hover_text(meaning);
        ui.separator();
    }
    if let Some((half, most)) = frame_times(&state.frames) {
        let hover = "Time between two pictures of this window: half of them come faster, and 95 of 100";
        ui.label(format!("frame {half:.0} ms, 95 % below {most:.0} ms")).on_hover_text(hover);
        ui.separator();
    }
}

/// Median and 95th percentile, milliseconds.
fn frame_times(frames: &[f32]) -> Option<(f32, f32)> {
    let mut sorted = frames.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = |share: f32| sorted.get(((sorted.len() as f32 * share) as usize).min(sorted.len().saturating_sub(1)));
    Some((at(0.5)? * 1e3, at(0.95)? * 1e3))
}

fn busy_ui(ui: &mut Ui, state: &AppState) {
    let Some(busy) = &state.busy else { return };
    if busy.of > 0 {
        let share = busy.done as f32 / busy.of as f32;
        let name = format!("{} {}/{}", busy.what, busy.done, busy.of);
        ui.add(ProgressBar::new(share).desired_width(100.0).show_percentage()).accessible_name(name);
        ui.label(&busy.what);
    } else {
        // No spinner: it would ask for a new picture all the time, while the machine is busy as it is.
        let count = if busy.done > 0 { format!(" ({} so far)", busy.done) } else { String::new() };
        let text = format!("⏳ {}{count}", busy.what);
        ui.add(Label::new(text.as_str()).truncate()).on_hover_text(text);
    }
}
