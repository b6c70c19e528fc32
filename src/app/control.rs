//! What a link can hide.

macro_rules! controls {
    ($($control:ident $name:literal $about:literal)+) => {
        /// A control that teachers can hide by a link.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Control {
            $(#[doc = $about] $control,)+
        }

        /// All, with their names in links.
        pub const CONTROLS: &[(Control, &str)] = &[$((Control::$control, $name)),+];
    };
}

controls! {
    Presets "presets" "The choice of a preset."
    Examples "examples" "Browsing held-out examples."
    OwnPicture "own-picture" "Opening a picture of one's own."
    Draw "draw" "The drawing canvas."
    Run "run" "The buttons that run and pause training."
    Step "step" "The button that makes a single step."
    Reset "reset" "The button that goes back to the start weights."
    StageBar "stage-bar" "The bar of the three stages."
    Recipe "recipe" "The recipe editor."
    Control "control" "What trains beside the linked model."
    Seed "seed" "The seed."
    Runs "runs" "Saving and opening runs."
    Adapter "adapter" "The choice of an adapter."
    SelfTest "self-test" "The self-test."
    Status "status" "The status bar."
    Diagram "diagram" "The diagram of the model."
    Links "links" "Which depth each link reads."
    Curves "curves" "The loss curves."
    Scores "scores" "The held-out accuracy."
    Norms "norms" "The gradient norms."
    Cost "cost" "The cost of a training step."
    Depths "depths" "What each depth of the tower knows."
    Export "export" "Exporting curves and weights."
    Ask "ask" "Asking questions."
    Probes "probes" "The same question with changed pictures."
    Cuts "cuts" "The same question with links cut."
    Chat "chat" "Chatting with a model from files."
    Sampling "sampling" "How a model from files chooses its words."
    Attention "attention" "The attention maps."
    Replay "replay" "The attention maps over the steps."
    Lessons "lessons" "The lessons."
    Tour "tour" "The first-run tour."
}

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
