//! Answers: folders opened and loaded, conversations answered, where an answer looked.

pub mod assistant;
pub mod look;
pub mod open;
