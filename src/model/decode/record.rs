//! The decoder's programs and the tensors they work on.

use super::Shifted;
use crate::gpu::{DType, Gpu, GpuError, Program, Recorder, Tensor, Workspace};
use crate::model::config::LanguageConfig;
use crate::model::model::{Bridge, Model};
use crate::model::positions::row_1d;
use crate::nn::linked_attention::{Linked, LinkedTables};
use crate::nn::self_attention::{Cache, Sequence};
use crate::nn::{Params, RmsNorm};
use crate::ops::cached_attention::{self, Cached};
use crate::ops::gemv::{self, Fused};
use crate::ops::rope::Table;
use crate::ops::sample::{self, Choice};

/// Angles of a run of rows, uploaded when they are used.
struct Angles {
    plain: Tensor,
    query: Tensor,
    key: Tensor,
}

/// How rows are numbered.
pub(super) struct Positions {
    config: LanguageConfig,
    linked: Shifted,
}

impl Positions {
    pub(super) fn new(config: &LanguageConfig, linked: Shifted) -> Self {
        Self { config: config.clone(), linked }
    }

    fn plain(&self, rows: std::ops::Range<usize>) -> Vec<f32> {
        let c = &self.config;
        rows.flat_map(|t| row_1d(t, c.head(), c.rope_theta, c.rope_scaling)).collect()
    }

    /// Angles of text queries, then of text keys, in linked layers.
    fn shifted(&self, rows: std::ops::Range<usize>, offset: usize) -> Option<[Vec<f32>; 2]> {
        let linked = self.linked.as_ref()?;
        let query = rows.clone().flat_map(|t| linked.query(t, offset)).collect();
        Some([query, rows.flat_map(|t| linked.text_key(t, offset)).collect()])
    }
}

impl Angles {
    fn new(gpu: &Gpu, rows: usize, head: usize) -> Self {
        let make = |label| gpu.tensor([rows, head], DType::F32, label);
        Self { plain: make("angles"), query: make("query angles"), key: make("key angles") }
    }

    /// Those of the rows from `start` on.
    fn write(&self, gpu: &Gpu, of: &Positions, start: usize, offset: usize) {
        let rows = start..start + self.plain.shape().rows();
        gpu.write(&self.plain, &of.plain(rows.clone()));
        if let Some([query, key]) = of.shifted(rows, offset) {
            gpu.write(&self.query, &query);
            gpu.write(&self.key, &key);
        }
    }

    fn linked(&self) -> LinkedTables {
        LinkedTables { query: table(&self.query), key: table(&self.key) }
    }
}

fn table(t: &Tensor) -> Table {
    Table { tensor: t.clone(), per_sample: 0, start: 0 }
}

/// A program for a piece of text.
pub(super) struct Piece {
    pub(super) program: Program,
    ids: Tensor,
    rows: Tensor,
    angles: Angles,
}

impl Piece {
    /// Tokens `ids` from position `start` on; what is left of the piece is padding that later rows overwrite.
    pub(super) fn write(&self, gpu: &Gpu, positions: &Positions, ids: &[u32], start: usize, offset: usize) {
        let size = self.ids.shape().len();
        let mut padded = ids.to_vec();
        padded.resize(size, ids[ids.len() - 1]);
        gpu.write_u32(&self.ids, &padded);
        gpu.write_u32(&self.rows, &[(start + size) as u32, offset as u32, start as u32]);
        self.angles.write(gpu, positions, start, offset);
    }
}

/// What goes on for a picture.
pub(super) struct Sight {
    pub(super) program: Program,
    pixels: Tensor,
    rows: Tensor,
    angles: Angles,
    /// Angles of image keys, for linked models.
    image_key: Tensor,
    /// N.
    pub(super) tokens: usize,
    /// Do image rows stand in the text's sequence?
    pub(super) spliced: bool,
}

impl Sight {
    pub(super) fn write(&self, gpu: &Gpu, positions: &Positions, pixels: &[f32], offset: usize) {
        gpu.write(&self.pixels, pixels);
        let start = if self.spliced { offset } else { 0 };
        gpu.write_u32(&self.rows, &[(start + self.tokens) as u32, offset as u32, start as u32]);
        match &positions.linked {
            Some(linked) => {
                let angles: Vec<f32> = (0..self.tokens).flat_map(|n| linked.image_key(n, offset)).collect();
                gpu.write(&self.image_key, &angles);
            }
            None => self.angles.write(gpu, positions, start, offset),
        }
    }
}

/// Tensors that the program of a token reads and advances.
pub(super) struct State {
    /// (1): the token to feed.
    pub(super) id: Tensor,
    /// (1, 3): length, offset, start.
    pub(super) rows: Tensor,
    /// Tokens by position.
    pub(super) tokens: Tensor,
    /// Probability of each chosen token, by position.
    pub(super) chosen: Tensor,
    /// How to choose.
    pub(super) settings: Tensor,
    /// (V).
    pub(super) logits: Tensor,
    /// (2, rows, D): queries' and keys' angles of ordinary layers.
    plain: Tensor,
    /// The same of linked layers.
    linked: Tensor,
}

