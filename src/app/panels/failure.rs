//! Cards at the top of the centre: what failed, and what to do.

use eframe::egui::{CollapsingHeader, Color32, Frame, Label, RichText, Stroke, Ui};

use super::widgets;
use crate::app::actions::Action;
use crate::app::{AppState, theme};
use crate::engine::{AdapterKind, Command, Fault, FaultKind, GpuOptions, Open, assets};

/// Cards at a time; older ones come up when these are put away.
const MOST: usize = 3;

/// What a card is about, in a few words.
#[must_use]
pub fn title(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::NoWebGpu => "This browser has no WebGPU",
        FaultKind::NoAdapter => "There is no adapter to compute on",
        FaultKind::SoftwareAdapter => "A software adapter is in use",
        FaultKind::InsecureOrigin => "This page came over an insecure connection",
        FaultKind::DeviceLost => "The graphics device was lost",
        FaultKind::OutOfMemory => "The graphics memory is full",
        FaultKind::NotFinite => "Training met a number that is none",
        FaultKind::Panic => "Hive itself failed",
        FaultKind::SelfTest => "The self-test found wrong results",
        FaultKind::File => "A file cannot be used",
        FaultKind::Download => "Weights are missing",
        FaultKind::Model => "The model from files",
        FaultKind::Other => "Something went wrong",
    }
}

/// What "Try again" does about it.
enum Again {
    /// Nothing would come of it.
    No,
    /// Looks for an adapter; what is open goes on there.
    Adapter,
    /// Looks for an adapter, then opens the preset.
    Both,
    /// Fetches weights again and opens what needs them.
    Fetch,
}

fn again(kind: FaultKind) -> Again {
    match kind {
        FaultKind::NoAdapter => Again::Both,
        FaultKind::DeviceLost | FaultKind::OutOfMemory => Again::Adapter,
        FaultKind::Download => Again::Fetch,
        _ => Again::No,
    }
}

/// Which notices were put away.
#[derive(Default)]
pub struct Form {
    /// That about software adapters.
    pub seen_software: bool,
}

/// What was pressed on a card.
#[derive(Default)]
struct Pressed {
    dismiss: bool,
    again: bool,
    verify: bool,
}

/// Draws the panel.
pub fn failure_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    for (i, fault) in state.faults.iter().enumerate().rev().take(MOST) {
        let pressed = ui.push_id(("fault", i), |ui| card(ui, fault)).inner;
        if pressed.verify {
            out.push(Command::Verify.into());
        }
        if !pressed.dismiss && !pressed.again {
            continue;
        }
        out.push(Action::Dismiss(i));
        if pressed.again {
            try_again(state, fault.kind, out);
        }
    }
    if state.faults.len() > MOST {
        ui.label(format!("{} older messages follow when these are dismissed.", state.faults.len() - MOST));
    }
    software_ui(ui, state, form);
}

fn try_again(state: &AppState, kind: FaultKind, out: &mut Vec<Action>) {
    let open = match again(kind) {
        Again::No => return,
        Again::Adapter => false,
        Again::Both => true,
        Again::Fetch => return out.push(Command::OpenAgain.into()),
    };
    let adapter = state.adapter.as_ref().map(|a| a.name.clone());
    out.push(Command::Adapter(GpuOptions { adapter, ..GpuOptions::default() }).into());
    if !open {
        return;
    }
    let command = match state.preset.clone() {
        Some(preset) => Some(Command::Open(Open { preset, beside: state.beside.clone(), trained: false })),
        None => state.open(state.link.preset.as_deref().unwrap_or(assets::FIRST), None, false),
    };
    out.extend(command.map(Action::from));
}

fn frame<R>(ui: &mut Ui, colour: Color32, add: impl FnOnce(&mut Ui) -> R) -> R {
    let frame = Frame::group(ui.style()).stroke(Stroke::new(1.5, colour)).fill(ui.visuals().faint_bg_color);
    let shown = frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        add(ui)
    });
    shown.inner
}

fn card(ui: &mut Ui, fault: &Fault) -> Pressed {
    let notice = fault.kind == FaultKind::SoftwareAdapter;
    let colour = if notice { ui.visuals().warn_fg_color } else { theme::bad(ui) };
    let mut pressed = Pressed::default();
    frame(ui, colour, |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new("⚠").color(colour));
            ui.strong(title(fault.kind));
        });
        ui.label(&fault.what);
        ui.label(&fault.remedy);
        if !fault.detail.is_empty() {
            CollapsingHeader::new("Details").show(ui, |ui| {
                ui.add(Label::new(RichText::new(&fault.detail).monospace()).selectable(true).wrap());
                if ui.small_button("Copy details").clicked() {
                    ui.ctx().copy_text(format!("{} {}\n{}", title(fault.kind), fault.what, fault.detail));
                }
            });
        }
        ui.horizontal(|ui| {
            let hover = match again(fault.kind) {
                Again::No => None,
                Again::Adapter => Some("Looks for an adapter; what is open goes on there"),
                Again::Both => Some("Looks for an adapter, then opens the preset again"),
                Again::Fetch => Some("Fetches the weights again, then opens what needs them"),
            };
            if let Some(hover) = hover {
                pressed.again = ui.button("Try again").on_hover_text(hover).clicked();
            }
            if fault.kind == FaultKind::SelfTest {
                pressed.verify = ui.button("Test again").on_hover_text("Runs the full self-test").clicked();
            }
            pressed.dismiss = ui.button("Dismiss").on_hover_text("Puts this message away").clicked();
        });
    });
    ui.add_space(4.0);
    pressed
}

/// No failure, but good to know; said once.
fn software_ui(ui: &mut Ui, state: &AppState, form: &mut Form) {
    let software = state.adapter.as_ref().is_some_and(|a| a.kind == AdapterKind::Software);
    let told = state.faults.iter().any(|f| f.kind == FaultKind::SoftwareAdapter);
    if !software || told || form.seen_software {
        return;
    }
    let colour = ui.visuals().widgets.noninteractive.bg_stroke.color;
    frame(ui, colour, |ui| {
        ui.horizontal_wrapped(|ui| {
            let text = "This is a software adapter: everything works, but a graphics processor is many times faster.";
            let colour = ui.visuals().hyperlink_color;
            widgets::marked(ui, "ℹ", colour, text);
            if ui.button("Understood").on_hover_text("Puts this message away").clicked() {
                form.seen_software = true;
            }
        });
    });
    ui.add_space(4.0);
}
