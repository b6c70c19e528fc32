//! What the page is told of the widget tree: a canvas has no text that a screen reader could find.

/// A widget as the page knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorNode {
    /// The widget.
    pub id: u64,
    /// ARIA role; empty for plain text.
    pub role: &'static str,
    /// Accessible name, or the text itself.
    pub name: String,
    /// Text of a text field, number of a slider; empty where there is none.
    pub value: String,
    /// Is it pressed, checked, chosen?
    pub toggled: Option<bool>,
    /// Can it not be used now?
    pub disabled: bool,
    /// Left, top, width, height in CSS pixels.
    pub bounds: [i32; 4],
}

/// What changed since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorChange {
    /// Widgets that are gone.
    pub gone: Vec<u64>,
    /// Widgets that are new or look different.
    pub put: Vec<MirrorNode>,
    /// All widgets in reading order, where that changed.
    pub order: Option<Vec<u64>>,
}

impl MirrorChange {
    /// Nothing to do?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.put.is_empty() && self.order.is_none()
    }
}
