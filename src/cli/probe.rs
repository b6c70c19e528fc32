//! `hive probe`: what a frozen tower knows, by probes on a published set of pictures, each of one class.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::args::Args;
use super::fault::Fault;
use super::output::{say, warn};
use super::probe_report::{Report, Scored};
use super::progress::Progress;
use super::shared::{ended, load, open_gpu, read, stop_if_asked, write};
use crate::data::classes::{self, ClassSet, Files, Kind, LoadError, Part};
use crate::data::image::Preprocess;
use crate::data::rng::{hash_bytes, splitmix64};
use crate::engine::assets::{self, AssetError};
use crate::gpu::Gpu;
use crate::model::config::HiveConfig;
use crate::model::probe;
use crate::nn::params::Weights;
use crate::platform::{self, block_on, in_parallel, list_tree, read_regular, watch_signals};
use crate::train::class_probe::{self, Pace, ProbeError, Seen, Setup};
use crate::train::features::{self, Features, Tower};
use crate::train::init;
use crate::train::recipe::Preset;

const HELP: &str = "\
hive probe --data DIR --model MODEL: what the frozen tower of a model knows of a published set of pictures. An attentive and a linear
probe are trained on its last state but one, as the paper of HIVE does, and judged by pictures that they have not seen
hive probe --data DIR --check: reads a whole set, decodes all of its pictures, and counts them by class and part

  --data DIR      the folder of the set
  --set NAME      cifar10, imagenet, food101, pets, caltech256 or folders (any set with a folder per class); else found by itself
  --model MODEL   a shipped model, a checkpoint, or a preset by name or as a file, whose tower is then untrained, as drawn from its seed
  --kind NAME     linear or attentive; else both
  --limit N       so many pictures of each part at most, chosen by --seed
  --steps N       so many steps instead of the paper's epochs
  --seed N        of the order of pictures, the probes' start weights, and what is held out (default 0)
  --cache DIR     where features are kept (default hive-features): a run that was ended goes on with the same command
  --out FILE      the report as JSON, too
  --list          with --check: every picture with its part, class, size, and the colours of its corner and its middle

As in the paper: the last block deleted; the attentive probe has a norm, one learned query, as many heads as the tower and a classifier,
the linear one a trained norm, the mean over patches and a classifier; AdamW with decay 0.01, clipping at 3, cosine with warm-up 0.03,
steps of 512 pictures; 1 epoch at 1e-3 for ImageNet, 5 at 2e-4 for other sets.
Otherwise than in the paper: no augmentation (no random crops, flips or colours), as features are computed once; f32 throughout, not
bf16; one run by --seed, not three; the tower's own preprocessing, squashed to its size, in training, too; pictures are turned as their
EXIF data say. Where a set has no part to test, one in five pictures of each class is held out.
";

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["data", "set", "model", "kind", "limit", "steps", "cache", "out"];
    let Some(args) = Args::or_help(list, (0, &options), &["check", "list"], HELP)? else { return Ok(()) };
    let folder =
        Path::new(args.option("data").ok_or_else(|| Fault::usage("--data DIR is missing, the folder of the set"))?);
    let kinds = kinds(args.option("kind"))?;
    let steps = positive(&args, "steps")?;
    let limit = positive(&args, "limit")?;
    let check_only = args.flag("check");
    match args.option("model") {
        None if !check_only => {
            return Err(Fault::usage(
                "--model MODEL is missing, whose tower is probed; or --check, to read the set alone",
            ));
        }
        Some(_) if check_only => return Err(Fault::usage("--check reads the set alone: leave it or --model out")),
        _ if args.flag("list") && !check_only => return Err(Fault::usage("--list goes with --check")),
        _ => {}
    }
    let read = |name: &str| read_regular(&folder.join(name));
    let files = Files::new(list_tree(folder).map_err(|e| wrong(folder, &e))?, &read);
    let kind = match args.option("set") {
        None => Kind::found(&files).map_err(|e| wrong(folder, &e))?,
        Some(name) => Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Fault::usage(format!("--set is one of {}, not \"{name}\"", Kind::ALL.map(Kind::name).join(", ")))
        })?,
    };
    let mut set = classes::load(kind, &files).map_err(|e| wrong(folder, &e))?;
    let seed = args.number("seed")?.unwrap_or(0);
    watch_signals();
    if check_only {
        if let Some(limit) = limit {
            set.keep(limit as usize, seed);
        }
        return check(&args, &set, &files, folder);
    }
    if !set.divided {
        set.hold_out(seed);
        set.notes
            .push("the set has no part to test: one in five pictures of each class is held out by --seed".to_owned());
    }
    if let Some(limit) = limit {
        set.keep(limit as usize, seed);
    }
    enough(&set).map_err(|what| wrong(folder, &what))?;
    let (label, config, weights) = tower_of(args.option("model").unwrap_or_default())?;
    set.notes.iter().for_each(|note| warn(&format!("{note}\n")));
    let gpu = open_gpu(&args)?;
    let tower = Tower::new(&gpu, &config.vision_config, &weights)?;
    drop(weights);
    let cache = args.option("cache").unwrap_or("hive-features");
    let (mut features, keys) = seen(&set, &files, &config, &tower, cache, folder)?;
    let scored = probes(&gpu, (&set, &keys), &config, &mut features, (&kinds, steps, seed))?;
    let report = Report {
        set: &set,
        tower: &config.vision_config,
        depth: tower.depth,
        model: &label,
        seed,
        features: features.name(),
        scored,
    };
    if let Some(out) = args.option("out") {
        write(Path::new(out), format!("{}\n", report.json()).as_bytes())?;
    }
    say(&if args.flag("json") { format!("{}\n", report.json()) } else { report.text() });
    Ok(())
}

