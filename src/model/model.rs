//! The model: a tower, a bridge and a decoder. Patches go through the tower; the bridge brings its states to the text, by
//! links into decoder layers or as tokens of the text; the decoder ends in logits or a loss. Backward is the same list
//! upside down. Without a picture every model is an ordinary decoder.

use std::collections::{BTreeMap, BTreeSet};

pub use super::config::Wiring;
use super::config::{HiveConfig, LanguageConfig};
use super::inputs::Inputs;
use super::language::{self, Context, Descent, HeadSaved, Language};
use super::registry::Registry;
use super::vision::{self, Vision};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::nn::decoder_layer::LinkInput;
use crate::nn::image_projector::{self, ImageProjector};
use crate::nn::linked_attention::{Link, Shown as ShownTo};
use crate::nn::{Footprint, ParamId, ParamSpec, Params, Stack};
use crate::ops::splice::Sizes;

/// What brings the tower's states to the text.
#[derive(Clone, Debug)]
pub enum Bridge {
    /// Nothing.
    None,
    /// A link into each linked decoder layer.
    Links(Vec<Link>),
    /// A state becomes rows of the text.
    Projector(ImageProjector),
}

/// Structure; numbers live in [`Params`].
#[derive(Clone, Debug)]
pub struct Model {
    config: HiveConfig,
    wiring: Wiring,
    tower: Option<Vision>,
    bridge: Bridge,
    language: Language,
    /// Decoder layers whose link sees nothing.
    cut: BTreeSet<usize>,
}

/// What backward needs.
#[must_use]
pub struct Saved {
    /// Where the tower trains.
    tower: Option<vision::Saved>,
    read: Read,
    projector: Option<image_projector::Saved>,
    language: language::Saved,
    head: HeadSaved,
}

impl Saved {
    /// (R, 4): max, sum of exponentials, target logit, greedy token of each text row.
    #[must_use]
    pub fn state(&self) -> &Tensor {
        self.head.state()
    }
}

/// What [`Model::look`] shows.
pub struct Look {
    /// (B T, V).
    pub logits: Tensor,
    /// Hidden states of the tower, (B N, W) each.
    pub vision: Vec<Tensor>,
    /// Stream after each layer, (B T, C); image tokens in the text are rows of it.
    pub hidden: Vec<Tensor>,
    /// Softmax rows (B, H, T, T + N) of each linked layer.
    pub attention: Vec<(usize, Tensor)>,
}

/// What the bridge makes of a picture.
pub struct Shown<'a> {
    /// (N, C): rows of the text.
    pub image: Option<Tensor>,
    /// Linked layers that see the picture, and the features (N, W) that each attends to.
    pub links: Vec<(usize, &'a Link, Tensor)>,
}

/// What the bridge read.
#[derive(Default)]
struct Read {
    /// States of the tower.
    features: Vec<Tensor>,
    /// For each link rows of words that stand for such states.
    words: Vec<Tensor>,
}

impl Read {
    fn nothing(&self) -> bool {
        self.features.is_empty() && self.words.is_empty()
    }

    /// What link i is shown.
    fn of(&self, i: usize) -> Option<ShownTo<'_>> {
        let features = self.features.get(i).map(ShownTo::Features);
        features.or_else(|| self.words.get(i).map(ShownTo::Words))
    }
}

/// A pass through tower, bridge and layers.
struct Pass {
    tower: Option<vision::Saved>,
    read: Read,
    projector: Option<image_projector::Saved>,
    language: language::Saved,
    /// Text rows (B T, C) after all layers.
    x: Tensor,
}

impl Model {
    /// The structure and the parameters it names.
    #[must_use]
    pub fn new(config: &HiveConfig, wiring: Wiring) -> (Self, Vec<ParamSpec>) {
        let mut g = Registry::default();
        let (v, c, l) = (&config.vision_config, &config.text_config, &config.link_config);
        let tower = (wiring != Wiring::Text).then(|| Vision::new(&mut g, v));
        let projector = tower.as_ref().filter(|_| wiring == Wiring::Flattened);
        let projector = projector.map(|tower| g.image_projector(config, &tower.post_norm));
        let language = Language::new(&mut g, c);
        let bridge = match projector {
            Some(projector) => Bridge::Projector(projector),
            None if wiring == Wiring::Linked => {
                let layer = |i: usize| &language.layers[i].attention;
                let pairs = l.language_layers.iter().enumerate();
                Bridge::Links(pairs.map(|(i, &at)| g.link(v, c, l, i, layer(at))).collect())
            }
            None => Bridge::None,
        };
        (Self { config: config.clone(), wiring, tower, bridge, language, cut: BTreeSet::new() }, g.specs)
    }

