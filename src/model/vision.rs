//! The SigLIP vision tower: patches, positions, blocks. All hidden states are there to be linked.

use std::collections::BTreeMap;

use super::config::VisionConfig;
use super::registry::Registry;
use crate::gpu::{Dest, Recorder, Tensor};
use crate::nn::vit_block::{self, VitBlock};
use crate::nn::{LayerNorm, Linear, ParamId, Params, Role, Stack};
use crate::ops::attention::Layout;
use crate::ops::{add, bias, patchify};

/// Parameters.
#[derive(Clone, Debug)]
pub struct Vision {
    config: VisionConfig,
    patch: Linear,
    position: ParamId,
    blocks: Vec<VitBlock>,
    /// Only a head on top of the tower uses it; links read before it.
    pub post_norm: LayerNorm,
}

/// Hidden states and what backward needs of the blocks that ran.
#[must_use]
pub struct Saved {
    patches: Tensor,
    blocks: Vec<vit_block::Saved>,
    /// States 0 (embeddings) .. depth, (B N, W) each.
    pub states: Vec<Tensor>,
}

impl Vision {
    /// Registers the tower's parameters under `vision_model.`.
    pub fn new(g: &mut Registry, c: &VisionConfig) -> Self {
        let w = g.add(
            "vision_model.embeddings.patch_embedding.weight",
            &[c.hidden_size, c.num_channels, c.patch_size, c.patch_size],
        );
        let b = Some(g.add("vision_model.embeddings.patch_embedding.bias", &[c.hidden_size]));
        Self {
            config: c.clone(),
            patch: Linear { w, b },
            position: g.add("vision_model.embeddings.position_embedding.weight", &[c.tokens(), c.hidden_size]),
            blocks: (0..c.num_hidden_layers).map(|i| g.vit_block(c, i)).collect(),
            post_norm: g.layer_norm("vision_model.post_layernorm", c.hidden_size, c.layer_norm_eps),
        }
    }

    /// How its weights lie in packed matrices.
    #[must_use]
    pub fn stacks(&self) -> Vec<Stack> {
        let patch = Stack::of(Role::Tower, &[&self.patch]);
        std::iter::once(patch).chain(self.blocks.iter().flat_map(VitBlock::stacks)).collect()
    }

    /// Does any of its parameters train?
    #[must_use]
    pub fn trains(&self, p: &Params) -> bool {
        p.trains(self.patch.w) || p.trains(self.position) || self.blocks.iter().any(|b| p.trains(b.fc1.w))
    }

    fn layout(&self, batch: usize) -> Layout {
        let c = &self.config;
        Layout {
            batch,
            queries: c.tokens(),
            text: c.tokens(),
            image: 0,
            heads: c.num_attention_heads,
            groups: c.num_attention_heads,
            head: c.head(),
            causal: false,
        }
    }

    /// Patches (B N, 3 P P), and state 0.
    fn embed(&self, r: &mut Recorder, p: &Params, pixels: &Tensor) -> (Tensor, Tensor) {
        let patches = patchify::forward(r, pixels, self.config.patch_size);
        let x = self.patch.forward(r, p, &patches);
        (patches, bias::forward(r, &x, &p.value(self.position)))
    }

    /// The states of these depths; of the others each is freed when the next block has read it.
    pub fn states(
        &self,
        r: &mut Recorder,
        p: &Params,
        rows: &Tensor,
        pixels: &Tensor,
        depths: &[usize],
    ) -> Vec<Tensor> {
        let layout = self.layout(pixels.shape().dims()[0]);
        let deepest = depths.iter().copied().max().unwrap_or(0);
        let mut x = self.embed(r, p, pixels).1;
        let mut kept = BTreeMap::from([(0, x.clone())]);
        for (i, block) in self.blocks[..deepest].iter().enumerate() {
            x = block.forward(r, p, rows, layout, &x).0;
            kept.retain(|depth, _| depths.contains(depth));
            kept.insert(i + 1, x.clone());
        }
        depths.iter().map(|depth| kept[depth].clone()).collect()
    }

    /// States 0 .. `depth` from pixels (B, 3, S, S); blocks past `depth` are not run. With `keep` false nothing is saved
    /// for backward.
    pub fn forward(
        &self,
        r: &mut Recorder,
        p: &Params,
        rows: &Tensor,
        pixels: &Tensor,
        depth: usize,
        keep: bool,
    ) -> Saved {
        let (patches, x) = self.embed(r, p, pixels);
        let mut states = vec![x];
        let layout = self.layout(pixels.shape().dims()[0]);
        let mut blocks = Vec::new();
        for block in &self.blocks[..depth] {
            let (x, saved) = block.forward(r, p, rows, layout, &states[states.len() - 1]);
            states.push(x);
            if keep {
                blocks.push(saved);
            }
        }
        Saved { patches, blocks, states }
    }

    /// `gradients[k]`: gradient that arrives at state k from outside (links, a head), if any.
    pub fn backward(&self, r: &mut Recorder, p: &Params, saved: Saved, gradients: &mut [Option<Tensor>]) {
        let mut d: Option<Tensor> = None;
        for (k, block) in saved.blocks.into_iter().enumerate().rev() {
            d = join(r, d, gradients[k + 1].take());
            if let Some(d) = &d {
                self.blocks[k].backward(r, p, block, d);
            }
        }
        let Some(d) = join(r, d, gradients[0].take()) else { return };
        if let Some(dposition) = p.grad(self.position) {
            bias::backward(r, &d, Dest::Add(&dposition));
        }
        self.patch.backward(r, p, &saved.patches, &d, None);
    }
}

fn join(r: &mut Recorder, a: Option<Tensor>, b: Option<Tensor>) -> Option<Tensor> {
    match (a, b) {
        (Some(a), Some(b)) => Some(add::forward(r, &a, &b)),
        (a, b) => a.or(b),
    }
}
