//! What the app knows of the model from files: what it takes, whether it is loaded, the conversation.

use std::sync::Arc;

use super::picture::Origin;
use crate::data::chat::Message;
use crate::data::image::Rgb;
use crate::data::tiles::{Picture as Squares, Recipe};
use crate::engine::answers::assistant::{End, Looked, Options};
use crate::engine::{ChatAnswer, ChatEvent, ChatModel, ChatQuestion, Fault, Format, Progress};

/// What is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Nothing.
    #[default]
    Nothing,
    /// Files come from a hub.
    Fetching(Progress),
    /// Headers are being read.
    Opening,
    /// Weights go to the GPU.
    Loading(Progress),
    /// The last question is being answered.
    Answering,
}

/// What is on the GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loaded {
    /// Format of the layers.
    pub format: Format,
    /// Tokens of question and answer that there is room for.
    pub room: usize,
    /// Time that loading took, seconds.
    pub secs: f64,
}

/// A question and its answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// What was asked.
    pub question: String,
    /// Pictures that were shown with it.
    pub pictures: usize,
    /// The answer as far as it came.
    pub answer: String,
    /// What is known once it ended.
    pub said: Option<ChatAnswer>,
}

/// A picture that a conversation is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Photo {
    /// Where it comes from.
    pub origin: Origin,
    /// All of it.
    pub whole: Arc<Rgb>,
}

/// Asking about what the camera shows, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// What is asked each time.
    pub question: String,
    /// Is a picture on its way?
    pub waiting: bool,
}

/// What a picture of the camera is called while it is asked about again and again.
pub const LIVE: &str = "live.png";
/// Most tokens of such an answer: the next picture waits for its end.
const LIVE_TOKENS: usize = 48;

/// What the model sees of a picture.
#[derive(Clone, Debug)]
struct Made {
    of: Arc<Rgb>,
    /// By this recipe, as the only one or not.
    how: (Recipe, bool),
    squares: Arc<Squares>,
}

/// The model from files.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ChatState {
    pub model: Option<Box<ChatModel>>,
    /// Is it on the GPU, and how?
    pub loaded: Option<Loaded>,
    /// What is under way.
    pub doing: Doing,
    pub turns: Vec<Turn>,
    /// Pictures of the conversation, in their order; the last ones may be of a question that is not asked yet.
    pub photos: Vec<Photo>,
    /// What was made of them for the last question.
    made: Vec<Made>,
    /// Is what the camera shows asked about again and again?
    pub live: Option<Live>,
    /// Where the last answer looked in the pictures.
    pub looked: Option<Arc<Looked>>,
    /// Is each picture shown as one square, where the model would cut it into many?
    pub single: bool,
    /// Number of the last question.
    pub last_id: u64,
    /// Does the column show it, rather than the model in training?
    pub shown: bool,
    /// What its user should know of a model that was fetched.
    pub notes: Vec<String>,
}

/// What has to be said of an event besides.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct News {
    pub announcement: Option<String>,
    pub fault: Option<Fault>,
    /// A question that was not answered, to be asked again.
    pub unanswered: Option<String>,
}

impl ChatState {
    /// Is the model there, and does it take pictures?
    #[must_use]
    pub fn sees(&self) -> bool {
        self.model.as_ref().is_some_and(|m| m.sees.is_some())
    }

    /// How pictures become squares for it now.
    #[must_use]
    pub fn recipe(&self) -> Option<Recipe> {
        let recipe = self.model.as_ref()?.sees.clone()?;
        Some(if self.single { recipe.single() } else { recipe })
    }

    /// Does it take any number of pictures?
    #[must_use]
    pub fn takes_several(&self) -> bool {
        self.model.as_ref().is_some_and(|model| model.takes_several())
    }

    /// How many pictures were asked about.
    #[must_use]
    pub fn asked_about(&self) -> usize {
        self.turns.iter().map(|turn| turn.pictures).sum()
    }

    /// Takes in an event.
    pub fn apply(&mut self, event: ChatEvent) -> News {
        let mut news = News::default();
        match event {
            ChatEvent::Opened(model) => {
                news.announcement = Some(format!("{} is open. Choose a format and load it.", model.name));
                let (last_id, shown, notes) = (self.last_id, self.shown, std::mem::take(&mut self.notes));
                *self = Self { model: Some(model), last_id, shown, notes, ..Self::default() };
            }
            ChatEvent::Planned(plans) => {
                if let Some(model) = &mut self.model {
                    model.plans = *plans;
                }
            }
            ChatEvent::Loading(progress) => self.doing = Doing::Loading(progress),
            ChatEvent::Ready { format, room, secs } => {
                self.loaded = Some(Loaded { format, room, secs });
                self.doing = Doing::Nothing;
                news.announcement = Some("The model is loaded. Ask it something.".into());
            }
            ChatEvent::Text { id, text } if id == self.last_id => {
                if let Some(turn) = self.turns.last_mut() {
                    turn.answer.push_str(&text);
                }
            }
            ChatEvent::Answered(said) if said.id == self.last_id => {
                self.doing = Doing::Nothing;
                news.announcement = Some(format!("Answer: {}", said.text));
                if let Some(turn) = self.turns.last_mut() {
                    turn.answer.clone_from(&said.text);
                    turn.said = Some(*said);
                }
            }
            ChatEvent::Looked(looked) => {
                news.announcement = Some(match &looked {
                    Some(_) => "The pictures show where the answer looked.".into(),
                    None => "The answer looked at no picture.".into(),
                });
                self.looked = looked;
            }
            // Of a conversation that was put away.
            ChatEvent::Text { .. } | ChatEvent::Answered(_) => {}
            ChatEvent::Unloaded => {
                self.loaded = None;
                if matches!(self.doing, Doing::Loading(_)) {
                    self.doing = Doing::Nothing;
                }
            }
            ChatEvent::Failed(fault) => {
                // Else it would fail again and again.
                self.live = None;
                if self.doing == Doing::Answering {
                    news.unanswered = self.turns.pop().map(|t| t.question);
                } else if self.doing == Doing::Opening {
                    // The session closed what was open before.
                    self.model = None;
                }
                self.doing = Doing::Nothing;
                news.announcement = Some(format!("{} {}", fault.what, fault.remedy));
                news.fault = Some(fault);
            }
        }
        news
    }

