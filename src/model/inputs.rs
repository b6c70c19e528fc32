//! Inputs of a recorded program: tensors that stay, whose contents change with each batch.

use super::config::HiveConfig;
use super::positions::LinkedPositions;
use crate::data::batch::Batch;
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::linked_attention::LinkedTables;
use crate::nn::self_attention::Sequence;
use crate::ops::cross_entropy::NO_TARGET;
use crate::ops::embed;
use crate::ops::rope::Table;

/// A batch on the host. Shapes: ids, labels (B, T); lengths, offset (B); pixels (B, 3, S, S) or empty.
#[derive(Clone, Copy, Debug)]
pub struct HostBatch<'a> {
    /// Token ids, right-padded.
    pub ids: &'a [u32],
    /// Targets aligned with ids (the loss shifts); negative: none.
    pub labels: &'a [i32],
    /// Real text length of each row.
    pub lengths: &'a [u32],
    /// Text tokens before the image.
    pub offset: &'a [u32],
    /// Normalised image.
    pub pixels: &'a [f32],
    /// For each look the words (row, patch, id) that a told picture has in place of patches; only inputs for facts take them.
    pub told: &'a [Vec<[u32; 3]>],
}

impl<'a> From<&'a Batch> for HostBatch<'a> {
    fn from(b: &'a Batch) -> Self {
        Self {
            ids: &b.ids,
            labels: &b.labels,
            lengths: &b.lengths,
            offset: &b.offset,
            pixels: &b.pixels,
            told: &b.told,
        }
    }
}

impl HostBatch<'_> {
    /// Targets after the shift: row t predicts the token at t + 1.
    #[must_use]
    pub fn targets(&self) -> Vec<u32> {
        let t = self.labels.len() / self.lengths.len();
        (0..self.labels.len())
            .map(|i| if i % t + 1 < t { u32::try_from(self.labels[i + 1]).unwrap_or(NO_TARGET) } else { NO_TARGET })
            .collect()
    }

    /// Number of targets.
    #[must_use]
    pub fn target_count(&self) -> usize {
        self.targets().iter().filter(|t| **t != NO_TARGET).count()
    }
}

/// What a link reads of a told picture.
pub struct Told {
    /// How often each token stands at each patch, (B N, V).
    pub counts: Tensor,
    /// (B, 3): length, offset, start; the offset is beyond the text where this link is told nothing.
    rows: Tensor,
}

/// Device tensors of one batch shape.
pub struct Inputs {
    gpu: Gpu,
    config: HiveConfig,
    /// B.
    pub batch: usize,
    /// T.
    pub text: usize,
    /// Is there an image?
    pub with_image: bool,
    /// (B, 3, S, S).
    pub pixels: Tensor,
    /// (B T).
    pub ids: Tensor,
    /// What each link reads of pictures that are told in words; empty where there are none.
    pub told: Vec<Told>,
    /// (B T), shifted.
    pub targets: Tensor,
    /// (B, 3): length, offset, start.
    pub rows: Tensor,
    /// (B, 3) with the image counted in: for spliced sequences.
    pub joined_rows: Tensor,
    /// 1 / number of targets.
    pub scale: Tensor,
    /// Positions sorted by id.
    pub order: Tensor,
    /// Runs of equal ids.
    pub segments: Tensor,
    /// Angles of positions 0 .. T + N.
    pub plain: Table,
    /// Angles of linked layers.
    pub linked: LinkedTables,
}

impl Inputs {
    /// Tensors for batches of `batch` rows of `text` tokens.
    #[must_use]
    pub fn new(gpu: &Gpu, config: &HiveConfig, batch: usize, text: usize, with_image: bool) -> Self {
        let (v, c) = (&config.vision_config, &config.text_config);
        let (n, head) = (v.tokens(), c.head());
        let (f, u) = (DType::F32, DType::U32);
        let size = if with_image { v.image_size } else { 1 };
        let table = |rows: usize, label| Table {
            per_sample: rows,
            ..Table::shared(&gpu.tensor([batch, rows, head], f, label))
        };
        let positions = Self::positions(config);
        let plain: Vec<f32> = (0..text + n).flat_map(|t| positions.row(t)).collect();
        Self {
            pixels: gpu.tensor([batch, v.num_channels, size, size], f, "pixels"),
            ids: gpu.tensor([batch * text], u, "ids"),
            told: Vec::new(),
            targets: gpu.tensor([batch * text], u, "targets"),
            rows: gpu.tensor([batch, 3], u, "rows"),
            joined_rows: gpu.tensor([batch, 3], u, "joined rows"),
            scale: gpu.tensor([1], f, "loss scale"),
            order: gpu.tensor([batch * text], u, "order"),
            segments: gpu.tensor([batch * text, 3], u, "segments"),
            plain: Table::shared(&gpu.upload(&plain, [text + n, head], "angles")),
            linked: LinkedTables { query: table(text, "query angles"), key: table(text + n, "key angles") },
            gpu: gpu.clone(),
            config: config.clone(),
            batch,
            text,
            with_image,
        }
    }

