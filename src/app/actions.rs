//! What panels ask for, and the one place that changes the state for them.

use std::sync::Arc;

use super::chat::{Doing, Live, Photo};
use super::files::Purpose;
use super::lessons::Place;
use super::permalink::{Panel, Permalink, Tab};
use super::picture::{Origin, Picture};
use super::restore;
use super::state::{AppState, Asked, Pinned};
use crate::data::{Dataset, Split, Tokenizer};
use crate::engine::answers::assistant::Options;
use crate::engine::{Beside, ChatCommand, Command, Format, Open, Progress, Question, Stage, StageRecipe, Steps};
use crate::platform;

/// What only the shell can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A dialog for a file.
    Pick(Purpose),
    /// A photo by the camera.
    Camera,
    /// A dialog for a model.
    PickModel,
    /// Fetch the model of this id or address.
    Fetch(String),
    /// End that.
    StopFetch,
    /// A link to what is seen, into the clipboard.
    CopyLink,
}

/// What a panel asks for.
#[derive(Debug)]
#[expect(missing_docs, reason = "most names say it")]
pub enum Action {
    /// A command for the session that changes nothing here.
    Tell(Command),
    Shell(Request),
    Train(Steps),
    Pause,
    /// Another seed: training starts again.
    Seed(u64),
    /// What trains beside the model: training starts again.
    Beside(Option<Beside>),
    /// Measure what each depth knows, or stop that.
    MeasureDepths(bool),
    /// A depth for each link: training starts again.
    Links(Vec<usize>),
    Recipe(Stage, Box<StageRecipe>),
    Question(String),
    Ask,
    /// Ask the last question again with each link cut in turn, or stop doing so.
    CutLinks(bool),
    /// Keep the attention of the last question over the steps, or stop keeping it.
    Pin(bool),
    Show(Picture),
    Example(u64),
    Tab(Tab),
    Panel(Panel, bool),
    Lesson(Place),
    /// Do what a link says; what could not be understood of it.
    Follow(Box<Permalink>, Vec<String>),
    Announce(String),
    Dismiss(usize),
    Save(String, Vec<u8>),
    /// Show the model from files rather than the one in training?
    ShowChat(bool),
    /// Send a message to the model from files: the message, and the system message.
    Send(String, String, Box<Options>),
    NewConversation,
    /// The picture that it is asked about.
    ChatPicture(Photo),
    /// Ask this about what the camera shows, again and again; nothing: no more.
    Live(Option<String>),
    /// A picture that was not asked about is taken back.
    TakeBack(usize),
    /// One square for each picture, or as many as the model cuts it into.
    SingleSquares(bool),
    /// Bring its weights to the GPU, in this format, within so much memory.
    Load(Format, Option<u64>),
}

impl From<Command> for Action {
    fn from(command: Command) -> Self {
        Self::Tell(command)
    }
}

/// Does it; commands for the session go to `out`, what is for the shell comes back.
pub fn perform(action: Action, state: &mut AppState, out: &mut Vec<Command>) -> Option<Request> {
    match action {
        Action::Tell(command) => {
            if let Command::Open(open) = &command {
                state.expect(open);
            }
            out.push(command);
        }
        Action::Shell(request) => {
            if matches!(request, Request::Fetch(_)) {
                state.chat.notes.clear();
                state.chat.doing = Doing::Fetching(Progress { done: 0, total: 0 });
            }
            return Some(request);
        }
        Action::Train(steps) => {
            // Said at once: the session's word may come after a long step.
            if !matches!(steps, Steps::Count(_)) {
                state.steps = Some(steps);
            }
            out.push(Command::Train(steps));
        }
        Action::Pause => {
            state.steps = None;
            out.push(Command::Pause);
        }
        Action::Seed(seed) => {
            if let Some(preset) = &mut state.preset {
                preset.seed = seed;
            }
            reopen(state, out);
        }
        Action::Beside(beside) => {
            state.beside = beside;
            reopen(state, out);
        }
        Action::MeasureDepths(on) => {
            state.measuring = on.then_some(0.0);
            out.push(if on { Command::MeasureDepths } else { Command::Cancel });
        }
        Action::Links(depths) => {
            if let Some(preset) = &mut state.preset {
                preset.model.link_config.vision_layers = depths;
            }
            reopen(state, out);
        }
        Action::Recipe(stage, recipe) => {
            let stages = state.preset.iter_mut().flat_map(|p| &mut p.stages);
            stages.filter(|(s, _)| *s == stage).for_each(|(_, old)| old.clone_from(&recipe));
            out.push(Command::Recipe(stage, recipe));
        }
        Action::Question(text) => state.question = text,
        Action::Ask => ask(state, out),
        Action::CutLinks(on) => cut_links(state, on, out),
        Action::Pin(on) => pin(state, on, out),
        Action::Show(picture) => {
            state.announcement = format!("The {} is selected. Ask about it.", picture.origin);
            state.picture = Some(picture);
        }
        Action::Example(index) => {
            state.examples.wanted = None;
            select(state, index);
        }
        Action::Tab(tab) => state.tab = tab,
        Action::Panel(panel, open) => state.link.set_open(panel, open),
        Action::Lesson(place) => state.lesson = place,
        Action::Follow(link, complaints) => {
            restore::apply_link(state, &link, out);
            restore::complain(state, &complaints);
        }
        Action::Announce(line) => state.announcement = line,
        Action::Dismiss(i) => drop(state.faults.remove(i)),
        Action::Save(name, bytes) => state.files.push((name, Arc::new(bytes))),
        other => perform_chat(other, state, out),
    }
    None
}

