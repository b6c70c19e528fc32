//! Models from folders of Hugging Face's files: opened by their headers, planned, then loaded into an [`Assistant`].

use std::sync::Arc;

use thiserror::Error;

use super::assistant::{Assistant, Sight};
use crate::data::bpe::{Bpe, BpeError};
use crate::data::chat::{ChatError, ChatTemplate, TEMPLATE_FILES};
use crate::data::image::Preprocess;
use crate::data::tiles::{Cut, Recipe};
use crate::data::tokenizer::{END, Tokenizer};
use crate::data::tokenizer_files::{tokenizer_config, tokenizer_json};
use crate::gpu::{Gpu, GpuError};
use crate::model::config::ConfigError;
use crate::model::decode::{Decoder, most_room};
use crate::model::files::{Checkpoint, Family, FilesError, Folder, ModelSpec, Resolved, recipe, resolve};
use crate::model::load::{self, Formats, LoadError, Progress};
use crate::model::memory::Plan;
use crate::model::model::{Model, Wiring};
use crate::model::weights::WeightsError;
use crate::nn::{ParamSpec, Params};
use crate::train::checkpoint;

/// Answers of models that have this token are made of tokens that are special elsewhere.
const DOCTAGS: &str = "<doctag>";

/// Rows of text, beside those of a picture, that a model has room for unless told otherwise.
pub const ROOM: usize = 1024;

/// Rows of text of a model that this program trained.
pub const TRAINED_ROOM: usize = 96;

/// Why a folder is no model to talk to.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum OpenError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tokenizer(#[from] BpeError),
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A tokenizer that is not beside the weights.
    #[error(
        "tokenizer.json is missing: this model uses that of {0}. Fetch it (hive fetch {0}) and copy its tokenizer.json into the folder"
    )]
    Elsewhere(String),
    /// A tower has nothing to say.
    #[error(
        "this folder holds a vision tower alone, which cannot answer. Merge it with a language model: hive convert --help"
    )]
    Tower,
    /// More memory than there is.
    #[error("{0}")]
    Memory(String),
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Weights of a checkpoint.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// A model whose tokens are words: one in training, or trained by this program. It answers by what its weights are when asked.
pub async fn trained(model: Arc<Model>, params: Arc<Params>, words: &Tokenizer) -> Result<Assistant, OpenError> {
    let c = model.config();
    let tokenizer = Bpe::from_json(&tokenizer_json(words))?;
    let settings = tokenizer_config(c.text_config.max_position_embeddings);
    let template = ChatTemplate::from_files(Some(&settings), None)?;
    let preprocess = sees(&model);
    let room = TRAINED_ROOM + model.image_rows();
    let decoder = Decoder::new(model, params, room, true).await?;
    Ok(Assistant::new(decoder, tokenizer, template, vec![END], preprocess.map(|p| Recipe::from(p).into())))
}

fn sees(model: &Model) -> Option<Preprocess> {
    model.sees().then(|| Preprocess::on_white(model.config().vision_config.image_size))
}

/// How pictures become pixels for the model of a checkpoint; none where it takes none.
#[must_use]
pub fn preprocess_of(checkpoint: &checkpoint::Checkpoint) -> Option<Preprocess> {
    sees(&Model::new(&checkpoint.meta.model, checkpoint.meta.preset.wiring).0)
}

/// The model of a checkpoint and its weights on the GPU.
fn uploaded(gpu: &Gpu, checkpoint: &checkpoint::Checkpoint) -> Result<(Model, Arc<Params>), OpenError> {
    let (model, specs) = Model::new(&checkpoint.meta.model, checkpoint.meta.preset.wiring);
    for spec in &specs {
        let have = checkpoint.weights.get(&spec.name).map_or(0, Vec::len);
        if have != spec.len() {
            let (name, have, need) = (spec.name.clone(), vec![have], spec.shape.clone());
            return Err(WeightsError::Shape { name, have, need }.into());
        }
    }
    let params = Params::new(gpu, specs, &checkpoint.weights, &Default::default());
    Ok((model, Arc::new(params)))
}

