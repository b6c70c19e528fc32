//! What a link can hide.

/// A control that teachers can hide by a link; [`CONTROLS`] says what each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says what each is")]
pub enum Control {
    Presets,
    Examples,
    OwnPicture,
    Draw,
    Run,
    Step,
    Reset,
    StageBar,
    Recipe,
    Control,
    Seed,
    Runs,
    Adapter,
    SelfTest,
    Status,
    Diagram,
    Curves,
    Scores,
    Norms,
    Cost,
    Export,
    Ask,
    Probes,
    Chat,
    Sampling,
    Attention,
    Replay,
    Lessons,
    Tour,
}

/// All, with their names in links, and what is hidden with them.
pub const CONTROLS: [(Control, &str, &str); 29] = [
    (Control::Presets, "presets", "the choice of a preset"),
    (Control::Examples, "examples", "browsing held-out examples"),
    (Control::OwnPicture, "own-picture", "opening a picture of one's own"),
    (Control::Draw, "draw", "the drawing canvas"),
    (Control::Run, "run", "the buttons that run and pause training"),
    (Control::Step, "step", "the button that makes a single step"),
    (Control::Reset, "reset", "the button that goes back to the start weights"),
    (Control::StageBar, "stage-bar", "the bar of the three stages"),
    (Control::Recipe, "recipe", "the recipe editor"),
    (Control::Control, "control", "training the flattened control beside the linked model"),
    (Control::Seed, "seed", "the seed"),
    (Control::Runs, "runs", "saving and opening runs"),
    (Control::Adapter, "adapter", "the choice of an adapter"),
    (Control::SelfTest, "self-test", "the self-test"),
    (Control::Status, "status", "the status bar"),
    (Control::Diagram, "diagram", "the diagram of the model"),
    (Control::Curves, "curves", "the loss curves"),
    (Control::Scores, "scores", "the held-out accuracy"),
    (Control::Norms, "norms", "the gradient norms"),
    (Control::Cost, "cost", "the cost of a training step"),
    (Control::Export, "export", "exporting curves and weights"),
    (Control::Ask, "ask", "asking questions"),
    (Control::Probes, "probes", "the same question with changed pictures"),
    (Control::Chat, "chat", "chatting with a model from files"),
    (Control::Sampling, "sampling", "how a model from files chooses its words"),
    (Control::Attention, "attention", "the attention maps"),
    (Control::Replay, "replay", "the attention maps over the steps"),
    (Control::Lessons, "lessons", "the lessons"),
    (Control::Tour, "tour", "the first-run tour"),
];

/// Controls that had another name in links of earlier versions.
const RENAMED: [(&str, Control); 1] = [("talk", Control::Chat)];

impl Control {
    /// Its name in links.
    #[must_use]
    pub fn name(self) -> &'static str {
        CONTROLS.iter().find(|c| c.0 == self).map_or("", |c| c.1)
    }

    /// The control of that name, also of an earlier one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let old = || RENAMED.iter().find(|r| r.0 == name).map(|r| r.1);
        CONTROLS.iter().find(|c| c.1 == name).map(|c| c.0).or_else(old)
    }
}