/// A fault of the set.
fn wrong(folder: &Path, what: &dyn std::fmt::Display) -> Fault {
    Fault::Failed(format!("{}: {what}", folder.display()))
}

fn kinds(name: Option<&str>) -> Result<Vec<probe::Kind>, Fault> {
    match name {
        None => Ok(vec![probe::Kind::Attentive, probe::Kind::Linear]),
        Some("attentive") => Ok(vec![probe::Kind::Attentive]),
        Some("linear") => Ok(vec![probe::Kind::Linear]),
        Some(other) => Err(Fault::usage(format!("--kind is linear or attentive, not \"{other}\""))),
    }
}

fn positive(args: &Args, name: &str) -> Result<Option<u64>, Fault> {
    match args.number(name)? {
        Some(0) => Err(Fault::usage(format!("--{name} is at least 1"))),
        number => Ok(number),
    }
}

/// Can a probe be trained and judged?
fn enough(set: &ClassSet) -> Result<(), String> {
    let train = set.counts(Part::Train).into_iter().filter(|count| *count > 0).count();
    if train < 2 {
        return Err(format!("there are pictures to train on of {train} classes, and a probe needs two at least"));
    }
    if set.counts(Part::Test).iter().sum::<usize>() == 0 {
        return Err(
            "there is no picture to test with: give the set's other part, too, or the folder of one part alone"
                .to_owned(),
        );
    }
    Ok(())
}

/// What a model is called, its sizes, and its weights; those of a preset are drawn.
fn tower_of(name: &str) -> Result<(String, HiveConfig, Weights), Fault> {
    let drawn = |preset: &Preset| {
        let weights =
            init::draw(&features::specs(&preset.model.vision_config), &preset.model, &preset.init, preset.seed);
        (format!("{}, untrained", preset.name), preset.model.clone(), weights)
    };
    if Path::new(name).extension().is_some_and(|end| end == "json") {
        let text = read(Path::new(name))?;
        return Ok(drawn(&Preset::parse(&String::from_utf8_lossy(&text))?));
    }
    if Path::new(name).is_dir() {
        return Err(Fault::usage(format!(
            "--model {name} is a folder, and towers of folders are not probed yet: give a checkpoint, a shipped model or a preset"
        )));
    }
    match load(name) {
        Ok(checkpoint) => Ok((name.to_owned(), checkpoint.meta.model, checkpoint.weights)),
        Err(Fault::Asset(AssetError::NoModel { names, .. })) => match assets::preset(name) {
            Ok(preset) => Ok(drawn(&preset)),
            Err(_none) => Err(Fault::usage(format!(
                "--model is a shipped model ({names}), a checkpoint file, or a preset, and \"{name}\" is none of them"
            ))),
        },
        Err(other) => Err(other),
    }
}

