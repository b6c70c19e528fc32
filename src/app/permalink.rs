//! Links that restore the app's state: `#preset=pictures&seed=3&hide=recipe`, the same text in a URL's hash, as an
//! argument of `hive app`, and behind the links of lessons, where it changes only what it names.

use super::control::{CONTROLS, Control};
use super::lessons::LESSONS;
use crate::engine::{Beside, ORDERS, Stage, assets};

/// What the curves show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Tab {
    /// Training loss, and that of held-out questions.
    #[default]
    Loss,
    Accuracy,
    Norms,
    Rate,
    /// Samples per second.
    Throughput,
    /// A table instead of a plot.
    Cost,
    /// A table of what each depth of the tower knows.
    Depths,
}

impl Tab {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Loss, Self::Accuracy, Self::Norms, Self::Rate, Self::Throughput, Self::Cost, Self::Depths];

    /// Its name in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Accuracy => "accuracy",
            Self::Norms => "gradient norm",
            Self::Rate => "learning rate",
            Self::Throughput => "throughput",
            Self::Cost => "cost",
            Self::Depths => "depths",
        }
    }

    /// What its y axis counts.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Loss => "loss, nats per token",
            Self::Accuracy => "share of exact answers",
            Self::Norms => "gradient norm",
            Self::Rate => "learning rate",
            Self::Throughput => "samples per second",
            Self::Cost | Self::Depths => "",
        }
    }

    /// Do its values spread over decades?
    #[must_use]
    pub fn has_log(self) -> bool {
        matches!(self, Self::Loss | Self::Norms | Self::Rate)
    }

    /// Is it noisy?
    #[must_use]
    pub fn has_smooth(self) -> bool {
        matches!(self, Self::Loss | Self::Norms | Self::Throughput)
    }
}

/// Tabs of the curves by their names in links.
pub const TABS: [(&str, Tab); 7] = [
    ("loss", Tab::Loss),
    ("accuracy", Tab::Accuracy),
    ("norms", Tab::Norms),
    ("rate", Tab::Rate),
    ("throughput", Tab::Throughput),
    ("cost", Tab::Cost),
    ("depths", Tab::Depths),
];

/// The version of links that this program writes.
pub const VERSION: u32 = 1;
/// What `hide` is set to where a lesson shows everything again.
const NOTHING: &str = "none";
/// Longest question a link carries, in characters.
pub(super) const LONGEST_QUESTION: usize = 300;
/// Sentences about one link at most.
const MOST_COMPLAINTS: usize = 6;
/// Depths in a list at most.
const MOST_LINKS: usize = 64;

/// A part of the window that can be open or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Panel {
    Data,
    Model,
    Curves,
    Ask,
    Lessons,
}

impl Panel {
    /// All.
    pub const ALL: [Self; 5] = [Self::Data, Self::Model, Self::Curves, Self::Ask, Self::Lessons];

    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Data => "Data",
            Self::Model => "Model",
            Self::Curves => "Curves",
            Self::Ask => "Questions and attention",
            Self::Lessons => "Lessons",
        }
    }

    /// Its name in links.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Model => "model",
            Self::Curves => "curves",
            Self::Ask => "ask",
            Self::Lessons => "lessons",
        }
    }
}

/// What a link says; whatever it does not say stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Permalink {
    pub version: u32,
    pub preset: Option<String>,
    pub seed: Option<u64>,
    pub stage: Option<Stage>,
    /// Which depth each link reads: an order by name, or a list.
    pub links: Option<String>,
    /// What trains beside the model.
    pub beside: Option<Beside>,
    /// Links of earlier versions: train the flattened control beside?
    pub control: bool,
    /// Open the trained model that ships with Hive?
    pub trained: bool,
    /// Begin again from the start weights, even if the preset is open?
    pub fresh: bool,
    pub run: bool,
    /// Open panels; none: not said, that is, all but the lessons.
    pub panels: Option<Vec<Panel>>,
    pub hide: Vec<Control>,
    /// Show everything again that was hidden?
    pub show_all: bool,
    pub lesson: Option<String>,
    pub tab: Option<Tab>,
    pub question: Option<String>,
    pub example: Option<u64>,
}

impl Default for Permalink {
    fn default() -> Self {
        Self {
            version: VERSION,
            preset: None,
            seed: None,
            stage: None,
            links: None,
            beside: None,
            control: false,
            trained: false,
            fresh: false,
            run: false,
            panels: None,
            hide: Vec::new(),
            show_all: false,
            lesson: None,
            tab: None,
            question: None,
            example: None,
        }
    }
}

