//! The decoder's programs and the tensors they work on.

use crate::data::tiles::Blend;
use crate::gpu::{DType, Gpu, GpuError, Program, Recorder, Tensor, Workspace};
use crate::model::config::LanguageConfig;
use crate::model::inputs::Inputs;
use crate::model::model::Model;
use crate::model::positions::LinkedPositions;
use crate::nn::linked_attention::{Linked, LinkedTables};
use crate::nn::self_attention::{Cache, Sequence};
use crate::nn::{Params, RmsNorm};
use crate::ops::cached_attention::{self, Cached};
use crate::ops::gemv::{self, Fused};
use crate::ops::place::{self, TAPS};
use crate::ops::rope::Table;
use crate::ops::sample::{self, Choice};

/// A program for a piece of a prompt.
pub(super) struct Piece {
    pub(super) program: Program,
    ids: Tensor,
    rows: Tensor,
    /// Where rows of pictures stand: rows of the tiles (size, 4), and their weights.
    placed: Option<[Tensor; 2]>,
}

impl Piece {
    /// Tokens from position `start` on; what is left of the piece is padding that later rows overwrite.
    pub(super) fn write(&self, gpu: &Gpu, tokens: &[Token], start: usize, offset: usize) {
        let size = self.ids.shape().len();
        let mut padded = tokens.to_vec();
        padded.resize(size, tokens[tokens.len() - 1]);
        gpu.write_u32(&self.ids, &padded.iter().map(Token::id).collect::<Vec<_>>());
        gpu.write_u32(&self.rows, &[(start + size) as u32, offset as u32, start as u32]);
        if let Some([taps, weights]) = &self.placed {
            let blend = |token: &Token| match token {
                // No row: the embedding stays.
                Token::Text(_) => Blend { taps: [u32::MAX; TAPS], ..Blend::NEWLINE },
                Token::Row(blend) => *blend,
            };
            let all: Vec<Blend> = padded.iter().map(blend).collect();
            gpu.write_u32(taps, &all.iter().flat_map(|b| b.taps).collect::<Vec<_>>());
            gpu.write(weights, &all.iter().flat_map(|b| b.weights).collect::<Vec<_>>());
        }
    }
}

/// What stands at a position of a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token {
    /// An id.
    Text(u32),
    /// A row of a picture.
    Row(Blend),
}

impl Token {
    /// An id for the embedding; that of a row of a picture is not looked at.
    fn id(&self) -> u32 {
        match self {
            Self::Text(id) => *id,
            Self::Row(_) => 0,
        }
    }
}

/// What goes on for a square of a picture.
pub(super) struct Sight {
    pub(super) program: Program,
    pixels: Tensor,
    rows: Tensor,
    /// N.
    tokens: usize,
    pub(super) to: SightTo,
}

/// Where a square goes.
pub(super) enum SightTo {
    /// Into the caches of linked layers, by these angles of image keys.
    Links(Tensor),
    /// (n, C): rows for the text.
    Text(Tensor),
}

impl Sight {
    pub(super) fn write(&self, gpu: &Gpu, positions: &LinkedPositions, pixels: &[f32], offset: usize) {
        gpu.write(&self.pixels, pixels);
        gpu.write_u32(&self.rows, &[self.tokens as u32, offset as u32, 0]);
        if let SightTo::Links(image_key) = &self.to {
            let angles: Vec<f32> = (0..self.tokens).flat_map(|n| positions.image_key(n, offset)).collect();
            gpu.write(image_key, &angles);
        }
    }
}

/// The rows that squares became, for the text to have, and which squares they are.
pub(super) struct Squares {
    /// (1 + squares n, C): the first one stands at the ends of rows of pictures.
    pub(super) rows: Tensor,
    /// Copies what a square became to its place.
    places: Vec<Program>,
    /// Hashes of the pixels of those that are there.
    pub(super) seen: Vec<Option<u64>>,
}

impl Squares {
    /// How many there is room for.
    pub(super) fn room(&self) -> usize {
        self.places.len()
    }

    /// The rows of others, of which there are fewer.
    pub(super) fn take(&mut self, gpu: &Gpu, fewer: &Self) {
        let mut r = Recorder::new(gpu);
        r.copy_into(&fewer.rows, &self.rows, 0);
        r.finish().run();
        self.seen[..fewer.seen.len()].copy_from_slice(&fewer.seen);
    }

