//! What a model will take, known from headers alone: bytes on disk, on the GPU and on the host, part by part.

use std::collections::BTreeSet;

use super::decode::PIECES;
use super::files::Resolved;
use super::load::{Formats, UNDER_WAY, staging_bytes};
use super::model::Model;
use super::work;
use crate::nn::{ParamSpec, Role};
use crate::ops::packed::Format;

/// A part of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPart {
    /// What it is.
    pub name: &'static str,
    /// Parameters.
    pub parameters: u64,
    /// Bytes in the files.
    pub file: u64,
    /// Bytes on the GPU.
    pub gpu: u64,
}

/// Bytes of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Formats that it was made for.
    pub formats: Formats,
    /// Weights by part; parts that are not there are left out.
    pub weights: Vec<MemoryPart>,
    /// Key-value caches.
    pub cache: u64,
    /// Activations, unpacked weights, inputs and state.
    pub work: u64,
    /// Most that the host holds besides the program itself.
    pub host: u64,
}

impl Plan {
    /// All bytes on the GPU.
    #[must_use]
    pub fn gpu(&self) -> u64 {
        self.weights.iter().map(|p| p.gpu).sum::<u64>() + self.cache + self.work
    }

    /// All bytes of the files that are read.
    #[must_use]
    pub fn file(&self) -> u64 {
        self.weights.iter().map(|p| p.file).sum()
    }

    /// The plan of a model with room for `room` rows of text.
    #[must_use]
    pub fn new(model: &Model, specs: &[ParamSpec], resolved: &Resolved, formats: Formats, room: usize) -> Self {
        let stacks = model.stacks();
        let packed: BTreeSet<usize> =
            stacks.iter().flat_map(|s| s.members.iter().map(|(weight, _)| weight.0)).collect();
        let file = |i: usize| resolved.found.get(&specs[i].name).map_or(0, |f| f.place.info.bytes);
        let roles = [
            (Role::Tower, "vision tower"),
            (Role::Link, "links and projectors"),
            (Role::Layer, "language model"),
            (Role::Table, "embedding and head"),
        ];
        let mut weights: Vec<MemoryPart> = roles
            .into_iter()
            .map(|(role, name)| {
                let own = || stacks.iter().filter(move |s| s.role == role);
                let ids = || own().flat_map(|s| s.members.iter().map(|(weight, _)| weight.0));
                MemoryPart {
                    name,
                    parameters: ids().map(|i| specs[i].len() as u64).sum(),
                    file: ids().map(file).sum(),
                    gpu: own().map(|s| s.bytes(specs, formats.by_role(role))).sum(),
                }
            })
            .filter(|p| p.parameters > 0)
            .collect();
        let plain = || (0..specs.len()).filter(|i| !packed.contains(i));
        weights.push(MemoryPart {
            name: "norms, biases, positions",
            parameters: plain().map(|i| specs[i].len() as u64).sum(),
            file: plain().map(file).sum(),
            gpu: plain().map(|i| 4 * specs[i].len().next_multiple_of(64) as u64).sum(),
        });
        let staging = staging_bytes(resolved.found.values());
        let cache = cache(model, room);
        // The loader's buffer is gone before the caches come.
        let work = (work::temporaries(model, room) + work::state(model, room)).max(staging.saturating_sub(cache));
        Self { formats, weights, cache, work, host: (2 + UNDER_WAY as u64) * staging }
    }

    /// The best format whose plan fits in `bytes` of GPU memory.
    #[must_use]
    pub fn best(
        model: &Model,
        specs: &[ParamSpec],
        resolved: &Resolved,
        room: usize,
        bytes: u64,
    ) -> Option<(Format, Self)> {
        let all = Format::ALL.into_iter().map(|f| (f, Self::new(model, specs, resolved, Formats::of(f), room)));
        all.into_iter().find(|(_, plan)| plan.gpu() <= bytes)
    }
}

fn cache(model: &Model, room: usize) -> u64 {
    let (c, n) = (model.language_config(), model.config().vision_config.tokens());
    let rows = room + PIECES[PIECES.len() - 1];
    let linked = (0..c.num_hidden_layers).filter(|i| model.link_of(*i).is_some()).count();
    let all = rows * c.num_hidden_layers + linked * n;
    (all * c.num_key_value_heads * c.head() * 2 * 4) as u64
}