impl Permalink {
    /// What a link says, and a sentence about each part of it that makes no sense. It takes `#a=b&c=d`, `a=b`, a whole
    /// address with a hash, and the `hive:a=b` of lessons.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let (mut link, mut complaints) = (Self::default(), Vec::new());
        for pair in body(text).split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            link.set(&decoded(key), &decoded(value), &mut complaints);
        }
        let more = complaints.len().saturating_sub(MOST_COMPLAINTS);
        complaints.truncate(MOST_COMPLAINTS);
        if more > 0 {
            complaints.push(format!("The link has {more} more such parts."));
        }
        (link, complaints)
    }

    fn set(&mut self, key: &str, value: &str, complaints: &mut Vec<String>) {
        let mut flag = |flag: &mut bool| match value {
            "1" | "true" => *flag = true,
            "0" | "false" => *flag = false,
            other => complaints.push(format!("The link's {key} is {}; 1 or 0 is needed.", quoted(other))),
        };
        match key {
            "control" => return flag(&mut self.control),
            "trained" => return flag(&mut self.trained),
            "fresh" => return flag(&mut self.fresh),
            "run" => return flag(&mut self.run),
            _ => {}
        }
        let result = match key {
            "v" => number(key, value).map(|v| self.version = v),
            "seed" => number(key, value).map(|v| self.seed = Some(v)),
            "example" => number(key, value).map(|v| self.example = Some(v)),
            "stage" => stage(value).map(|v| self.stage = Some(v)),
            "beside" => beside(value).map(|v| self.beside = Some(v)),
            "links" => links(value).map(|v| self.links = Some(v)),
            "preset" => one_of(key, value, assets::PRESETS.iter().map(|p| p.0)).map(|v| self.preset = Some(v)),
            "tab" => one_of(key, value, TABS.iter().map(|t| t.0)).map(|v| self.tab = tab(&v)),
            "lesson" => one_of(key, value, LESSONS.iter().map(|l| l.name)).map(|v| self.lesson = Some(v)),
            "panels" => {
                let find = |name: &str| Panel::ALL.into_iter().find(|p| p.name() == name);
                self.panels = Some(list(value, &Panel::ALL, find, "panel", complaints));
                Ok(())
            }
            "hide" => {
                self.show_all = value == NOTHING;
                if !self.show_all {
                    let all: Vec<Control> = CONTROLS.iter().map(|c| c.0).collect();
                    self.hide = list(value, &all, Control::parse, "control", complaints);
                }
                Ok(())
            }
            "question" => {
                let short: String = value.chars().take(LONGEST_QUESTION).collect();
                let whole = short.len() == value.len();
                self.question = Some(short);
                let long = || {
                    format!("The link's question has more than {LONGEST_QUESTION} characters; the rest is left out.")
                };
                if whole { Ok(()) } else { Err(long()) }
            }
            other => Err(format!("The link has a part called {}, which this Hive does not know.", quoted(other))),
        };
        if key == "v" && result.is_ok() && self.version > VERSION {
            complaints.push("The link was made by a newer Hive; the parts that are understood are used.".to_owned());
        }
        complaints.extend(result.err());
    }

    /// The link as a hash; empty where it says nothing. Reading it again gives the same link.
    #[must_use]
    pub fn to_hash(&self) -> String {
        let flag = |on: bool| on.then(|| "1".to_owned());
        let panels = |names: &Vec<Panel>| names.iter().map(|p| p.name()).collect::<Vec<_>>().join(",");
        let parts = [
            ("v", (self.version != VERSION).then(|| self.version.to_string())),
            ("preset", self.preset.clone()),
            ("seed", self.seed.map(|s| s.to_string())),
            ("links", self.links.clone()),
            ("beside", self.beside.as_ref().map(Beside::to_string)),
            ("control", flag(self.control)),
            ("trained", flag(self.trained)),
            ("fresh", flag(self.fresh)),
            ("stage", self.stage.map(|s| s.number().to_string())),
            ("run", flag(self.run)),
            ("panels", self.panels.as_ref().map(panels)),
            ("hide", self.hidden()),
            ("lesson", self.lesson.clone()),
            ("tab", self.tab.and_then(|tab| TABS.iter().find(|t| t.1 == tab)).map(|t| t.0.to_owned())),
            ("example", self.example.map(|e| e.to_string())),
            ("question", self.question.clone()),
        ];
        let said = parts.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(&value?))));
        let hash = said.collect::<Vec<_>>().join("&");
        if hash.is_empty() { hash } else { format!("#{hash}") }
    }

    fn hidden(&self) -> Option<String> {
        let names = || self.hide.iter().map(|c| c.name()).collect::<Vec<_>>().join(",");
        if self.show_all { Some(NOTHING.to_owned()) } else { (!self.hide.is_empty()).then(names) }
    }

    /// What it asks to train beside the model, in links of any version.
    #[must_use]
    pub fn beside(&self) -> Option<Beside> {
        self.beside.clone().or_else(|| self.control.then_some(Beside::Flattened))
    }

    /// Is the panel open?
    #[must_use]
    pub fn is_open(&self, panel: Panel) -> bool {
        self.panels.as_ref().map_or(panel != Panel::Lessons, |open| open.contains(&panel))
    }

    /// Opens or closes a panel.
    pub fn set_open(&mut self, panel: Panel, open: bool) {
        let now = |p: &Panel| if *p == panel { open } else { self.is_open(*p) };
        let panels: Vec<Panel> = Panel::ALL.into_iter().filter(now).collect();
        let usual = panels == Panel::ALL.split_last().map_or(&[][..], |(_, others)| others);
        self.panels = (!usual).then_some(panels);
    }
}

