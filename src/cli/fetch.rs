//! `hive fetch`: a model from a hub or from a web server into the user's cache.

use serde_json::json;

use super::args::Args;
use super::fault::Fault;
use super::output::{say, warn};
use super::progress::Progress;
use super::shared::{ended, stop_if_asked};
use crate::engine::fetch::{self, Address, FetchError, FetchOptions, FetchProgress};
use crate::platform::{self, Blob, block_on, watch_signals};

const HELP: &str = "\
hive fetch ID|URL [--to DIR] [--revision R] [--offline] [--verify]
hive fetch --list
hive fetch --forget ID|URL

Gets a model and prints its folder; hive chat, ask and plan then take its id as --model. ID is OWNER/NAME of a model hub, URL the
http address of a folder with config.json, *.safetensors and tokenizer.json, or of a file in it. What was cut off goes on where it stopped.

  --to DIR                   fetch into this folder, instead of one in the user's cache
  --revision R               branch, tag or commit (default main); also ID@R
  --offline                  never ask the network: print the folder if all files are there
  --verify                   compare what was fetched with its hashes first, and get anew what differs
  --list                     models in the cache, with their sizes
  --forget ID|URL            remove a model from the cache

HF_ENDPOINT is another hub, HF_TOKEN opens models that are not for everybody; it is sent to that hub alone.
";

impl From<FetchError> for Fault {
    fn from(e: FetchError) -> Self {
        match e {
            FetchError::Address { .. } | FetchError::Variable(_) => Self::usage(e.to_string()),
            _ => Self::failed(e),
        }
    }
}

pub(super) fn run(list: &[String]) -> Result<(), Fault> {
    let options = ["to", "revision", "forget"];
    let Some(args) = Args::or_help(list, (1, &options), &["offline", "list", "verify"], HELP)? else { return Ok(()) };
    let again = |text: &str| {
        warn(&format!("{text}\n"));
        ended().is_none()
    };
    let mut options = FetchOptions { tell: Some(again), ..FetchOptions::from_environment()? };
    if args.flag("list") {
        return show(&args, &options);
    }
    if let Some(text) = args.option("forget") {
        let address = Address::parse(text)?;
        return Ok(block_on(fetch::forget(&address.key(&options.endpoint), &options))?);
    }
    let text = args.word(0).ok_or_else(|| Fault::usage("hive fetch needs the id or the address of a model"))?;
    let mut address = Address::parse(text)?;
    if let Some(revision) = args.option("revision") {
        address = address.at_revision(revision)?;
    }
    options.folder = args.option("to").map(str::to_owned);
    options.offline = args.flag("offline");
    let (mut last, mut progress) = (FetchProgress::default(), Progress::new());
    let mut tell = |p: &FetchProgress| {
        // Said once, also where lines of progress are not shown.
        if p.trouble != last.trouble && !p.trouble.is_empty() {
            warn(&format!("{}\n", p.trouble));
        }
        last = p.clone();
        progress.show(|| line(p));
        ended().is_none()
    };
    watch_signals();
    if args.flag("verify") {
        let differ = kept(block_on(fetch::verify(&address, &options, &mut tell)), &address)?;
        let said = if differ.is_empty() {
            "every file is as it was fetched".to_owned()
        } else {
            format!("not as fetched, and fetched again: {}", differ.join(", "))
        };
        warn(&format!("{said}\n"));
    }
    let fetched = kept(block_on(fetch::fetch(&address, &options, &mut tell)), &address)?;
    if last.total > 0 {
        progress.end(&line(&last));
    }
    for note in &fetched.notes {
        warn(&format!("{note}\n"));
    }
    let place = fetched.place.unwrap_or_default();
    if args.flag("json") {
        let files: Vec<_> = fetched.blobs.iter().map(|b| json!({"name": b.name(), "bytes": b.len()})).collect();
        say(&format!(
            "{}\n",
            json!({"folder": place, "files": files, "cached": last.cached, "license": fetched.license, "notes": fetched.notes})
        ));
        return Ok(());
    }
    if let Some(license) = &fetched.license {
        warn(&format!("licence, as the model's card says: {license}\n"));
    }
    say(&format!("{place}\n"));
    Ok(())
}

/// What came of it; where a signal ended it, that.
fn kept<T>(result: Result<T, FetchError>, address: &Address) -> Result<T, Fault> {
    if result.is_err() {
        let text = format!("stopped; what came so far is kept. Go on with: hive fetch {address}, and the same options");
        stop_if_asked(|| Ok(text))?;
    }
    Ok(result?)
}

fn line(p: &FetchProgress) -> String {
    let mb = |bytes: u64| bytes / 1_000_000;
    let here = if p.cached > 0 { format!(", {} of them from before", mb(p.cached)) } else { String::new() };
    format!("{}: {} of {} MB{here}", if p.file.is_empty() { "fetching" } else { &p.file }, mb(p.done), mb(p.total))
}

fn show(args: &Args, options: &FetchOptions) -> Result<(), Fault> {
    let all = block_on(fetch::cached(options))?;
    if args.flag("json") {
        let rows: Vec<_> =
            all.iter().map(|c| json!({"model": c.address, "hub": c.hub, "bytes": c.bytes, "whole": c.whole})).collect();
        say(&format!("{}\n", json!(rows)));
        return Ok(());
    }
    for model in all {
        let state = if model.whole { "" } else { "  not whole yet" };
        let hub = model.hub.map(|hub| format!(" of {hub}")).unwrap_or_default();
        say(&format!("{:>9.1} MB  {}{hub}{state}\n", model.bytes as f64 * 1e-6, model.address));
    }
    Ok(())
}

/// Could this be the name of a fetched model, and is it no file?
pub(super) fn is_name(text: &str) -> bool {
    !text.ends_with(".safetensors") && Address::parse(text).is_ok() && Blob::open(text).is_err()
}

/// The files of a model by its folder, or by its id or address if it was fetched. The network is not asked.
pub(super) fn blobs(text: &str) -> Result<Vec<Blob>, Fault> {
    let path = std::path::Path::new(text);
    if platform::is_folder(text) || !is_name(text) {
        return platform::folder_blobs(path).map_err(|e| Fault::unreadable(path, &e));
    }
    let address = Address::parse(text)?;
    let options = FetchOptions { offline: true, ..FetchOptions::from_environment()? };
    let fetched = block_on(fetch::fetch(&address, &options, |_| true));
    fetched.map(|f| f.blobs).map_err(|e| Fault::Failed(format!("there is no folder {text}, and {e}")))
}
