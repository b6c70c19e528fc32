//! The time of day where the user is.

/// A date and time by the calendar, without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LocalTime {
    pub year: u32,
    /// From 1 on.
    pub month: u32,
    /// From 1 on.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    /// From Sunday, 0, on.
    pub weekday: u32,
}