/// The pairs of a link, without what stands around them.
fn body(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("hive:").unwrap_or(text);
    let is_scheme = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let is_address = text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme));
    match text.split_once('#') {
        Some((head, rest)) if is_address || !head.contains('=') => rest,
        None if is_address => "",
        _ => text,
    }
}

/// Percent-decoded; what is no text becomes replacement characters, control characters become spaces.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(i) {
        match (byte, digit(i + 1), digit(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
                continue;
            }
            (b'+', _, _) => out.push(b' '),
            _ => out.push(*byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).replace(char::is_control, " ")
}

fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~,".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// In quotation marks, and short enough for a sentence.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("\"{short}...\"") } else { format!("\"{short}\"") }
}

fn tab(name: &str) -> Option<Tab> {
    TABS.iter().find(|t| t.0 == name).map(|t| t.1)
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_none| format!("The link's {key} is {}; a whole number is needed.", quoted(value)))
}

fn stage(value: &str) -> Result<Stage, String> {
    let found = value.parse().ok().and_then(Stage::of);
    found.ok_or_else(|| format!("The link's stage is {}; there are 1, 2 and 3.", quoted(value)))
}

/// An order of links or a list of depths, as far as it can be judged without a model.
fn links(value: &str) -> Result<String, String> {
    let list: Option<Vec<usize>> = value.split(',').map(|d| d.trim().parse().ok()).collect();
    match list.filter(|list| list.len() <= MOST_LINKS) {
        _ if ORDERS.contains(&value) => Ok(value.to_owned()),
        Some(list) => Ok(depths(&list)),
        None => Err(format!(
            "The link's links are {}; they can be {}, or a depth for each link such as 1,2,3,4.",
            quoted(value),
            ORDERS.join(", ")
        )),
    }
}

fn beside(value: &str) -> Result<Beside, String> {
    match value.parse() {
        Ok(Beside::Links(list)) => Ok(Beside::Links(links(&list)?)),
        Ok(other) => Ok(other),
        Err(known) => Err(format!("The link's beside is {}; there are {known}.", quoted(value))),
    }
}

/// Depths of links as a link names them.
pub(super) fn depths(list: &[usize]) -> String {
    list.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn one_of<'a>(key: &str, value: &str, names: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let names: Vec<&str> = names.collect();
    if names.contains(&value) {
        Ok(value.to_owned())
    } else {
        Err(format!("The link's {key} is {}; there are {}.", quoted(value), names.join(", ")))
    }
}

/// What a list names, each once, in the order of `all`.
fn list<T: Copy + PartialEq>(
    value: &str,
    all: &[T],
    find: impl Fn(&str) -> Option<T>,
    what: &str,
    complaints: &mut Vec<String>,
) -> Vec<T> {
    let given = value.split(',').map(str::trim).filter(|n| !n.is_empty());
    let mut named = Vec::new();
    for name in given {
        match find(name) {
            Some(one) => named.push(one),
            None => complaints.push(format!("The link names a {what} called {}; there is none.", quoted(name))),
        }
    }
    all.iter().copied().filter(|one| named.contains(one)).collect()
}