/// The one that answers with the model of a checkpoint: its weights are uploaded, then it is as any that this program [`trained`].
///
/// # Errors
/// Weights that do not fit the model, or a GPU fault.
pub async fn of_checkpoint(gpu: &Gpu, checkpoint: &checkpoint::Checkpoint) -> Result<Assistant, OpenError> {
    let (model, params) = uploaded(gpu, checkpoint)?;
    trained(Arc::new(model), params, &checkpoint.meta.tokenizer).await
}

/// A folder whose headers were read: everything is known but the numbers.
#[allow(missing_docs, reason = "the names say it")]
pub struct ModelFolder {
    pub spec: ModelSpec,
    pub model: Arc<Model>,
    /// Tensors that nothing explains, by name.
    pub extra: Vec<String>,
    pub(in crate::engine) checkpoint: Checkpoint,
    pub(in crate::engine) specs: Vec<ParamSpec>,
    pub(in crate::engine) resolved: Resolved,
    pub(in crate::engine) tokenizer: Bpe,
    template: ChatTemplate,
    sight: Option<Sight>,
}

impl ModelFolder {
    /// Reads headers, configuration, tokenizer and chat template.
    ///
    /// # Errors
    /// A sentence about the file that is missing or wrong.
    pub async fn open(folder: &Folder) -> Result<Self, OpenError> {
        let spec = ModelSpec::open(folder).await?;
        if spec.kind == Wiring::Tower {
            return Err(OpenError::Tower);
        }
        let checkpoint = Checkpoint::open(folder).await?;
        let spec = spec.beside(&checkpoint).await?;
        let (model, specs) = Model::new(&spec.config, spec.kind);
        let mut resolved = resolve(&checkpoint, &specs, &spec.config.link_config.language_layers)?;
        let family = &spec.family;
        if let (Some(entry), false) = (&family.tokenizer, folder.get("tokenizer.json").is_some()) {
            return Err(OpenError::Elsewhere(entry.clone()));
        }
        let mut tokenizer = Bpe::from_json(&folder.required_text("tokenizer.json").await?)?;
        tokenizer.add(&family.added);
        if tokenizer.id(DOCTAGS).is_some() {
            tokenizer.show_specials();
        }
        let settings = folder.text("tokenizer_config.json").await?;
        let mut named = None;
        for file in TEMPLATE_FILES {
            let text = folder.text(file).await?;
            // Processors have templates in some versions of transformers alone.
            named =
                named.or(text.filter(|t| t.contains("chat_template") || !file.ends_with(".json")).map(|t| (file, t)));
        }
        let template = match &family.template {
            Some(template) => ChatTemplate::from_config(settings.as_deref(), template)?,
            None => ChatTemplate::from_folder(
                settings.as_deref(),
                named.as_ref().map(|(file, text)| (*file, text.as_str())),
            )?,
        };
        let sight = if model.sees() {
            let token = match &family.image_token {
                Some(name) => tokenizer.id(name),
                None => spec.image_token.filter(|id| tokenizer.token(*id).is_some()),
            };
            Some(Sight { recipe: recipe(folder, &spec).await?, tags: family.tags.clone(), token })
        } else {
            None
        };
        Ok(Self {
            template,
            sight,
            extra: std::mem::take(&mut resolved.extra),
            model: Arc::new(model),
            spec,
            checkpoint,
            specs,
            resolved,
            tokenizer,
        })
    }

    /// A sentence about settings of `generation_config.json` that are not followed by themselves; empty where there are none.
    #[must_use]
    pub fn asked(&self) -> String {
        let all: Vec<String> = self.spec.asked.iter().map(|(key, value)| format!("{key} {value}")).collect();
        if all.is_empty() {
            return String::new();
        }
        format!(
            "generation_config.json asks for {}: here the likeliest token is taken unless you set it",
            all.join(", ")
        )
    }

    /// Rows of text as requested, within what the model was trained for and what a cache can hold.
    #[must_use]
    pub fn room(&self, requested: Option<usize>) -> usize {
        let most = self.spec.config.text_config.max_position_embeddings.min(most_room(&self.model));
        let side = self.spec.config.image_rows().isqrt();
        // Families that cut their pictures have far more rows of one than of text.
        let picture =
            self.recipe().filter(|recipe| recipe.cut != Cut::Whole).map_or(0, |recipe| recipe.most_rows(side));
        requested.unwrap_or(ROOM + picture).clamp(2, most.max(2))
    }