impl State {
    pub(super) fn new(gpu: &Gpu, positions: &Positions, rows: usize, vocabulary: usize) -> Self {
        let head = positions.config.head();
        let half = positions.plain(0..rows);
        let both: Vec<f32> = half.iter().chain(&half).copied().collect();
        let linked = if positions.linked.is_some() { rows } else { 1 };
        Self {
            id: gpu.tensor([1], DType::U32, "id"),
            rows: gpu.tensor([1, 3], DType::U32, "rows"),
            tokens: gpu.tensor([rows + 1], DType::U32, "tokens"),
            chosen: gpu.tensor([rows + 1], DType::F32, "probabilities of tokens"),
            settings: gpu.tensor([sample::SETTINGS], DType::U32, "sampling settings"),
            logits: gpu.tensor([vocabulary], DType::F32, "logits"),
            plain: gpu.upload(&both, [2, rows, head], "angles"),
            linked: gpu.tensor([2, linked, head], DType::F32, "angles of linked layers"),
        }
    }

    /// Token ids of all rows; image rows and those to come have an id that no vocabulary has.
    pub(super) fn padded(&self, rows: &[Option<u32>]) -> Vec<u32> {
        let mut ids: Vec<u32> = rows.iter().map(|id| id.unwrap_or(u32::MAX)).collect();
        ids.resize(self.tokens.shape().len(), u32::MAX);
        ids
    }

    fn choice(&self) -> Choice<'_> {
        Choice {
            settings: &self.settings,
            logits: &self.logits,
            tokens: &self.tokens,
            rows: &self.rows,
            id: &self.id,
            chosen: &self.chosen,
        }
    }

    pub(super) fn write_linked(&self, gpu: &Gpu, positions: &Positions, offset: usize) {
        let rows = self.linked.shape().dims()[1];
        if let Some(both) = positions.shifted(0..rows, offset) {
            gpu.write(&self.linked, &both.concat());
        }
    }
}

/// Caches, and what every program is recorded with.
pub(super) struct Recording {
    gpu: Gpu,
    caches: Vec<Cache>,
    /// Gains of queries and keys (2, D), and epsilon, by layer.
    gains: Vec<Option<(Tensor, f32)>>,
    /// Rows of text in a cache.
    rows: usize,
    with_image: bool,
    /// Temporaries: the programs run one after the other.
    workspace: Workspace,
}

impl Recording {
    pub(super) async fn new(model: &Model, params: &Params, rows: usize, with_image: bool) -> Result<Self, GpuError> {
        let gpu = params.gpu().clone();
        let c = model.language_config();
        let kv = c.key_width();
        let (mut caches, mut gains) = (Vec::new(), Vec::new());
        for i in 0..c.num_hidden_layers {
            let link = model.link_of(i).filter(|_| with_image);
            let keys = rows + if link.is_some() { model.config().vision_config.tokens() } else { 0 };
            let make = |label| gpu.tensor([keys, kv], DType::F32, label);
            caches.push(Cache { key: make("key cache"), value: make("value cache") });
            gains.push(match link.and_then(|l| l.qk_norm.as_ref()) {
                Some((q, k)) => {
                    let both = gpu.read_all(&[params.value(q.w), params.value(k.w)]).await?.concat();
                    Some((gpu.upload(&both, [2, c.head()], "gains of queries and keys"), q.eps))
                }
                None => None,
            });
        }
        let workspace = Workspace::new(&gpu);
        Ok(Self { gpu, caches, gains, rows, with_image, workspace })
    }

    /// The stream (t, C) through all layers, whose caches get its keys and values.
    fn layers(
        &self,
        r: &mut Recorder,
        model: &Model,
        params: &Params,
        (rows, angles): (&Tensor, &Angles),
        x: Tensor,
    ) -> Tensor {
        let (c, t) = (model.language_config(), x.shape().rows());
        let n = model.config().vision_config.tokens();
        let sequence = |image| Sequence {
            rows: rows.clone(),
            table: table(&angles.plain),
            layout: c.layout(1, t, self.rows, image),
        };
        let (plain, linked, tables) = (sequence(0), sequence(n), angles.linked());
        let mut x = x;
        for (i, layer) in model.language().layers.iter().enumerate() {
            let link = model.link_of(i).filter(|_| self.with_image).map(|l| (l, &tables));
            let sequence = if link.is_some() { &linked } else { &plain };
            x = layer.decode(r, params, sequence, link, &self.caches[i], &x);
        }
        x
    }

