//! The data layer: made-up scenes, picture folders, words and batches, on the CPU and without any file access.
//!
//! It sits below `train` (which asks for batches) and beside `model` (which knows nothing of it). Nothing here reads files,
//! threads or, but for templates that want the date, clocks: callers hand in bytes, or a closure that fetches a named file's bytes, so that the same code runs
//! natively and in browsers. Everything random is a pure function of `(split, seed, index)`, the same on all platforms, so
//! that a training run can be taken up again exactly at any row.
//!
//! | file | what it has |
//! |---|---|
//! | [`rng`] | [`Rng`]: PCG32, `below`, `uniform`, `normal`, `pick`, `shuffle`; [`rng::hash_bytes`] |
//! | [`worlds`] | [`Sample`], [`Turn`], [`Split`]; the generated worlds `shapes` and `pictures` |
//! | [`dataset`] | [`Dataset`]: a world by its name, a sample by its index |
//! | [`tokenizer`] | [`Tokenizer`]: words to ids and back |
//! | [`tokenizer_files`] | the same as files that other programs read |
//! | [`batch`] | [`Batch`], [`PatchBatch`] and their builders `conversation`, `questions`, `text`, `patches` |
//! | [`chat`], `template` | chat templates: a conversation as text; what a template may do |
//! | [`json`] | JSON as Python writes it |
//! | `strftime` | times as chat templates write them |
//! | [`disguise`] | what stands where another file should |
//! | [`picture_file`] | decoding: upright, whole, within bounds |
//! | [`image`] | Pillow's bicubic resampling, [`image::Preprocess`] |
//! | [`classes`] | [`classes::ClassSet`]: published sets of pictures, each of one class |
//! | [`folder`] | [`folder::Folder`]: `LLaVA` conversation data about the pictures of a folder |
//!
//! A training row: `Dataset::sample(Split::Train, seed, index, max_turns)` -> [`Sample`] -> [`batch::conversation`] -> [`Batch`].
//! A held-out question: `Dataset::sample(Split::HeldOut, seed, index, 1)` -> [`batch::questions`].

pub mod batch;
pub mod bpe;
mod bpe_check;
pub mod chat;
pub mod classes;
pub mod dataset;
pub mod disguise;
pub mod doctags;
pub mod folder;
mod folder_cache;
mod folder_fault;
mod folder_list;
mod gif;
pub mod image;
pub mod json;
pub mod picture_file;
pub mod places;
pub mod rng;
mod strftime;
pub mod tags;
pub mod tasks;
mod template;
pub mod tiles;
pub mod tokenizer;
pub mod tokenizer_files;
pub mod worlds;

pub use self::image::Preprocess;
pub use batch::{Batch, PatchBatch};
pub use dataset::Dataset;
pub use folder::Folder;
pub use rng::Rng;
pub use tokenizer::Tokenizer;
pub use worlds::{Sample, Split, Turn};