    /// What it takes in these formats, with room for so many rows of text.
    #[must_use]
    pub fn plan(&self, formats: Formats, room: usize) -> Plan {
        Plan::new(&self.model, &self.specs, &self.resolved, formats, room)
    }

    /// Loads the weights. `memory` is what the GPU may use, where that is known. `tell` hears of every chunk; false stops.
    ///
    /// # Errors
    /// A plan that does not fit, with what would; files that changed; a GPU fault; a stop.
    pub async fn load(
        &self,
        gpu: &Gpu,
        formats: Formats,
        room: usize,
        memory: Option<u64>,
        tell: impl FnMut(Progress) -> bool,
    ) -> Result<Assistant, OpenError> {
        let plan = self.plan(formats, room);
        if let Some(limit) = memory.filter(|limit| plan.gpu() > *limit) {
            return Err(OpenError::Memory(self.too_large(&plan, room, limit)));
        }
        let (checkpoint, resolved, stacks) = (&self.checkpoint, &self.resolved, self.model.stacks());
        let specs = self.specs.clone();
        let with_image = self.model.sees();
        let made = match load::load(gpu, checkpoint, resolved, specs, &stacks, formats, tell).await {
            Ok(params) => Decoder::new(Arc::clone(&self.model), Arc::new(params), room, with_image).await,
            Err(LoadError::Gpu(e)) => Err(e),
            Err(other) => return Err(other.into()),
        };
        let decoder = match made {
            Err(GpuError::OutOfMemory(_)) => {
                return Err(OpenError::Memory(self.too_large(&plan, room, plan.gpu() * 3 / 4)));
            }
            other => other?,
        };
        let (tokenizer, template) = (self.tokenizer.clone(), self.template.clone());
        let mut ends = self.spec.eos.clone();
        // Of these families no single file has all of them.
        if self.spec.family != Family::default() {
            let eos = std::iter::once(template.specials().eos_token.as_str());
            ends.extend(self.spec.family.stops.iter().copied().chain(eos).filter_map(|name| tokenizer.id(name)));
        }
        Ok(Assistant::new(decoder, tokenizer, template, ends, self.sight.clone()))
    }

    /// One square for each picture, whatever its size: fast, and blind for what is small.
    pub fn single(&mut self) {
        if let Some(sight) = &mut self.sight {
            sight.recipe = sight.recipe.clone().single();
        }
    }

    /// What squares take: operations of the tower, in 10^12, as multiplications and additions.
    #[must_use]
    pub fn tower_teraflops(&self, squares: usize) -> f64 {
        let v = &self.spec.config.vision_config;
        let [n, w, f] = [v.tokens(), v.hidden_size, v.intermediate_size].map(|size| size as f64);
        let patch = (v.num_channels * v.patch_size * v.patch_size) as f64;
        let block = 2.0 * n * (4.0 * w * w + 2.0 * w * f) + 4.0 * n * n * w;
        let blocks = self.spec.config.projected_layer() as f64;
        squares as f64 * (2.0 * n * w * patch + blocks * block) * 1e-12
    }

    /// How pictures become squares; none where the model takes none.
    #[must_use]
    pub fn recipe(&self) -> Option<&Recipe> {
        self.sight.as_ref().map(|sight| &sight.recipe)
    }

    fn too_large(&self, plan: &Plan, room: usize, limit: u64) -> String {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let start = format!(
            "the model in {} needs {} MiB of GPU memory, {} MiB are there",
            plan.formats.layer.name(),
            mib(plan.gpu()),
            mib(limit)
        );
        match Plan::best(&self.model, &self.specs, &self.resolved, room, limit) {
            Some((format, fits)) => {
                format!("{start}. In {} it takes {} MiB: choose that", format.name(), mib(fits.gpu()))
            }
            None => format!("{start}. Not even int4 fits: choose a smaller model, or less room than {room} tokens"),
        }
    }
}
