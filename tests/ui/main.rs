//! The panels, driven by their accessible names, without a GPU: events of a session are made up here.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

mod ask;
mod attention;
mod chat;
mod comparing;
mod curves;
mod data;
mod failure;
mod lessons;
mod links;
mod model;
mod permalink;
mod photos;
mod runs;
mod stages;
mod status;
mod tour;