/// Decodes every picture once, and says what is there.
fn check(args: &Args, set: &ClassSet, files: &Files<'_>, folder: &Path) -> Result<(), Fault> {
    let (mut progress, mut seen, mut faults) = (Progress::new(), BTreeMap::new(), BTreeMap::new());
    let total = set.pictures.len();
    let work = |i: usize| {
        let place = &set.pictures[i].place;
        let picture = place.picture(&place.bytes(files)?, None)?;
        let at = |y: usize, x: usize| picture.data[3 * (y * picture.width + x)..][..3].to_vec();
        let centre = at(picture.height / 2, picture.width / 2);
        Ok(json!({"width": picture.width, "height": picture.height, "corner": at(0, 0), "centre": centre}))
    };
    in_parallel(total, &work, &mut |i, picture: Result<Value, LoadError>| {
        match picture {
            Ok(picture) => drop(seen.insert(i, if args.flag("list") { picture } else { Value::Null })),
            Err(error) => drop(faults.insert(i, error)),
        }
        progress.show(|| format!("{} of {total} pictures are decoded", seen.len() + faults.len()));
        ended().is_none()
    });
    drop(progress);
    stop_if_asked(|| Ok("stopped: the set was not read to its end".to_owned()))?;
    let faults: Vec<LoadError> = faults.into_values().collect();
    if let Some((first, rest)) = faults.split_first() {
        rest.iter().take(SHOWN).for_each(|error| warn(&format!("{error}\n")));
        let more = if rest.is_empty() { String::new() } else { format!(" ({} more of {total} are wrong)", rest.len()) };
        return Err(wrong(folder, &format!("{first}{more}")));
    }
    let mut notes = set.notes.clone();
    if !set.divided {
        notes.push(
            "the set has no part to test: to probe, one in five pictures of each class is held out by --seed"
                .to_owned(),
        );
    }
    let counts = Part::ALL.map(|part| set.counts(part));
    if args.flag("json") {
        let mut all = json!({"set": set.kind.name(), "classes": set.classes, "pictures": total, "divided": set.divided,
            "counts": {"train": counts[0], "test": counts[1]}, "left_out": set.left_out, "notes": notes});
        if args.flag("list") {
            let item = |(i, mut about): (usize, Value)| {
                let picture = &set.pictures[i];
                about["file"] = json!(picture.place.name());
                about["part"] = json!(picture.part.name());
                about["label"] = json!(picture.class);
                about["name"] = json!(set.classes[picture.class]);
                about
            };
            all["items"] = seen.into_iter().map(item).collect();
        }
        say(&format!("{all}\n"));
        return Ok(());
    }
    notes.iter().for_each(|note| warn(&format!("{note}\n")));
    let mut text = format!(
        "{}: {} classes, {total} pictures\n{:>8}{:>8}  class\n",
        set.kind.name(),
        set.classes.len(),
        "train",
        "test"
    );
    for (i, name) in set.classes.iter().enumerate() {
        text += &format!("{:>8}{:>8}  {name}\n", counts[0][i], counts[1][i]);
    }
    text += &format!("{:>8}{:>8}  all\n", counts[0].iter().sum::<usize>(), counts[1].iter().sum::<usize>());
    for (i, about) in seen.iter().filter(|(_, about)| !about.is_null()) {
        let picture = &set.pictures[*i];
        let (name, part, class) = (picture.place.name(), picture.part.name(), &set.classes[picture.class]);
        let [width, height, corner, centre] = ["width", "height", "corner", "centre"].map(|key| &about[key]);
        text += &format!("{name}: {part}, {class}, {width}x{height}, corner {corner}, middle {centre}\n");
    }
    say(&text);
    Ok(())
}

/// Most faults of pictures that are shown beside the first.
const SHOWN: usize = 20;

