//! The frame of the app: columns, bars, and the traffic between session and panels.

use std::sync::Arc;

use eframe::egui;

use super::files::{Files, Picked, Purpose};
use super::link::Link;
use super::panels;
use super::state::AppState;
use crate::engine::worker::{self, Next};
use crate::engine::{Command, Fault, FaultKind, GpuOptions, Handle};
use crate::platform;

/// Frames whose times are kept.
const FRAMES: usize = 240;

/// The app.
pub struct App {
    handle: Handle,
    /// What the panels draw.
    pub state: AppState,
    /// Picked files.
    pub files: Files,
    last_frame: f64,
    announced: String,
    gone: bool,
}

impl App {
    /// With a session on the adapter of these options.
    #[must_use]
    pub fn new(cc: &eframe::CreationContext<'_>, options: GpuOptions, link: Link) -> Self {
        let ctx = cc.egui_ctx.clone();
        let handle = worker::start(options, Arc::new(move || ctx.request_repaint()));
        Self::with_handle(cc, handle, link)
    }

    /// With another session: tests play one.
    #[must_use]
    pub fn with_handle(_cc: &eframe::CreationContext<'_>, handle: Handle, link: Link) -> Self {
        let mut state = AppState { link, ..AppState::default() };
        let preset = state.link.preset.clone().unwrap_or_else(|| "pictures".into());
        if let Some(open) = state.open(&preset, false, false) {
            handle.send(open);
        }
        state.announcement = "Hive is starting.".into();
        Self { handle, state, files: Files::default(), last_frame: 0.0, announced: String::new(), gone: false }
    }

    fn receive(&mut self, out: &mut Vec<Command>) {
        loop {
            match self.handle.next() {
                Next::Event(event) => self.state.apply(*event, out),
                Next::Nothing => break,
                Next::Gone => {
                    if !std::mem::replace(&mut self.gone, true) {
                        self.state.running = false;
                        self.state.fault(Fault {
                            kind: FaultKind::Panic,
                            what: "The engine stopped.".into(),
                            remedy: "Start Hive again; if this repeats, please report it with the text below.".into(),
                            detail: platform::last_panic(),
                        });
                    }
                    break;
                }
            }
        }
    }

    fn take_files(&mut self, ctx: &egui::Context, out: &mut Vec<Command>) {
        for file in ctx.input(|i| i.raw.dropped_files.clone()) {
            self.files.put_dropped(file, ctx);
        }
        while let Some(Picked { purpose, name, bytes }) = self.files.next() {
            match (purpose, bytes) {
                (Purpose::Run, Ok(bytes)) => out.push(Command::Load { name, bytes }),
                (Purpose::Picture, Ok(bytes)) => panels::data::take_picture(&mut self.state, &name, &bytes),
                (_, Err(reason)) => self.state.fault(Fault {
                    kind: FaultKind::File,
                    what: format!("{name} cannot be read: {reason}."),
                    remedy: "Choose another file.".into(),
                    detail: String::new(),
                }),
            }
        }
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        let now = platform::now_secs();
        if self.last_frame > 0.0 {
            self.state.frames.push((now - self.last_frame) as f32);
            if self.state.frames.len() > FRAMES {
                self.state.frames.remove(0);
            }
        }
        self.last_frame = now;
        let mut out = Vec::new();
        self.receive(&mut out);
        self.take_files(ctx, &mut out);
        out.into_iter().for_each(|c| self.handle.send(c));
        if self.state.announcement != self.announced {
            self.announced.clone_from(&self.state.announcement);
            platform::announce(&self.announced);
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let mut out = Vec::new();
        let state = &mut self.state;
        egui::Panel::top("stages").show(ui, |ui| panels::stages::stages_ui(ui, state, &mut out));
        egui::Panel::bottom("status").show(ui, |ui| panels::status::status_ui(ui, state, &mut out));
        egui::Panel::left("data").show(ui, |ui| panels::data::data_ui(ui, state, &mut out));
        egui::Panel::right("learned").show(ui, |ui| {
            panels::ask::ask_ui(ui, state, &mut out);
            panels::attention::attention_ui(ui, state, &mut out);
        });
        egui::CentralPanel::default().show(ui, |ui| {
            panels::failure::failure_ui(ui, state, &mut out);
            panels::model::model_ui(ui, state, &mut out);
            panels::curves::curves_ui(ui, state, &mut out);
        });
        out.into_iter().for_each(|c| self.handle.send(c));
    }
}
