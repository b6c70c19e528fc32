//! `hive convert`: models from one form to another, written piece by piece.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Args;
use super::fault::Fault;
use super::output::{say, warn};
use super::progress::Progress;
use super::shared::{ended, stop_if_asked};
use crate::engine::assets;
use crate::engine::convert::{Conversion, NewFile, Origin, Request};
use crate::model::export::Part;
use crate::model::files::{FileDType, Folder};
use crate::model::model::Wiring;
use crate::ops::packed::Format;
use crate::platform::{self, Blob, NewFolder, block_on, watch_signals};

const OPTIONS: [&str; 8] = ["part", "dtype", "weights", "shard-size", "tower", "language", "links", "projector"];

const HELP: &str = "\
hive convert FROM OUT [--part vision_tower|language_model] [--dtype f32|f16|bf16] [--shard-size MB] [--force]
hive convert --tower FOLDER --language FOLDER --links FOLDER|FILE OUT [--dtype ...] [--shard-size MB] [--force]
hive convert --tower FOLDER --language FOLDER --projector FOLDER|FILE OUT ...

Writes a model in another form into the folder OUT. FROM is
  a checkpoint of hive train or hive demo, or a shipped model (grounds, pictures, shapes): OUT is then the whole model for
      hive ask --model OUT; transformers opens OUT/vision_tower as SiglipVisionModel and OUT/language_model as
      LlamaForCausalLM;
  a folder with Hugging Face's files, or a *.safetensors file: the same in another type, or in files of another size.
A tower, a language model and links (or the projector of a LLaVA-style model) become one folder. The links' folder has a
config.json with link_config; a checkpoint of hive train knows it itself.

  --part PART       this part of FROM alone, as transformers opens it
  --dtype TYPE      of the weights; without it they stay as they are
  --weights FORMAT  int8 or int4: matrices quantised as hive chat --weights would; a half or a quarter of f16, for Hive alone
  --shard-size MB   several files, none larger than this unless a tensor is
  --force           write into a folder that is not empty; weights that are there are replaced

OUT appears when it is complete. Memory does not grow with the model.
";

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let Some(args) = Args::or_help(list, (2, &OPTIONS), &["force"], HELP)? else { return Ok(()) };
    let request = request(&args)?;
    let (origin, inputs, out) = origin(&args)?;
    let place = place(out, &inputs, args.flag("force"))?;
    let conversion = block_on(Conversion::open(origin, request)).map_err(Fault::failed)?;
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    if let Some(free) = platform::free_bytes(&place).filter(|free| *free < conversion.bytes()) {
        return Err(Fault::Failed(format!(
            "{out} will have {}, and {} are free there. Make room, or choose another place",
            mb(conversion.bytes()),
            mb(free)
        )));
    }
    watch_signals();
    write(&conversion, &place, out)?;
    for note in &conversion.notes {
        warn(&format!("{note}\n"));
    }
    if args.flag("json") {
        let file = |f: &NewFile| json!({"path": f.path, "bytes": f.bytes()});
        let files: Vec<_> = conversion.files.iter().map(file).collect();
        say(&format!("{}\n", json!({"folder": out, "files": files, "notes": conversion.notes})));
    } else {
        for file in &conversion.files {
            say(&format!("{:>12}  {}\n", mb(file.bytes()), Path::new(out).join(&file.path).display()));
        }
    }
    Ok(())
}

fn request(args: &Args) -> Result<Request, Fault> {
    let part = |name: &str| {
        Part::named(name)
            .ok_or_else(|| Fault::usage(format!("--part is vision_tower or language_model, not \"{name}\"")))
    };
    let dtype = |name: &str| match name {
        "f32" => Ok(FileDType::F32),
        "f16" => Ok(FileDType::F16),
        "bf16" => Ok(FileDType::BF16),
        _ => Err(Fault::usage(format!("--dtype is f32, f16 or bf16, not \"{name}\""))),
    };
    let weights = |name: &str| {
        Format::named(name).filter(|f| f.scaled()).ok_or_else(|| {
            Fault::usage(format!("--weights is int8 or int4, not \"{name}\"; --dtype is for f32, f16 and bf16"))
        })
    };
    let shard = args.number::<u64>("shard-size")?;
    if shard == Some(0) {
        return Err(Fault::usage("--shard-size is at least 1 MB"));
    }
    Ok(Request {
        part: args.option("part").map(part).transpose()?,
        dtype: args.option("dtype").map(dtype).transpose()?,
        shard: shard.map(|mb| mb.saturating_mul(1_000_000)),
        weights: args.option("weights").map(weights).transpose()?,
    })
}