/// What the tower shows of every picture, and each picture's key there. What a run before has computed is taken up.
fn seen(
    set: &ClassSet,
    files: &Files<'_>,
    config: &HiveConfig,
    tower: &Tower,
    cache: &str,
    folder: &Path,
) -> Result<(Features, Vec<u64>), Fault> {
    let preprocess = Preprocess::on_white(config.vision_config.image_size);
    let made = [format!("{preprocess:?}"), env!("CARGO_PKG_VERSION").to_owned()];
    let made = made.iter().fold(tower.fingerprint, |sum, text| splitmix64(sum ^ hash_bytes(text.as_bytes())));
    let mut features = block_on(Features::open(cache, made, tower.size())).map_err(Fault::failed)?;
    let total = set.pictures.len();
    let known: BTreeSet<u64> = features.keys().collect();
    let needed = total.saturating_sub(known.len()) as u64 * features.record();
    if platform::free_bytes(Path::new(cache)).is_some_and(|free| free < needed) {
        let (megabytes, name) = (needed / 1_000_000, features.name());
        return Err(Fault::Failed(format!(
            "{name}: the features of {total} pictures take {megabytes} MB, and there is less room: give another --cache, or a --limit"
        )));
    }
    let work = |i: usize| -> Result<(u64, Option<Vec<f32>>), LoadError> {
        let place = &set.pictures[i].place;
        let bytes = place.bytes(files)?;
        let key = hash_bytes(&bytes);
        let pixels = || Ok(preprocess.pixels(&place.picture(&bytes, preprocess.background)?));
        Ok((key, (!known.contains(&key)).then(pixels).transpose()?))
    };
    let (mut keys, mut progress, mut result) = (vec![0; total], Progress::new(), Ok(()));
    let (mut done, mut waiting) = (0, Vec::new());
    in_parallel(total, &work, &mut |i, picture| {
        result = picture.map_err(|e| wrong(folder, &e)).and_then(|(key, pixels)| {
            keys[i] = key;
            done += 1;
            waiting.extend(pixels.map(|pixels| (key, pixels)));
            if waiting.len() == tower.pass() || done == total {
                pass(tower, &mut features, &mut waiting)
            } else {
                Ok(())
            }
        });
        progress.show(|| format!("{done} of {total} pictures went through the tower"));
        result.is_ok() && ended().is_none()
    });
    drop(progress);
    let kept = block_on(features.keep()).map_err(Fault::failed);
    result?;
    kept?;
    stop_if_asked(|| {
        let count = features.keys().count();
        Ok(format!("stopped: features of {count} pictures are in {}; the same command goes on", features.name()))
    })?;
    Ok((features, keys))
}

/// Sends the pictures that wait through the tower.
fn pass(tower: &Tower, features: &mut Features, waiting: &mut Vec<(u64, Vec<f32>)>) -> Result<(), Fault> {
    let (keys, pixels): (Vec<u64>, Vec<Vec<f32>>) = waiting.drain(..).unzip();
    for (key, shown) in keys.into_iter().zip(block_on(tower.features(&pixels))?) {
        if !features.has(key) {
            block_on(features.add(key, &shown)).map_err(Fault::failed)?;
        }
    }
    Ok(())
}

/// Trains and judges the probes one after the other.
fn probes(
    gpu: &Gpu,
    (set, keys): (&ClassSet, &[u64]),
    config: &HiveConfig,
    features: &mut Features,
    (kinds, steps, seed): (&[probe::Kind], Option<u64>, u64),
) -> Result<Vec<Scored>, Fault> {
    let part = |part: Part| -> Vec<Seen> {
        let own = set.pictures.iter().zip(keys).filter(|(picture, _)| picture.part == part);
        own.map(|(picture, key)| (*key, picture.class)).collect()
    };
    let (train, test) = (part(Part::Train), part(Part::Test));
    let pace = if set.kind == Kind::ImageNet { Pace::IMAGENET } else { Pace::OTHERS };
    let mut scored = Vec::new();
    for kind in kinds {
        let name = if *kind == probe::Kind::Linear { "linear" } else { "attentive" };
        let (tower, classes, mut progress) = (&config.vision_config, set.classes.len(), Progress::new());
        let setup = Setup {
            tower,
            kind: *kind,
            classes,
            train: &train,
            test: &test,
            pace,
            steps,
            seed,
            most: class_probe::MOST,
        };
        let tell = |step: u64, steps: u64, loss: f32| {
            progress.show(|| format!("{name} probe: step {step} of {steps}, loss {loss:.3}"));
            ended().is_none()
        };
        let judged = block_on(class_probe::probe(gpu, features, &setup, tell)).map_err(|e| match e {
            ProbeError::Gpu(e) => Fault::Gpu(e),
            e => Fault::failed(e),
        })?;
        drop(progress);
        let name_of_file = features.name().to_owned();
        stop_if_asked(|| {
            Ok(format!("stopped in the {name} probe, which begins anew; the features in {name_of_file} are kept"))
        })?;
        scored.extend(judged.map(|judged| Scored { kind: name, pace, judged }));
    }
    Ok(scored)
}
