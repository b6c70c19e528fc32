//! Hive: hierarchical linked attention between a vision encoder and a small language model, in WebGPU compute shaders.
//!
//! Layers, each importing only from those above it in this list; see docs/ARCHITECTURE.md.

pub mod platform;

pub mod gpu;

pub mod ops;

pub mod nn;

pub mod data;

pub mod model;

pub mod train;

pub mod engine;

#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub mod cli;

#[cfg(feature = "gui")]
pub mod app;

#[cfg(all(feature = "gui", target_arch = "wasm32"))]
pub mod web;
