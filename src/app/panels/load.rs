//! A model from files before it can be talked with: opening it, what it will take in each format, loading it.

use eframe::egui::{Button, CollapsingHeader, DragValue, Grid, Key, Label, ProgressBar, RichText, TextEdit, Ui};

use super::widgets::{self, small};
use crate::app::AppState;
use crate::app::actions::{Action, Request};
use crate::app::chat::Doing;
use crate::engine::{ChatCommand, ChatModel, Command, Format, Plan, Progress};

/// Names of unexplained tensors that are shown.
const NAMES: usize = 5;
/// Least room, tokens.
const LEAST_ROOM: usize = 16;

/// What people choose here.
#[derive(Default)]
pub struct Form {
    /// A hub's id or an address, as typed.
    pub address: String,
    /// Format to load; none: the best that fits.
    pub format: Option<Format>,
    /// Tokens of question and answer together, while it is being changed.
    pub room: Option<usize>,
    /// MiB that the GPU may use; 0: nobody knows.
    pub memory: u64,
}

/// What a format keeps of a weight.
fn meaning(format: Format) -> &'static str {
    match format {
        Format::F32 => "32 bits a weight: exactly what the files say",
        Format::F16 => "16 bits a weight: as good as exact",
        Format::Int8 => "8 bits a weight and a scale for each 32 of them: hardly worse",
        Format::Int4 => "4 bits a weight in the layers, 8 elsewhere: small, and noticeably worse in small models",
    }
}

pub(super) fn load_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if state.chat.model.is_none() {
        ui.strong("Talk with a published model");
        ui.label(
            "Models as Hugging Face publishes them run here too: Llama, SmolLM2, MobileLLM and Qwen2 as language \
             models, and vision-language models made of them. The files stay on this machine.",
        );
    }
    open_ui(ui, state, out);
    fetch_ui(ui, state, form, out);
    if state.chat.doing == Doing::Opening {
        // Another model has other sizes.
        (form.format, form.room) = (None, None);
        ui.label("reading headers and tokenizer");
    }
    let Some(model) = &state.chat.model else { return };
    ui.add_space(6.0);
    ui.separator();
    ui.strong(&model.name);
    ui.label(model.kind.about());
    extra_ui(ui, &model.extra);
    if !model.asked.is_empty() {
        ui.weak(&model.asked);
    }
    ui.add_space(4.0);
    plan_ui(ui, model, form, out);
    ui.add_space(4.0);
    start_ui(ui, state, model, form, out);
}

/// The button, and what it wants.
fn open_ui(ui: &mut Ui, state: &AppState, out: &mut Vec<Action>) {
    ui.horizontal_wrapped(|ui| {
        let idle = state.chat.doing == Doing::Nothing;
        let hover = "config.json, tokenizer.json and *.safetensors, whole or in shards";
        let button = ui.add_enabled(idle, Button::new("Open a model…")).on_hover_text(hover);
        if button.on_disabled_hover_text("Something is under way.").clicked() {
            out.push(Action::Shell(Request::PickModel));
        }
        ui.label("or drop its folder, or all its files at once, here");
    });
}

/// The field for an id or an address, and how far fetching is.
fn fetch_ui(ui: &mut Ui, state: &AppState, form: &mut Form, out: &mut Vec<Action>) {
    if let Doing::Fetching(progress) = state.chat.doing {
        let text = progress_text(progress);
        let share = progress.done as f32 / progress.total.max(1) as f32;
        ui.add(ProgressBar::new(share).text(&text)).accessible_name(format!("Fetching {text}"));
        if ui.button("Stop").on_hover_text("What has come is kept; fetching again goes on from there").clicked() {
            out.push(Action::Shell(Request::StopFetch));
        }
        return;
    }
    ui.horizontal(|ui| {
        let field = TextEdit::singleline(&mut form.address).hint_text("HuggingFaceTB/SmolLM2-135M-Instruct");
        let field = ui.add(field.desired_width(ui.available_width() - 60.0)).accessible_name("Hub id or address");
        let enter = field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
        let can = state.chat.doing == Doing::Nothing && !form.address.trim().is_empty();
        let hover = "Fetches a model by its id on a hub, or from a folder's http address; it is kept for the next time";
        let clicked = ui.add_enabled(can, Button::new("Fetch")).on_hover_text(hover).clicked();
        if can && (clicked || enter) {
            out.push(Action::Shell(Request::Fetch(form.address.clone())));
        }
    });
    for note in &state.chat.notes {
        ui.label(small(note));
    }
}

fn progress_text(progress: Progress) -> String {
    format!("{} of {} MB", progress.done / 1_000_000, progress.total / 1_000_000)
}

fn extra_ui(ui: &mut Ui, extra: &[String]) {
    if extra.is_empty() {
        return;
    }
    let mut names = extra.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    if extra.len() > NAMES {
        names.push_str(", ...");
    }
    let one = if extra.len() == 1 { "tensor of the files is" } else { "tensors of the files are" };
    widgets::warning(ui, &format!("{} {one} not used: {names}", extra.len()));
}

fn mib(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 10.0 { format!("{mib:.1}") } else { format!("{mib:.0}") }
}

/// The format that is chosen: the best that fits where nobody chose one, f16 where nobody knows what fits.
fn chosen(form: &Form, model: &ChatModel) -> Format {
    let best = (form.memory > 0).then(|| model.plans.best(form.memory << 20)).flatten();
    form.format.or(best.filter(|f| *f != Format::F32)).unwrap_or(Format::F16)
}

