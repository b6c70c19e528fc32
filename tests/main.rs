//! The project's tests in one program, which is linked once; `ui` and `real_size` are programs of their own.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests make files of their own, and servers that misbehave")]

mod common;

mod chat_templates;
#[cfg(feature = "cli")]
mod checkpoints;
#[cfg(feature = "cli")]
mod class_probes;
#[cfg(feature = "cli")]
mod class_set_files;
#[cfg(feature = "cli")]
mod command_line;
mod damaged_models;
mod decoding;
mod decoding_cost;
mod documents;
mod earlier_versions;
mod exporting;
mod fetching;
#[cfg(feature = "cli")]
mod fetching_command;
mod fetching_refused;
#[cfg(feature = "cli")]
mod field;
mod import_circles;
#[cfg(feature = "cli")]
mod lessons;
mod linked_attention;
mod operations;
mod packing;
mod parity;
mod published_models;
#[cfg(feature = "cli")]
mod question_set_files;
#[cfg(feature = "cli")]
mod question_set_runs;
#[cfg(feature = "cli")]
mod question_sets;
mod sampling;
#[cfg(feature = "serve")]
mod serve;
mod session;
mod session_chat;
mod shipped;
mod start_weights;
#[cfg(feature = "cli")]
mod study;
mod taste;
mod tokenizers;
mod training;
mod training_cost;
mod vision_language;
mod weight_files;