    /// The question as the session wants it; the conversation has it from now on.
    pub fn ask(&mut self, question: &str, system: &str, options: Options) -> ChatQuestion {
        self.last_id += 1;
        self.looked = None;
        let pictures = self.photos.len().saturating_sub(self.asked_about());
        self.turns.push(Turn { question: question.to_owned(), pictures, ..Turn::default() });
        self.doing = Doing::Answering;
        let mut messages = Vec::new();
        if !system.trim().is_empty() {
            messages.push(Message::new("system", system.trim()));
        }
        for (i, turn) in self.turns.iter().enumerate() {
            messages.push(Message::about(&turn.question, turn.pictures));
            if i + 1 < self.turns.len() {
                messages.push(Message::new("assistant", turn.answer.clone()));
            }
        }
        let recipe = self.recipe();
        let alone = self.photos.len() == 1;
        let pictures = recipe.map_or_else(Vec::new, |recipe| self.seen(&(recipe, alone)));
        ChatQuestion { id: self.last_id, messages, pictures, options }
    }

    /// What the model sees of all pictures by this recipe, as the only one or not; made once.
    fn seen(&mut self, how: &(Recipe, bool)) -> Vec<Arc<Squares>> {
        let known = std::mem::take(&mut self.made);
        for photo in &self.photos {
            let same = |made: &&Made| Arc::ptr_eq(&made.of, &photo.whole) && made.how == *how;
            let squares = known.iter().chain(&self.made).find(same).map(|made| Arc::clone(&made.squares));
            let squares = squares.unwrap_or_else(|| Arc::new(how.0.picture(&photo.whole, how.1)));
            self.made.push(Made { of: Arc::clone(&photo.whole), how: how.clone(), squares });
        }
        self.made.iter().map(|made| Arc::clone(&made.squares)).collect()
    }

    /// Puts the conversation away. What is still said of it is not heard.
    pub fn begin_again(&mut self) {
        self.turns.clear();
        self.looked = None;
        // The picture that was looked at last stays.
        self.photos.drain(..self.photos.len().saturating_sub(1));
        self.last_id += 1;
        if self.doing == Doing::Answering {
            self.doing = Doing::Nothing;
        }
    }

    /// A picture for the next question. A model that takes one alone begins again: what was said is about the old one.
    pub fn show(&mut self, photo: Photo) {
        if !self.takes_several() {
            self.begin_again();
            self.photos.clear();
        }
        self.photos.push(photo);
    }

    /// Is it time for the next picture of the camera? From now on one is waited for.
    pub fn wants_frame(&mut self) -> bool {
        let ready = self.loaded.is_some() && self.doing == Doing::Nothing;
        self.live.as_mut().filter(|live| ready && !live.waiting).is_some_and(|live| {
            live.waiting = true;
            true
        })
    }

    /// A picture of the camera, while it is asked about again and again: the question about it, and it alone.
    pub fn ask_live(&mut self, photo: Photo) -> Option<ChatQuestion> {
        let live = self.live.as_mut().filter(|live| live.waiting && photo.origin == Origin::File(LIVE.into()))?;
        live.waiting = false;
        let question = live.question.clone();
        self.begin_again();
        self.photos = vec![photo];
        Some(self.ask(&question, "", Options { limit: LIVE_TOKENS, ..Options::default() }))
    }

    /// Takes a picture back that was not asked about.
    pub fn take_back(&mut self, index: usize) {
        if (self.asked_about()..self.photos.len()).contains(&index) {
            self.photos.remove(index);
        }
    }
}

/// How an answer went, in a line.
#[must_use]
pub fn summary(said: &ChatAnswer, limit: usize, room: usize) -> String {
    let end = match said.end {
        End::EndToken | End::Stop => String::new(),
        End::Limit => format!(", cut at the limit of {limit}"),
        End::Full => {
            format!(", cut because the room of {room} is full: begin a new conversation or load with more room")
        }
        End::Cancelled => ", stopped".to_owned(),
    };
    let rate = if said.tokens > 1 { format!(", then {:.1} a second", said.rate) } else { String::new() };
    format!("{} tokens{end}; first after {:.2} s{rate}", said.tokens, said.first_secs)
}