/// One row per format.
fn plan_ui(ui: &mut Ui, model: &ChatModel, form: &mut Form, out: &mut Vec<Action>) {
    let memory = form.memory << 20;
    let mut format = chosen(form, model);
    let before = format;
    ui.label(format!("On disk {} MiB. On the GPU, weights and working memory:", on_disk(model)));
    Grid::new("plan").num_columns(3).striped(true).show(ui, |ui| {
        for plan in &model.plans.plans {
            let this = plan.formats.layer;
            ui.radio_value(&mut format, this, this.name()).on_hover_text(meaning(this));
            let figure = RichText::new(format!("{:>6} MiB", mib(plan.gpu()))).monospace();
            ui.label(figure).on_hover_text(format!("{} takes {} bytes", this.name(), plan.gpu()));
            ui.label(match memory {
                0 => "",
                m if plan.gpu() <= m => "✔ fits",
                _ => "does not fit",
            });
            ui.end_row();
        }
    });
    if format != before {
        form.format = Some(format);
    }
    ui.label(small(meaning(format)));
    if let Some(plan) = model.plans.of(format) {
        let title = format!("What {} is made of", format.name());
        CollapsingHeader::new(title).id_salt("parts").show(ui, |ui| parts_ui(ui, plan, model.plans.room));
    }
    numbers_ui(ui, model, form, out);
}

fn on_disk(model: &ChatModel) -> String {
    model.plans.plans.first().map_or_else(String::new, |p| mib(p.file()))
}

fn parts_ui(ui: &mut Ui, plan: &Plan, room: usize) {
    let figure = |ui: &mut Ui, bytes: Option<u64>| {
        ui.label(RichText::new(bytes.map_or_else(String::new, mib)).monospace());
    };
    Grid::new("plan parts").num_columns(4).striped(true).show(ui, |ui| {
        for head in ["MiB", "parameters", "disk", "GPU"] {
            ui.label(small(head));
        }
        ui.end_row();
        for part in &plan.weights {
            ui.add(Label::new(part.name).wrap());
            ui.label(RichText::new(count(part.parameters)).monospace());
            figure(ui, Some(part.file));
            figure(ui, Some(part.gpu));
            ui.end_row();
        }
        let cache = format!("cache for {room} tokens");
        for (name, bytes) in [(cache.as_str(), plan.cache), ("working memory", plan.work), ("all", plan.gpu())] {
            ui.label(name);
            ui.label("");
            figure(ui, (name == "all").then(|| plan.file()));
            figure(ui, Some(bytes));
            ui.end_row();
        }
    });
    ui.label(small(format!("Beside that, at most {} MiB of ordinary memory.", mib(plan.host))));
}

/// A number of parameters, short.
fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.0} K", n as f64 / 1e3),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}

/// Room, and what the GPU may use.
fn numbers_ui(ui: &mut Ui, model: &ChatModel, form: &mut Form, out: &mut Vec<Action>) {
    ui.horizontal_wrapped(|ui| {
        let hover = format!("Tokens of question and answer together; it was trained for up to {}", model.longest);
        let label = ui.label("Room").on_hover_text(&hover);
        let mut room = form.room.unwrap_or(model.plans.room);
        let least = LEAST_ROOM.min(model.longest);
        let value = DragValue::new(&mut room).range(least..=model.longest).speed(8).suffix(" tokens");
        let field = ui.add(value).labelled_by(label.id).on_hover_text(hover);
        if field.changed() {
            form.room = Some(room);
        }
        // The plan is made again when the number stays.
        if form.room.is_some_and(|room| room != model.plans.room) && !field.dragged() && !field.has_focus() {
            out.push(Command::Chat(ChatCommand::Plan { room }).into());
            form.room = None;
        }
    });
    ui.horizontal_wrapped(|ui| {
        let hover = "Browsers and drivers do not tell how much GPU memory there is. Where you know it, say so here: \
                     then what does not fit is marked, and refused";
        let label = ui.label("GPU memory").on_hover_text(hover);
        let value = DragValue::new(&mut form.memory).range(0..=1 << 22).speed(16);
        let value = value.custom_formatter(|v, _| if v < 1.0 { "not known".to_owned() } else { format!("{v:.0} MiB") });
        let value =
            value.custom_parser(|text| text.trim_end_matches(|c: char| !c.is_ascii_digit()).trim().parse().ok());
        ui.add(value).labelled_by(label.id).on_hover_text(hover);
    });
}

/// Load, or how far it is.
fn start_ui(ui: &mut Ui, state: &AppState, model: &ChatModel, form: &mut Form, out: &mut Vec<Action>) {
    if let Doing::Loading(progress) = state.chat.doing {
        let text = progress_text(progress);
        let share = progress.done as f32 / progress.total.max(1) as f32;
        ui.add(ProgressBar::new(share).text(&text)).accessible_name(format!("Loading {text}"));
        if ui.button("Stop").on_hover_text("Ends loading; the files stay open").clicked() {
            out.push(Command::Chat(ChatCommand::Stop).into());
        }
        return;
    }
    let format = chosen(form, model);
    let memory = Some(form.memory << 20).filter(|m| *m > 0);
    let idle = state.chat.doing == Doing::Nothing;
    let hover = if state.running() { "Training pauses meanwhile" } else { "Brings the weights to the GPU" };
    let button = Button::new(format!("Load in {}", format.name()));
    let button = ui.add_enabled(idle, button).on_hover_text(hover);
    if button.clicked() {
        out.push(Action::Load(format, memory));
    }
}