    /// The same model with the links of these decoder layers cut: they see no picture, and the rest stays as it is.
    #[must_use]
    pub fn without(&self, layers: &[usize]) -> Self {
        Self { cut: layers.iter().copied().collect(), ..self.clone() }
    }

    /// Does the link of decoder layer i, if it has one, see the picture?
    #[must_use]
    pub fn is_cut(&self, layer: usize) -> bool {
        self.cut.contains(&layer)
    }

    /// How pictures reach the text.
    #[must_use]
    pub fn wiring(&self) -> Wiring {
        self.wiring
    }

    /// What it was built from; the tower's part means nothing where there is none.
    #[must_use]
    pub fn config(&self) -> &HiveConfig {
        &self.config
    }

    /// The language model's part of that.
    #[must_use]
    pub fn language_config(&self) -> &LanguageConfig {
        &self.config.text_config
    }

    /// The decoder.
    #[must_use]
    pub fn language(&self) -> &Language {
        &self.language
    }

    /// Can it be shown a picture?
    #[must_use]
    pub fn sees(&self) -> bool {
        match &self.bridge {
            Bridge::None => false,
            Bridge::Links(links) => !links.is_empty(),
            Bridge::Projector(_) => true,
        }
    }

    /// The links of a linked model.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        match &self.bridge {
            Bridge::Links(links) => links,
            Bridge::None | Bridge::Projector(_) => &[],
        }
    }

    /// The link of decoder layer i.
    #[must_use]
    pub fn link_of(&self, layer: usize) -> Option<&Link> {
        self.links().get(self.config.link_config.link_of(layer)?)
    }

    /// How its weights lie in packed matrices.
    #[must_use]
    pub fn stacks(&self) -> Vec<Stack> {
        let mut all = self.tower.as_ref().map_or(Vec::new(), Vision::stacks);
        match &self.bridge {
            Bridge::None => {}
            Bridge::Links(links) => {
                let layers = self.config.link_config.language_layers.iter().map(|i| &self.language.layers[*i]);
                all.extend(links.iter().zip(layers).flat_map(|(link, layer)| link.stacks(&layer.attention)));
            }
            Bridge::Projector(projector) => all.extend(projector.stacks()),
        }
        all.extend(self.language.stacks());
        all
    }

    /// The tower's states that the bridge reads: one per link, or the last but one.
    #[must_use]
    pub fn depths(&self) -> Vec<usize> {
        match &self.bridge {
            Bridge::None => Vec::new(),
            Bridge::Links(_) => self.config.link_config.vision_layers.clone(),
            Bridge::Projector(_) => vec![self.config.projected_layer()],
        }
    }

    fn deepest(&self) -> usize {
        self.depths().into_iter().max().unwrap_or(0)
    }

    /// What stands at the ends of rows of pictures, in families that have it.
    #[must_use]
    pub fn newline(&self) -> Option<ParamId> {
        match &self.bridge {
            Bridge::Projector(layers) => layers.newline,
            Bridge::None | Bridge::Links(_) => None,
        }
    }

    /// Rows that a square of a picture takes in the text.
    #[must_use]
    pub fn image_rows(&self) -> usize {
        if matches!(self.bridge, Bridge::Projector(_)) { self.config.image_rows() } else { 0 }
    }

    /// One picture through tower and bridge.
    pub fn show(&self, r: &mut Recorder, p: &Params, rows: &Tensor, pixels: &Tensor) -> Shown<'_> {
        let tower = self.tower.as_ref();
        let features = tower.map_or(Vec::new(), |tower| tower.states(r, p, rows, pixels, &self.depths()));
        let image = match (&self.bridge, &features[..]) {
            (Bridge::Projector(layers), [state]) => Some(layers.forward(r, p, state).0),
            _ => None,
        };
        let layers = self.config.link_config.language_layers.iter().copied();
        let links = layers.zip(self.links()).zip(features).map(|((at, link), features)| (at, link, features));
        Shown { image, links: links.filter(|(at, ..)| !self.is_cut(*at)).collect() }
    }

    /// The tower's state (N, W) that the projector of the flattened wiring reads of a square.
    pub fn projected_state(&self, r: &mut Recorder, p: &Params, rows: &Tensor, pixels: &Tensor) -> Option<Tensor> {
        let Bridge::Projector(layers) = &self.bridge else { return None };
        let state = self.tower.as_ref()?.states(r, p, rows, pixels, &self.depths()).pop()?;
        Some(layers.read(r, p, &state))
    }

    /// What [`Self::show`] takes beside the tower, and a decoder to keep keys and values of linked layers.
    pub(super) fn bridge_footprint(&self, b: &mut Footprint) {
        let (v, c) = (&self.config.vision_config, &self.config.text_config);
        let (n, w, width) = (v.tokens(), v.hidden_size, c.hidden_size);
        match &self.bridge {
            Bridge::None => {}
            // One after the other.
            Bridge::Links(_) => b.scope(|b| Link::footprint(b, n, w, width, c.layout(1, 1, 1, n))),
            Bridge::Projector(layers) => layers.footprint(b, w, width),
        }
    }

    /// Does the tower train?
    fn tower_trains(&self, p: &Params) -> bool {
        self.tower.as_ref().is_some_and(|tower| tower.trains(p))
    }

    fn sizes(&self, inputs: &Inputs) -> Sizes {
        Sizes {
            batch: inputs.batch,
            text: inputs.text,
            image: self.config.image_rows(),
            cols: self.config.text_config.hidden_size,
        }
    }

    /// What layers read beside the stream; where nothing is read there are no links.
    fn context<'a>(&'a self, inputs: &'a Inputs, read: &'a Read) -> Context<'a> {
        let spliced = self.image_rows() > 0 && !read.features.is_empty();
        let plain = if spliced { inputs.joined_sequence() } else { inputs.sequence(0) };
        let mut context = Context { plain, linked: BTreeMap::new(), links: BTreeMap::new() };
        let pairs = self.config.link_config.language_layers.iter().zip(self.links()).enumerate();
        for (i, (&layer, link)) in pairs.filter(|_| !read.nothing()) {
            let shown = read.of(i).filter(|_| !self.is_cut(layer));
            if shown.is_some() {
                context.linked.insert(layer, inputs.linked_sequence(i));
            }
            context.links.insert(layer, LinkInput { link, shown, tables: &inputs.linked });
        }
        context
    }

    /// Up to state `depth` of the tower, over the bridge, and through all layers.
    fn pass(&self, r: &mut Recorder, p: &Params, inputs: &Inputs, depth: usize) -> Pass {
        let (rows, keep) = (&inputs.rows, self.tower_trains(p));
        r.part("tower");
        let tower = self.tower.as_ref().filter(|_| inputs.with_image && self.sees());
        let tower = tower.map(|tower| tower.forward(r, p, rows, &inputs.pixels, depth, keep));
        let states = tower.as_ref().map(|saved| self.depths().into_iter().map(|depth| saved.states[depth].clone()));
        let features: Vec<Tensor> = states.into_iter().flatten().collect();
        r.part("language");
        let words = inputs.told.iter().map(|told| self.language.embed_sums(r, p, &told.counts)).collect();
        let mut x = self.language.embed(r, p, &inputs.ids);
        let mut projector = None;
        if let (Bridge::Projector(layers), [state]) = (&self.bridge, &features[..]) {
            r.part("projector");
            let (image, saved) = layers.forward(r, p, state);
            r.part("language");
            x = self.sizes(inputs).join(r, rows, &x, &image);
            projector = Some(saved);
        }
        let read = Read { features, words };
        let (x, language) = self.language.forward(r, p, &self.context(inputs, &read), x, true);
        let x = if projector.is_some() { self.sizes(inputs).text(r, rows, &x) } else { x };
        Pass { tower, read, projector, language, x }
    }

    /// Loss of the inputs' batch, added to `loss` (1).
    pub fn forward(&self, r: &mut Recorder, p: &Params, inputs: &Inputs, loss: &Tensor) -> Saved {
        let Pass { tower, read, projector, language, x } = self.pass(r, p, inputs, self.deepest());
        // States that nobody walks back through are free for what follows.
        let tower = tower.filter(|_| self.tower_trains(p));
        r.part("head");
        let head = self.language.loss_forward(r, p, &x, &inputs.targets, &inputs.scale, loss);
        Saved { tower, read, projector, language, head }
    }

    /// Adds the gradients of the loss to those of all trained parameters.
    pub fn backward(&self, r: &mut Recorder, p: &Params, inputs: &Inputs, saved: Saved) {
        let Saved { tower, read, projector, language, head } = saved;
        let (sizes, rows) = (self.sizes(inputs), &inputs.rows);
        r.part("head, backward");
        let mut d = self.language.loss_backward(r, p, head, &inputs.targets, &inputs.scale);
        r.part("language, backward");
        if projector.is_some() {
            d = sizes.text_backward(r, rows, &d);
        }
        let zeros = |r: &mut Recorder, like: &Tensor, label| {
            let zeros = r.alloc(like.shape().dims(), label);
            r.zero(&zeros);
            zeros
        };
        // One gradient per depth that is read; links of the same depth add to the same.
        let mut gradients: Vec<Option<Tensor>> = vec![None; self.deepest() + 1];
        for (depth, state) in self.depths().into_iter().zip(&read.features).filter(|_| tower.is_some()) {
            gradients[depth].get_or_insert_with(|| zeros(r, state, "features gradient"));
        }
        let words: Vec<Tensor> = read.words.iter().map(|words| zeros(r, words, "words gradient")).collect();
        let links = self.config.link_config.language_layers.iter().zip(self.depths()).enumerate();
        let shown = |(i, (layer, depth)): (usize, (&usize, usize))| {
            Some((*layer, words.get(i).or(gradients[depth].as_ref())?.clone()))
        };
        let shown: BTreeMap<usize, Tensor> = match self.bridge {
            Bridge::Links(_) => links.filter_map(shown).collect(),
            _ => BTreeMap::new(),
        };
        let descent = Descent { d: &d, features: shown, lowest: self.lowest(p, !read.features.is_empty()) };
        self.language.backward(r, p, &self.context(inputs, &read), language, &descent);
        drop(descent);
        for (told, dwords) in inputs.told.iter().zip(&words) {
            self.language.embed_sums_backward(r, p, &told.counts, dwords);
        }
        if let (Bridge::Projector(layers), Some(saved)) = (&self.bridge, projector) {
            let dimage = sizes.image(r, rows, &d);
            let dfeatures = gradients[self.deepest()].as_ref();
            r.part("projector, backward");
            layers.backward(r, p, saved, &dimage, dfeatures.map(Dest::Write));
            r.part("language, backward");
            d = sizes.text(r, rows, &d);
        }
        self.language.embed_backward(r, p, &inputs.segments, &inputs.order, &d);
        if let (Some(vision), Some(saved)) = (&self.tower, tower) {
            r.part("tower, backward");
            vision.backward(r, p, saved, &mut gradients);
        }
    }

    /// The lowest decoder layer that backward must reach.
    fn lowest(&self, p: &Params, with_image: bool) -> usize {
        if (with_image && self.image_rows() > 0) || p.trains(self.language.embed) {
            return 0;
        }
        let reaches = |i: usize| {
            let link = self.link_of(i).filter(|_| with_image);
            self.language.layer_trains(p, i)
                || link.is_some_and(|l| p.trains(l.projector.fc1.w) || self.tower_trains(p))
        };
        (0..self.language.layers.len()).find(|i| reaches(*i)).unwrap_or(self.language.layers.len())
    }

    /// Inference on a batch: logits, all states of the tower, streams after each layer, and softmax rows of linked layers.
    pub fn look(&self, r: &mut Recorder, p: &Params, inputs: &Inputs) -> Look {
        let Pass { tower, read, language, x, .. } =
            self.pass(r, p, inputs, self.config.vision_config.num_hidden_layers);
        let sees = |layer: &&usize| !read.nothing() && !self.is_cut(**layer);
        let linked = self.config.link_config.language_layers.iter().filter(sees);
        let attention = linked.filter_map(|&i| Some((i, language.probabilities(r, i)?))).collect();
        Look {
            logits: self.language.logits(r, p, &x),
            vision: tower.map_or(Vec::new(), |v| v.states),
            hidden: language.hidden,
            attention,
        }
    }
}