/// What is read, the paths of it, and the new folder.
fn origin(args: &Args) -> Result<(Origin, Vec<PathBuf>, &str), Fault> {
    let parts = ["tower", "language", "links", "projector"].map(|name| args.option(name));
    match (parts, args.words()) {
        ([None, None, None, None], [from, out]) => {
            if platform::is_folder(from) {
                return Ok((Origin::Folder(folder(from)?), vec![from.into()], out));
            }
            if Path::new(from).extension().is_none() && !Path::new(from).exists() {
                let bytes = platform::block_on(assets::model_bytes(from, |_, _| ()))?;
                return Ok((Origin::File(Blob::memory(&format!("{from}.safetensors"), bytes)), vec![], out));
            }
            Ok((Origin::File(file(from)?), vec![from.into()], out))
        }
        ([Some(tower), Some(language), links, projector], [out]) if links.is_some() != projector.is_some() => {
            if args.option("part").is_some() {
                return Err(Fault::usage("--part takes a part of one model, and here several become one"));
            }
            let kind = if links.is_some() { Wiring::Linked } else { Wiring::Flattened };
            let between = links.or(projector).unwrap_or_default();
            let inputs = [tower, language, between].map(PathBuf::from).to_vec();
            let links = if platform::is_folder(between) { folder(between)? } else { with_config(between)? };
            Ok((Origin::Parts { tower: folder(tower)?, language: folder(language)?, links, kind }, inputs, out))
        }
        _ => Err(Fault::usage(
            "hive convert needs FROM and OUT, or --tower, --language and one of --links and --projector, and OUT",
        )),
    }
}

fn folder(path: &str) -> Result<Folder, Fault> {
    let blobs = platform::folder_blobs(path).map_err(|e| Fault::unreadable(Path::new(path), &e))?;
    Folder::new(blobs).map_err(Fault::failed)
}

fn file(path: &str) -> Result<Blob, Fault> {
    if !path.ends_with(".safetensors") {
        return Err(Fault::usage(format!("{path} is neither a folder nor a *.safetensors file")));
    }
    Blob::open(path).map_err(|e| Fault::unreadable(Path::new(path), &e))
}

/// A file, and the configuration beside it if there is one.
fn with_config(path: &str) -> Result<Folder, Fault> {
    let config = Blob::open(Path::new(path).with_file_name("config.json")).ok();
    Folder::new([Some(file(path)?), config].into_iter().flatten()).map_err(Fault::failed)
}

/// Where the new folder goes, if nothing is lost by that.
fn place(out: &str, inputs: &[PathBuf], force: bool) -> Result<PathBuf, Fault> {
    let real = |path: &Path| platform::real_path(path).map_err(|e| Fault::unreadable(path, &e));
    let place = real(Path::new(out))?;
    if place.file_name().is_none() {
        return Err(Fault::usage(format!("{out} cannot be a new folder")));
    }
    for input in inputs {
        if real(input)?.starts_with(&place) {
            return Err(Fault::usage(format!("{} is read and lies in {out}. Choose another folder", input.display())));
        }
    }
    if place.exists() {
        let there = platform::list_folder(&place).map_err(|e| Fault::unreadable(Path::new(out), &e))?;
        if !there.is_empty() && !force {
            return Err(Fault::Failed(format!(
                "{out} is not empty. Choose another folder, or replace the weights in it with --force"
            )));
        }
    }
    Ok(place)
}

fn write(conversion: &Conversion, place: &Path, out: &str) -> Result<(), Fault> {
    let unwritable = |e: std::io::Error| Fault::unwritable(Path::new(out), &e);
    let new = NewFolder::create(place).map_err(unwritable)?;
    let (mut done, total, mut progress) = (0, conversion.bytes(), Progress::new());
    for file in &conversion.files {
        let mut to = new.file(&file.path).map_err(unwritable)?;
        let mut put = |bytes: &[u8]| {
            done += bytes.len() as u64;
            progress.bytes("writing", done, total);
            // Told below.
            if ended().is_some() {
                return Err("stopped".to_owned());
            }
            to.write(bytes).map_err(|e| format!("cannot write {}: {e}", file.path))
        };
        let written = block_on(conversion.write(file, &mut put));
        stop_if_asked(|| Ok(format!("stopped: {out} is as it was, and nothing is kept. Begin again")))?;
        written.map_err(Fault::failed)?;
        to.finish().map_err(unwritable)?;
    }
    progress.end(&format!("{} MB written", done / 1_000_000));
    new.publish(&|name| name.starts_with("model") && (name.ends_with(".safetensors") || name.ends_with(".index.json")))
        .map_err(unwritable)
}
