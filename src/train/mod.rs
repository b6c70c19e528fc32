//! L5: training. Stages say what trains, recipes how, the trainer records and replays steps, checkpoints make it resumable.

pub mod checkpoint;
pub mod class_probe;
pub mod cost;
pub mod depths;
pub mod evaluate;
pub mod features;
pub mod finite;
pub mod floats;
mod head;
pub mod init;
pub mod parity;
pub mod pretrain;
pub mod recipe;
pub mod run;
pub mod schedule;
pub mod source;
pub mod stage;
pub mod statistics;
pub mod study;
pub mod trainer;