    pub(super) fn piece(&self, model: &Model, params: &Params, size: usize) -> Piece {
        let gpu = &self.gpu;
        let ids = gpu.tensor([size], DType::U32, "ids");
        let rows = gpu.tensor([1, 3], DType::U32, "rows");
        let angles = Angles::new(gpu, size, model.language_config().head());
        let mut r = Recorder::within(gpu, &self.workspace);
        let x = model.language().embed(&mut r, params, &ids);
        self.layers(&mut r, model, params, (&rows, &angles), x);
        Piece { program: r.finish(), ids, rows, angles }
    }

    pub(super) fn sight(&self, model: &Model, params: &Params) -> Sight {
        let gpu = &self.gpu;
        let (v, c) = (&model.config().vision_config, model.language_config());
        let n = v.tokens();
        let pixels = gpu.tensor([1, v.num_channels, v.image_size, v.image_size], DType::F32, "pixels");
        let rows = gpu.tensor([1, 3], DType::U32, "rows");
        let image_key = gpu.tensor([n, c.head()], DType::F32, "image key angles");
        let spliced = matches!(model.bridge(), Bridge::Projector(_));
        let angles = Angles::new(gpu, if spliced { n } else { 1 }, c.head());
        let mut r = Recorder::within(gpu, &self.workspace);
        let features = model.features(&mut r, params, &rows, &pixels);
        if let Bridge::Projector(projector) = model.bridge() {
            let image = projector.forward(&mut r, params, &features[0]).0;
            self.layers(&mut r, model, params, (&rows, &angles), image);
        } else {
            let tables = LinkedTables { query: table(&image_key), key: table(&image_key) };
            let sequence =
                Sequence { rows: rows.clone(), table: table(&angles.plain), layout: c.layout(1, 1, self.rows, n) };
            for (link, (&at, features)) in
                model.links().iter().zip(model.config().link_config.language_layers.iter().zip(&features))
            {
                let layer = &model.language().layers[at].attention;
                let linked = Linked { layer, link, tables: &tables };
                linked.prepare(&mut r, params, &sequence, &self.caches[at], features);
            }
        }
        Sight { program: r.finish(), pixels, rows, angles, image_key, tokens: n, spliced }
    }

    /// One token: its row through all layers by fused kernels, logits, choice, advance.
    pub(super) fn step(&self, model: &Model, params: &Params, state: &State) -> Program {
        let mut r = Recorder::within(&self.gpu, &self.workspace);
        let (c, language) = (model.language_config(), model.language());
        let n = model.config().vision_config.tokens();
        let norm = |norm: &RmsNorm| (params.value(norm.w), norm.eps);
        let mut x = language.embed(&mut r, params, &state.id).reshaped([c.hidden_size]);
        for (i, layer) in language.layers.iter().enumerate() {
            let (a, m) = (&layer.attention, &layer.mlp);
            let linked = self.with_image && model.link_of(i).is_some();
            let stack = |id| params.stack(id);
            let qkv_stack = stack(a.q.w);
            let (gain, eps) = norm(&a.norm);
            let qkv = r.alloc([qkv_stack.matrix.rows], "q, k and v");
            let fused = Fused { norm: Some((&gain, eps)), bias: qkv_stack.bias.as_ref(), residual: None };
            gemv::project(&mut r, &x, &qkv_stack.matrix.whole(), fused, &qkv);
            let cached = Cached {
                layout: c.layout(1, 1, self.rows, if linked { n } else { 0 }),
                rows: &state.rows,
                angles: if linked { &state.linked } else { &state.plain },
                norm: self.gains[i].as_ref().map(|(gains, eps)| (gains, *eps)),
                key: &self.caches[i].key,
                value: &self.caches[i].value,
            };
            let attended = r.alloc([c.hidden_size], "attended");
            cached_attention::attend(&mut r, &cached, &qkv, &attended);
            let y = r.alloc([c.hidden_size], "stream");
            let o = stack(a.o.w);
            let fused = Fused { norm: None, bias: o.bias.as_ref(), residual: Some(&x) };
            gemv::project(&mut r, &attended, &o.matrix.whole(), fused, &y);
            let (gain, eps) = norm(&m.norm);
            let gated = r.alloc([c.intermediate_size], "gated");
            gemv::gated(&mut r, &y, &stack(m.gate.w).matrix, (&gain, eps), &gated);
            x = r.alloc([c.hidden_size], "stream");
            let fused = Fused { norm: None, bias: None, residual: Some(&y) };
            gemv::project(&mut r, &gated, &stack(m.down.w).matrix.whole(), fused, &x);
        }
        let (gain, eps) = norm(&language.norm);
        let head = params.stack(language.head);
        let fused = Fused { norm: Some((&gain, eps)), bias: None, residual: None };
        gemv::project(&mut r, &x, &head.matrix.whole(), fused, &state.logits);
        sample::choose(&mut r, &state.choice());
        r.finish()
    }
}