/// The part about the model from files.
fn perform_chat(action: Action, state: &mut AppState, out: &mut Vec<Command>) {
    match action {
        Action::ShowChat(shown) => state.chat.shown = shown,
        Action::Send(message, system, options) => {
            let question = state.chat.ask(message.trim(), &system, *options);
            out.push(Command::Chat(ChatCommand::Ask(Box::new(question))));
        }
        Action::NewConversation => {
            if state.chat.doing == Doing::Answering {
                out.push(Command::Chat(ChatCommand::Stop));
            }
            state.chat.begin_again();
        }
        Action::Live(question) => {
            platform::live(question.is_some());
            state.chat.live = question.map(|question| Live { question, waiting: false });
        }
        Action::ChatPicture(photo) if state.chat.live.is_some() => {
            let question = state.chat.ask_live(photo);
            out.extend(question.map(|question| Command::Chat(ChatCommand::Ask(Box::new(question)))));
        }
        Action::ChatPicture(photo) => {
            state.announcement = format!("{} is the picture now. Ask about it.", photo.origin);
            state.chat.show(photo);
        }
        Action::TakeBack(index) => state.chat.take_back(index),
        Action::SingleSquares(on) => state.chat.single = on,
        Action::Load(format, memory) => {
            let Some(model) = &state.chat.model else { return };
            let total = model.plans.of(format).map_or(0, crate::engine::Plan::file);
            let room = model.plans.room;
            state.chat.doing = Doing::Loading(Progress { done: 0, total });
            out.push(Command::Chat(ChatCommand::Load { format, room, memory }));
        }
        _ => {}
    }
}

/// Opens what is open from its start weights.
fn reopen(state: &AppState, out: &mut Vec<Command>) {
    let open = |preset| Command::Open(Open { preset, beside: state.beside.clone(), trained: false });
    out.extend(state.preset.clone().map(open));
}

fn question(state: &AppState, id: u64, text: &str, picture: &Picture) -> Question {
    let other = state.other.as_ref().map(|o| o.pixels.clone());
    Question { id, pixels: picture.pixels.clone(), text: text.to_owned(), other }
}

fn ask(state: &mut AppState, out: &mut Vec<Command>) {
    let Some(picture) = state.picture.clone() else { return };
    let (id, text) = (state.asked.id + 1, state.question.trim().to_owned());
    out.push(Command::Ask(question(state, id, &text, &picture)));
    state.asked = Asked { id, question: text, picture: Some(picture), busy: true, ..Asked::default() };
}

fn cut_links(state: &mut AppState, on: bool, out: &mut Vec<Command>) {
    let asked = &mut state.asked;
    if !on {
        asked.cutting = None;
        out.push(Command::Cancel);
    } else if let Some(picture) = asked.picture.clone() {
        (asked.cuts, asked.cutting) = (Vec::new(), Some(0));
        let (id, text) = (asked.id, asked.question.clone());
        out.push(Command::CutLinks(question(state, id, &text, &picture)));
    }
}

fn pin(state: &mut AppState, on: bool, out: &mut Vec<Command>) {
    let picture = state.asked.picture.clone().or_else(|| state.picture.clone()).filter(|_| on);
    let pinned = picture.map(|picture| Pinned { question: state.asked.question.clone(), picture });
    let asked = pinned.as_ref().map(|p| question(state, state.asked.id, &p.question, &p.picture));
    out.push(Command::Pin(asked));
    state.pinned = pinned;
}

/// Selects the example that a link asks for, or the first where no picture is selected yet. What people typed, or what
/// came with the link, stays in the field.
pub fn choose_picture(state: &mut AppState) {
    let Some(dataset) = state.dataset() else { return };
    let wanted = state.wanted_example.take();
    if wanted.is_some() {
        state.examples.wanted = wanted;
        state.examples.links += 1;
    } else if state.picture.is_some() {
        return;
    }
    let index = state.examples.wanted.unwrap_or(0);
    let typed = state.question.clone();
    // Of another data set's words not even the typed ones are of use.
    let foreign = state.examples.of.is_some_and(|d| d != dataset) && !knows(state, dataset, &typed);
    // A link that names an example has cleared the field where it gives no question of its own.
    let keep = !typed.trim().is_empty() && (wanted.is_some() || typed != state.examples.filled) && !foreign;
    select(state, index);
    if keep {
        state.question = typed;
    }
}

/// Are all words of a question words of the model, or of the data where the model is still coming?
fn knows(state: &AppState, dataset: Dataset, question: &str) -> bool {
    let words = if state.coming.is_some() { dataset.words() } else { state.words.clone() };
    Tokenizer::new(words).is_ok_and(|words| words.unknown(question).is_empty())
}

/// Makes an example the picture that is asked about; the next one is there to swap.
fn select(state: &mut AppState, index: u64) {
    let Some(dataset) = state.dataset() else { return };
    let chosen = example(dataset, index);
    if let Some((question, _)) = &chosen.right {
        state.question.clone_from(question);
        state.examples.filled.clone_from(question);
    }
    state.examples.of = Some(dataset);
    state.picture = Some(chosen);
    state.other = Some(example(dataset, index.saturating_add(1)));
}

fn example(dataset: Dataset, index: u64) -> Picture {
    let sample = dataset.sample(Split::HeldOut, 0, index, 1);
    let right = sample.turns.first().map(|t| (t.question.clone(), t.answer.clone()));
    Picture { right, ..Picture::new(Origin::HeldOut(index), sample.pixels) }
}