    /// Puts what was made last to the rows of square `at`.
    pub(super) fn keep(&mut self, at: usize, hash: u64) {
        self.places[at].run();
        self.seen[at] = Some(hash);
    }
}

/// Tensors that the program of a token reads and advances.
#[allow(missing_docs, reason = "the names say it")]
pub(super) struct State {
    /// (1): the token to feed.
    pub(super) id: Tensor,
    /// (1, 3): length, offset, start.
    pub(super) rows: Tensor,
    pub(super) tokens: Tensor,
    /// Probability of each chosen token, by position.
    pub(super) chosen: Tensor,
    pub(super) settings: Tensor,
    /// (V).
    pub(super) logits: Tensor,
}

impl State {
    pub(super) fn new(gpu: &Gpu, rows: usize, vocabulary: usize) -> Self {
        Self {
            id: gpu.tensor([1], DType::U32, "id"),
            rows: gpu.tensor([1, 3], DType::U32, "rows"),
            tokens: gpu.tensor([rows + 1], DType::U32, "tokens"),
            chosen: gpu.tensor([rows + 1], DType::F32, "probabilities of tokens"),
            settings: gpu.tensor([sample::SETTINGS], DType::U32, "sampling settings"),
            logits: gpu.tensor([vocabulary], DType::F32, "logits"),
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
}

/// Image keys that decoder layer i attends to beside the text's.
fn image_keys(model: &Model, layer: usize, with_image: bool) -> usize {
    let sees = with_image && model.link_of(layer).is_some() && !model.is_cut(layer);
    if sees { model.config().vision_config.tokens() } else { 0 }
}

/// Caches and angles, and what every program is recorded with.
pub(super) struct Recording {
    gpu: Gpu,
    caches: Vec<Cache>,
    /// Gains of queries and keys (2, D), and epsilon, by layer.
    gains: Vec<Option<(Tensor, f32)>>,
    /// Rows of text in a cache.
    rows: usize,
    with_image: bool,
    pub(super) positions: LinkedPositions,
    /// (2, rows, D): queries' and keys' angles of ordinary layers, by position.
    plain: Tensor,
    /// The same of linked layers.
    linked: Tensor,
    /// Temporaries: the programs run one after the other.
    workspace: Workspace,
}

impl Recording {
    pub(super) async fn new(model: &Model, params: &Params, rows: usize, with_image: bool) -> Result<Self, GpuError> {
        let gpu = params.gpu().clone();
        let c = model.language_config();
        let fused = params.packed_view(model.language().head).is_some();
        let (mut caches, mut gains) = (Vec::new(), Vec::new());
        for i in 0..c.num_hidden_layers {
            let link = model.link_of(i).filter(|_| with_image);
            let keys = rows + image_keys(model, i, with_image);
            let make = |label| gpu.tensor([keys, c.key_width()], DType::F32, label);
            caches.push(Cache { key: make("key cache"), value: make("value cache") });
            gains.push(match link.and_then(|l| l.qk_norm.as_ref()).filter(|_| fused) {
                Some((q, k)) => {
                    let both = gpu.read_all(&[params.value(q.w), params.value(k.w)]).await?.concat();
                    Some((gpu.upload(&both, [2, c.head()], "gains of queries and keys"), q.eps))
                }
                None => None,
            });
        }
        let positions = Inputs::positions(model.config());
        let half: Vec<f32> = (0..rows).flat_map(|t| positions.row(t)).collect();
        let plain = gpu.upload(&[half.as_slice(), &half].concat(), [2, rows, c.head()], "angles");
        let linked = if with_image && !model.links().is_empty() { rows } else { 1 };
        let linked = gpu.tensor([2, linked, c.head()], DType::F32, "angles of linked layers");
        let workspace = Workspace::new(&gpu);
        Ok(Self { gpu, caches, gains, rows, with_image, positions, plain, linked, workspace })
    }

    /// Angles of linked layers, for a picture before token `offset`.
    pub(super) fn write_linked(&self, offset: usize) {
        let rows = self.linked.shape().dims()[1];
        if rows == self.rows {
            let query = (0..rows).flat_map(|t| self.positions.query(t, offset));
            let both: Vec<f32> = query.chain((0..rows).flat_map(|t| self.positions.text_key(t, offset))).collect();
            self.gpu.write(&self.linked, &both);
        }
    }

    /// Text of one sample whose rows are in the caches from its `start` on; `image` keys besides.
    fn sequence(&self, c: &LanguageConfig, rows: &Tensor, queries: usize, image: usize) -> Sequence {
        let table = Table { by_position: true, ..Table::shared(&self.plain) };
        Sequence { rows: rows.clone(), table, layout: c.layout(1, queries, self.rows, image) }
    }

    /// The stream (t, C) through all layers, whose caches get its keys and values.
    fn layers(&self, r: &mut Recorder, model: &Model, params: &Params, rows: &Tensor, x: Tensor) -> Tensor {
        let (c, t) = (model.language_config(), x.shape().rows());
        let (plain, linked) =
            (self.sequence(c, rows, t, 0), self.sequence(c, rows, t, model.config().vision_config.tokens()));
        let query = Table { by_position: true, ..Table::shared(&self.linked) };
        let tables = LinkedTables { key: query.after(self.rows), query };
        let mut x = x;
        for (i, layer) in model.language().layers.iter().enumerate() {
            let link = model.link_of(i).filter(|_| self.with_image).map(|l| (l, &tables));
            let sequence = if image_keys(model, i, self.with_image) > 0 { &linked } else { &plain };
            x = layer.decode(r, params, sequence, link, &self.caches[i], &x);
        }
        x
    }

    pub(super) fn piece(&self, model: &Model, params: &Params, size: usize, squares: Option<&Squares>) -> Piece {
        let gpu = &self.gpu;
        let ids = gpu.tensor([size], DType::U32, "ids");
        let rows = gpu.tensor([1, 3], DType::U32, "rows");
        let placed = squares.map(|_| {
            [
                gpu.tensor([size, TAPS], DType::U32, "rows of pictures"),
                gpu.tensor([size, TAPS], DType::F32, "weights of rows"),
            ]
        });
        let mut r = Recorder::within(gpu, &self.workspace);
        let mut x = model.language().embed(&mut r, params, &ids);
        if let (Some(squares), Some([taps, weights])) = (squares, &placed) {
            x = place::forward(&mut r, taps, weights, &x, &squares.rows);
        }
        self.layers(&mut r, model, params, &rows, x);
        Piece { program: r.finish(), ids, rows, placed }
    }

    /// One token through all layers, and the softmax rows (1, H, 1, rows) of each: for models without links.
    pub(super) fn looking(&self, model: &Model, params: &Params) -> (Piece, Vec<Tensor>) {
        let ids = self.gpu.tensor([1], DType::U32, "ids");
        let rows = self.gpu.tensor([1, 3], DType::U32, "rows");
        let mut r = Recorder::within(&self.gpu, &self.workspace);
        let mut x = model.language().embed(&mut r, params, &ids);
        let sequence = self.sequence(model.language_config(), &rows, 1, 0);
        let mut looked = Vec::new();
        for (layer, cache) in model.language().layers.iter().zip(&self.caches) {
            let (y, rows) = layer.decode_looking(&mut r, params, &sequence, cache, &x);
            x = y;
            looked.push(rows);
        }
        (Piece { program: r.finish(), ids, rows, placed: None }, looked)
    }

    /// Room for the rows of so many squares.
    pub(super) fn squares(&self, model: &Model, params: &Params, sight: &Sight, count: usize) -> Option<Squares> {
        let SightTo::Text(made) = &sight.to else { return None };
        let (n, width) = (made.shape().rows(), made.shape().cols());
        let rows = self.gpu.tensor([count * n + 1, width], DType::F32, "rows of squares");
        if let Some(newline) = model.newline() {
            let mut r = Recorder::within(&self.gpu, &self.workspace);
            r.copy_into(&params.value(newline), &rows, 0);
            r.finish().run();
        }
        let place = |at: usize| {
            let mut r = Recorder::within(&self.gpu, &self.workspace);
            r.copy_into(made, &rows, (1 + at * n) * width);
            r.finish()
        };
        let places = (0..count).map(place).collect();
        Some(Squares { places, rows, seen: vec![None; count] })
    }

    pub(super) fn sight(&self, model: &Model, params: &Params) -> Sight {
        let gpu = &self.gpu;
        let (v, c) = (&model.config().vision_config, model.language_config());
        let n = v.tokens();
        let pixels = gpu.tensor([1, v.num_channels, v.image_size, v.image_size], DType::F32, "pixels");
        let rows = gpu.tensor([1, 3], DType::U32, "rows");
        let mut r = Recorder::within(gpu, &self.workspace);
        let shown = model.show(&mut r, params, &rows, &pixels);
        let to = match shown.image {
            Some(image) => {
                let made = gpu.tensor(image.shape().dims(), DType::F32, "rows of a square");
                r.copy(&image, &made);
                SightTo::Text(made)
            }
            None => {
                let key = gpu.tensor([n, c.head()], DType::F32, "image key angles");
                let tables = LinkedTables { query: Table::shared(&key), key: Table::shared(&key) };
                let sequence = self.sequence(c, &rows, 1, n);
                for (at, link, features) in &shown.links {
                    let linked = Linked { layer: &model.language().layers[*at].attention, link, tables: &tables };
                    linked.prepare(&mut r, params, &sequence, &self.caches[*at], features);
                }
                SightTo::Links(key)
            }
        };
        Sight { program: r.finish(), pixels, rows, tokens: n, to }
    }

    /// One token: its row through all layers, logits, choice, advance.
    pub(super) fn step(&self, model: &Model, params: &Params, state: &State) -> Program {
        let mut r = Recorder::within(&self.gpu, &self.workspace);
        let x = model.language().embed(&mut r, params, &state.id);
        if params.packed_view(model.language().head).is_some() {
            self.fused(&mut r, model, params, state, &x);
        } else {
            let x = self.layers(&mut r, model, params, &state.rows, x);
            let logits = model.language().logits(&mut r, params, &x);
            r.copy(&logits.reshaped([logits.shape().len()]), &state.logits);
        }
        sample::choose(&mut r, &state.choice());
        r.finish()
    }

    /// The logits of row x, by fused kernels, which want packed weights.
    fn fused(&self, r: &mut Recorder, model: &Model, params: &Params, state: &State, x: &Tensor) {
        let (c, language) = (model.language_config(), model.language());
        let norm = |norm: &RmsNorm| (params.value(norm.w), norm.eps);
        let mut x = x.reshaped([c.hidden_size]);
        for (i, layer) in language.layers.iter().enumerate() {
            let (a, m) = (&layer.attention, &layer.mlp);
            let linked = self.with_image && model.link_of(i).is_some();
            let stack = |id| params.stack(id);
            let qkv_stack = stack(a.q.w);
            let (gain, eps) = norm(&a.norm);
            let qkv = r.alloc([qkv_stack.matrix.rows], "q, k and v");
            let fused = Fused { norm: Some((&gain, eps)), bias: qkv_stack.bias.as_ref(), residual: None };
            gemv::project(r, &x, &qkv_stack.matrix.whole(), fused, &qkv);
            let cached = Cached {
                layout: c.layout(1, 1, self.rows, image_keys(model, i, self.with_image)),
                rows: &state.rows,
                angles: if linked { &self.linked } else { &self.plain },
                norm: self.gains[i].as_ref().map(|(gains, eps)| (gains, *eps)),
                key: &self.caches[i].key,
                value: &self.caches[i].value,
            };
            let attended = r.alloc([c.hidden_size], "attended");
            cached_attention::attend(r, &cached, &qkv, &attended);
            let y = r.alloc([c.hidden_size], "stream");
            let o = stack(a.o.w);
            let fused = Fused { norm: None, bias: o.bias.as_ref(), residual: Some(&x) };
            gemv::project(r, &attended, &o.matrix.whole(), fused, &y);
            let (gain, eps) = norm(&m.norm);
            let gated = r.alloc([c.intermediate_size], "gated");
            gemv::gated(r, &y, &stack(m.gate.w).matrix, (&gain, eps), &gated);
            x = r.alloc([c.hidden_size], "stream");
            let fused = Fused { norm: None, bias: None, residual: Some(&y) };
            gemv::project(r, &gated, &stack(m.down.w).matrix.whole(), fused, &x);
        }
        let (gain, eps) = norm(&language.norm);
        let head = params.stack(language.head);
        let fused = Fused { norm: Some((&gain, eps)), bias: None, residual: None };
        gemv::project(r, &x, &head.matrix.whole(), fused, &state.logits);
    }
}
