//! Between links and the state: the link that restores a state, and what a link does to one.

use super::lessons::Place;
use super::permalink::{LONGEST_QUESTION, Panel, Permalink, Tab, depths};
use super::picture::Picture;
use super::state::AppState;
use crate::engine::{Beside, Command, Fault, FaultKind, Lane, Preset, Stage, Steps, assets};

impl Permalink {
    /// The link that restores this state. Weights are not in a link: it names a stage only where nothing was trained
    /// before that stage.
    #[must_use]
    pub fn of(state: &AppState) -> Self {
        let trained = holds_trained(state);
        let first = state.log.points(Lane::Hive).first().map(|p| p.stage);
        let shown = state.picture.as_ref().map(Picture::index);
        let question = &state.question;
        let lesson = state.lesson.lesson().map(|l| l.name.to_owned());
        Self {
            preset: state.preset.as_ref().map(|p| p.name.clone()).filter(|n| assets::preset(n).is_ok()),
            seed: state.preset.as_ref().map(|p| p.seed),
            stage: state.stage.filter(|s| !trained && first.is_none_or(|f| f == *s)),
            links: state.links(),
            beside: state.beside.clone(),
            trained,
            run: state.running(),
            panels: state.link.panels.clone(),
            hide: state.link.hide.clone(),
            lesson: lesson.filter(|_| state.link.is_open(Panel::Lessons)),
            tab: Some(state.tab).filter(|t| *t != Tab::default()),
            question: (!question.is_empty()).then(|| question.chars().take(LONGEST_QUESTION).collect()),
            example: shown.unwrap_or(state.wanted_example),
            ..Self::default()
        }
    }
}

/// Does what the link says to the state; commands for the session go to `out`. Where nothing is open yet, something is
/// opened, so that this is also how the app starts.
pub fn apply_link(state: &mut AppState, link: &Permalink, out: &mut Vec<Command>) {
    remember(state, link);
    let mut complaints = Vec::new();
    let opened = opening(state, link, &mut complaints);
    complain(state, &complaints);
    if let Some(Command::Open(open)) = &opened {
        state.expect(open);
    }
    let again = opened.is_some();
    out.extend(opened);
    if let Some(stage) = link.stage {
        // A stage that is done is begun again; one that is under way goes on.
        let under_way = state.stage == Some(stage) && !state.done.contains(&stage);
        if again || !under_way {
            out.push(Command::Enter(stage));
        }
    }
    if link.run {
        out.push(Command::Train(Steps::Stage));
    }
    if let Some(tab) = link.tab {
        state.tab = tab;
    }
    if link.example.is_some() {
        state.wanted_example = link.example;
        // An empty field makes room for the example's own question.
        state.question.clear();
    }
    if let Some(question) = &link.question {
        state.question.clone_from(question);
    }
}

/// Shows what could not be understood of a link.
pub fn complain(state: &mut AppState, complaints: &[String]) {
    if !complaints.is_empty() {
        state.fault(Fault::new(
            FaultKind::Other,
            complaints.join(" "),
            "The rest of the link is used; check the link you were given.",
        ));
    }
}

/// Keeps in the state's own link what lasts; the rest is done once.
fn remember(state: &mut AppState, link: &Permalink) {
    let kept = &mut state.link;
    kept.preset = link.preset.clone().or(kept.preset.take());
    kept.seed = link.seed.or(kept.seed);
    kept.panels = link.panels.clone().or(kept.panels.take());
    if link.show_all {
        kept.hide.clear();
    } else if !link.hide.is_empty() {
        kept.hide.clone_from(&link.hide);
    }
    if let Some(name) = &link.lesson {
        kept.lesson = Some(name.clone());
        kept.set_open(Panel::Lessons, true);
        state.lesson = Place::of(name, 0).unwrap_or(state.lesson);
    }
}

/// The command that opens what the link asks for; none where that is open already. What does not fit is complained of.
fn opening(state: &AppState, link: &Permalink, complaints: &mut Vec<String>) -> Option<Command> {
    let open_now = state.preset.as_ref().map(|p| p.name.clone());
    let name = link.preset.clone().or(open_now).or_else(|| state.link.preset.clone());
    let mut open = state.opening(name.as_deref().unwrap_or(assets::FIRST), None, link.trained)?;
    open.beside = beside(state, link, &open.preset, complaints);
    // Links that people chose stay with their preset.
    let kept = || if link.preset.is_none() { state.links() } else { None };
    if link.trained {
        complaints.extend(link.links.as_ref().map(|_| "A trained model keeps the links it was trained with.".into()));
    } else {
        for links in kept().iter().chain(&link.links) {
            complaints.extend(open.preset.set_links(links).err().map(|e| format!("In this model {e}.")));
        }
    }
    let Some(now) = &state.preset else { return Some(Command::Open(open)) };
    let named = link.preset.is_some();
    let other = (named && (now.name != open.preset.name || (holds_trained(state) && !link.trained)))
        || open.beside != state.beside
        || link.seed.is_some_and(|s| s != now.seed)
        || now.model.link_config.vision_layers != open.preset.model.link_config.vision_layers
        || link.trained;
    let untouched = state.stage.is_none() && *now == open.preset;
    (other || (link.fresh && !untouched)).then_some(Command::Open(open))
}

/// What is to train beside a preset. Orders of links are those of the preset as it is shipped.
fn beside(state: &AppState, link: &Permalink, preset: &Preset, complaints: &mut Vec<String>) -> Option<Beside> {
    let asked = link.beside();
    if link.trained && asked.is_some() {
        complaints.push("Nothing trains beside a model that is trained already.".into());
        return None;
    }
    match asked.or_else(|| state.beside.clone().filter(|_| link.preset.is_none())) {
        Some(Beside::Links(links)) => {
            let mut other = preset.clone();
            match other.set_links(&links) {
                Ok(()) => Some(Beside::Links(depths(&other.model.link_config.vision_layers))),
                Err(e) => {
                    complaints.push(format!("Nothing trains beside the model: {e}."));
                    None
                }
            }
        }
        other => other,
    }
}

/// Is a trained model open, rather than one that was trained here?
fn holds_trained(state: &AppState) -> bool {
    state.done.contains(&Stage::Vision) && state.log.hive.is_empty()
}
