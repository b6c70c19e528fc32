//! What a model will take, known from headers alone: bytes on disk, on the GPU and on the host, part by part. What a decoder
//! takes beside its weights is counted from sizes: the blocks of `nn/` and the programs of `decode/`, each with the tensors
//! that it has in use. A test compares the sums with what devices allocate.

use std::collections::BTreeSet;

use super::config::VisionConfig;
use super::decode::PIECES;
use super::files::Resolved;
use super::load::{Formats, UNDER_WAY, staging_bytes};
use super::model::Model;
use crate::nn::{Footprint, ParamSpec, Role};
use crate::ops::packed::Format;
use crate::ops::place::TAPS;
use crate::ops::sample;

/// A part of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct MemoryPart {
    pub name: &'static str,
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
        let work = (temporaries(model, room) + state(model, room)).max(staging.saturating_sub(cache));
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
    (all * c.key_width() * 2 * 4) as u64
}

/// Pieces that a prompt of less than `room` tokens is read in.
fn pieces(room: usize) -> impl Iterator<Item = usize> {
    PIECES.into_iter().filter(move |size| *size < room.max(PIECES[0] + 1))
}

/// All temporaries of a decoder's programs.
fn temporaries(model: &Model, room: usize) -> u64 {
    let (v, c) = (&model.config().vision_config, model.language_config());
    let mut buffers = Footprint::default();
    for size in pieces(room) {
        buffers.scope(|b| {
            // The embedding, and what becomes of it with rows of pictures.
            b.scope(|b| b.take([size * c.hidden_size, if model.image_rows() > 0 { size * c.hidden_size } else { 1 }]));
            b.take([size * c.hidden_size]);
            layers(b, model, size);
        });
    }
    buffers.scope(|b| step(b, model));
    buffers.scope(|b| {
        let depths: BTreeSet<usize> = model.depths().into_iter().collect();
        if !depths.is_empty() {
            tower(b, v, depths.len());
        }
        model.bridge_footprint(b);
    });
    buffers.bytes()
}

/// The tower; `kept` of its states stay.
fn tower(b: &mut Footprint, v: &VisionConfig, kept: usize) {
    let (n, w, f) = (v.tokens(), v.hidden_size, v.intermediate_size);
    let patch = v.num_channels * v.patch_size * v.patch_size;
    b.scope(|b| {
        b.take([n * patch, n * w]);
        b.linear(n, patch, w);
    });
    (0..kept).for_each(|_| b.take([n * w]));
    // A block: the last one has all other states beside it.
    b.scope(|b| {
        b.take([n * w, 2 * n]);
        (0..3).for_each(|_| b.linear(n, w, w));
        b.take([n * w, v.num_attention_heads * n]);
        b.linear(n, w, w);
        b.take([n * w, 2 * n]);
        b.linear(n, w, f);
        b.take([n * f]);
        b.linear(n, f, w);
    });
}

/// Rows of text, or of a picture in the text, through all layers.
fn layers(b: &mut Footprint, model: &Model, rows: usize) {
    let c = model.language_config();
    let (width, f, kv) = (c.hidden_size, c.intermediate_size, c.key_width());
    // Layers are alike: an ordinary one and a linked one stand for all.
    for linked in [false, !model.links().is_empty()] {
        b.scope(|b| {
            b.scope(|b| {
                b.take([rows * width, rows]);
                b.linear(rows, width, width);
                b.linear(rows, width, kv);
                b.linear(rows, width, kv);
                b.take([rows * width]);
                if linked {
                    b.take([rows * width, rows * c.num_attention_heads]);
                    b.take([rows * kv, rows * kv, rows * c.num_key_value_heads]);
                }
                b.take([rows * width, rows * c.num_attention_heads]);
                if linked {
                    b.linear(rows, width, width);
                }
            });
            if !linked {
                // Of an ordinary layer only what was attended to is left then.
                b.scope(|b| {
                    b.take([rows * width]);
                    b.linear(rows, width, width);
                });
            }
            b.take([rows * width]);
            b.take([rows * width, rows]);
            b.linear(rows, width, f);
            b.linear(rows, width, f);
            b.take([rows * f]);
            b.linear(rows, f, width);
        });
    }
}

/// One token. A layer whose rows are no multiple of 4 is unpacked here too.
fn step(b: &mut Footprint, model: &Model) {
    let c = model.language_config();
    let (width, f, kv) = (c.hidden_size, c.intermediate_size, c.key_width());
    b.take([width, width + 2 * kv, width, width, f, width]);
    // A normed row on CPU drivers; what tokens weigh in the choice.
    b.scope(|b| b.take([width, 1]));
    b.take([c.vocab_size]);
    for (k, n) in [(width, width + 2 * kv), (width, width), (width, 2 * f), (f, width)] {
        if !k.is_multiple_of(4) {
            b.scope(|b| b.linear(1, k, n));
        }
    }
}

/// Tensors that stay: inputs of the programs, state, choice. Key-value caches are not among them.
fn state(model: &Model, room: usize) -> u64 {
    let (v, c) = (&model.config().vision_config, model.language_config());
    let (head, text) = (c.head(), room + PIECES[PIECES.len() - 1]);
    let links = model.links().len();
    let linked = if links > 0 { text } else { 1 };
    let token = 2 * head * (text + linked) + 2 * (text + 1) + sample::SETTINGS + c.vocab_size + 4;
    let rows = model.image_rows();
    // Where rows of pictures stand in a piece.
    let placed = if rows > 0 { 2 * TAPS } else { 0 };
    let pieces: usize = pieces(room).map(|size| size * (1 + placed) + 3).sum();
    let picture = if model.sees() {
        let image_keys = if links > 0 { v.tokens() * head } else { 0 };
        // The rows of a square, the same among those of all squares, and which patches are a cell.
        let squares = if rows > 0 { (2 * rows + 1) * c.hidden_size + v.tokens() } else { 0 };
        v.num_channels * v.image_size * v.image_size + image_keys + 3 + squares
    } else {
        0
    };
    4 * (token + pieces + picture + 2 * head * links) as u64
}