    /// For pictures told in words: at every patch stand some, whose embeddings are added. Layers read them as they will read
    /// pictures, each what its look tells.
    #[must_use]
    pub fn for_facts(gpu: &Gpu, config: &HiveConfig, batch: usize, text: usize) -> Self {
        let patches = batch * config.vision_config.tokens();
        let told = |_: &usize| Told {
            counts: gpu.tensor([patches, config.text_config.vocab_size], DType::F32, "counts"),
            rows: gpu.tensor([batch, 3], DType::U32, "rows"),
        };
        let told = config.link_config.language_layers.iter().map(told).collect();
        Self { told, ..Self::new(gpu, config, batch, text, false) }
    }

    /// How linked layers of this configuration number their positions.
    #[must_use]
    pub fn positions(config: &HiveConfig) -> LinkedPositions {
        LinkedPositions {
            image: config.vision_config.tokens(),
            head: config.text_config.head(),
            theta: config.text_config.rope_theta,
            scaling: config.text_config.rope_scaling,
            two_d: config.link_config.rope_2d,
            layout: config.link_config.rope_layout,
        }
    }

    /// Uploads a batch of this shape; the loss is divided by `targets`.
    ///
    /// # Panics
    /// If the batch has another shape: a bug of the caller.
    pub fn write(&self, host: HostBatch<'_>, targets: usize) {
        let (b, t) = (self.batch, self.text);
        assert_eq!((host.ids.len(), host.lengths.len()), (b * t, b), "batch of another shape");
        let n = self.config.vision_config.tokens() as u32;
        let gpu = &self.gpu;
        let rows: Vec<u32> = (0..b).flat_map(|i| [host.lengths[i], host.offset[i], 0]).collect();
        let image = self.config.image_rows() as u32;
        let joined: Vec<u32> = (0..b).flat_map(|i| [host.lengths[i] + image, 0, 0]).collect();
        let (order, segments) = embed::sort(host.ids);
        gpu.write_u32(&self.ids, host.ids);
        for (i, told) in self.told.iter().enumerate() {
            // Links take looks in turn.
            let look = i.checked_rem(host.told.len()).map_or(&[][..], |i| &host.told[i]);
            let (patches, words) = (n as usize, self.config.text_config.vocab_size);
            let (mut values, mut rows) = (vec![0.0; b * patches * words], rows.clone());
            (0..b).for_each(|row| rows[row * 3 + 1] = t as u32);
            for [row, patch, id] in look.iter().map(|word| word.map(|w| w as usize)) {
                values[(row * patches + patch) * words + id] += 1.0;
                rows[row * 3 + 1] = host.offset[row];
            }
            gpu.write(&told.counts, &values);
            gpu.write_u32(&told.rows, &rows);
        }
        gpu.write_u32(&self.targets, &host.targets());
        gpu.write_u32(&self.rows, &rows);
        gpu.write_u32(&self.joined_rows, &joined);
        gpu.write_u32(&self.order, &order);
        gpu.write_u32(&self.segments, &segments);
        gpu.write(&self.scale, &[1.0 / targets.max(1) as f32]);
        if self.with_image {
            gpu.write(&self.pixels, host.pixels);
        } else if self.told.is_empty() {
            return;
        }
        let positions = Self::positions(&self.config);
        let offsets = || host.offset.iter().map(|o| *o as usize);
        let query: Vec<f32> = offsets().flat_map(|o| (0..t).flat_map(move |i| positions.query(i, o))).collect();
        let key: Vec<f32> = offsets()
            .flat_map(|o| {
                let text = (0..t).flat_map(move |i| positions.text_key(i, o));
                text.chain((0..positions.image).flat_map(move |i| positions.image_key(i, o)))
            })
            .collect();
        gpu.write(&self.linked.query.tensor, &query);
        gpu.write(&self.linked.key.tensor, &key);
    }

    /// Sequence of the text alone, with `image` further keys in linked layers.
    #[must_use]
    pub fn sequence(&self, image: usize) -> Sequence {
        Sequence {
            rows: self.rows.clone(),
            layout: self.config.text_config.layout(self.batch, self.text, self.text, image),
            table: self.plain.clone(),
        }
    }

    /// Sequence of the text with what link i is shown besides.
    #[must_use]
    pub fn linked_sequence(&self, i: usize) -> Sequence {
        let mut sequence = self.sequence(self.config.vision_config.tokens());
        if let Some(told) = self.told.get(i) {
            sequence.rows = told.rows.clone();
        }
        sequence
    }

    /// Sequence with the image spliced in.
    #[must_use]
    pub fn joined_sequence(&self) -> Sequence {
        let total = self.text + self.config.image_rows();
        Sequence {
            rows: self.joined_rows.clone(),
            layout: self.config.text_config.layout(self.batch, total, total, 0),
            table: self.plain.clone(),
        }
    }
}
