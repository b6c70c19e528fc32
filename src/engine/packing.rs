//! What packing a model's weights costs: tensor by tensor, and in the loss on a text.

use super::answers::open::{ModelFolder, OpenError};
use crate::gpu::Gpu;
use crate::model::load::{self, Formats, LoadError};
use crate::model::packing::{TensorErrors, held_out_loss, tensor_errors};
use crate::ops::packed::Format;

/// Share of unknown words above which a text says nothing about a model.
const STRANGE: f64 = 0.5;

impl ModelFolder {
    /// The errors of all packed tensors in these formats. `tell` hears of each; false stops.
    ///
    /// # Errors
    /// Files that cannot be read, a GPU fault, or a stop.
    pub async fn tensor_errors(
        &self,
        gpu: &Gpu,
        formats: &[Format],
        tell: impl FnMut(&TensorErrors) -> bool,
    ) -> Result<Vec<TensorErrors>, LoadError> {
        let formats: Vec<Formats> = formats.iter().map(|f| Formats::of(*f)).collect();
        tensor_errors(gpu, &self.checkpoint, &self.resolved, (&self.model, &self.specs), &formats, tell).await
    }

    /// Tokens of a text, as the model was trained to read one; nothing where it does not know most of the words.
    #[must_use]
    pub fn text_ids(&self, text: &str) -> Option<Vec<u32>> {
        let ids = self.tokenizer.encode(text, true);
        let unknown = self.tokenizer.id("<unk>").map_or(0, |u| ids.iter().filter(|id| **id == u).count());
        (unknown as f64 <= STRANGE * ids.len() as f64).then_some(ids)
    }

    /// The loss on a text of the model in a format, in nats per token; nothing for fewer than two tokens.
    ///
    /// # Errors
    /// Files that cannot be read, or a GPU fault, such as too little memory.
    pub async fn loss(&self, gpu: &Gpu, format: Format, ids: &[u32]) -> Result<Option<f64>, OpenError> {
        let (stacks, formats) = (self.model.stacks(), Formats::of(format));
        let specs = self.specs.clone();
        let params = load::load(gpu, &self.checkpoint, &self.resolved, specs, &stacks, formats, |_| true).await?;
        Ok(held_out_loss(&self.model, &params, ids).await?)
    }
}
