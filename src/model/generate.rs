//! Greedy decoding with a key-value cache: one recorded program per token, image keys and values made once per picture.

use super::inputs::Inputs;
use super::model::Model;
use crate::gpu::{DType, Gpu, GpuError, Program, Recorder, Tensor};
use crate::nn::Params;
use crate::nn::linked_attention::{Linked, LinkedTables};
use crate::nn::self_attention::{Cache, Sequence};
use crate::ops::attention::Layout;
use crate::ops::cross_entropy;
use crate::ops::rope::Table;

/// One token, with how sure the model was.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Token id.
    pub token: u32,
    /// Its probability.
    pub probability: f32,
}

/// A recorded decoder for one sample of at most `room` text tokens.
pub struct Generator {
    gpu: Gpu,
    image: Option<Program>,
    step: Program,
    room: usize,
    offset: usize,
    position: usize,
    positions: super::positions::LinkedPositions,
    id: Tensor,
    rows: Tensor,
    plain: Tensor,
    query: Tensor,
    key: Tensor,
    image_key: Tensor,
    pixels: Tensor,
    state: Tensor,
}

impl Generator {
    /// Records the programs. Without `with_image` the model answers from the text alone.
    #[must_use]
    pub fn new(model: &Model, p: &Params, room: usize, with_image: bool) -> Self {
        let gpu = p.gpu();
        let (v, c) = (&model.config().vision_config, &model.config().text_config);
        let with_image = with_image && !model.links().is_empty();
        let (n, head, kv) = (if with_image { v.tokens() } else { 0 }, c.head(), c.num_key_value_heads * c.head());
        let row = |rows: usize, label| gpu.tensor([rows, head], DType::F32, label);
        let table = |t: &Tensor| Table { tensor: t.clone(), per_sample: 0, start: 0 };
        let (plain, query, key) = (row(1, "angles"), row(1, "query angles"), row(1, "key angles"));
        let image_key = row(n.max(1), "image key angles");
        let rows = gpu.tensor([1, 3], DType::U32, "rows");
        let id = gpu.tensor([1], DType::U32, "id");
        let pixels = gpu.tensor([1, v.num_channels, v.image_size, v.image_size], DType::F32, "pixels");
        let sequence = |image| Sequence {
            rows: rows.clone(),
            table: table(&plain),
            layout: Layout {
                batch: 1,
                queries: 1,
                text: room,
                image,
                heads: c.num_attention_heads,
                groups: c.num_key_value_heads,
                head,
                causal: true,
            },
        };
        let (text_only, linked) = (sequence(0), sequence(n));
        let link_of = |i: usize| model.config().link_config.language_layers.iter().position(|l| *l == i && with_image);
        let caches: Vec<Cache> = (0..model.language().layers.len())
            .map(|i| {
                let keys = room + if link_of(i).is_some() { n } else { 0 };
                let make = |label| gpu.tensor([keys, kv], DType::F32, label);
                Cache { key: make("key cache"), value: make("value cache") }
            })
            .collect();

        let image = with_image.then(|| {
            let mut r = Recorder::new(gpu);
            let states = model.features(&mut r, p, &rows, &pixels);
            let tables = LinkedTables { query: table(&query), key: table(&image_key) };
            for (i, &layer) in model.config().link_config.language_layers.iter().enumerate() {
                let linked_layer = Linked {
                    layer: &model.language().layers[layer].attention,
                    link: &model.links()[i],
                    tables: &tables,
                };
                let features = &states[i];
                linked_layer.prepare(&mut r, p, &linked, &caches[layer], features);
            }
            r.finish()
        });

        let mut r = Recorder::new(gpu);
        let tables = LinkedTables { query: table(&query), key: table(&key) };
        let mut x = model.language().embed(&mut r, p, &id);
        for (i, layer) in model.language().layers.iter().enumerate() {
            let link = link_of(i).map(|l| (&model.links()[l], &tables));
            let s = if link.is_some() { &linked } else { &text_only };
            x = layer.decode(&mut r, p, s, link, &caches[i], &x);
        }
        let logits = model.language().logits(&mut r, p, &x);
        let state = gpu.tensor([1, 4], DType::F32, "choice");
        let greedy = cross_entropy::greedy(&mut r, &logits, &id);
        r.copy(&greedy, &state);
        Self {
            step: r.finish(),
            gpu: gpu.clone(),
            image,
            room,
            offset: 0,
            position: 0,
            positions: Inputs::positions(model.config()),
            id,
            rows,
            plain,
            query,
            key,
            image_key,
            pixels,
            state,
        }
    }

    /// Starts a new text: the image (3, S, S) stands before token number `offset`.
    pub fn start(&mut self, pixels: &[f32], offset: usize) {
        (self.offset, self.position) = (offset, 0);
        if let Some(image) = &self.image {
            self.gpu.write(&self.pixels, pixels);
            let angles: Vec<f32> =
                (0..self.positions.image).flat_map(|n| self.positions.image_key(n, offset)).collect();
            self.gpu.write(&self.image_key, &angles);
            image.run();
        }
    }

    /// Room for more tokens?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.position >= self.room
    }

    /// Feeds one token. The choice for the next one can then be read.
    ///
    /// # Panics
    /// When the room is used up; ask [`Self::is_full`] before.
    pub fn feed(&mut self, token: u32) {
        assert!(!self.is_full(), "the generator has room for {} tokens", self.room);
        let (t, o) = (self.position, self.offset);
        self.gpu.write_u32(&self.id, &[token]);
        self.gpu.write_u32(&self.rows, &[t as u32 + 1, o as u32, t as u32]);
        self.gpu.write(&self.plain, &self.positions.row(t));
        self.gpu.write(&self.query, &self.positions.query(t, o));
        self.gpu.write(&self.key, &self.positions.text_key(t, o));
        self.step.run();
        self.position += 1;
    }

    /// The most likely next token.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn choice(&self) -> Result<Choice, GpuError> {
        let state = self.gpu.read_f32(&self.state).await?;
        Ok(Choice { token: state[3] as u32, probability: 1.0 / state[1] })
    }

    /// Feeds the prompt, then continues greedily until `stop`, `limit` tokens, or no room.
    ///
    /// # Errors
    /// A GPU fault.
    pub async fn complete(&mut self, prompt: &[u32], limit: usize, stop: Option<u32>) -> Result<Vec<Choice>, GpuError> {
        let mut out = Vec::new();
        for &token in prompt.iter().take(self.room) {
            self.feed(token);
        }
        while out.len() < limit {
            let choice = self.choice().await?;
            if Some(choice.token) == stop {
                break;
            }
            out.push(choice);
            if out.len() == limit || self.is_full() {
                break;
            }
            self.feed(choice.token);
        }
        Ok(out)
    }
}
