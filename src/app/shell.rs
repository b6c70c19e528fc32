//! The frame of the app: columns, bars, and the traffic between session and panels.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use eframe::egui;

use super::access::Access;
use super::actions::{self, Action, Request};
use super::chat::Doing;
use super::control::Control;
use super::fetching::{Fetching, News};
use super::files::{Files, Picked, PickedModel, Purpose};
use super::measure::{self, Measurement};
use super::panels::{self, Forms};
use super::permalink::{Panel, Permalink};
use super::prefs::{self, Prefs};
use super::restore;
use super::state::AppState;
use crate::engine::fetch::FetchError;
use crate::engine::worker::{self, Next};
use crate::engine::{Command, Fault, FaultKind, GpuOptions, Handle, Progress};
use crate::platform::{self, Blob, DroppedFile};

/// Frames whose times are kept.
const FRAMES: usize = 240;

/// The app.
pub struct App {
    handle: Handle,
    /// What the panels draw.
    pub state: AppState,
    /// What people type and choose in them.
    pub forms: Forms,
    /// Picked files.
    pub files: Files,
    fetching: Fetching,
    ctx: egui::Context,
    announced: String,
    gone: bool,
    measurement: Option<Arc<Mutex<Measurement>>>,
    unwrap: Unwrap,
}

/// What the platform knows of a file that egui says was dropped: each platform's egui tells it in another way.
pub type Unwrap = fn(&egui::DroppedFileHandle) -> Option<DroppedFile>;

impl App {
    /// With a session on the adapter of these options, whose news are drawn after a pause, and what a link says.
    #[must_use]
    pub fn new(cc: &eframe::CreationContext<'_>, options: GpuOptions, pause: Duration, link: &str) -> Self {
        let ctx = cc.egui_ctx.clone();
        let handle = worker::start(options, Arc::new(move || ctx.request_repaint_after(pause)));
        Self::with_handle(cc, handle, link)
    }

    /// With another session: tests play one.
    #[must_use]
    pub fn with_handle(cc: &eframe::CreationContext<'_>, handle: Handle, text: &str) -> Self {
        Access::install(&cc.egui_ctx);
        let mut state = AppState { announcement: "Hive is starting.".into(), ..AppState::default() };
        let mut forms = Forms::default();
        let remembered: Option<Prefs> = cc.storage.and_then(|s| eframe::get_value(s, prefs::KEY));
        let (mut link, complaints) = Permalink::parse(text);
        if let Some(prefs) = &remembered {
            prefs.apply(&cc.egui_ctx, &mut state);
            forms.tour.seen = prefs.tour_seen;
            if text.trim_start_matches('#').is_empty() {
                link = prefs.last_link();
            }
        }
        let mut out = Vec::new();
        restore::complain(&mut state, &complaints);
        restore::apply_link(&mut state, &link, &mut out);
        let app = Self {
            handle,
            state,
            forms,
            files: Files::default(),
            fetching: Fetching::default(),
            ctx: cc.egui_ctx.clone(),
            announced: String::new(),
            gone: false,
            measurement: None,
            unwrap: |_| None,
        };
        app.send(out);
        app
    }

    fn send(&self, commands: Vec<Command>) {
        commands.into_iter().for_each(|c| self.handle.send(c));
    }

    /// Keeps what the frame before cost: drawing, not the pause until something happened.
    fn clock(&mut self, frame: &eframe::Frame) {
        if let Some(secs) = frame.info().cpu_usage {
            self.state.frames.push(secs);
            if self.state.frames.len() > FRAMES {
                self.state.frames.remove(0);
            }
        }
    }

    /// Does what panels asked for.
    fn perform(&mut self, actions: Vec<Action>, ctx: &egui::Context) {
        if !actions.is_empty() {
            ctx.request_repaint();
        }
        let mut out = Vec::new();
        for action in actions {
            if let Some(request) = actions::perform(action, &mut self.state, &mut out) {
                self.serve(request, ctx);
            }
        }
        self.send(out);
        for (name, bytes) in std::mem::take(&mut self.state.files) {
            self.files.save(&name, &bytes, ctx);
        }
    }

    /// Dialogs, fetching, the clipboard.
    fn serve(&mut self, request: Request, ctx: &egui::Context) {
        match request {
            Request::Pick(purpose) => self.files.pick(purpose, ctx),
            Request::Camera => crate::platform::camera(),
            Request::PickModel => self.files.pick_model(ctx),
            Request::Fetch(address) => self.fetching.start(&address, ctx),
            Request::StopFetch => self.fetching.stop(),
            Request::CopyLink => {
                ctx.copy_text(platform::page_address() + &Permalink::of(&self.state).to_hash());
                self.state.announcement = "The link is in the clipboard.".into();
            }
        }
    }

    /// Opens a model's files, as if they had been dropped.
    pub fn open_model(&mut self, name: String, blobs: Vec<Blob>) {
        let command = self.state.open_model(name, blobs);
        self.handle.send(command);
    }

    /// Measures frames and memory, then closes.
    #[must_use]
    pub fn measured(self, measurement: Option<Arc<Mutex<Measurement>>>) -> Self {
        Self { measurement, ..self }
    }

    /// Takes files that are dropped.
    #[must_use]
    pub fn dropping(self, unwrap: Unwrap) -> Self {
        Self { unwrap, ..self }
    }

    fn receive(&mut self) {
        loop {
            match self.handle.next() {
                Next::Event(event) => {
                    let unanswered = self.state.apply(*event);
                    unanswered.into_iter().for_each(|question| self.forms.chat.give_back(question));
                }
                Next::Nothing => break,
                Next::Gone => {
                    if !std::mem::replace(&mut self.gone, true) {
                        self.state.steps = None;
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

    /// Opens the model whose files came in.
    fn take_model(&mut self, out: &mut Vec<Command>) {
        while let Some(PickedModel { name, blobs }) = self.files.next_model() {
            match blobs {
                _ if !self.state.shows(Control::Chat) => {}
                Ok(blobs) => out.push(self.state.open_model(name, blobs)),
                Err(reason) => self.state.show_fault(Fault::new(
                    FaultKind::File,
                    format!("{name} cannot be read: {reason}."),
                    "Choose another folder.",
                )),
            }
        }
    }

    /// What came of a fetch.
    fn take_fetched(&mut self, out: &mut Vec<Command>) {
        while let Some(news) = self.fetching.next() {
            match news {
                News::Progress(p) => {
                    self.state.chat.doing = Doing::Fetching(Progress { done: p.done, total: p.total });
                }
                News::Done(name, result) => {
                    self.state.chat.doing = Doing::Nothing;
                    match *result {
                        Ok(fetched) => {
                            self.state.chat.notes = fetched.notes;
                            out.push(self.state.open_model(name, fetched.blobs));
                        }
                        Err(FetchError::Stopped) => {}
                        Err(e) => self.state.show_fault(Fault::new(
                            FaultKind::File,
                            format!("The model cannot be fetched: {e}."),
                            "Put this right, then fetch it again.",
                        )),
                    }
                }
            }
        }
    }

    fn take_files(&mut self, ctx: &egui::Context, out: &mut Vec<Command>) {
        let dropped: Vec<_> = ctx.input(|i| i.raw.dropped_files.iter().filter_map(self.unwrap).collect());
        if !dropped.is_empty() {
            self.files.put_dropped(&dropped, ctx);
        }
        self.take_model(out);
        self.take_fetched(out);
        while let Some(Picked { purpose, name, bytes }) = self.files.next() {
            match (purpose, bytes) {
                // What a teacher's link hides is not to be had by dropping a file either.
                (Purpose::Run, _) if !self.state.shows(Control::Runs) => {}
                (Purpose::Picture, _) if !self.state.shows(Control::OwnPicture) => {}
                (Purpose::Run, Ok(bytes)) => out.push(Command::Load { name, bytes }),
                (Purpose::Picture, Ok(bytes)) => match panels::picture_of(&self.state, &name, &bytes) {
                    Ok(shown) => drop(actions::perform(shown, &mut self.state, out)),
                    Err(fault) => self.state.show_fault(fault),
                },
                (Purpose::Saved, Err(reason)) => self.state.fault(Fault::new(
                    FaultKind::File,
                    format!("{name} cannot be saved: {reason}."),
                    "Save it again, in another place.",
                )),
                (_, Err(reason)) => self.state.fault(Fault::new(
                    FaultKind::File,
                    format!("{name} cannot be read: {reason}."),
                    "Choose another file.",
                )),
                (Purpose::Saved, Ok(_)) => {}
            }
        }
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, frame: &mut eframe::Frame) {
        self.clock(frame);
        let mut out = Vec::new();
        self.receive();
        self.take_files(ctx, &mut out);
        actions::choose_picture(&mut self.state);
        if self.state.chat.wants_frame() {
            crate::platform::live_frame();
        }
        if let Some(measurement) = &self.measurement {
            measure::drive(measurement, ctx, &mut self.state, &mut out);
        }
        self.send(out);
        if self.state.announcement != self.announced {
            self.announced.clone_from(&self.state.announcement);
            platform::announce(&self.announced);
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let mut out = Vec::new();
        layout_ui(ui, &self.state, &mut self.forms, &mut out);
        self.perform(out, ui.ctx());
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        if self.measurement.is_none() {
            eframe::set_value(storage, prefs::KEY, &Prefs::of(&self.ctx, &self.state, self.forms.tour.seen));
        }
    }
}

/// Everything on the screen.
pub fn layout_ui(ui: &mut egui::Ui, state: &AppState, forms: &mut Forms, out: &mut Vec<Action>) {
    panels::data::take_pasted(ui, state, out);
    let top = egui::Panel::top("stages").show(ui, |ui| {
        ui.add_space(4.0);
        let about = state.preset.as_ref().map_or(SLOGAN, |p| p.about.as_str());
        let menu = |ui: &mut egui::Ui| menu_ui(ui, state, &mut forms.tour, out);
        egui::Sides::new().shrink_left().show(ui, |ui| title_ui(ui, about), menu);
        panels::stages::stages_ui(ui, state, &mut forms.stages, out);
        ui.add_space(2.0);
    });
    forms.tour.anchors.insert("stages", top.response.rect);
    let status = egui::Panel::bottom("status").show(ui, |ui| panels::status::status_ui(ui, state, out));
    panels::settle(&top.response);
    panels::settle(&status.response);
    // Lessons take the place of the data column where the window is not wide enough for both.
    let lessons = panels::lessons::is_open(state);
    if lessons {
        let side = egui::Panel::left("lessons").default_size(330.0);
        let side = side.show(ui, |ui| panels::lessons::lessons_ui(ui, state, &mut forms.lessons, out));
        forms.tour.anchors.insert("lessons", side.response.rect);
    }
    if state.link.is_open(Panel::Data) && (!lessons || ui.available_width() > WIDE) {
        let side = egui::Panel::left("data").default_size(268.0);
        let side = side.show(ui, |ui| panels::data::data_ui(ui, state, &mut forms.data, out));
        forms.tour.anchors.insert("data", side.response.rect);
    }
    if state.link.is_open(Panel::Ask) {
        let side = egui::Panel::right("learned").default_size(336.0).size_range(260.0..=520.0);
        let side = side.show(ui, |ui| learned_ui(ui, state, forms, out));
        forms.tour.anchors.insert("ask", side.response.rect);
    }
    egui::CentralPanel::default().show(ui, |ui| centre_ui(ui, state, forms, out));
    panels::tour::tour_ui(ui, state, &mut forms.tour, out);
}

/// Width from which lessons and data both have a column.
const WIDE: f32 = 1300.0;

fn learned_ui(ui: &mut egui::Ui, state: &AppState, forms: &mut Forms, out: &mut Vec<Action>) {
    panels::chat::switch_ui(ui, state, out);
    if panels::chat::is_shown(state) {
        panels::chat::chat_ui(ui, state, &mut forms.chat, out);
        return;
    }
    egui::ScrollArea::vertical().id_salt("learned").auto_shrink(false).show(ui, |ui| {
        // What does not wrap must not make the column grow.
        ui.set_max_width(ui.available_width());
        panels::ask::ask_ui(ui, state, &mut forms.ask, out);
        ui.add_space(6.0);
        panels::attention::attention_ui(ui, state, &mut forms.attention, out);
        panels::ask::probes_ui(ui, state);
        panels::cuts::cuts_ui(ui, state, out);
    });
}

fn centre_ui(ui: &mut egui::Ui, state: &AppState, forms: &mut Forms, out: &mut Vec<Action>) {
    panels::weights::weights_ui(ui, state);
    panels::failure::failure_ui(ui, state, &mut forms.failure, out);
    let (model, curves) = (state.link.is_open(Panel::Model), state.link.is_open(Panel::Curves));
    if model && curves {
        // The curves have the lower part; what the diagram does not need is theirs.
        let height = (ui.available_height() * 0.45).max(160.0);
        let part = egui::Panel::bottom("curves").resizable(true).default_size(height);
        let part = part.show(ui, |ui| panels::curves::curves_ui(ui, state, &mut forms.curves, out));
        forms.tour.anchors.insert("curves", part.response.rect);
    } else if curves {
        panels::curves::curves_ui(ui, state, &mut forms.curves, out);
    }
    if model {
        let part = egui::ScrollArea::both().id_salt("model").auto_shrink(false);
        let part = part.show(ui, |ui| panels::model::model_ui(ui, state, &mut forms.model, out));
        forms.tour.anchors.insert("model", part.inner_rect);
    }
}

/// What stands beside the name before anything is open.
const SLOGAN: &str = "watch a vision encoder and a language model become aligned";

fn title_ui(ui: &mut egui::Ui, about: &str) {
    ui.heading("Hive");
    ui.label(egui::RichText::new(format!("version {}", platform::version())).small().weak());
    ui.add(egui::Label::new(egui::RichText::new(about).weak()).truncate());
}

fn menu_ui(ui: &mut egui::Ui, state: &AppState, tour: &mut panels::tour::Form, out: &mut Vec<Action>) {
    egui::widgets::global_theme_preference_buttons(ui);
    if state.shows(Control::Tour) && ui.button("Tour").on_hover_text("The first-run tour once more").clicked() {
        tour.restart();
    }
    if state.shows(Control::Lessons) {
        let mut open = state.link.is_open(Panel::Lessons);
        if ui.toggle_value(&mut open, "Lessons").on_hover_text("Experiments for a class, step by step").changed() {
            out.push(Action::Panel(Panel::Lessons, open));
        }
    }
    if state.shows(Control::Runs) {
        ui.menu_button("Files", |ui| panels::runs::runs_ui(ui, state, out));
    }
    ui.menu_button("Panels", |ui| {
        for panel in [Panel::Data, Panel::Model, Panel::Curves, Panel::Ask] {
            let mut open = state.link.is_open(panel);
            if ui.checkbox(&mut open, panel.title()).changed() {
                out.push(Action::Panel(panel, open));
            }
        }
    });
}
